"""Sets of names: every measure against scikit-learn or by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from volano.columns.labels import FittedLabels
from volano.evaluation import evaluator
from volano.evaluation.baselines import label_table_baselines, label_text_baselines
from volano.evaluation.multilabel import (
    choose_thresholds,
    fit_label_temperature,
    jaccard,
    multilabel_report,
)
from volano.tasks.multilabel import Multilabel

JUDGE = evaluator("multilabel")


def made(num_rows: int = 300, num_names: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know something, and the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (num_rows, num_names))
    truth = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return logits, truth


def test_measures_are_scikit_learns() -> None:
    logits, truth = made()
    p = 1 / (1 + np.exp(-logits))
    given = p > 0.5
    found = multilabel_report(p, given, truth, list("abcde"))["metrics"]
    values = {name: entry["value"] for name, entry in found.items()}
    assert values["f1_micro"] == pytest.approx(metrics.f1_score(truth, given, average="micro"))
    assert values["f1_macro"] == pytest.approx(metrics.f1_score(truth, given, average="macro"))
    assert values["subset_accuracy"] == pytest.approx(metrics.accuracy_score(truth, given))
    assert values["hamming_loss"] == pytest.approx(metrics.hamming_loss(truth, given))
    assert values["mean_average_precision"] == pytest.approx(
        metrics.average_precision_score(truth, p, average="macro")
    )
    assert values["log_loss"] == pytest.approx(
        sum(metrics.log_loss(truth[:, k], p[:, k]) for k in range(5))
    )
    wanted = metrics.jaccard_score(truth, given, average="samples", zero_division=1.0)
    assert values["jaccard"] == pytest.approx(wanted)
    for name, entry in found.items():
        assert entry["low"] < entry["value"] < entry["high"], name


def test_intervals_hold_what_many_rows_say() -> None:
    logits, truth = made(100_000, seed=1)
    p = 1 / (1 + np.exp(-logits))
    right = jaccard(p > 0.5, truth).mean()
    held = 0
    for part in range(60):
        rows = slice(part * 200, part * 200 + 200)
        found = multilabel_report(p[rows], p[rows] > 0.5, truth[rows], list("abcde"))
        entry = found["metrics"]["jaccard"]
        held += entry["low"] <= right <= entry["high"]
    assert held >= 52, "95% of 60 is 57, and luck takes some"


def test_a_temperature_undoes_what_made_logits_too_sure() -> None:
    logits, truth = made(4000)
    assert fit_label_temperature(logits * 3, truth) == pytest.approx(3, rel=0.1)
    assert fit_label_temperature(np.zeros((5, 2)), np.zeros((5, 2), bool)) == 1.0


def test_thresholds_find_the_rare_name() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((2000, 2)) < np.array([0.5, 0.1])
    # The second name is never sure of itself, yet higher wherever it applies.
    p = np.stack([np.where(truth[:, 0], 0.9, 0.1), np.where(truth[:, 1], 0.3, 0.05)], axis=1)
    found = choose_thresholds(p, truth)
    assert 0.1 < found[0] < 0.9
    assert 0.05 < found[1] < 0.3
    assert jaccard(p >= found, truth).mean() == 1.0
    assert choose_thresholds(p[:0], truth[:0]).tolist() == [0.5, 0.5]


def test_unknown_names_of_golden_rows_count_as_never_found() -> None:
    target = FittedLabels("tags", ("a", "b"), "|")
    task = Multilabel(target.names, (0.5, 0.5))
    outputs = np.array([[9.0, -9.0], [9.0, -9.0]], np.float32)
    values = ['["a"]', '["a", "new"]']
    targets = target.targets(values)
    assert JUDGE.scores("jaccard", task, outputs, targets).tolist() == [1.0, 0.5]
    assert JUDGE.scores("subset_accuracy", task, outputs, targets).tolist() == [1.0, 0.0]
    sure = JUDGE.scores("log_loss", task, outputs, targets)
    assert sure[0] > -0.001
    assert sure[1] < -10
    report = JUDGE.report(task, outputs, values, target)
    assert report["unknown"] == {"new": 1}
    assert report["metrics"]["jaccard"]["value"] == 0.75
    assert [row["name"] for row in report["per_class"]] == ["a", "b", "new"]
    (worst,) = JUDGE.mistakes(task, outputs, values, target, 5)
    assert (worst["row"], worst["right"], worst["predicted"]) == (1, "a|new", "a")


def test_changes_name_by_name() -> None:
    one, two = ("a", "b"), ("a", "b", "c")
    values = ['["a", "c"]', '["c"]'] * 20
    mine = Multilabel(two, (0.5,) * 3), np.tile(np.float32([[9, -9, 9], [-9, -9, 9]]), (20, 1))
    other = Multilabel(one, (0.5,) * 2), np.tile(np.float32([[9, -9], [-9, -9]]), (20, 1))
    found = {item["name"]: item for item in JUDGE.changes(mine, other, values)}
    assert (found["c"]["before"], found["c"]["after"]) == (0.0, 1.0)
    assert found["c"]["adjusted_p"] < 0.001
    assert found["a"]["effect"] == 0


def test_baselines() -> None:
    texts = ["red ball", "blue ball", "red cube", "blue cube"] * 10
    truth = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 1, 0]] * 10, bool)
    found = label_text_baselines(texts, truth, ["a red ball", "blue cube"])
    assert found["tfidf_svm"].tolist() == [[True, False, True], [False, True, False]]
    assert found["commonest"].shape == (2, 3)
    matrix = np.array([[1, 0], [0, 0], [1, 1], [0, 1]] * 10, np.float32)
    table = label_table_baselines(matrix, truth, matrix[:4])
    assert (table["small_tree"] == truth[:4]).all()
