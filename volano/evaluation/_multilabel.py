"""Judging sets of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.labels import FittedLabels, parse_labels
from volano.evaluation.baselines import label_table_baselines, label_text_baselines
from volano.evaluation.gate import Judgement
from volano.evaluation.multilabel import (
    choose_thresholds,
    fit_label_temperature,
    jaccard,
    label_changes,
    label_log_likelihood,
    multilabel_report,
)
from volano.tasks import Task
from volano.tasks.multilabel import Multilabel

__all__ = ["MultilabelEvaluator"]

Floats = NDArray[np.float64]

PRIOR_MISTAKES = 5
"""Wrong decisions on validation rows that half of a sharpening asks for, as of single names."""


class MultilabelEvaluator:
    """The Jaccard index of each row and what lies behind it; thresholds and a temperature."""

    task: ClassVar[str] = "multilabel"
    metrics: ClassVar[tuple[str, ...]] = ("jaccard", "subset_accuracy", "log_loss")
    selection: ClassVar[str] = "log_loss"
    headline: ClassVar[str] = "jaccard"
    tolerance: ClassVar[float] = 1e-4

    @staticmethod
    def calibrate(outputs: NDArray[Any], targets: NDArray[Any]) -> dict[str, Any]:
        truth = _known(targets)
        temperature = fit_label_temperature(outputs, truth) if len(truth) else 1.0
        if temperature < 1:
            mistakes = int(((outputs > 0) != truth).sum())
            temperature **= mistakes / (mistakes + PRIOR_MISTAKES)
        names = tuple(map(str, range(outputs.shape[1])))
        plain = Multilabel(names, (0.5,) * len(names), temperature)
        thresholds = choose_thresholds(plain.probabilities(outputs), truth)
        return {"temperature": temperature, "thresholds": thresholds.round(6).tolist()}

    @staticmethod
    def report(
        task: Task, outputs: NDArray[Any], values: Sequence[str], target: FittedColumn
    ) -> dict[str, Any]:
        assert isinstance(task, Multilabel)
        del target  # it has the names of the task; those of the rows may be more
        probabilities, decisions, truth, names = _aligned(task, outputs, values)
        found = multilabel_report(probabilities, decisions, truth, names)
        new = truth[:, len(task.names) :].sum(axis=0).tolist()
        unknown = dict(zip(names[len(task.names) :], new, strict=True))
        return {
            **found,
            "thresholds": dict(zip(task.names, task.thresholds, strict=True)),
            "unknown": unknown,
        }

    @staticmethod
    def scores(metric: str, task: Task, outputs: NDArray[Any], targets: NDArray[Any]) -> Floats:
        assert isinstance(task, Multilabel)
        probabilities = task.probabilities(outputs)
        if metric != "log_loss":
            return MultilabelEvaluator.baseline_scores(
                metric, task.decisions(probabilities), targets
            )
        # A name that the model does not know has probability 0 wherever it applies.
        missed = targets[:, -1].astype(np.float64)
        lost: Floats = missed * label_log_likelihood(np.zeros((1, 1)), np.ones((1, 1), bool))[0]
        return label_log_likelihood(probabilities, _known(targets)) + lost

    @staticmethod
    def answers(task: Task, outputs: NDArray[Any]) -> NDArray[Any]:
        assert isinstance(task, Multilabel)
        return task.decisions(task.probabilities(outputs))

    @staticmethod
    def truth(targets: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(targets[:, :-1] > 0)

    @staticmethod
    def loss_scale(metric: str, scores: Floats) -> float:
        del metric, scores
        return 1.0

    @staticmethod
    def baseline_scores(metric: str, predictions: NDArray[Any], targets: NDArray[Any]) -> Floats:
        given, truth = np.asarray(predictions, bool), _known(targets)
        both = (given & truth).sum(axis=1)
        either = (given | truth).sum(axis=1) + targets[:, -1]
        if metric == "jaccard":
            return np.asarray(np.where(either > 0, both / np.maximum(either, 1), 1.0), np.float64)
        return np.asarray(both == either, np.float64)

    @staticmethod
    def text_baselines(
        train_texts: Sequence[str], targets: NDArray[Any], texts: Sequence[str], *, seed: int
    ) -> dict[str, NDArray[Any]]:
        """What simple machines answer to texts: bool, shape (num_rows, num_names)."""
        return label_text_baselines(train_texts, _known(targets), texts, seed=seed)

    @staticmethod
    def table_baselines(
        train_matrix: NDArray[Any], targets: NDArray[Any], matrix: NDArray[Any], *, seed: int
    ) -> dict[str, NDArray[Any]]:
        """The same of a table."""
        return label_table_baselines(train_matrix, _known(targets), matrix, seed=seed)

    @staticmethod
    def mistakes(
        task: Task, outputs: NDArray[Any], values: Sequence[str], target: FittedColumn, most: int
    ) -> list[dict[str, Any]]:
        assert isinstance(task, Multilabel)
        assert isinstance(target, FittedLabels)
        probabilities, decisions, truth, names = _aligned(task, outputs, values)
        index = jaccard(decisions, truth)
        sure = np.exp(label_log_likelihood(probabilities, decisions))
        wrong = np.flatnonzero(index < 1)
        worst = wrong[np.lexsort((-sure[wrong], index[wrong]))][:most]

        def shown(row: NDArray[np.bool_]) -> str:
            return target.cell([names[place] for place in np.flatnonzero(row)])

        return [
            {
                "row": row,
                "right": shown(truth[row]),
                "predicted": shown(decisions[row]),
                "jaccard": round(float(index[row]), 4),
                "probability": round(float(sure[row]), 4),
            }
            for row in worst.tolist()
        ]

    @staticmethod
    def changes(
        mine: tuple[Task, NDArray[Any]], other: tuple[Task, NDArray[Any]], values: Sequence[str]
    ) -> list[dict[str, Any]]:
        right = [frozenset(parse_labels(value) or ()) for value in values]
        found = label_changes(_named(*mine), _named(*other), right)
        return [change.as_dict() for change in found]

    @staticmethod
    def parity(task: Task, wanted: NDArray[Any], found: NDArray[Any]) -> float:
        assert isinstance(task, Multilabel)
        return float(np.abs(task.probabilities(wanted) - task.probabilities(found)).max())

    @staticmethod
    def describe(metric: str, mine: float, other: float, judgement: Judgement) -> str:
        rows = f"on {judgement.num_rows} golden rows"
        if metric == "log_loss":
            return (
                f"log likelihood {mine:.4f} against {other:.4f} {rows}, "
                f"{judgement.effect:+.4f} ({judgement.low:+.4f} to {judgement.high:+.4f})"
            )
        what = "Jaccard index" if metric == "jaccard" else "exactly right rows"
        return (
            f"{what} {mine:.1%} against {other:.1%} {rows}, "
            f"{judgement.effect:+.1%} ({judgement.low:+.1%} to {judgement.high:+.1%})"
        )

    @staticmethod
    def show(name: str, estimate: Mapping[str, float]) -> str:
        form = ".4f" if name in ("log_loss", "mean_average_precision") else ".1%"
        return f"{estimate['value']:{form}} ({estimate['low']:{form}} to {estimate['high']:{form}})"


def _known(targets: NDArray[Any]) -> NDArray[np.bool_]:
    """Without the count of unknown names at the end; see `FittedLabels.targets`."""
    return np.asarray(targets[:, :-1] > 0)


def _aligned(
    task: Multilabel, outputs: NDArray[Any], values: Sequence[str]
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_], tuple[str, ...]]:
    """Probabilities, decisions, truth, names: of the model, then those that only rows have."""
    sets = [parse_labels(value) or () for value in values]
    unseen = sorted({name for names in sets for name in names} - set(task.names))
    names = (*task.names, *unseen)
    places = {name: place for place, name in enumerate(names)}
    truth = np.zeros((len(sets), len(names)), bool)
    for row, mine in enumerate(sets):
        truth[row, [places[name] for name in mine]] = True
    probabilities = task.probabilities(outputs)
    decisions = task.decisions(probabilities)
    more = ((0, 0), (0, len(unseen)))
    return np.pad(probabilities, more), np.pad(decisions, more), truth, names


def _named(task: Task, outputs: NDArray[Any]) -> list[frozenset[str]]:
    assert isinstance(task, Multilabel)
    decisions = task.decisions(task.probabilities(outputs))
    return [frozenset(task.names[place] for place in np.flatnonzero(row)) for row in decisions]
