"""Losses of forecasts on validation windows, for trials."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import Windows

__all__ = ["WindowJudge"]

CHUNK_WINDOWS = 1024
"""Windows that are looked at together: all at once they may not fit."""


class WindowJudge:
    """Squared errors on the fitted scale; windows count the same, whatever of them was measured.

    Args:
      targets: Steps to come, (num_windows, horizon, num_series); NaN where nothing was measured.
    """

    def __init__(self, targets: Windows | NDArray[Any]) -> None:
        self._targets = targets

    def part(self, rows: NDArray[np.int64], outputs: NDArray[Any]) -> float:
        """Mean loss on some windows, of the outputs for these."""
        return float(self._losses(rows, outputs).mean())

    def loss(self, outputs: NDArray[Any]) -> float:
        """Mean loss; infinite without windows."""
        return self.part(np.arange(len(outputs)), outputs) if len(outputs) else float("inf")

    def spread(self, outputs: NDArray[Any]) -> float:
        """Standard error of `loss`, as if windows did not overlap: it is larger where they do."""
        if len(outputs) < 2:
            return float("inf")
        losses = self._losses(np.arange(len(outputs)), outputs)
        return float(losses.std(ddof=1) / len(losses) ** 0.5)

    def _losses(self, rows: NDArray[np.int64], outputs: NDArray[Any]) -> NDArray[np.float64]:
        found = []
        for start in range(0, len(rows), CHUNK_WINDOWS):
            some = slice(start, start + CHUNK_WINDOWS)
            error = np.asarray(outputs[some], np.float64) - self._targets[rows[some]]
            found.append(np.nanmean(error.reshape(len(error), -1) ** 2, axis=1))
        return np.concatenate(found)
