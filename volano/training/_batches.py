"""Batches of rows of like length: little padding, and still a different order in every epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cut", "epoch_batches", "ordered_batches"]

POOL_BATCHES = 32
"""Batches that are sorted by length together. Few enough to leave the order random, many enough
that a batch's rows are nearly of one length."""


def epoch_batches(
    widths: NDArray[np.int64], *, rows: int, tokens: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The batches of one epoch: every row once, in an order that `seed` and `epoch` alone decide.

    Rows are shuffled and cut into pools; each pool is sorted by length and cut into batches; the
    batches are shuffled. A resumed run computes the same order again and needs no saved state.

    Args:
      widths: Tokens of each row, shape (num_rows,).
      rows: Rows of a batch at the most.
      tokens: Cells of a batch at the most, padding included; a longer row is a batch of its own.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(widths)).astype(np.int64)
    batches: list[NDArray[np.int64]] = []
    pool_rows = rows * POOL_BATCHES
    for start in range(0, len(order), pool_rows):
        pool = order[start : start + pool_rows]
        pool = pool[np.argsort(widths[pool], kind="stable")]
        batches.extend(cut(pool, widths, rows=rows, tokens=tokens))
    return [batches[place] for place in random.permutation(len(batches))]


def ordered_batches(
    widths: NDArray[np.int64], *, rows: int, tokens: int
) -> list[NDArray[np.int64]]:
    """Every row once, shortest first: for passes over the rows in which order means nothing."""
    order = np.argsort(widths, kind="stable").astype(np.int64)
    return cut(order, widths, rows=rows, tokens=tokens)


def cut(
    order: NDArray[np.int64], widths: NDArray[np.int64], *, rows: int, tokens: int
) -> list[NDArray[np.int64]]:
    """Cut rows that are sorted by length into batches within both limits."""
    batches = []
    start = 0
    for stop, width in enumerate(widths[order].tolist()):
        # Sorted, so this row is the longest so far and decides what padding costs.
        if stop > start and (stop - start >= rows or (stop - start + 1) * width > tokens):
            batches.append(order[start:stop])
            start = stop
    if start < len(order):
        batches.append(order[start:])
    return batches
