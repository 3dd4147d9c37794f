"""The table of evaluators, by task."""

from __future__ import annotations

import importlib
from typing import cast

from volano.errors import SpecError
from volano.evaluation._contract import Evaluator

__all__ = ["evaluator", "gate_metric"]

_KINDS = {
    "classification": "volano.evaluation._classification:ClassificationEvaluator",
    "regression": "volano.evaluation._regression:RegressionEvaluator",
}


def evaluator(task: str) -> type[Evaluator]:
    """The evaluator of a task, by the task's kind."""
    module, _, attribute = _KINDS[task].partition(":")
    return cast("type[Evaluator]", getattr(importlib.import_module(module), attribute))


def gate_metric(metric: str, judge: type[Evaluator]) -> str:
    """The metric that a spec's ``gate.metric`` stands for.

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
    return metric
