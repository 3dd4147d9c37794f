"""What each task needs to be judged: one evaluator per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.evaluation.gate import Judgement
from volano.tasks import Task

__all__ = ["Evaluator"]

Floats = NDArray[np.float64]


class Evaluator(Protocol):
    """Outputs of a graph and right values -> metrics, scores, words. Has no state.

    ``targets`` are what the fitted target column's `targets` makes of raw values: class codes
    (-1 for a class that was not trained on), numbers, or of several names 1 and 0 for each.

    What a first turn must beat, `baselines` answers from the prepared rows, or `text_baselines`
    from texts and `table_baselines` from a table; a task need not have all of them. They are
    judged by the first of ``metrics``; by the spec's where the evaluator has it in ``by_values``.

    Attributes:
      task: The task's kind.
      metrics: What the gate can compare rows by; the first is the default.
      selection: What the trained models of a turn are chosen by: one of `metrics`.
      headline: The metric of `report` that is shown where there is room for one.
      tolerance: The largest difference between network and graph that parity allows.
    """

    task: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    selection: ClassVar[str]
    headline: ClassVar[str]
    tolerance: ClassVar[float]

    @staticmethod
    def calibrate(outputs: NDArray[Any], targets: NDArray[Any]) -> dict[str, Any]:
        """The task's state, fitted on validation rows; ready for `Task.from_dict`."""

    @staticmethod
    def report(
        task: Task, outputs: NDArray[Any], values: Sequence[Any], target: FittedColumn
    ) -> dict[str, Any]:
        """All there is to say, with ``metrics`` (name -> value, low, high); JSON-able.

        Args:
          task: Calibrated.
          outputs: Shape (num_rows, ...), at least one row.
          values: The right values, raw: text; of a forecast series -> steps to come.
          target: The fitted target column.
        """

    @staticmethod
    def scores(metric: str, task: Task, outputs: NDArray[Any], targets: NDArray[Any]) -> Floats:
        """One score per row, higher is better; shape (num_rows,)."""

    @staticmethod
    def answers(task: Task, outputs: NDArray[Any]) -> NDArray[Any]:
        """What `agreement` compares: codes of names, sets of names, or numbers."""

    @staticmethod
    def truth(targets: NDArray[Any]) -> NDArray[Any]:
        """What is right, in the form of `answers`."""

    @staticmethod
    def loss_scale(metric: str, scores: Floats) -> float:
        """What a difference of mean scores is divided by to be a share, as margins are given."""

    @staticmethod
    def baseline_scores(metric: str, predictions: NDArray[Any], targets: NDArray[Any]) -> Floats:
        """As `scores`, for a baseline that answers with values alone."""

    @staticmethod
    def mistakes(
        task: Task, outputs: NDArray[Any], values: Sequence[Any], target: FittedColumn, most: int
    ) -> list[dict[str, Any]]:
        """The worst answers first: ``row``, ``right``, ``predicted`` and how sure; JSON-able."""

    @staticmethod
    def changes(
        mine: tuple[Task, NDArray[Any]], other: tuple[Task, NDArray[Any]], values: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """What changed part by part between two bundles: task and outputs of each; JSON-able."""

    @staticmethod
    def parity(task: Task, wanted: NDArray[Any], found: NDArray[Any]) -> float:
        """How far two sets of outputs are apart, in the unit of `tolerance`."""

    @staticmethod
    def describe(metric: str, mine: float, other: float, judgement: Judgement) -> str:
        """A comparison in words: both means, the effect with its interval, the rows."""

    @staticmethod
    def show(name: str, estimate: Mapping[str, float]) -> str:
        """A metric as a person reads it."""
