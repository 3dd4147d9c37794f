"""Rows that teach nothing or the wrong thing: found, counted, listed, and handled as the spec says.

In this order, and each row is of one kind at the most:

1. Golden rows and their repeats: same inputs but for case, space and punctuation. Always left out.
   So are rows of a golden row's group, where a column groups rows.
2. Superseded rows: same inputs as a correction. The latest correction stays, all else goes.
3. Duplicates: same inputs and label as an earlier row.
4. Conflicts: same inputs, different labels. Under ``drop`` none of them stays, since nothing says
   which is right.
5. Rare classes: fewer rows than rare_below among those that are left.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from volano.columns.boolean import parse_boolean
from volano.columns.number import parse_number
from volano.data._golden import GoldenRows
from volano.data._groups import PARTITION_ROWS, Groups, grouped, row_ranges
from volano.data._keyed import group_hashes
from volano.data._snapshot import disk_error
from volano.data._snapshot_file import RowIndices, Snapshot
from volano.errors import DataError
from volano.spec import CleanSpec

__all__ = ["Count", "Selection", "clean"]

_FIRST = 20
_KEPT, _GOLDEN, _REPEAT, _GROUP, _SUPERSEDED, _DUPLICATE, _CONFLICT, _RARE = range(8)
_KINDS = {
    _GOLDEN: "golden",
    _REPEAT: "golden_repeats",
    _GROUP: "golden_groups",
    _SUPERSEDED: "superseded",
    _DUPLICATE: "duplicates",
    _CONFLICT: "conflicts",
    _RARE: "rare",
}


@dataclass(frozen=True)
class Count:
    """How many rows something was found in, and what was done.

    Attributes:
      rows: Their number.
      action: ``dropped`` or ``kept``; ``counted`` where there was nothing to do.
      first: Where the first of them are, as ``file row N``, 1 being the first row.
    """

    rows: int
    action: Literal["dropped", "kept", "counted"]
    first: list[str]


@dataclass(frozen=True)
class Selection:
    """The rows to train on, and what became of the others.

    Attributes:
      rows: Indices into the snapshot, ascending, int64.
      counts: By kind: read, broken, empty, repaired, duplicates, conflicts, superseded, golden,
        golden_repeats, golden_groups, rare, kept.
      rare_classes: Label -> rows, of the classes with fewer rows than rare_below.
    """

    rows: RowIndices
    counts: dict[str, Count]
    rare_classes: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "counts": {kind: asdict(count) for kind, count in self.counts.items()},
            "rare_classes": self.rare_classes,
        }


def clean(
    snapshot: Snapshot,
    spec: CleanSpec,
    *,
    golden: GoldenRows | None = None,
    findings: Path | None = None,
    partition_rows: int = PARTITION_ROWS,
) -> Selection:
    """Choose the rows to train on.

    Args:
      snapshot: All usable rows.
      spec: What to do with each kind.
      golden: The golden rows, which never train a model.
      findings: Where to list every row that is of some kind, one JSON object a line.
      partition_rows: Rows to hold in memory at a time.
    Raises:
      DataError: Fewer than two classes are left (DATA-026), or the disk is full (DATA-013).
    """
    keys = snapshot.keys
    kinds = np.zeros(len(keys), np.uint8)
    dropped = np.zeros(len(keys), bool)
    observations = snapshot.summary.observations
    if golden is not None and golden.num_rows:
        _mark_golden(keys, golden, snapshot, kinds)
        if snapshot.groups is not None:
            _mark_groups(golden, snapshot, kinds)
        dropped |= kinds != _KEPT
        if observations:
            _mark_corrected_golden(golden, snapshot, kinds, dropped)
    undecided = kinds == _KEPT
    keep = keeps_duplicates(spec, observations)
    for groups in grouped(keys, "exact", mask=undecided, partition_rows=partition_rows):
        # A correction of one observation says nothing of others that are equal to it.
        num_rows = len(keys) if observations else snapshot.num_source_rows
        _mark_group(groups, num_rows, spec, keep, kinds, dropped)
    rare_classes: dict[str, int] = {}
    rows = np.flatnonzero(~dropped)
    if snapshot.summary.counted:
        rare_classes = _mark_rare(snapshot, spec, kinds, dropped)
        rows = np.flatnonzero(~dropped)
        num_classes = int(np.count_nonzero(_label_counts(snapshot, dropped)))
        if num_classes < 2:
            raise _nothing_left(snapshot, kinds, num_classes)
    elif snapshot.summary.several:
        # The names are rare, not the rows: what `rare: drop` leaves out is the name.
        counts = snapshot.label_rows().items()
        rare_classes = {name: rows for name, rows in counts if rows < spec.rare_below}
    if findings:
        try:
            with findings.open("w", encoding="utf-8", newline="\n") as stream:
                _list(snapshot, kinds, dropped, stream)
        except OSError as error:
            raise disk_error(findings.parent, error) from None
    return Selection(rows, _counts(snapshot, spec, kinds, rows), rare_classes)


def keeps_duplicates(spec: CleanSpec, observations: bool) -> bool:
    """Whether rows that repeat others stay: several people may well have the same numbers."""
    return spec.duplicates == "keep" or (spec.duplicates == "auto" and observations)


def _mark_golden(
    keys: npt.NDArray[np.void],
    golden: GoldenRows,
    snapshot: Snapshot,
    kinds: npt.NDArray[np.uint8],
) -> None:
    observations = snapshot.summary.observations
    # The folded hash of an observation knows its place, which changes when a file grows.
    hashes, name = (golden.exact, "exact") if observations else (golden.folded, "folded")
    order = np.argsort(hashes[:, 0], kind="stable")
    hi, lo = hashes[order].T
    exact = Counter((int(a), int(b)) for a, b in golden.exact) if golden.held_out else Counter()
    for rows in row_ranges(len(keys)):
        place = np.minimum(np.searchsorted(hi, keys[f"{name}_hi"][rows]), len(hi) - 1)
        alike = (hi[place] == keys[f"{name}_hi"][rows]) & (lo[place] == keys[f"{name}_lo"][rows])
        for row in (np.flatnonzero(alike) + rows.start).tolist():
            # The first rows with a golden row's very inputs are that row itself, held out.
            itself = (int(keys["exact_hi"][row]), int(keys["exact_lo"][row]))
            if exact[itself] > 0 and row < snapshot.num_source_rows:
                kinds[row] = _GOLDEN
                exact[itself] -= 1
            elif not observations:
                kinds[row] = _REPEAT


def _mark_groups(golden: GoldenRows, snapshot: Snapshot, kinds: npt.NDArray[np.uint8]) -> None:
    """Leave out rows of a golden row's group, corrections too."""
    assert snapshot.groups is not None
    found = group_hashes([golden.column(name) for name in snapshot.summary.group])
    held = np.unique(found[found != 0])
    for rows in row_ranges(len(kinds)):
        there = np.isin(snapshot.groups[rows], held) & (kinds[rows] == _KEPT)
        kinds[rows][there] = _GROUP


