"""Judging forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.series import FittedSeries
from volano.data import Prepared
from volano.evaluation.forecasting import (
    FORECAST_BASELINES,
    TRIED_WINDOWS,
    forecast_report,
    step_half_widths,
    window_errors,
)
from volano.evaluation.gate import Judgement
from volano.tasks import Task
from volano.tasks.forecasting import INTERVAL, Forecasting

__all__ = ["ForecastingEvaluator"]

Floats = NDArray[np.float64]

_SHARES = ("smape", "interval_coverage")


class ForecastingEvaluator:
    """Squared and absolute error of whole forecasts, on the fitted scale; intervals by step."""

    task: ClassVar[str] = "forecasting"
    metrics: ClassVar[tuple[str, ...]] = ("squared_error", "absolute_error")
    selection: ClassVar[str] = "squared_error"
    headline: ClassVar[str] = "mse"
    tolerance: ClassVar[float] = 1e-4

    @staticmethod
    def calibrate(outputs: NDArray[Any], targets: NDArray[Any]) -> dict[str, Any]:
        return {"half_widths": step_half_widths(outputs, targets, INTERVAL)}

    @staticmethod
    def units(
        num_rows: int, target: FittedColumn, times: NDArray[np.int64] | None = None
    ) -> list[NDArray[np.int64]]:
        """Forecasts of which no two share a step; the last one is among them.

        Forecasts of several groups at the same moment count as one: a day that is unlike others is
        so for every shop.
        """
        assert isinstance(target, FittedSeries)
        if times is None:
            times = np.arange(num_rows, dtype=np.int64)
        assert len(times) == num_rows
        found = []
        next_one = np.inf
        different = np.unique(times)
        for time in different[::-1].tolist():
            if time <= next_one - target.horizon:
                start, stop = np.searchsorted(times, [time, time + 1]).tolist()
                found.append(np.arange(start, stop, dtype=np.int64))
                next_one = time
        return found[::-1]

    @staticmethod
    def translate(theirs: Task, outputs: NDArray[Any], ours: Task) -> Floats:
        """Another bundle's forecasts on our scale; NaN for series and steps that it has not."""
        assert isinstance(theirs, Forecasting)
        assert isinstance(ours, Forecasting)
        mine, other = ours.target, theirs.target
        steps = min(mine.horizon, other.horizon)
        found = np.full((len(outputs), mine.horizon, len(mine.columns)), np.nan)
        unscaled = other.unscaled(outputs)
        for place, name in enumerate(mine.columns):
            if name in other.columns:
                column = unscaled[:, :steps, other.columns.index(name)]
                found[:, :steps, place] = (column - mine.centres[place]) / mine.spreads[place]
        return found

    @staticmethod
    def report(
        task: Task, outputs: NDArray[Any], values: Sequence[Any], target: FittedColumn
    ) -> dict[str, Any]:
        assert isinstance(target, FittedSeries)
        assert isinstance(task, Forecasting)
        return forecast_report(
            outputs,
            target.targets(values),
            series=target.columns,
            centres=np.array(target.centres),
            spreads=np.array(target.spreads),
            naive_errors=np.array(target.naive_errors),
            half_widths=None if task.half_widths is None else np.array(task.half_widths),
            times=getattr(values, "times", None),
        )

    @staticmethod
    def scores(metric: str, task: Task, outputs: NDArray[Any], targets: NDArray[Any]) -> Floats:
        del task
        return ForecastingEvaluator.baseline_scores(metric, outputs, targets)

    @staticmethod
    def answers(task: Task, outputs: NDArray[Any]) -> NDArray[Any]:
        del task
        return np.asarray(outputs, np.float64)

    @staticmethod
    def truth(targets: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(targets, np.float64)

    @staticmethod
    def loss_scale(metric: str, scores: Floats) -> float:
        del metric
        # A margin of 0.5% means errors that are 0.5% larger.
        return float(-scores.mean()) or 1.0

    @staticmethod
    def baseline_scores(metric: str, predictions: NDArray[Any], targets: NDArray[Any]) -> Floats:
        return -window_errors(predictions, targets, 1 if metric == "absolute_error" else 2)

    @staticmethod
    def baselines(prepared: Prepared) -> dict[str, NDArray[Any]]:
        """What simple forecasts answer to the golden windows, (num_rows, horizon, num_series)."""
        target = prepared.target
        assert isinstance(target, FittedSeries)
        train, golden = prepared.split("train"), prepared.split("golden")

        def windows(split: Any, rows: Any) -> NDArray[Any]:
            arrays = [split.columns[name].arrays["values"][rows] for name in target.columns]
            return np.stack(arrays, axis=2)

        places = np.arange(train.num_rows, dtype=np.int64)
        some = places[np.unique(np.linspace(0, len(places) - 1, TRIED_WINDOWS).astype(np.int64))]
        tried = windows(train, some), np.asarray(train.target[some], np.float64)
        history = windows(golden, slice(None))
        return {
            name: baseline(tried, history, target.horizon, target.season).astype(np.float32)
            for name, baseline in FORECAST_BASELINES.items()
        }

    @staticmethod
    def mistakes(
        task: Task, outputs: NDArray[Any], values: Sequence[Any], target: FittedColumn, most: int
    ) -> list[dict[str, Any]]:
        assert isinstance(target, FittedSeries)
        errors = window_errors(outputs, target.targets(values), 2)
        # Neighbours of a bad forecast are the same forecast once more: one of each horizon.
        times = getattr(values, "times", np.arange(len(errors)))
        found: list[int] = []
        for row in np.argsort(-errors, kind="stable").tolist():
            if len(found) == most:
                break
            if all(abs(int(times[row] - times[other])) >= target.horizon for other in found):
                found.append(row)
        name = target.columns[0]
        answers = task.decode(outputs[found]) if found else []
        return [
            {
                "row": row,
                "right": _shown(values[row][name]),
                "predicted": _shown(answer.value[name]),
                "error": float(f"{errors[row]:.4g}"),
            }
            for row, answer in zip(found, answers, strict=True)
        ]

    @staticmethod
    def changes(
        mine: tuple[Task, NDArray[Any]], other: tuple[Task, NDArray[Any]], values: Sequence[Any]
    ) -> list[dict[str, Any]]:
        del mine, other, values
        return []  # series have no names to be taken for each other

    @staticmethod
    def parity(task: Task, wanted: NDArray[Any], found: NDArray[Any]) -> float:
        del task
        return float(np.abs(np.asarray(wanted, np.float64) - found).max())

    @staticmethod
    def describe(metric: str, mine: float, other: float, judgement: Judgement) -> str:
        rows = f"on {judgement.num_rows} golden forecasts that share no step"
        change = mine / min(other, -1e-300) - 1
        name = "mean absolute error" if metric == "absolute_error" else "mean squared error"
        return f"{name} {-mine:.4g} against {-other:.4g} {rows}, {change:+.1%}"

    @staticmethod
    def show(name: str, estimate: Mapping[str, float]) -> str:
        if name in _SHARES:
            return f"{estimate['value']:.1%} ({estimate['low']:.1%} to {estimate['high']:.1%})"
        return f"{estimate['value']:.4g} ({estimate['low']:.4g} to {estimate['high']:.4g})"


def _shown(steps: Sequence[float]) -> str:
    """A forecast in a few characters: its first steps and its last."""
    texts = [f"{value:.4g}" for value in (*steps[:3], steps[-1])]
    return ", ".join(texts[:3]) + f" ... {texts[3]}" if len(steps) > 4 else ", ".join(texts[:3])
