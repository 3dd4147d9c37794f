"""Numbers judged: against scikit-learn, by coverage of simulated rows, and by refusals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from volano.columns.number import NumberColumn
from volano.errors import DataError, SpecError
from volano.evaluation import (
    conformal_half_width,
    evaluator,
    gate_metric,
    judge,
    regression_report,
)
from volano.tasks.regression import Regression


@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("num_rows", [2, 7, 500])
def test_measures_are_scikit_learns(num_rows: int, offset: float) -> None:
    random = np.random.default_rng(num_rows)
    right = random.normal(20, 3, num_rows) + offset
    predicted = right + random.normal(0.5, 2, num_rows)
    found = {
        name: estimate["value"]
        for name, estimate in regression_report(predicted, right, half_width=2.0)["metrics"].items()
    }
    wanted = {
        "rmse": metrics.root_mean_squared_error(right, predicted),
        "mae": metrics.mean_absolute_error(right, predicted),
        "r2": metrics.r2_score(right, predicted),
        "median_absolute_error": metrics.median_absolute_error(right, predicted),
        "mape": metrics.mean_absolute_percentage_error(right, predicted),
        "bias": float((predicted - right).mean()),
        "interval_coverage": float((np.abs(predicted - right) <= 2.0).mean()),
    }
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=1, max_size=40))
def test_intervals_hold_their_values(pairs: list[tuple[int, int]]) -> None:
    predicted, right = zip(*pairs, strict=True)
    report = regression_report(predicted, right, num_resamples=50)
    json.dumps(report, allow_nan=False)
    for name, estimate in report["metrics"].items():
        assert estimate["low"] <= estimate["value"] <= estimate["high"], name
    assert ("mape" in report["metrics"]) == (0 not in right)
    assert ("r2" in report["metrics"]) == (len(set(right)) > 1)
    assert "interval_coverage" not in report["metrics"]
    assert report == regression_report(predicted, right, num_resamples=50), "seeded"


def test_an_interval_of_the_error_covers_the_true_one() -> None:
    """RMSE of normal errors: about 95 of 100 intervals hold the deviation they were drawn with."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(120):
        right = random.normal(0, 5, 150)
        found = regression_report(right + random.normal(0, 2, 150), right, num_resamples=200)[
            "metrics"
        ]["rmse"]
        hits += found["low"] <= 2.0 <= found["high"]
    assert 0.87 < hits / 120 <= 1.0


def test_the_residual_plot_has_a_thousand_rows_at_most() -> None:
    random = np.random.default_rng(0)
    predicted, right = random.normal(size=(2, 3000))
    shown = regression_report(predicted, right, num_resamples=2)["residuals"]
    assert len(shown["predicted"]) == len(shown["target"]) == 1000
    assert shown["predicted"] == sorted(shown["predicted"])
    assert shown["predicted"][0] == pytest.approx(predicted.min(), rel=1e-5)
    assert shown["predicted"][-1] == pytest.approx(predicted.max(), rel=1e-5)


@pytest.mark.parametrize(
    ("predicted", "right", "code"),
    [
        ([], [], "DATA-440"),
        ([1.0], [1.0, 2.0], "DATA-440"),
        ([[1.0]], [[1.0]], "DATA-440"),
        ([math.nan], [1.0], "DATA-441"),
        ([1.0], [math.inf], "DATA-441"),
    ],
)
def test_what_cannot_be_judged(predicted: list[float], right: list[float], code: str) -> None:
    with pytest.raises(DataError, match=code):
        regression_report(predicted, right)


# Conformal intervals ---------------------------------------------------------------------------


