"""Multilabel: any number of names at once, each a decision of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.labels import FittedLabels
from volano.tasks._contract import Answer

__all__ = ["Multilabel"]


@dataclass(frozen=True)
class Multilabel:
    """Logits -> a probability for each name at a fitted temperature -> those above a threshold.

    Attributes:
      names: In the order of the logits.
      thresholds: Of each name: it is in the answer where its probability is at least this.
      temperature: Divides the logits, so that probabilities match frequencies; one for all names.
    """

    kind: ClassVar[str] = "multilabel"
    version: ClassVar[int] = 1
    fields: ClassVar[Mapping[str, str]] = {"probability": "probability"}
    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    temperature: float = 1.0

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (num_rows, num_names); each by itself, with no sum."""
        # p = 1 / (1 + exp(-z / T)); beyond 500 a float64 holds no difference any more
        scaled = np.clip(outputs.astype(np.float64) / self.temperature, -500, 500)
        return np.asarray(1 / (1 + np.exp(-scaled)))

    def decisions(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which names are in the answer, shape (num_rows, num_names)."""
        return np.asarray(probabilities >= np.array(self.thresholds))

    def decode(self, outputs: NDArray[np.float32]) -> Sequence[Answer]:
        """Each answer: its names, sorted; `Answer.probability` is that of exactly these.

        Names are taken to be independent of each other: the product of the probabilities of what
        is in the answer and of the absence of what is not.
        """
        probabilities = self.probabilities(outputs)
        chosen = self.decisions(probabilities)
        whole = np.where(chosen, probabilities, 1 - probabilities).prod(axis=1).round(6).tolist()
        order = np.argsort(-probabilities, axis=1, kind="stable")
        rounded = np.take_along_axis(probabilities, order, axis=1).round(6).tolist()
        names = self.names
        return [
            Answer(
                [name for name, taken in zip(names, mine, strict=True) if taken],
                sure,
                {names[place]: value for place, value in zip(places, values, strict=True)},
            )
            for mine, sure, places, values in zip(
                chosen.tolist(), whole, order.tolist(), rounded, strict=True
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "thresholds": list(self.thresholds)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], target: FittedColumn) -> Self:
        if not isinstance(target, FittedLabels):
            raise TypeError(f"multilabel of a {target.kind}")
        temperature = float(state["temperature"])
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature {temperature}")
        thresholds = tuple(float(threshold) for threshold in state["thresholds"])
        if len(thresholds) != len(target.names) or not all(0 <= t <= 1 for t in thresholds):
            raise ValueError(f"{len(thresholds)} thresholds of {len(target.names)} names")
        return cls(target.names, thresholds, temperature)
