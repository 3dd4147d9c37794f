"""Forecasting: the next steps of one or several series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.series import FittedSeries
from volano.tasks._contract import Answer

__all__ = ["INTERVAL", "Forecasting"]

INTERVAL = 0.9
"""Share of the right values that are meant to lie between `Answer.low` and `Answer.high`."""


@dataclass(frozen=True)
class Forecasting:
    """The graph's outputs are steps to come on the fitted scale; widths make intervals of them.

    Attributes:
      target: The fitted series.
      half_widths: Half the width of the 90% interval of each step of each series, on the fitted
        scale; by step, then by series. None where there were too few windows to say. Split
        conformal prediction for each step by itself, from windows that overlap: see
        docs/decisions/0008-windows-are-not-rows.md.
    """

    kind: ClassVar[str] = "forecasting"
    version: ClassVar[int] = 1
    fields: ClassVar[Mapping[str, str]] = {"low": "low", "high": "high"}
    follows_table: ClassVar[bool] = True
    """A table is answered by the steps after its end, not row by row."""
    target: FittedSeries
    half_widths: tuple[tuple[float, ...], ...] | None = None

    def decode(self, outputs: NDArray[np.float32]) -> Sequence[Answer]:
        """Each answer: series -> the values of the next ``horizon`` steps, in their own units."""
        centre = np.asarray(outputs, np.float64)
        values = self._named(centre)
        if self.half_widths is None:
            return [Answer(value, None, {}) for value in values]
        half = np.array(self.half_widths)
        lows, highs = self._named(centre - half), self._named(centre + half)
        return [
            Answer(value, None, {}, low, high)
            for value, low, high in zip(values, lows, highs, strict=True)
        ]

    def _named(self, scaled: NDArray[np.float64]) -> list[dict[str, list[float]]]:
        steps = self.target.unscaled(scaled)
        return [
            {
                # A float32 holds seven digits: more would be noise of its binary form.
                name: [float(f"{value:.7g}") for value in row[:, place].tolist()]
                for place, name in enumerate(self.target.columns)
            }
            for row in steps
        ]

    def as_dict(self) -> dict[str, Any]:
        half = self.half_widths
        return {"half_widths": None if half is None else [list(step) for step in half]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], target: FittedColumn) -> Self:
        if not isinstance(target, FittedSeries) or not target.horizon:
            raise TypeError(f"forecasting of a {target.kind}")
        half = state["half_widths"]
        if half is None:
            return cls(target)
        widths = tuple(tuple(float(width) for width in step) for step in half)
        if len(widths) != target.horizon or {len(step) for step in widths} != {len(target.columns)}:
            raise ValueError(f"half_widths of {len(widths)} steps")
        if not all(math.isfinite(width) and width >= 0 for step in widths for width in step):
            raise ValueError("a half width is no number of at least 0")
        return cls(target, widths)
