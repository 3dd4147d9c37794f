"""Forecasts: measures by hand, intervals that know of overlaps, baselines, the gate's rows."""

from __future__ import annotations

import numpy as np
import pytest

from volano.columns.series import FittedSeries
from volano.evaluation import evaluator, independent_rows, unit_scores
from volano.evaluation.forecasting import (
    block_bootstrap,
    forecast_report,
    seasonal_naive,
    step_half_widths,
    window_errors,
)
from volano.evaluation.smoothing import exponential_smoothing, fit_smoothing
from volano.tasks.forecasting import Forecasting
from volano.testing import check_task

JUDGE = evaluator("forecasting")
TARGET = FittedSeries("y", ("y", "z"), (10.0, 0.0), (2.0, 1.0), 4, 3, 2, "", (0.5, 2.0), "date")


def test_measures_by_hand() -> None:
    right = np.array([[[1.0, 0.0]], [[3.0, np.nan]]])
    predicted = np.array([[[2.0, 0.0]], [[3.5, 9.0]]])
    found = forecast_report(
        predicted,
        right,
        series=("y", "z"),
        centres=np.zeros(2),
        spreads=np.array([2.0, 1.0]),
        naive_errors=np.array([0.5, 2.0]),
        half_widths=np.full((1, 2), 0.6),
    )
    value = {name: entry["value"] for name, entry in found["metrics"].items()}
    assert value["mse"] == pytest.approx((0.5 + 0.25) / 2)
    assert value["mae"] == pytest.approx((0.5 + 0.5) / 2)
    # 2 |4 - 2| / 6, 0 for two zeros; 2 |7 - 6| / 13
    assert value["smape"] == pytest.approx(((2 * 2 / 6 + 0) / 2 + 2 * 1 / 13) / 2)
    assert value["mase"] == pytest.approx(((1 * 2 / 0.5 + 0) / 2 + 0.5 * 2 / 0.5) / 2)
    assert value["interval_coverage"] == pytest.approx((0.5 + 1) / 2)
    assert found["series"][0] == {"name": "y", "mse": 0.625, "mae": 1.5}
    assert found["steps"]["mse"] == [pytest.approx(1.25 / 3, rel=1e-4)]


def test_pinball_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import mean_pinball_loss

    random = np.random.default_rng(0)
    right, predicted = random.normal(size=(50, 1, 1)), random.normal(size=(50, 1, 1))
    found = forecast_report(
        predicted,
        right,
        series=("y",),
        centres=np.zeros(1),
        spreads=np.ones(1),
        naive_errors=np.ones(1),
        half_widths=np.full((1, 1), 0.7),
    )
    y, p = right.ravel(), predicted.ravel()
    wanted = mean_pinball_loss(y, p - 0.7, alpha=0.05) + mean_pinball_loss(y, p + 0.7, alpha=0.95)
    assert found["metrics"]["pinball"]["value"] == pytest.approx(wanted / 2)


def test_blocks_make_intervals_of_overlapping_windows_as_wide_as_they_are() -> None:
    """Means of 20 steps that overlap: drawn one by one, they would look 4 times as sure."""
    random = np.random.default_rng(0)
    horizon, spread, single, truth = 20, [], [], []
    for _ in range(60):
        noise = random.normal(size=400 + horizon)
        sums = np.convolve(noise, np.ones(horizon) / horizon, "valid")[:, None]
        truth.append(sums.mean())
        spread.append(block_bootstrap(sums, horizon, num_resamples=200).std())
        single.append(block_bootstrap(sums, 1, num_resamples=200).std())
    assert np.mean(spread) == pytest.approx(np.std(truth), rel=0.35)
    assert np.mean(single) < np.std(truth) / 2


def test_forecasts_that_the_gate_compares_share_no_step() -> None:
    rows = independent_rows(JUDGE, 17, TARGET)
    assert [row.tolist() for row in rows] == [[1], [4], [7], [10], [13], [16]]
    plain = independent_rows(evaluator("regression"), 4, TARGET)
    assert [row.tolist() for row in plain] == [[0], [1], [2], [3]]