def _mark_corrected_golden(
    golden: GoldenRows,
    snapshot: Snapshot,
    kinds: npt.NDArray[np.uint8],
    dropped: npt.NDArray[np.bool_],
) -> None:
    """Leave out corrections of the very observations that judge.

    An observation of its own may equal a golden row by chance, but people who predict on the table
    they learned from, and correct the answers, send the golden rows themselves. What was sent has
    been read and written again: 12 comes back as 12.0 and yes as True.
    """
    rows = np.arange(snapshot.num_source_rows, snapshot.num_rows)
    if not len(rows):
        return
    there = set(_plain(golden.column(name) for name in snapshot.inputs))
    for part in np.array_split(rows, len(rows) // 8192 + 1):
        sent = _plain(snapshot.column(name, part) for name in snapshot.inputs)
        found = part[[row in there for row in sent]]
        kinds[found] = _REPEAT
        dropped[found] = True


def _plain(columns: Iterable[Sequence[str]]) -> list[tuple[object, ...]]:
    """Rows of cells in a form in which the ways to write one value are equal."""

    def plain(cell: str) -> object:
        truth = parse_boolean(cell)
        number = parse_number(cell) if truth is None else truth
        if number is None:
            return cell.strip()
        return None if math.isnan(number) else number  # missing is equal to missing here

    return list(zip(*([plain(cell) for cell in column] for column in columns), strict=True))


def _mark_group(
    groups: Groups,
    num_source_rows: int,
    spec: CleanSpec,
    keep: bool,
    kinds: npt.NDArray[np.uint8],
    dropped: npt.NDArray[np.bool_],
) -> None:
    rows, group, labels = groups.rows, groups.group, groups.labels
    # The rows of a group ascend, and feedback comes last and oldest first: a group with feedback
    # has it at its end, and there the latest one.
    last = np.append(groups.starts[1:], len(rows)) - 1
    corrected = (rows[last] >= num_source_rows) & (last > groups.starts)
    superseded = corrected[group]
    superseded[last] = False
    kinds[rows[superseded]] = _SUPERSEDED
    dropped[rows[superseded]] = True
    left = np.flatnonzero(~superseded)
    rows, group, labels = rows[left], group[left], labels[left]

    # Within a group by label; the first row of each label is the one that others repeat.
    order = np.lexsort((labels, group))
    same = np.zeros(len(rows), bool)
    same[order[1:]] = (group[order][1:] == group[order][:-1]) & (
        labels[order][1:] == labels[order][:-1]
    )
    num_labels = np.bincount(group[~same], minlength=len(groups.starts))
    clash = (num_labels > 1)[group]
    conflicting = clash if keep else clash & ~same
    kinds[rows[same]] = _DUPLICATE
    kinds[rows[conflicting]] = _CONFLICT
    dropped[rows[same]] = not keep
    if spec.conflicts == "drop":
        dropped[rows[clash]] = True


def _label_counts(snapshot: Snapshot, dropped: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    counts = np.zeros(len(snapshot.labels), np.int64)
    for rows in row_ranges(snapshot.num_rows):
        labels = snapshot.keys["label"][rows][~dropped[rows]]
        counts += np.bincount(labels, minlength=len(counts))
    return counts


def _mark_rare(
    snapshot: Snapshot,
    spec: CleanSpec,
    kinds: npt.NDArray[np.uint8],
    dropped: npt.NDArray[np.bool_],
) -> dict[str, int]:
    counts = _label_counts(snapshot, dropped)
    rare = (counts < spec.rare_below) & (counts > 0)
    if not rare.any():
        return {}
    for rows in row_ranges(snapshot.num_rows):
        found = rare[snapshot.keys["label"][rows]] & ~dropped[rows]
        # A row that is kept although it is of another kind stays of that kind.
        kinds[rows][found & (kinds[rows] == _KEPT)] = _RARE
        if spec.rare == "drop":
            kinds[rows][found] = _RARE
            dropped[rows] |= found
    return {snapshot.labels[code]: int(counts[code]) for code in np.flatnonzero(rare)}


def _nothing_left(snapshot: Snapshot, kinds: npt.NDArray[np.uint8], num_classes: int) -> DataError:
    found = np.bincount(kinds, minlength=8)
    lost = ", ".join(f"{found[kind]:,} {name}" for kind, name in _KINDS.items() if found[kind])
    return DataError(
        26,
        f"of {snapshot.num_rows:,} rows, cleaning leaves those of {num_classes} classes ({lost})",
        where=snapshot.target,
        expected="training rows of at least two classes",
        fix="add rows, or keep more of them under clean: in volano.yaml",
    )


def _list(
    snapshot: Snapshot,
    kinds: npt.NDArray[np.uint8],
    dropped: npt.NDArray[np.bool_],
    stream: IO[str],
) -> None:
    for rows in row_ranges(snapshot.num_rows):
        found = np.flatnonzero(kinds[rows]) + rows.start
        # In small steps, since here every row becomes Python objects.
        for part in np.array_split(found, len(found) // 8192 + 1):
            labels = snapshot.column(snapshot.target, part)
            origins = snapshot.origins(part)
            for row, (file, number), label in zip(part.tolist(), origins, labels, strict=True):
                finding = {
                    "kind": _KINDS[int(kinds[row])],
                    "action": "dropped" if dropped[row] else "kept",
                    "file": file,
                    "row": number,
                    # Rows with the same inputs have the same key: what conflicts with what.
                    "key": f"{int(snapshot.keys['exact_hi'][row]):016x}",
                    "label": label,
                }
                stream.write(json.dumps(finding, ensure_ascii=False) + "\n")


def _counts(
    snapshot: Snapshot, spec: CleanSpec, kinds: npt.NDArray[np.uint8], kept: RowIndices
) -> dict[str, Count]:
    summary = snapshot.summary
    actions: dict[int, Literal["dropped", "kept"]] = {
        _GOLDEN: "dropped",
        _REPEAT: "dropped",
        _GROUP: "dropped",
        _SUPERSEDED: "dropped",
        _DUPLICATE: "kept" if keeps_duplicates(spec, summary.observations) else "dropped",
        _CONFLICT: "kept" if spec.conflicts == "keep" else "dropped",
        _RARE: "kept" if spec.rare == "keep" else "dropped",
    }
    first = summary.first
    counts = {
        "read": Count(summary.read, "counted", []),
        "broken": Count(summary.broken, "dropped", first.get("broken", [])),
        "empty": Count(summary.empty, "dropped", first.get("empty", [])),
        "repaired": Count(summary.repaired, "kept", first.get("repaired", [])),
    }
    totals = np.bincount(kinds, minlength=8)
    for kind, name in _KINDS.items():
        if kind == _GROUP and snapshot.groups is None:
            continue
        rows: list[int] = []
        for part in row_ranges(snapshot.num_rows):
            if len(rows) < min(_FIRST, totals[kind]):
                rows += (np.flatnonzero(kinds[part] == kind)[:_FIRST] + part.start).tolist()
        places = snapshot.places(np.array(rows[:_FIRST], np.int64))
        counts[name] = Count(int(totals[kind]), actions[kind], places)
    counts["kept"] = Count(len(kept), "kept", [])
    return counts
