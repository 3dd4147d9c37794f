"""Columns of measurements and names side by side, as models of tables take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import Encoded, EncodedSplit, FittedColumn, Ragged

__all__ = [
    "TableFeature",
    "is_sparse",
    "is_table",
    "sparse_matrix",
    "sparse_sizes",
    "table_arrays",
    "table_features",
]


@dataclass(frozen=True)
class TableFeature:
    """What one column gives to a table.

    Attributes:
      column: Its name.
      size: Numbers per row; 0 for a column of codes.
      num_codes: Different codes; 0 for a column of numbers.
      by_target: Whether trees may have the codes in the order of their mean targets. A key has few
        rows, whose targets would be told again: its codes stay in the order of their rows' number.
    """

    column: str
    size: int
    num_codes: int
    by_target: bool = True


def _feature(name: str, column: FittedColumn) -> TableFeature | None:
    arrays = column.encode([]).arrays
    if set(arrays) == {"codes"}:
        num_codes: int = column.num_codes  # type: ignore[attr-defined]
        return TableFeature(name, 0, num_codes, getattr(column, "by_target", True))
    values = arrays.get("values")
    if set(arrays) == {"values"} and not isinstance(values, Ragged) and values.ndim == 2:  # type: ignore[union-attr]
        return TableFeature(name, values.shape[1], 0)  # type: ignore[union-attr]
    return None


def is_table(column: FittedColumn) -> bool:
    """Whether a column encodes to ``values`` (float32, one row of numbers) or ``codes`` (int64)."""
    return _feature(column.name, column) is not None


def is_sparse(column: FittedColumn) -> bool:
    """Whether a column encodes to ``places`` (int32) and ``weights`` (float32) of a CSR matrix."""
    return set(column.encode([]).arrays) == {"places", "weights"}


def sparse_sizes(inputs: Mapping[str, FittedColumn]) -> dict[str, int]:
    """Columns that are such that `is_sparse`, and how many places each has."""
    return {
        name: int(column.num_places)  # type: ignore[attr-defined]
        for name, column in inputs.items()
        if is_sparse(column)
    }


def sparse_matrix(
    encoded: Encoded, size: int, rows: NDArray[np.int64] | slice = slice(None)
) -> Any:
    """Rows of a sparse column, scipy CSR float64, shape (num_rows, size): never made dense."""
    from scipy import sparse

    places, weights = encoded.arrays["places"], encoded.arrays["weights"]
    assert isinstance(places, Ragged)
    assert isinstance(weights, Ragged)
    whole = sparse.csr_array(
        (np.asarray(weights.flat, np.float64), np.asarray(places.flat), places.offsets),
        shape=(len(places), size),
    )
    return whole if isinstance(rows, slice) and rows == slice(None) else whole[rows]


def table_features(inputs: Mapping[str, FittedColumn]) -> tuple[TableFeature, ...]:
    """What each column gives. All must be such that `is_table`; sparse ones are left out."""
    features = [_feature(name, column) for name, column in inputs.items() if not is_sparse(column)]
    assert all(features), "a column is not one of a table"
    return tuple(feature for feature in features if feature)


def table_arrays(
    features: Sequence[TableFeature],
    split: EncodedSplit,
    rows: NDArray[np.int64] | slice = slice(None),
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of a split.

    Args:
      features: From `table_features`.
      split: Encoded rows.
      rows: Which of them.
    Returns:
      All numbers, float32, shape (num_rows, sum of sizes), NaN where there is none; and all
      codes, int64, shape (num_rows, columns of codes).
    """
    numbers: list[NDArray[np.float32]] = []
    codes: list[NDArray[np.int64]] = []
    for feature in features:
        array = split.columns[feature.column].arrays["values" if feature.size else "codes"]
        assert isinstance(array, np.ndarray)
        (numbers if feature.size else codes).append(np.asarray(array[rows]))
    num_rows = len(np.asarray(split.target)[rows])
    return (
        np.concatenate(numbers, axis=1) if numbers else np.zeros((num_rows, 0), np.float32),
        np.stack(codes, axis=1) if codes else np.zeros((num_rows, 0), np.int64),
    )