def test_the_width_is_the_right_order_statistic() -> None:
    for num_rows in range(1, 400):
        errors = np.random.default_rng(num_rows).permutation(num_rows) + 1.0
        place = -(-(num_rows + 1) * 9 // 10)
        wanted = float(place) if place <= num_rows else None
        assert conformal_half_width(-errors, 0.9) == wanted


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_cauchy"])
def test_new_rows_lie_inside_as_often_as_promised(draw: str) -> None:
    """The mean coverage over calibrations is k / (n + 1), whatever the distribution."""
    random = np.random.default_rng(0)
    num_rows, inside = 49, []
    for _ in range(1500):
        width = conformal_half_width(getattr(random, draw)(size=num_rows), 0.9)
        assert width is not None
        inside.append(np.mean(np.abs(getattr(random, draw)(size=40)) <= width))
    # The deviation of coverage is sqrt(0.9 * 0.1 / 51) and the mean is of 1,500 of them.
    assert np.mean(inside) == pytest.approx(0.9, abs=5 * 0.042 / 1500**0.5 + 0.003)


def test_too_few_rows_have_no_interval() -> None:
    assert conformal_half_width([], 0.9) is None
    assert conformal_half_width([1.0] * 8, 0.9) is None
    assert conformal_half_width([1.0] * 9, 0.9) == 1.0


# The evaluator ---------------------------------------------------------------------------------


def test_the_judge_of_numbers() -> None:
    numbers = evaluator("regression")
    random = np.random.default_rng(0)
    right = random.normal(100, 20, 60)
    outputs = (right + random.normal(0, 3, 60)).astype(np.float32)[:, None]
    target = NumberColumn.fit("price", list(map(repr, right.tolist())), {}, "target")
    task = Regression.from_dict(numbers.calibrate(outputs, right), target)
    errors = outputs[:, 0].astype(np.float64) - right
    np.testing.assert_allclose(numbers.scores("squared_error", task, outputs, right), -(errors**2))
    np.testing.assert_allclose(
        numbers.scores("absolute_error", task, outputs, right), -np.abs(errors)
    )
    assert task.half_width == conformal_half_width(errors, 0.9)
    values = [repr(value) for value in right.tolist()]
    report = numbers.report(task, outputs, values, target)
    assert report["metrics"]["interval_coverage"]["value"] >= 0.9
    worst = numbers.mistakes(task, outputs, values, target, 3)
    assert [row["row"] for row in worst] == np.argsort(-np.abs(errors))[:3].tolist()
    assert numbers.parity(task, outputs, outputs) == 0
    assert numbers.parity(task, outputs, outputs + 20) == pytest.approx(1, rel=0.3)
    assert numbers.changes((task, outputs), (task, outputs), values) == []
    for metric, word in (("squared_error", "RMSE"), ("absolute_error", "mean absolute error")):
        mine = numbers.scores(metric, task, outputs, right)
        other = numbers.scores(metric, task, outputs + 5, right)
        found = judge(mine, other, alpha=0.05)
        text = numbers.describe(metric, float(mine.mean()), float(other.mean()), found)
        assert word in text
        assert "on 60 golden rows, -" in text, "errors that are smaller have a minus"
        assert numbers.loss_scale(metric, mine) == pytest.approx(-mine.mean())


def test_a_metric_of_another_task_is_refused() -> None:
    assert gate_metric("auto", evaluator("regression")) == "squared_error"
    assert gate_metric("log_loss", evaluator("classification")) == "log_loss"
    with pytest.raises(SpecError, match=r"(?s)accuracy does not compare.*absolute_error.*SPEC-042"):
        gate_metric("accuracy", evaluator("regression"))


def test_a_quantile_is_judged_by_its_pinball_loss() -> None:
    made = evaluator("regression")
    random = np.random.default_rng(0)
    right, answers = random.normal(0, 1, (2, 50))
    for level in (0.5, 0.9):
        name = gate_metric("pinball", made, level)
        assert name == f"pinball {level}"
        scores = made.scores(name, Regression(), answers[:, None], right)
        wanted = metrics.mean_pinball_loss(right, answers, alpha=level)
        assert -scores.mean() == pytest.approx(wanted)
        assert np.array_equal(scores, made.baseline_scores(name, answers, right))
        found = judge(scores, scores - 0.1, alpha=0.05, nominal_alpha=0.05)
        text = made.describe(name, float(scores.mean()), float(scores.mean()) - 0.1, found)
        assert text.startswith(f"mean pinball loss at {level} {wanted:.6g} against")
    with pytest.raises(SpecError, match="SPEC-042"):
        gate_metric("pinball", evaluator("classification"), 0.9)
