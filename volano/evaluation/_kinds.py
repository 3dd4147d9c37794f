"""The table of evaluators, by task."""

from __future__ import annotations

import importlib
from typing import cast

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.errors import SpecError
from volano.evaluation._contract import Evaluator

__all__ = ["evaluator", "gate_metric", "independent_rows", "unit_scores"]

_KINDS = {
    "classification": "volano.evaluation._classification:ClassificationEvaluator",
    "forecasting": "volano.evaluation._forecasting:ForecastingEvaluator",
    "multilabel": "volano.evaluation._multilabel:MultilabelEvaluator",
    "regression": "volano.evaluation._regression:RegressionEvaluator",
}


def evaluator(task: str) -> type[Evaluator]:
    """The evaluator of a task, by the task's kind."""
    module, _, attribute = _KINDS[task].partition(":")
    return cast("type[Evaluator]", getattr(importlib.import_module(module), attribute))


def gate_metric(metric: str, judge: type[Evaluator], quantile: float = 0.5) -> str:
    """The metric that a spec's ``gate.metric`` stands for.

    Args:
      metric: As in the spec.
      judge: The task's evaluator.
      quantile: Of the pinball loss, which carries it in its name: ``pinball 0.9``.
    Raises:
      SpecError: It is not one of the task's (SPEC-042).
    """
    if metric == "auto":
        return judge.metrics[0]
    if metric not in judge.metrics:
        raise SpecError(
            42,
            f"{metric} does not compare answers of {judge.task}",
            where="gate.metric",
            expected="auto, or one of " + ", ".join(judge.metrics),
            fix="gate: {metric: auto}",
        )
    return f"{metric} {quantile!r}" if metric == "pinball" else metric


def independent_rows(
    judge: type[Evaluator],
    num_rows: int,
    target: FittedColumn,
    times: NDArray[np.int64] | None = None,
) -> list[NDArray[np.int64]]:
    """The rows that count as independent of each other: each by itself, unless the task says so.

    An evaluator whose rows are not, such as windows that overlap, has a method ``units``.

    Args:
      judge: The task's.
      num_rows: How many there are.
      target: The fitted target column.
      times: Of windows the steps at which they begin, ascending.
    Returns:
      Groups of rows, in order; each counts as one, by its mean.
    """
    units = getattr(judge, "units", None)
    if units is None:
        return [np.array([row]) for row in range(num_rows)]
    found: list[NDArray[np.int64]] = units(num_rows, target, times)
    return found


def unit_scores(scores: NDArray[np.float64], units: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """The mean score of each group of rows, as `independent_rows` gives them."""
    if len(units) == len(scores):
        return scores
    return np.array([scores[rows].mean() for rows in units], np.float64)
