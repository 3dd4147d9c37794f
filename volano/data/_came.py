"""What came after windows of a table in time order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Came"]

Floats = NDArray[np.float64]


class Came(list[dict[str, Floats]]):
    """What came after each of some windows: series -> steps, NaN where nothing was measured.

    Attributes:
      times: The step at which each begins, int64; windows of several groups may share one.
    """

    def __init__(self, steps: Sequence[dict[str, Floats]], times: NDArray[np.int64]) -> None:
        super().__init__(steps)
        self.times = times
