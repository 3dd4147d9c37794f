"""Metrics against scikit-learn, intervals against simulation, messages by their content."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from volano.errors import DataError
from volano.evaluation import classification_report, row_scores, softmax


def sample(num_rows, num_classes, *, seed=0, signal=1.5, occurring=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, occurring or num_classes, size=num_rows)
    logits = rng.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), labels] += signal
    return softmax(logits), labels, [f"c{code}" for code in range(num_classes)]


# The second case has classes in neither truth nor answers, the third in one of them only.
CASES = [
    (500, 5, None, 1.5),
    (40, 30, 6, 6.0),
    (30, 12, 4, 0.0),
    (1, 3, None, 0.0),
    (9, 1, None, 0),
]


@pytest.mark.parametrize(("num_rows", "num_classes", "occurring", "signal"), CASES)
def test_every_metric_is_scikit_learns(num_rows, num_classes, occurring, signal):
    probabilities, labels, names = sample(
        num_rows, num_classes, signal=signal, occurring=occurring, seed=3
    )
    answers = probabilities.argmax(axis=1)
    report = classification_report(probabilities, labels, names, num_resamples=100)
    value = {name: estimate.value for name, estimate in report.metrics.items()}
    assert value["accuracy"] == pytest.approx(sk.accuracy_score(labels, answers))
    for average in ("macro", "micro"):
        expected = sk.precision_recall_fscore_support(
            labels, answers, average=average, zero_division=0
        )
        for name, number in zip(("precision", "recall", "f1"), expected, strict=False):
            assert value[f"{name}_{average}"] == pytest.approx(number)
    expected = sk.precision_recall_fscore_support(
        labels, answers, labels=range(num_classes), zero_division=0
    )
    got = [(r.precision.value, r.recall.value, r.f1.value, r.support) for r in report.per_class]
    np.testing.assert_allclose(np.transpose(got), expected)
    if num_classes > 1:  # scikit-learn warns of a single class
        np.testing.assert_array_equal(
            report.confusion, sk.confusion_matrix(labels, answers, labels=range(num_classes))
        )
        expected = sk.log_loss(labels, probabilities, labels=range(num_classes))
        assert value["log_loss"] == pytest.approx(expected)
    for row in report.per_class:
        assert row.predicted == (answers == names.index(row.name)).sum()
        for estimate in (row.precision, row.recall, row.f1):
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    for estimate in report.metrics.values():
        assert estimate.low <= estimate.value <= estimate.high


def test_calibration_error_and_reliability_bins_by_hand():
    probabilities, labels, names = sample(2000, 3, seed=1)
    report = classification_report(probabilities, labels, names, num_resamples=100)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    assert len(report.reliability) == 15
    assert sum(row.num_rows for row in report.reliability) == 2000
    error = 0.0
    for row in report.reliability:
        inside = (confidence >= row.low) & (confidence <= row.high)
        assert inside.sum() == row.num_rows
        assert abs(row.num_rows - 2000 / 15) <= 1
        assert row.accuracy.value == pytest.approx(right[inside].mean())
        error += abs(confidence[inside].mean() - right[inside].mean()) * row.num_rows / 2000
    assert report.metrics["calibration_error"].value == pytest.approx(error)


def test_bins_adapt_to_few_rows_and_keep_equal_confidences_together():
    probabilities, labels, names = sample(45, 3)
    assert len(classification_report(probabilities, labels, names).reliability) == 2
    probabilities, labels, names = sample(5, 3)
    assert len(classification_report(probabilities, labels, names).reliability) == 1
    flat = classification_report(np.full((400, 2), 0.5), np.arange(400) % 2, ["a", "b"])
    assert len(flat.reliability) == 1
    assert flat.metrics["calibration_error"].value == pytest.approx(0.0)


def test_intervals_stay_honest_when_no_row_is_wrong():
    report = classification_report(np.eye(2)[[0, 1] * 10], [0, 1] * 10, ["a", "b"])
    for name in ("accuracy", "f1_macro", "precision_macro", "recall_macro"):
        estimate = report.metrics[name]
        assert (estimate.value, estimate.high) == (1.0, 1.0)
        assert 0.8 < estimate.low < 0.9  # Wilson: 20 of 20
    assert 0.7 < report.per_class[0].recall.low < 0.75  # 10 of 10


def test_wilson_is_scipys():
    from scipy.stats import binomtest

    for hits, trials in ((0, 7), (3, 7), (7, 7), (120, 1000)):
        labels = np.zeros(trials, dtype=int)
        answers = np.eye(2)[(np.arange(trials) >= hits).astype(int)]
        estimate = classification_report(answers, labels, ["a", "b"], num_resamples=100).metrics[
            "accuracy"
        ]
        expected = binomtest(hits, trials).proportion_ci(method="wilson")
        assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.slow
def test_intervals_cover_the_truth_about_95_times_in_100():
    truth = classification_report(*sample(200_000, 4, seed=99), num_resamples=100).metrics
    covered = dict.fromkeys(("accuracy", "f1_macro", "precision_macro", "log_loss"), 0)
    num_repeats = 300
    for seed in range(num_repeats):
        metrics = classification_report(*sample(200, 4, seed=seed), num_resamples=200).metrics
        for name in covered:
            covered[name] += metrics[name].low <= truth[name].value <= metrics[name].high
    # Within 3.5 standard errors of 95% (0.044), on both sides.
    for name, count in covered.items():
        assert 0.905 <= count / num_repeats <= 0.995, name


def test_a_calibrated_model_may_have_no_calibration_error():
    # Percentiles would start at 0.05 and up: each resample adds noise to the error.
    rng = np.random.default_rng(0)
    highs, lows = [], []
    for seed in range(40):
        confidence = rng.uniform(0.5, 1, size=600)
        labels = (rng.uniform(size=600) > confidence).astype(int)
        estimate = classification_report(
            np.stack([confidence, 1 - confidence], axis=1), labels, ["a", "b"],
            seed=seed, num_resamples=200,
        ).metrics["calibration_error"]  # fmt: skip
        lows.append(estimate.low)
        highs.append(estimate.high)
    assert np.mean(np.array(lows) == 0) >= 0.85
    assert np.mean(highs) > 0.03


def test_the_same_seed_gives_the_same_report_and_it_is_json():
    arguments = sample(300, 5)
    report = classification_report(*arguments, seed=7)
    again = classification_report(*arguments, seed=7)
    assert json.dumps(report.as_dict()) == json.dumps(again.as_dict())
    other = classification_report(*arguments, seed=8)
    assert other.metrics["log_loss"] != report.metrics["log_loss"]
    assert set(json.loads(json.dumps(report.as_dict()))) == {
        "num_rows", "names", "metrics", "per_class", "confusion", "reliability",
    }  # fmt: skip


def test_a_resample_costs_less_than_scoring_its_rows_anew():
    probabilities, labels, names = sample(3080, 77, signal=3.0)
    answers = np.asarray(probabilities).argmax(axis=1)
    started = time.process_time()
    classification_report(probabilities, labels, names, num_resamples=1000)
    ours = (time.process_time() - started) / 1000
    rows = np.random.default_rng(0).integers(0, 3080, (10, 3080))
    started = time.process_time()
    for drawn in rows:
        sk.f1_score(np.asarray(labels)[drawn], answers[drawn], average="macro")
    assert ours < (time.process_time() - started) / 10


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_rows=st.integers(1, 60), num_classes=st.integers(2, 6))
def test_the_order_of_rows_and_of_classes_does_not_matter(seed, num_rows, num_classes):
    probabilities, labels, names = sample(num_rows, num_classes, seed=seed)
    rng = np.random.default_rng(seed)
    rows, codes = rng.permutation(num_rows), rng.permutation(num_classes)
    there = classification_report(probabilities, labels, names, num_resamples=100)
    moved = classification_report(
        probabilities[rows][:, codes],
        np.argsort(codes)[labels[rows]],
        [names[code] for code in codes],
        num_resamples=100,
    )
    for name, estimate in there.metrics.items():
        assert moved.metrics[name].value == pytest.approx(estimate.value)
    assert {row.name: row.f1.value for row in moved.per_class} == pytest.approx(
        {row.name: row.f1.value for row in there.per_class}
    )


def test_row_scores_average_to_the_metrics():
    probabilities, labels, names = sample(200, 4)
    metrics = classification_report(probabilities, labels, names, num_resamples=100).metrics
    assert row_scores(probabilities, labels).mean() == pytest.approx(metrics["accuracy"].value)
    log_likelihood = row_scores(probabilities, labels, "log_loss")
    assert -log_likelihood.mean() == pytest.approx(metrics["log_loss"].value)
    assert row_scores([[0.0, 1.0]], [0], "log_loss")[0] == pytest.approx(np.log(1e-7))


HALF = [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("call", "code", "texts"),
    [
        (lambda: classification_report(HALF, [0], ["a"]), "DATA-400", ["(1, 2)", "(num_rows, 1)"]),
        (lambda: row_scores(np.zeros((0, 2)), []), "DATA-400", ["(0, 2)", "at least one row"]),
        (lambda: row_scores(HALF, [0, 1]), "DATA-401", ["(2,)", "shape (1,)"]),
        (lambda: row_scores(HALF, [0.0]), "DATA-401", ["float64", "int class code"]),
        (lambda: row_scores(HALF * 2, [0, 2]), "DATA-402", ["row 1", "is 2", "from 0 to 1"]),
        (lambda: row_scores([[2.0, 3.0]], [0]), "DATA-403", ["row 0", "[2.0, 3.0]", "softmax"]),
        (lambda: row_scores([[np.nan, 1.0]], [0]), "DATA-403", ["nan", "sum to 1"]),
        (lambda: row_scores([[-0.5, 1.5]], [0]), "DATA-403", ["-0.5", "at least 0"]),
        (lambda: row_scores(HALF, [0], "acuracy"), "DATA-404", ["'acuracy'", "mean accuracy?"]),
        (
            lambda: classification_report(HALF, [0], ["a", "b"], num_resamples=9),
            "DATA-405",
            ["num_resamples is 9", "at least 100"],
        ),
    ],
)
def test_messages(call, code, texts):
    with pytest.raises(DataError) as caught:
        call()
    assert caught.value.code == code
    for text in texts:
        assert text in str(caught.value)
    assert "Fix: " in str(caught.value)