def test_groups_at_the_same_moment_count_as_one() -> None:
    times = np.array([0, 0, 1, 1, 2, 3, 3, 5])
    rows = independent_rows(JUDGE, 8, TARGET, times)
    # 5, then none before 2, then none before -1.
    assert [row.tolist() for row in rows] == [[4], [7]]
    times = np.repeat(np.arange(7), 2)
    rows = independent_rows(JUDGE, 14, TARGET, times)
    assert [row.tolist() for row in rows] == [[0, 1], [6, 7], [12, 13]]
    scores = unit_scores(np.arange(14.0), rows)
    assert scores.tolist() == [0.5, 6.5, 12.5]


def test_half_widths_hold_what_they_promise() -> None:
    random = np.random.default_rng(0)
    found = step_half_widths(np.zeros((199, 2, 1)), random.normal(size=(199, 2, 1)), 0.9)
    assert found is not None
    inside = np.abs(random.normal(size=(4000, 2))) <= np.array(found)[:, 0]
    assert (np.abs(inside.mean(axis=0) - 0.9) < 0.05).all()
    assert step_half_widths(np.zeros((5, 1, 1)), np.zeros((5, 1, 1)), 0.9) is None
    assert step_half_widths(np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), 0.9) is None


def test_exponential_smoothing_is_the_recursion() -> None:
    y = np.array([3.0, 5.0, 4.0, 8.0])
    found = exponential_smoothing(y[None, :, None], 3, 1, level=0.3)[0, :, 0]
    level = y[0]
    for value in y[1:]:
        level = 0.3 * value + 0.7 * level
    np.testing.assert_allclose(found, level)
    # Holt's trend, damped.
    found = exponential_smoothing(y[None, :, None], 3, 1, level=0.3, trend=0.2, damping=0.9)
    level, trend = y[0], 0.0
    for value in y[1:]:
        before = level
        level = 0.3 * value + 0.7 * (before + 0.9 * trend)
        trend = 0.2 * (level - before) + 0.8 * 0.9 * trend
    np.testing.assert_allclose(found[0, :, 0], level + np.cumsum(0.9 ** np.arange(1, 4)) * trend)


def test_a_season_is_learned_and_repeated() -> None:
    cycle = np.array([1.0, 5.0, 2.0, 0.0])
    y = np.tile(cycle, 6)[None, :-1, None]
    found = exponential_smoothing(y, 6, 4, level=0.2, seasonal=0.3)[0, :, 0]
    np.testing.assert_allclose(found, [0, 1, 5, 2, 0, 1], atol=1e-9)
    np.testing.assert_allclose(seasonal_naive(y, 6, 4)[0, :, 0], [0, 1, 5, 2, 0, 1])


def test_constants_are_fitted_to_each_series_by_itself() -> None:
    """Of simple smoothing the best constant of a random walk with noise is known by formula.

    With q the variance of the walk's steps over that of the noise it is
    (sqrt(q^2 + 4 q) - q) / 2 (Muth 1960).
    """
    random = np.random.default_rng(0)
    ratios = np.array([0.05, 2.0])
    walk = np.cumsum(random.normal(size=(4000, 2)) * np.sqrt(ratios), axis=0)
    y = walk + random.normal(size=walk.shape)
    starts = np.arange(200, 3990, 10)
    past = np.stack([y[at - 100 : at] for at in starts])
    right = np.stack([y[at : at + 1] for at in starts])
    right[0] = np.nan
    found = fit_smoothing(past, right, 1)
    wanted = (np.sqrt(ratios**2 + 4 * ratios) - ratios) / 2
    np.testing.assert_allclose(found["level"], wanted, atol=0.1)
    np.testing.assert_array_less(found["trend"], 0.1)

    # Nothing near it is better: it is the least error, not only a good one.
    def error(level: float) -> float:
        constants = {name: values[:1] for name, values in found.items()} | {"level": level}
        made = exponential_smoothing(past[:, :, :1], 1, 1, **constants)
        return float(np.nanmean((made - right[:, :, :1]) ** 2))

    least = error(found["level"][0])
    assert all(error(level) >= least * (1 - 1e-3) for level in np.linspace(0.01, 1, 60))


