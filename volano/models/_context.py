"""What a forecast knows beside what is looked back at: columns known ahead, and those of a group.

All of it becomes one vector z for each window: of a column that is known ahead how far each step
to come lies from the mean of what is looked back at, and the numbers and names that stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit, FittedColumn
from volano.columns.series import FittedSeries
from volano.models._table import TableFeature, table_features

__all__ = ["MOST_NAMES", "ForecastContext"]

Floats = NDArray[np.float32]

MOST_NAMES = 64
"""Names of a column up to which each gets a place of its own in z; of more, networks learn a vector
for each, and linear models do without."""

LARGEST = 12.0
"""What is further from the middle is cut, as in other models of tables."""


@dataclass(frozen=True)
class ForecastContext:
    """Which inputs of a forecast are no series to look back at.

    Attributes:
      ahead: Series of which ``window + horizon`` values are given.
      window: Steps looked back at.
      horizon: Steps to come.
      features: Columns of one value for the whole window: numbers or names.
    """

    ahead: tuple[str, ...]
    window: int
    horizon: int
    features: tuple[TableFeature, ...]

    @classmethod
    def of(cls, inputs: Mapping[str, FittedColumn], target: FittedSeries) -> Self:
        """What the inputs of a forecast are."""
        ahead, plain = [], {}
        for name, column in inputs.items():
            if not isinstance(column, FittedSeries):
                plain[name] = column
            elif column.ahead:
                ahead.append(name)
        return cls(tuple(ahead), target.window, target.horizon, table_features(plain))

    @property
    def num_ahead(self) -> int:
        """Numbers of z that are of columns known ahead."""
        return len(self.ahead) * self.horizon

    @property
    def numbers(self) -> tuple[TableFeature, ...]:
        """Columns that are numbers."""
        return tuple(feature for feature in self.features if feature.size)

    @property
    def names(self) -> tuple[TableFeature, ...]:
        """Columns that are few names."""
        return tuple(f for f in self.features if not f.size and f.num_codes <= MOST_NAMES)

    @property
    def size(self) -> int:
        """Numbers of z; 0 where there is nothing beside the series."""
        wide = sum(feature.size for feature in self.numbers)
        return self.num_ahead + wide + sum(feature.num_codes for feature in self.names)

    def array(self, split: EncodedSplit, rows: Any) -> Floats:
        """z of some windows, shape (num_rows, size), float32."""
        parts = []
        for name in self.ahead:
            values = np.asarray(split.columns[name].arrays["values"][rows], np.float32)  # type: ignore[index]
            past = values[:, : self.window].mean(axis=1, keepdims=True)
            parts.append(np.clip(values[:, self.window :] - past, -LARGEST, LARGEST))
        for feature in self.numbers:
            values = np.asarray(split.columns[feature.column].arrays["values"][rows], np.float32)  # type: ignore[index]
            parts.append(np.clip(np.nan_to_num(values), -LARGEST, LARGEST))
        for feature in self.names:
            codes = np.asarray(split.columns[feature.column].arrays["codes"][rows])  # type: ignore[index]
            parts.append(np.asarray(codes[:, None] == np.arange(feature.num_codes), np.float32))
        num_rows = len(np.arange(split.num_rows)[rows])
        return np.concatenate(parts, axis=1) if parts else np.zeros((num_rows, 0), np.float32)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        features = [[f.column, f.size, f.num_codes] for f in self.features]
        return {
            "ahead": list(self.ahead),
            "window": self.window,
            "horizon": self.horizon,
            "features": features,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        features: Sequence[Any] = state["features"]
        return cls(
            tuple(state["ahead"]),
            state["window"],
            state["horizon"],
            tuple(TableFeature(*feature) for feature in features),
        )
