"""All usable rows of the sources and of the feedback, frozen as one artifact.

    rows.arrow      Arrow IPC: file, row, origin, one text column per input, the target
    keys.npy        one KEY_DTYPE per row: hashes and the label's code
    labels.json     labels in the order of their codes, with their numbers of rows
    strata.npy      of targets that are several names at once: the code of each row's rarest
    groups.npy      where a column groups rows: a hash of each row's group
    findings.jsonl  broken, empty and repaired rows, each with its place
    summary.json    counts, and what was found in each file
    media.pack, media.index.npy   the photos and recordings that the rows refer to, if any
    members.json   of folders with a file for each row: number of the source -> paths of the files

One pass over the sources, with memory that does not depend on their size: rows go to disk in
batches, and hashes and codes straight into keys.npy. Codes are given in the order of appearance
and renumbered in keys.npy at the end, when all labels are known and can be sorted.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from volano.columns import MediaKind
from volano.data._form import TableForm
from volano.data._keyed import FILE as GROUPS
from volano.data._keyed import write_groups
from volano.data._keys import KEY_DTYPE
from volano.data._labels import MAX_LABELS, MISSING_LABELS, check_labels, too_many_labels
from volano.data._media import Packer, media_columns
from volano.data._parquet import import_pyarrow
from volano.data._read import no_rows, read_batches
from volano.data._row_writer import RowWriter
from volano.data._several import count_names, unparted, write_strata
from volano.data._sources import SourceFile
from volano.data._table import (
    Batch,
    BrokenRow,
    FileReport,
    ReadReport,
    Repair,
    excerpt,
    place_of,
    plain_batch,
)
from volano.errors import DataError, shorten

__all__ = [
    "FILES",
    "FeedbackRow",
    "SnapshotSummary",
    "Usable",
    "sift",
    "take_snapshot",
]

FILES = ("rows.arrow", "keys.npy", "labels.json", "findings.jsonl", "summary.json")
MEMBERS = "members.json"
STRATA = "strata.npy"
MEDIA_FILES = ("media.pack", "media.index.npy", MEMBERS)
MEDIA = "media"
FEEDBACK = "feedback"
_FEEDBACK_ROWS = 8192


class FeedbackRow(NamedTuple):
    """A correction joined to the prediction it corrects.

    Attributes:
      inputs: Input name -> text, as they were predicted on.
      target: The right label.
      prediction_id: What the correction was joined by.
    """

    inputs: dict[str, str]
    target: str
    prediction_id: str


@dataclass
class SnapshotSummary:
    """What went into a snapshot and what did not.

    Attributes:
      read: Rows of the sources and of the feedback, usable or not.
      broken: Rows that could not be parsed, left out.
      empty: Rows without inputs or without a target, left out.
      repaired: Rows in which something was put right.
      num_rows: Rows in the snapshot: num_source_rows, then num_feedback_rows.
      labels: In the order of their codes, which is that of sorting.
      missing_targets: What stood in the place of a target -> rows, such as ``{"None": 12}``.
      files: What was found in each file.
      notes: What a person should know.
      first: Kind -> where the first 20 such rows are, as ``file row N``, 1 being the first row.
      counted: Whether the targets are names out of few; else the code of a row only tells whether
        two targets are the same, and there are no labels unless `several`.
      several: Whether a target is any number of names, written as a JSON list.
      group: Inputs whose rows of one value are held out together.
      observations: Whether equal rows are several observations and not one row twice.
      media: Inputs that are files, whose cells refer to the pack.
    """

    inputs: tuple[str, ...]
    target: str
    read: int = 0
    broken: int = 0
    empty: int = 0
    repaired: int = 0
    num_rows: int = 0
    num_source_rows: int = 0
    num_feedback_rows: int = 0
    labels: tuple[str, ...] = ()
    missing_targets: dict[str, int] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first: dict[str, list[str]] = field(default_factory=dict)
    counted: bool = True
    observations: bool = False
    media: tuple[str, ...] = ()
    several: bool = False
    group: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def take_snapshot(
    files: Sequence[SourceFile],
    *,
    inputs: Sequence[str],
    target: str,
    out: Path,
    kinds: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    plain: Mapping[str, Callable[[str], str]] | None = None,
    group: Sequence[str] = (),
    feedback: Iterable[FeedbackRow] = (),
    on_broken: Literal["drop", "fail"] = "drop",
    on_empty: Literal["drop", "fail"] = "drop",
    progress: Callable[[int, int], None] | None = None,
) -> SnapshotSummary:
    """Freeze the usable rows of the sources, and the feedback after them.

    The same rows give the same bytes. When anything fails, nothing is left in ``out``.

    Args:
      files: From ``resolve``.
      inputs: Columns to predict from.
      target: Column to predict. Labels are stripped of white space at their ends.
      out: Folder for the files; it is made if need be.
      kinds: Column -> type, for all but texts and a target of names.
      options: The target's, for types that read cells by them.
      plain: Column -> what makes its cells such as all later steps read them.
      group: Inputs whose rows of one value are held out together.
      feedback: Corrections, oldest first.
      on_broken: Leave rows out that cannot be parsed, or fail at the first.
      on_empty: Leave rows out that lack all inputs or the target, or fail at the first.
      progress: Called with bytes read and bytes in all.
    Raises:
      DataError: As ``read_rows``; the disk is full (DATA-013), no row can be used (DATA-020), too
        many labels (DATA-021), one class (DATA-022), numbers as labels (DATA-023), a broken row
        (DATA-024) or an empty one (DATA-025) under ``fail``.
    """
    import_pyarrow("A snapshot")
    assert target not in inputs
    assert inputs
    report = ReadReport()
    form = TableForm.of(inputs, target, kinds or {}, options)
    media = media_columns(kinds or {}, inputs)
    summary = SnapshotSummary(
        tuple(inputs),
        target,
        counted=form.counted,
        observations=form.observations,
        media=tuple(media),
        several=form.canonical is not None,
        group=tuple(group),
    )
    out.mkdir(parents=True, exist_ok=True)
    done = False
    try:
        with ExitStack() as stack:
            writer = stack.enter_context(_SnapshotWriter(out, summary, form))
            columns = [*inputs, target]
            packer = stack.enter_context(packing(out / MEDIA, media))
            for batch in read_batches(files, columns=columns, report=report, progress=progress):
                source = files[batch.file]
                batch = plain_batch(batch, plain or {})
                if packer:
                    found = report.files[batch.file]
                    batch = packed(packer, batch, source.base, found)
                writer.add(batch, source, on_broken=on_broken, on_empty=on_empty)
            summary.num_source_rows = summary.num_rows
            for batch in _feedback_batches(feedback, columns):
                if packer:
                    batch = packer.pack(batch, None)
                writer.add(batch, None, on_broken=on_broken, on_empty=on_empty)
            summary.num_feedback_rows = summary.num_rows - summary.num_source_rows
            if not summary.num_rows:
                raise no_rows(files, report, summary.empty)
            if form.counted:
                check_labels(target, writer.counts)
            elif len(writer.different) == 1:
                check_labels(target, {writer.different.pop(): summary.num_rows})
        summary.labels = tuple(sorted(writer.counts))
        summary.files = [file.as_dict() for file in report.files]
        summary.notes = report.notes
        if summary.several:
            summary.notes += unparted(writer.counts, summary.num_rows)
            write_strata(out, writer.counts, summary)
        _finish(out, writer.counts, summary)
        _write_members(out, files)
        if group:
            write_groups(out, group, np.load(out / "keys.npy", mmap_mode="r"))
        done = True
    except OSError as error:
        raise disk_error(out, error) from None
    finally:
        if not done:
            for name in (*FILES, *MEDIA_FILES, STRATA, GROUPS):
                (out / name).unlink(missing_ok=True)
    return summary


@contextmanager
def packing(
    path: Path, media: Mapping[str, type[MediaKind]], *, thorough: bool = False
) -> Iterator[Packer | None]:
    """What packs the files of these columns; None when there are none."""
    if not media:
        yield None
        return
    packer = Packer(path, media, thorough=thorough)
    try:
        yield packer
    except BaseException:
        packer.abort()
        raise
    packer.close()


def packed(packer: Packer, batch: Batch, base: Path, report: FileReport) -> Batch:
    """A batch whose files are in the pack, with those that cannot be read among the broken rows."""
    before = len(batch.numbers)
    batch = packer.pack(batch, base)
    report.num_rows -= before - len(batch.numbers)
    report.num_broken += before - len(batch.numbers)
    return batch


def disk_error(out: Path, error: OSError) -> DataError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return DataError(
        13,
        "the disk is full" if full else f"cannot write ({error.strerror or error})",
        where=str(out),
        expected="room for about one and a half times the text of the sources",
        fix=f"df -h {out}  # then make room and run the turn again",
    )


def _feedback_batches(feedback: Iterable[FeedbackRow], columns: Sequence[str]) -> Iterator[Batch]:
    *inputs, _ = columns
    rest = iter(feedback)
    number = 1
    while rows := list(islice(rest, _FEEDBACK_ROWS)):
        values: list[Sequence[str | None]] = [
            [_storable(row.inputs.get(name)) for row in rows] for name in inputs
        ]
        values.append([_storable(row.target) for row in rows])
        numbers = range(number, number + len(rows))
        yield Batch(-1, tuple(columns), numbers, [None] * len(rows), values)
        number += len(rows)


def _storable(text: str | None) -> str | None:
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "")


@dataclass(slots=True)
class Usable:
    """The rows of a batch that can be used, and those that cannot or were put right."""

    numbers: Sequence[int]
    inputs: list[Sequence[str]]
    labels: Sequence[str]
    empty: list[tuple[int, int | None, str]]
    missing: dict[str, int]
    repaired: list[Repair]


def sift(batch: Batch, form: TableForm) -> Usable:
    """Tell the rows with inputs and a target from those without; the target is the last column."""
    *inputs, targets = batch.columns
    labels = [label.strip() if label else "" for label in targets]
    if form.canonical:
        labels, targets = _canonical(labels, form.canonical)
    texts: list[Sequence[str]] = [
        [value or "" for value in column] if None in column else column  # type: ignore[misc]
        for column in inputs
    ]
    repaired = list(batch.repaired)
    if labels != list(targets):
        known = {repair.number for repair in repaired}
        for at, (label, raw) in enumerate(zip(labels, targets, strict=True)):
            if label and label != raw and batch.numbers[at] not in known:
                reason = "white space around the label was cut off"
                repaired.append(Repair(batch.numbers[at], batch.lines[at], reason))
    if len(texts) == 1:
        blank = [not text or text.isspace() for text in texts[0]]
    else:
        blank = [not any(map(str.strip, row)) for row in zip(*texts, strict=True)]
    refused = form.refused(labels) if not form.counted else {}
    if not any(blank) and MISSING_LABELS.isdisjoint(labels) and not refused:
        return Usable(batch.numbers, texts, labels, [], {}, repaired)
    empty: list[tuple[int, int | None, str]] = []
    missing: dict[str, int] = {}
    kept: list[int] = []
    for at, (label, bare) in enumerate(zip(labels, blank, strict=True)):
        if label in MISSING_LABELS:
            missing[label] = missing.get(label, 0) + 1
            reason = f"no target ({label!r})" if label else "no target"
        elif label in refused:
            missing[label] = missing.get(label, 0) + 1
            reason = f"the target {shorten(label, 40)} {refused[label]}"
        elif bare:
            reason = "no inputs"
        else:
            kept.append(at)
            continue
        empty.append((batch.numbers[at], batch.lines[at], reason))
    lost = {number for number, _, _ in empty}
    return Usable(
        [batch.numbers[at] for at in kept],
        [[column[at] for at in kept] for column in texts],
        [labels[at] for at in kept],
        empty,
        missing,
        [repair for repair in repaired if repair.number not in lost],
    )


def _canonical(
    cells: Sequence[str], canonical: Callable[[str], str | None]
) -> tuple[list[str], Sequence[str]]:
    """Cells as lists of names, twice: what was cut from around a name is no repair of a row.

    A cell that is no list stays as it is, so that it is refused in its own words.
    """
    read: dict[str, str] = {}
    for cell in set(cells):
        found = None if cell and cell in MISSING_LABELS else canonical(cell)
        read[cell] = cell if found is None else found
    labels = [read[cell] for cell in cells]
    return labels, labels


def row_schema(inputs: Sequence[str], target: str) -> Any:
    """Columns of the rows. Inputs get a prefix, so that one may be called ``file`` or ``row``."""
    import pyarrow

    text = pyarrow.string()
    return pyarrow.schema(
        [
            ("file", pyarrow.int32()),
            ("row", pyarrow.int64()),
            ("origin", pyarrow.int8()),
            *((f"input.{name}", text) for name in inputs),
            ("target", text),
        ],
        metadata={"inputs": json.dumps(list(inputs)), "target": target},
    )


class _SnapshotWriter:
    def __init__(self, out: Path, summary: SnapshotSummary, form: TableForm) -> None:
        self._form = form
        self.counts: dict[str, int] = {}
        self.different: set[str] = set()
        self._codes: dict[str, int] = {}
        self._summary = summary
        self._out = out

    def __enter__(self) -> _SnapshotWriter:
        schema = row_schema(self._summary.inputs, self._summary.target)
        self._rows = RowWriter(self._out / "rows.arrow", schema)
        self._keys: IO[bytes] = (self._out / "keys.npy").open("wb")
        self._keys.write(_npy_header(0))
        self._findings = (self._out / "findings.jsonl").open("w", encoding="utf-8", newline="\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._findings.close()
        self._keys.close()
        if kind is None:
            self._rows.close()
        else:
            self._rows.abort()

    def add(
        self,
        batch: Batch,
        source: SourceFile | None,
        *,
        on_broken: Literal["drop", "fail"],
        on_empty: Literal["drop", "fail"],
    ) -> None:
        summary = self._summary
        place = source.name if source else FEEDBACK
        if batch.broken and on_broken == "fail":
            raise _refused(24, "broken", place, batch.broken[0])
        usable = sift(batch, self._form) if batch.columns else Usable([], [], [], [], {}, [])
        if usable.empty and on_empty == "fail":
            number, line, reason = usable.empty[0]
            raise _refused(25, "empty", place, BrokenRow(batch.file, number, line, reason, ""))
        summary.read += len(batch.numbers) + len(batch.broken)
        summary.broken += len(batch.broken)
        summary.empty += len(usable.empty)
        summary.repaired += len({repair.number for repair in usable.repaired})
        for label, count in usable.missing.items():
            summary.missing_targets[label] = summary.missing_targets.get(label, 0) + count
        for lost in batch.broken:
            self._find("broken", source, lost.number, lost.line, f"{lost.reason}: {lost.text}")
        for number, line, reason in usable.empty:
            self._find("empty", source, number, line, reason)
        for repair in usable.repaired:
            self._find("repaired", source, repair.number, repair.line, repair.reason)
        if usable.labels:
            self._write(batch.file, usable)

    def _find(
        self, kind: str, source: SourceFile | None, number: int, line: int | None, detail: str
    ) -> None:
        first = self._summary.first.setdefault(kind, [])
        place = source.place(number) if source else place_of(FEEDBACK, number)
        if len(first) < 20:
            first.append(place)
        finding = {"kind": kind, "file": source.name if source else FEEDBACK, "row": number}
        if source and source.is_folder:
            finding |= {"file": place, "row": None}
        finding |= {"line": line, "detail": detail}
        self._findings.write(json.dumps(finding, ensure_ascii=False) + "\n")

    def _write(self, file: int, usable: Usable) -> None:
        codes, counts = self._codes, self.counts
        if self._form.canonical:
            count_names(counts, usable.labels, self._summary.target)
        for label in usable.labels if self._form.counted else ():
            counts[label] = counts.get(label, 0) + 1
        if self._form.counted and len(counts) > len(codes):
            for label in islice(counts, len(codes), None):
                codes[label] = len(codes)
            if len(codes) > MAX_LABELS:
                num_rows = self._summary.num_rows + len(usable.labels)
                raise too_many_labels(self._summary.target, num_rows, list(codes)[:MAX_LABELS])
        num_rows = len(usable.labels)
        keys = np.empty(num_rows, KEY_DTYPE)
        exact, folded = self._form.hashes(usable.inputs, usable.labels, file, usable.numbers)
        keys["exact_hi"], keys["exact_lo"] = exact[:, 0], exact[:, 1]
        keys["folded_hi"], keys["folded_lo"] = folded[:, 0], folded[:, 1]
        if self._form.counted:
            keys["label"] = [codes[label] for label in usable.labels]
        else:
            keys["label"] = [self._form.value_code(label) for label in usable.labels]
            if len(self.different) < 2:
                self.different.update(usable.labels)
        self._keys.write(keys.tobytes())
        constant = [[file] * num_rows, usable.numbers, [int(file < 0)] * num_rows]
        self._rows.add([*constant, *usable.inputs, usable.labels])
        self._summary.num_rows += num_rows


def _refused(number: int, kind: str, place: str, row: BrokenRow) -> DataError:
    line = f", line {row.line}" if row.line else ""
    text = f": {shorten(excerpt(row.text))}" if row.text else ""
    return DataError(
        number,
        f"row {row.number}{line} is {kind} ({row.reason}){text}",
        where=place,
        expected=f"no {kind} rows, since volano.yaml says clean: {{{kind}: fail}}",
        fix=f"mend the row, or write clean: {{{kind}: drop}} to leave such rows out",
    )


def _npy_header(num_rows: int) -> bytes:
    import io

    stream = io.BytesIO()
    # numpy pads the shape's place, so that the header can be written again when it is known.
    np.lib.format.write_array_header_1_0(  # type: ignore[attr-defined,unused-ignore]
        stream,
        {
            "descr": np.lib.format.dtype_to_descr(KEY_DTYPE),
            "fortran_order": False,
            "shape": (num_rows,),
        },
    )
    return stream.getvalue()


def _write_members(out: Path, files: Sequence[SourceFile]) -> None:
    """Which file each row of a folder is: its number says nothing to a person."""
    members = {
        str(number): [path for path, _, _ in file.members]
        for number, file in enumerate(files)
        if file.members is not None
    }
    if members:
        (out / MEMBERS).write_text(json.dumps(members) + "\n", encoding="utf-8")


def _finish(out: Path, counts: dict[str, int], summary: SnapshotSummary) -> None:
    header = _npy_header(summary.num_rows)
    assert len(header) == len(_npy_header(0))
    with (out / "keys.npy").open("r+b") as stream:
        stream.write(header)
    position = {label: code for code, label in enumerate(summary.labels)}
    if summary.counted:
        _renumber(out, np.array([position[label] for label in counts], np.int32))
    labels = [{"label": label, "rows": counts[label]} for label in summary.labels]
    for name, value in (("labels.json", labels), ("summary.json", summary.as_dict())):
        text = json.dumps(value, ensure_ascii=False, indent=1)
        (out / name).write_text(text + "\n", encoding="utf-8")


def _renumber(out: Path, renumbered: np.ndarray[Any, np.dtype[np.int32]]) -> None:
    keys = np.lib.format.open_memmap(out / "keys.npy", mode="r+")
    for start in range(0, len(keys), 2**20):
        block = keys["label"][start : start + 2**20]
        keys["label"][start : start + 2**20] = renumbered[block]
    keys.flush()