def test_a_season_and_a_trend_are_found_where_they_are() -> None:
    time = np.arange(300)
    random = np.random.default_rng(1)
    y = np.stack([10 * np.tile([1, 4, 2, 0], 75) + random.normal(0, 0.2, 300), 0.5 * time], axis=1)
    starts = np.arange(60, 290)
    past = np.stack([y[at - 40 : at] for at in starts])
    right = np.stack([y[at : at + 6] for at in starts])
    found = fit_smoothing(past, right, 4)
    made = exponential_smoothing(past, 6, 4, **found)
    errors = ((made - right) ** 2).mean(axis=(0, 1))
    naive = ((seasonal_naive(past, 6, 4) - right) ** 2).mean(axis=(0, 1))
    assert errors[0] < naive[0]
    assert errors[1] < 0.05 * naive[1]
    assert found["damping"][1] > 0.98
    # One series is smoothed as it is beside others.
    alone = exponential_smoothing(past[:, :, 1:], 6, 4, **{k: v[1:] for k, v in found.items()})
    np.testing.assert_allclose(alone[:, :, 0], made[:, :, 1], rtol=1e-4)


def test_errors_leave_out_what_was_not_measured() -> None:
    right = np.array([[[1.0], [np.nan]], [[2.0], [4.0]]])
    assert window_errors(np.zeros((2, 2, 1)), right, 2).tolist() == [1, 10]
    assert window_errors(np.zeros((2, 2, 1)), right, 1).tolist() == [1, 3]


def test_the_task_answers_in_the_series_own_units() -> None:
    task = Forecasting(TARGET, tuple((0.5, 1.0) for _ in range(3)))
    outputs = np.array([[[0, 1], [1, 2], [2, 3]], [[0, 0], [0, 0], [0, 0]]], np.float32)
    answer = task.decode(outputs)[0]
    assert answer.value == {"y": [10, 12, 14], "z": [1, 2, 3]}
    assert (answer.low["y"], answer.high["z"]) == ([9, 11, 13], [2, 3, 4])
    check_task(task, TARGET, outputs)
    check_task(Forecasting(TARGET), TARGET, outputs)
    for wrong in (None, [[0.5, 1.0]], [[0.5]] * 3, [[-1.0, 1.0]] * 3):
        if wrong is None:
            continue
        with pytest.raises(ValueError, match="half"):
            Forecasting.from_dict({"half_widths": wrong}, TARGET)


def test_another_bundles_forecasts_are_put_on_our_scale() -> None:
    other = FittedSeries("z", ("z", "q"), (4.0, 0.0), (2.0, 1.0), 9, 2, 2, "", (1.0, 1.0))
    theirs = np.ones((1, 2, 2))
    found = JUDGE.translate(Forecasting(other), theirs, Forecasting(TARGET))  # type: ignore[attr-defined]
    assert np.isnan(found[0, :, 0]).all()  # it does not forecast y
    assert found[0, :, 1].tolist()[:2] == [6, 6]  # 1 * 2 + 4, on a scale of 0 and 1
    assert np.isnan(found[0, 2, 1])  # nor three steps


def test_mistakes_are_of_different_times() -> None:
    outputs = np.zeros((9, 3, 2), np.float32)
    values = [{"y": np.full(3, 10.0 + row), "z": np.zeros(3)} for row in range(9)]
    found = JUDGE.mistakes(Forecasting(TARGET), outputs, values, TARGET, 5)
    assert [item["row"] for item in found] == [8, 5, 2]
    assert found[0]["right"] == "18, 18, 18"
