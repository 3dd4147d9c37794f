"""Regression: a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.number import FittedNumber
from volano.tasks._contract import Answer

__all__ = ["INTERVAL", "Regression"]

INTERVAL = 0.9
"""Share of the right values that are meant to lie between `Answer.low` and `Answer.high`."""


@dataclass(frozen=True)
class Regression:
    """The graph's one output is the number itself; a fitted width makes an interval of it.

    Attributes:
      half_width: Half the width of the interval that holds 90% of the right values of rows like
        the validation rows; None where there were too few to say. Split conformal prediction: Lei
        et al., `Distribution-Free Predictive Inference for Regression
        <https://arxiv.org/abs/1604.04173>`_, 2018.
    """

    kind: ClassVar[str] = "regression"
    version: ClassVar[int] = 1
    fields: ClassVar[Mapping[str, str]] = {"low": "low", "high": "high"}
    half_width: float | None = None

    def decode(self, outputs: NDArray[np.float32]) -> Sequence[Answer]:
        # A float32 holds seven digits: more would be noise of its binary form.
        values = [float(f"{value:.7g}") for value in outputs.reshape(len(outputs)).tolist()]
        if self.half_width is None:
            return [Answer(value, None, {}) for value in values]
        half = self.half_width
        return [
            Answer(value, None, {}, float(f"{value - half:.7g}"), float(f"{value + half:.7g}"))
            for value in values
        ]

    def as_dict(self) -> dict[str, Any]:
        return {"half_width": self.half_width}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], target: FittedColumn) -> Self:
        if not isinstance(target, FittedNumber):
            raise TypeError(f"regression of a {target.kind}")
        half = state["half_width"]
        if half is not None:
            half = float(half)
            if not (math.isfinite(half) and half >= 0):
                raise ValueError(f"half_width {half}")
        return cls(half)
