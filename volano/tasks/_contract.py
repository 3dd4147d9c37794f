"""What every task does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn

__all__ = ["Answer", "Task"]


@dataclass(frozen=True)
class Answer:
    """One decoded output of a model.

    Attributes:
      value: What is predicted.
      probability: How sure the model is of `value`, 0 to 1; None where the task has none.
      probabilities: Name -> probability, highest first; empty where the task has none.
      low: Lower end of the interval in which the right value is meant to lie, in the form of
        `value`; None without one.
      high: Its upper end.
    """

    value: Any
    probability: float | None
    probabilities: Mapping[str, float]
    low: Any = None
    high: Any = None


class Task(Protocol):
    """Target type -> how the graph's output becomes an answer. Frozen; saved as plain JSON.

    Attributes:
      kind: Its name.
      version: Raised when the same outputs would be decoded otherwise.
      fields: What an answer has beside its value: name in tables of answers -> attribute.

    A task whose answers follow a whole table, instead of standing beside each of its rows, says
    so with a class attribute ``follows_table``; see `volano.tasks.forecasting`.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    fields: ClassVar[Mapping[str, str]]

    def decode(self, outputs: NDArray[np.float32]) -> Sequence[Answer]:
        """The graph's output, shape (num_rows, ...), as one answer per row."""

    def as_dict(self) -> dict[str, Any]:
        """The state that `from_dict` reads."""

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], target: FittedColumn) -> Self:
        """The task as `as_dict` described it."""
