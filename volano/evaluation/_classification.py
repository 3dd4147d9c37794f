"""Judging names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.evaluation.baselines import BASELINES, table_baselines
from volano.evaluation.calibration import fit_temperature
from volano.evaluation.changes import class_changes
from volano.evaluation.gate import Judgement
from volano.evaluation.metrics import PROBABILITY_FLOOR, classification_report
from volano.evaluation.rows import align_names
from volano.tasks import Task
from volano.tasks.classification import Classification

__all__ = ["ClassificationEvaluator"]

Floats = NDArray[np.float64]

PRIOR_MISTAKES = 5
"""Mistakes on validation rows that half of a sharpening asks for."""


class ClassificationEvaluator:
    """Accuracy and what lies behind it; temperature scaling."""

    task: ClassVar[str] = "classification"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "log_loss")
    selection: ClassVar[str] = "log_loss"
    headline: ClassVar[str] = "accuracy"
    tolerance: ClassVar[float] = 1e-4

    @staticmethod
    def calibrate(outputs: NDArray[Any], targets: NDArray[Any]) -> dict[str, Any]:
        known = targets >= 0
        # Fewer than two classes say nothing of how sure the model should be.
        if len(np.unique(targets[known])) < 2:
            return {"temperature": 1.0}
        temperature = fit_temperature(outputs[known], targets[known])
        if temperature < 1:
            # How much surer it may be only its mistakes can tell: where a few rows hold none, the
            # likelihood has no end to its sharpness. So many mistakes, so much of the step.
            mistakes = int((outputs[known].argmax(axis=1) != targets[known]).sum())
            temperature **= mistakes / (mistakes + PRIOR_MISTAKES)
        return {"temperature": temperature}

    @staticmethod
    def report(
        task: Task, outputs: NDArray[Any], values: Sequence[str], target: FittedColumn
    ) -> dict[str, Any]:
        del target
        assert isinstance(task, Classification)
        padded, labels, names = align_names(task.probabilities(outputs), task.names, values)
        return classification_report(padded, labels, names).as_dict()

    @staticmethod
    def scores(metric: str, task: Task, outputs: NDArray[Any], targets: NDArray[Any]) -> Floats:
        assert isinstance(task, Classification)
        probabilities = task.probabilities(outputs)
        if metric == "accuracy":
            return np.asarray(probabilities.argmax(axis=1) == targets, np.float64)
        right = probabilities[np.arange(len(targets)), np.maximum(targets, 0)]
        right = np.where(targets >= 0, right, 0.0)
        return np.asarray(np.log(np.clip(right, PROBABILITY_FLOOR, 1.0)))

    @staticmethod
    def answers(task: Task, outputs: NDArray[Any]) -> NDArray[Any]:
        del task  # a temperature moves no answer
        return np.asarray(outputs.argmax(axis=1), np.int64)

    @staticmethod
    def truth(targets: NDArray[Any]) -> NDArray[Any]:
        return targets

    @staticmethod
    def loss_scale(metric: str, scores: Floats) -> float:
        del metric, scores
        return 1.0

    @staticmethod
    def baseline_scores(metric: str, predictions: NDArray[Any], targets: NDArray[Any]) -> Floats:
        del metric  # a baseline gives names and no probabilities
        return np.asarray(predictions == targets, np.float64)

    @staticmethod
    def text_baselines(
        train_texts: Sequence[str], targets: NDArray[Any], texts: Sequence[str], *, seed: int
    ) -> dict[str, NDArray[Any]]:
        """What simple machines answer to texts: class codes."""
        return {
            name: baseline(train_texts, targets, texts, seed=seed).predictions
            for name, baseline in BASELINES.items()
        }

    @staticmethod
    def table_baselines(
        train_matrix: NDArray[Any], targets: NDArray[Any], matrix: NDArray[Any], *, seed: int
    ) -> dict[str, NDArray[Any]]:
        """The same of a table."""
        return table_baselines(train_matrix, targets, matrix, regression=False, seed=seed)

    @staticmethod
    def mistakes(
        task: Task, outputs: NDArray[Any], values: Sequence[str], target: FittedColumn, most: int
    ) -> list[dict[str, Any]]:
        del target
        assert isinstance(task, Classification)
        padded, labels, names = align_names(task.probabilities(outputs), task.names, values)
        answers, sure = padded.argmax(axis=1), padded.max(axis=1)
        wrong = np.flatnonzero(answers != labels)
        worst = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
        return [
            {
                "row": row,
                "right": names[labels[row]],
                "predicted": names[answers[row]],
                "probability": round(float(sure[row]), 4),
            }
            for row in worst.tolist()
        ]

    @staticmethod
    def changes(
        mine: tuple[Task, NDArray[Any]], other: tuple[Task, NDArray[Any]], values: Sequence[str]
    ) -> list[dict[str, Any]]:
        found = class_changes(_named(*mine), _named(*other), values)
        return [change.as_dict() for change in found]

    @staticmethod
    def parity(task: Task, wanted: NDArray[Any], found: NDArray[Any]) -> float:
        assert isinstance(task, Classification)
        return float(np.abs(task.probabilities(wanted) - task.probabilities(found)).max())

    @staticmethod
    def describe(metric: str, mine: float, other: float, judgement: Judgement) -> str:
        if metric == "accuracy":
            return (
                f"{mine:.1%} against {other:.1%} on {judgement.num_rows} golden rows, "
                f"{judgement.effect:+.1%} ({judgement.low:+.1%} to {judgement.high:+.1%})"
            )
        return (
            f"log likelihood {mine:.4f} against {other:.4f} on {judgement.num_rows} golden "
            f"rows, {judgement.effect:+.4f} ({judgement.low:+.4f} to {judgement.high:+.4f})"
        )

    @staticmethod
    def show(name: str, estimate: Mapping[str, float]) -> str:
        fine = ("log_loss", "calibration_error", "roc_auc", "average_precision")
        form = ".4f" if name in fine else ".1%"
        return f"{estimate['value']:{form}} ({estimate['low']:{form}} to {estimate['high']:{form}})"


def _named(task: Task, outputs: NDArray[Any]) -> list[str]:
    assert isinstance(task, Classification)
    return [task.names[code] for code in task.probabilities(outputs).argmax(axis=1).tolist()]
