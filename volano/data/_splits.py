"""Which rows are held out: golden rows to judge bundles, validation rows to steer training.

Both are chosen by a hash of the seed and the row's folded inputs, not by its place in the table:
the order of the rows does not matter, and rows that are alike up to case, space and punctuation
are always on the same side.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from volano.data._groups import PARTITION_ROWS, grouped, mix, row_ranges
from volano.data._keyed import choose_groups
from volano.data._keys import Hashes
from volano.data._snapshot_file import RowIndices, Snapshot

__all__ = ["choose_golden", "split_snapshot", "split_validation"]

_Counts = npt.NDArray[np.int64]
_Scored = tuple[RowIndices, npt.NDArray[np.int32], npt.NDArray[np.uint64]]


def choose_golden(
    snapshot: Snapshot,
    *,
    share: float,
    max_rows: int,
    seed: int,
    partition_rows: int = PARTITION_ROWS,
) -> RowIndices:
    """Rows to freeze as golden rows, each class by its share.

    Where a column groups rows, whole groups are chosen, whatever their classes.

    Only rows of the sources are chosen, one at the most of those that are alike up to case, space
    and punctuation, and none whose likes have different labels. Each class keeps two rows for
    training or all it has.

    Args:
      snapshot: All usable rows.
      share: Share of the distinct rows, 0 to 1.
      max_rows: The most rows to choose.
      seed: Another seed chooses others.
      partition_rows: Rows to hold in memory at a time.
    Returns:
      Indices, ascending, int64; empty when no class can spare a row.
    """
    # Targets that cannot be counted make one class of all rows.
    names = snapshot.summary.counted or snapshot.summary.several
    num_labels = snapshot.num_strata
    available = np.zeros(num_labels, np.int64)

    def partitions() -> Iterator[_Scored]:
        for groups in grouped(snapshot.keys, "folded", partition_rows=partition_rows):
            first = groups.starts
            low = np.minimum.reduceat(groups.labels, first)
            high = np.maximum.reduceat(groups.labels, first)
            alike = (low == high) | (not names)
            usable = first[alike & (groups.rows[first] < snapshot.num_source_rows)]
            score = mix(groups.hi[usable], groups.lo[usable], seed)
            yield groups.rows[usable], snapshot.strata(groups.rows[usable]), score

    for _, labels, _ in partitions():
        available += np.bincount(labels, minlength=num_labels)
    wanted = min(max_rows, round(share * int(available.sum())))
    if snapshot.groups is not None:
        # Whole groups: every row of a chosen one judges, but for repeats and conflicts.
        able = np.sort(np.concatenate([rows for rows, _, _ in partitions()]))
        return able[choose_groups(np.asarray(snapshot.groups[able]), wanted, seed)]
    quota = _apportion(available, wanted, np.maximum(available - 2, 0))
    # A second pass keeps the rows with the lowest scores of each class, never more than asked for.
    best: _Scored = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.uint64))
    for found in partitions():
        rows = np.concatenate([best[0], found[0]])
        labels = np.concatenate([best[1], found[1]])
        score = np.concatenate([best[2], found[2]])
        chosen = _lowest(labels, score, quota)
        best = (rows[chosen], labels[chosen], score[chosen])
    return np.sort(best[0])


def split_snapshot(
    snapshot: Snapshot, rows: RowIndices, *, share: float, seed: int
) -> tuple[RowIndices, RowIndices]:
    """``split_validation`` for rows of a snapshot, without loading all of their hashes."""
    score = np.empty(len(rows), np.uint64)
    labels = np.empty(len(rows), np.int32)
    for part in row_ranges(len(rows)):
        keys = snapshot.keys[rows[part]]
        score[part] = mix(keys["folded_hi"], keys["folded_lo"], seed)
        if snapshot.groups is not None:
            group = np.asarray(snapshot.groups[rows[part]])
            score[part] = mix(group, group, seed)
        labels[part] = snapshot.strata(rows[part])
    return _split(rows, labels, score, share)


def split_validation(
    rows: RowIndices,
    labels: npt.NDArray[np.int32],
    folded: Hashes,
    *,
    share: float,
    seed: int,
) -> tuple[RowIndices, RowIndices]:
    """Divide rows into those to train on and those to validate on.

    Of each class, the rows with the lowest scores validate, where the score is a hash of the seed
    and the folded inputs. When rows are added, a row changes sides only if its score lies between
    the class's old and new borders, which both tend to ``share``: few rows ever do.

    Args:
      rows: Indices, shape (num_rows,).
      labels: Their label codes.
      folded: Their folded hashes, shape (num_rows, 2).
      share: Share of each class to validate on, 0 to 1.
      seed: Another seed divides otherwise.
    Returns:
      Rows to train on and rows to validate on, both ascending. Every class has a row to train on.
    """
    return _split(rows, labels, mix(folded[:, 0], folded[:, 1], seed), share)


def _split(
    rows: RowIndices,
    labels: npt.NDArray[np.int32],
    score: npt.NDArray[np.uint64],
    share: float,
) -> tuple[RowIndices, RowIndices]:
    if not len(rows):
        return rows, rows
    num_units = np.zeros(int(labels.max()) + 1, np.int64)
    for _, _, leaders in _units(score):
        num_units += np.bincount(labels[leaders], minlength=len(num_units))
    quota = np.minimum(np.round(share * num_units).astype(np.int64), np.maximum(num_units - 1, 0))
    # Units come with ascending scores, so each class takes the first ones until it has enough.
    validates = np.zeros(len(rows), bool)
    for positions, unit, leaders in _units(score):
        chosen = _lowest(labels[leaders], score[leaders], quota)
        quota -= np.bincount(labels[leaders[chosen]], minlength=len(quota))
        taken = np.zeros(len(leaders), bool)
        taken[chosen] = True
        validates[positions] = taken[unit]
    # A class may live only in units that count for other classes: one of them comes back.
    in_all = np.bincount(labels, minlength=len(quota))
    in_train = np.bincount(labels[~validates], minlength=len(quota))
    for label in np.flatnonzero((in_all > 0) & (in_train == 0)):
        validates[score == score[np.argmax(labels == label)]] = False
    train, validation = rows[~validates], rows[validates]
    train.sort()
    validation.sort()
    return train, validation


def _units(score: npt.NDArray[np.uint64]) -> Iterator[tuple[RowIndices, RowIndices, RowIndices]]:
    """Rows that are alike, in partitions with ascending scores.

    Yields:
      Positions of the partition's rows, sorted by score; the unit that each is of; and for each
      unit its leader, the position of its first row, whose class the unit counts for.
    """
    bits = max(0, int(np.ceil(np.log2(len(score) / PARTITION_ROWS))))
    for partition in range(2**bits):
        positions = np.arange(len(score))
        if bits:
            positions = np.flatnonzero(score >> np.uint64(64 - bits) == partition)
        positions = positions[np.argsort(score[positions], kind="stable")]
        ordered = score[positions]
        first = np.ones(len(positions), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        yield positions, np.cumsum(first) - 1, positions[first]


def _apportion(available: _Counts, wanted: int, most: _Counts) -> _Counts:
    """Seats for each class in proportion to its rows, by largest remainder, at most ``most``."""
    total = int(available.sum())
    if not total:
        return np.zeros_like(available)
    exact = available * (wanted / total)
    quota: _Counts = np.minimum(np.floor(exact).astype(np.int64), most)
    # Ties go to the lower label code, so that the outcome is the same everywhere.
    for label in np.lexsort((np.arange(len(exact)), -(exact - np.floor(exact)))):
        if quota.sum() >= wanted:
            break
        if quota[label] < most[label]:
            quota[label] += 1
    return quota


def _lowest(
    labels: npt.NDArray[np.int32], score: npt.NDArray[np.uint64], quota: _Counts
) -> RowIndices:
    """Positions of the ``quota[label]`` lowest scores of each label."""
    order: RowIndices = np.lexsort((score, labels))
    ordered = labels[order]
    starts = np.searchsorted(ordered, np.arange(len(quota)))
    rank = np.arange(len(order)) - starts[ordered]
    chosen: RowIndices = order[rank < quota[ordered]]
    return chosen
