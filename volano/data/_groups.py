"""Rows that share a hash, found in bounded memory.

Keys are cut into partitions by the upper bits of the hash, so that equal hashes are always in the
same one. Each partition is collected by scanning the memory-mapped keys, and sorted on its own:
the memory needed is that of one partition, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["PARTITION_ROWS", "Groups", "grouped", "mix", "row_ranges"]

PARTITION_ROWS = 2**18
_SCAN_ROWS = 2**18


class Groups(NamedTuple):
    """The rows of one partition, sorted by hash, rows of a group in their order in the table.

    Attributes:
      rows: Indices, int64, shape (num_rows,).
      starts: Where in rows each group begins, shape (num_groups,).
      group: Which group each row is of, shape (num_rows,).
      labels: Label codes of the rows.
      hi: Upper half of the rows' hashes.
      lo: Lower half.
    """

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]


def row_ranges(num_rows: int) -> Iterator[slice]:
    """Slices that cover all rows, each small enough to hold in memory."""
    for start in range(0, num_rows, _SCAN_ROWS):
        yield slice(start, min(start + _SCAN_ROWS, num_rows))


def grouped(
    keys: npt.NDArray[np.void],
    by: Literal["exact", "folded"],
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    partition_rows: int = PARTITION_ROWS,
) -> Iterator[Groups]:
    """All rows by equal hash, one partition after the other.

    Args:
      keys: One KEY_DTYPE per row.
      by: Which hash.
      mask: Rows to look at; all when None.
      partition_rows: Rows to hold at a time, about.
    """
    bits = max(0, int(np.ceil(np.log2(max(len(keys), 1) / partition_rows))))
    for partition in range(2**bits):
        parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.void]]] = []
        for rows in row_ranges(len(keys)):
            chosen = np.ones(rows.stop - rows.start, bool) if mask is None else mask[rows]
            if bits:
                upper = keys[f"{by}_hi"][rows] >> np.uint64(64 - bits)
                chosen = chosen & (upper == partition)
            found = np.flatnonzero(chosen)
            if len(found):
                parts.append((found + rows.start, keys[rows][found]))
        if not parts:
            continue
        row = np.concatenate([rows for rows, _ in parts])
        key = np.concatenate([keys for _, keys in parts])
        hi, lo = key[f"{by}_hi"], key[f"{by}_lo"]
        order = np.lexsort((lo, hi))  # stable: rows of a group stay in their order
        row, hi, lo = row[order], hi[order], lo[order]
        first = np.ones(len(row), bool)
        first[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
        yield Groups(row, np.flatnonzero(first), np.cumsum(first) - 1, key["label"][order], hi, lo)


def mix(
    hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64], seed: int
) -> npt.NDArray[np.uint64]:
    """A number per hash that only the hash and the seed decide, evenly spread.

    References:
      Steele, Lea and Flood, `Fast splittable pseudorandom number generators
      <https://doi.org/10.1145/2714064.2660195>`_, 2014: the finaliser of SplitMix64.
    """
    state = (hi ^ np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(29))) + lo
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
