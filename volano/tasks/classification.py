"""Classification: one name out of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.category import FittedCategory
from volano.tasks._contract import Answer

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification:
    """Logits -> softmax at a fitted temperature -> the most probable name.

    Attributes:
      names: The classes, in the order of the logits.
      temperature: Divides the logits, so that probabilities match frequencies. Guo et al.,
        `On Calibration of Modern Neural Networks <https://arxiv.org/abs/1706.04599>`_, 2017.
    """

    kind: ClassVar[str] = "classification"
    version: ClassVar[int] = 1
    fields: ClassVar[Mapping[str, str]] = {"probability": "probability"}
    names: tuple[str, ...]
    temperature: float = 1.0

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (num_rows, num_classes); rows sum to one."""
        # p = exp(z / T) / sum(exp(z / T)), with the largest z taken off so that nothing overflows
        scaled = outputs.astype(np.float64) / self.temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        exponentials = np.exp(scaled)
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def decode(self, outputs: NDArray[np.float32]) -> Sequence[Answer]:
        probabilities = self.probabilities(outputs)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        rounded = np.take_along_axis(probabilities, order, axis=1).round(6).tolist()
        names = self.names
        return [
            Answer(
                names[places[0]],
                values[0],
                {names[place]: value for place, value in zip(places, values, strict=True)},
            )
            for places, values in zip(order.tolist(), rounded, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], target: FittedColumn) -> Self:
        if not isinstance(target, FittedCategory):
            raise TypeError(f"classification of a {target.kind}")
        temperature = float(state["temperature"])
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature {temperature}")
        return cls(target.names, temperature)
