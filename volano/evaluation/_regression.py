"""Judging numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.number import FittedNumber
from volano.evaluation.baselines import table_baselines
from volano.evaluation.gate import Judgement
from volano.evaluation.regression import conformal_half_width, regression_report
from volano.tasks import Task
from volano.tasks.regression import INTERVAL, Regression

__all__ = ["RegressionEvaluator"]

Floats = NDArray[np.float64]


class RegressionEvaluator:
    """Squared and absolute error, and the pinball loss of a quantile q,

        max(q e, (q - 1) e),    e = right - answered,

    which is ``pinball q`` by name; intervals by split conformal prediction.
    """

    task: ClassVar[str] = "regression"
    metrics: ClassVar[tuple[str, ...]] = ("squared_error", "absolute_error", "pinball")
    by_values: ClassVar[tuple[str, ...]] = metrics
    selection: ClassVar[str] = "squared_error"
    headline: ClassVar[str] = "rmse"
    tolerance: ClassVar[float] = 1e-4

    @staticmethod
    def calibrate(outputs: NDArray[Any], targets: NDArray[Any]) -> dict[str, Any]:
        return {"half_width": conformal_half_width(_flat(outputs) - targets, INTERVAL)}

    @staticmethod
    def report(
        task: Task, outputs: NDArray[Any], values: Sequence[str], target: FittedColumn
    ) -> dict[str, Any]:
        assert isinstance(target, FittedNumber)
        assert isinstance(task, Regression)
        return regression_report(_flat(outputs), target.numbers(values), half_width=task.half_width)

    @staticmethod
    def scores(metric: str, task: Task, outputs: NDArray[Any], targets: NDArray[Any]) -> Floats:
        del task
        return RegressionEvaluator.baseline_scores(metric, _flat(outputs), targets)

    @staticmethod
    def answers(task: Task, outputs: NDArray[Any]) -> NDArray[Any]:
        del task
        return _flat(outputs)

    @staticmethod
    def truth(targets: NDArray[Any]) -> NDArray[Any]:
        return _flat(targets)

    @staticmethod
    def loss_scale(metric: str, scores: Floats) -> float:
        del metric
        # A margin of 0.5% means errors that are 0.5% larger.
        return float(-scores.mean()) or 1.0

    @staticmethod
    def baseline_scores(metric: str, predictions: NDArray[Any], targets: NDArray[Any]) -> Floats:
        level = _level(metric)
        if level is not None:
            missed = targets - predictions
            scores: Floats = -np.maximum(level * missed, (level - 1) * missed)
            return scores
        error: Floats = np.abs(predictions - targets)
        return -(error if metric == "absolute_error" else error**2)

    @staticmethod
    def table_baselines(
        train_matrix: NDArray[Any], targets: NDArray[Any], matrix: NDArray[Any], *, seed: int
    ) -> dict[str, NDArray[Any]]:
        """What simple machines answer to a table: numbers."""
        return table_baselines(train_matrix, targets, matrix, regression=True, seed=seed)

    @staticmethod
    def mistakes(
        task: Task, outputs: NDArray[Any], values: Sequence[str], target: FittedColumn, most: int
    ) -> list[dict[str, Any]]:
        del task
        assert isinstance(target, FittedNumber)
        predicted = _flat(outputs)
        error = predicted - target.numbers(values)
        worst = np.argsort(-np.abs(error), kind="stable")[:most]
        return [
            {
                "row": row,
                "right": values[row],
                "predicted": f"{predicted[row]:.7g}",
                "error": float(f"{error[row]:.4g}"),
            }
            for row in worst.tolist()
        ]

    @staticmethod
    def changes(
        mine: tuple[Task, NDArray[Any]], other: tuple[Task, NDArray[Any]], values: Sequence[str]
    ) -> list[dict[str, Any]]:
        del mine, other, values
        return []  # numbers have no parts

    @staticmethod
    def parity(task: Task, wanted: NDArray[Any], found: NDArray[Any]) -> float:
        del task
        scale = float(np.std(wanted)) or 1.0
        return float(np.abs(_flat(wanted) - _flat(found)).max()) / scale

    @staticmethod
    def describe(metric: str, mine: float, other: float, judgement: Judgement) -> str:
        rows = f"on {judgement.num_rows} golden rows"
        if metric == "squared_error":
            change = (-mine) ** 0.5 / max((-other) ** 0.5, 1e-300) - 1
            return f"RMSE {(-mine) ** 0.5:.6g} against {(-other) ** 0.5:.6g} {rows}, {change:+.1%}"
        change = mine / min(other, -1e-300) - 1
        level = _level(metric)
        if level is not None:
            return (
                f"mean pinball loss at {level:g} {-mine:.6g} against {-other:.6g} {rows}, "
                f"{change:+.1%}"
            )
        return f"mean absolute error {-mine:.6g} against {-other:.6g} {rows}, {change:+.1%}"

    @staticmethod
    def show(name: str, estimate: Mapping[str, float]) -> str:
        if name in ("mape", "interval_coverage"):
            return f"{estimate['value']:.1%} ({estimate['low']:.1%} to {estimate['high']:.1%})"
        return f"{estimate['value']:.5g} ({estimate['low']:.5g} to {estimate['high']:.5g})"


def _level(metric: str) -> float | None:
    """The quantile of a pinball loss; None for other metrics."""
    name, _, level = metric.partition(" ")
    return float(level or 0.5) if name == "pinball" else None


def _flat(outputs: NDArray[Any]) -> Floats:
    return np.asarray(outputs, np.float64).reshape(len(outputs))
