"""Golden rows: the ones that judge bundles and never train one, in a file of their own.

golden.arrow is an Arrow IPC file with the inputs, the target as text, where each row came from,
and its hashes, so that it needs nothing else for as long as the wheel lives. Photos and recordings
of the rows are in golden.pack beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, final

import numpy as np

from volano.columns import FittedColumn
from volano.data._form import TableForm
from volano.data._keys import Hashes, exact_hashes, folded_hashes
from volano.data._media import Pack, PackWriter, media_columns
from volano.data._parquet import import_pyarrow
from volano.data._read import no_rows, read_batches
from volano.data._row_writer import RowWriter
from volano.data._snapshot import disk_error, packed, packing, sift
from volano.data._snapshot_file import ArrowRows, RowIndices, Snapshot, damaged
from volano.data._sources import SourceFile
from volano.data._table import ReadReport, plain_batch

__all__ = ["GoldenRows", "TestSummary", "golden_from_test", "write_rows"]

_WRITE_ROWS = 8192


def _schema(
    inputs: Sequence[str],
    target: str,
    held_out: bool,
    order: Mapping[str, Any] | None = None,
    media: Sequence[str] = (),
) -> Any:
    import pyarrow

    return pyarrow.schema(
        [
            *((f"input.{name}", pyarrow.string()) for name in inputs),
            ("target", pyarrow.string()),
            ("place", pyarrow.string()),
            ("exact", pyarrow.binary(16)),
            ("folded", pyarrow.binary(16)),
        ],
        metadata={
            "inputs": json.dumps(list(inputs)),
            "target": target,
            "held_out": json.dumps(held_out),
            # Only where there is any, so that tables without have the bytes that they had.
            **({"media": json.dumps(list(media))} if media else {}),
            **({"order": json.dumps(dict(order))} if order is not None else {}),
        },
    )


def _hash_columns(exact: Hashes, folded: Hashes) -> list[list[bytes]]:
    return [[pair.tobytes() for pair in hashes] for hashes in (exact, folded)]


def write_rows(
    snapshot: Snapshot,
    rows: RowIndices,
    path: Path,
    *,
    held_out: bool = True,
    order: Mapping[str, Any] | None = None,
) -> None:
    """Freeze rows of a snapshot into a file that stands alone.

    Args:
      snapshot: Where the rows are.
      rows: Indices, written in this order.
      path: The file; an existing one is replaced at the end, or not at all.
      held_out: Whether the rows also come with the training data and must be left out of it.
      order: Of rows in time order, what `GoldenRows.order` is.
    Raises:
      DataError: The disk is full or not writable (DATA-013).
    """

    media = snapshot.summary.media
    if media:
        try:
            pack = PackWriter(path.with_suffix(""))
            for name in media:
                for value in snapshot.values(name, rows):
                    if value is not None:
                        pack.add(value)
            pack.close()
        except OSError as error:
            raise disk_error(path.parent, error) from None

    def batches() -> Iterator[list[Sequence[Any]]]:
        for start in range(0, len(rows), _WRITE_ROWS):
            part = rows[start : start + _WRITE_ROWS]
            keys = snapshot.keys[part]
            columns: list[Sequence[Any]] = [
                snapshot.column(name, part) for name in (*snapshot.inputs, snapshot.target)
            ]
            hashes = _hash_columns(exact_hashes(keys), folded_hashes(keys))
            yield [*columns, snapshot.places(part), *hashes]

    _write(path, _schema(snapshot.inputs, snapshot.target, held_out, order, media), batches())


def _write(path: Path, schema: Any, batches: Iterator[list[Sequence[Any]]]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = RowWriter(partial, schema)
        try:
            for columns in batches:
                writer.add(columns)
        except BaseException:
            writer.abort()
            raise
        writer.close()
        partial.replace(path)
    except OSError as error:
        raise disk_error(path.parent, error) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@dataclass
class TestSummary:
    """What was found in a test table.

    Attributes:
      num_rows: Golden rows made of it.
      read: Rows in it.
      broken: Rows that could not be parsed.
      empty: Rows without inputs or without a target.
      repaired: Rows in which something was put right.
      first: Kind -> places of the first such rows, 20 at the most.
    """

    __test__ = False  # not a test case of pytest's

    num_rows: int = 0
    read: int = 0
    broken: int = 0
    empty: int = 0
    repaired: int = 0
    first: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def golden_from_test(
    files: Sequence[SourceFile],
    *,
    inputs: Sequence[str],
    target: str,
    out: Path,
    kinds: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    plain: Mapping[str, Callable[[str], str]] | None = None,
    order: Mapping[str, Any] | None = None,
) -> TestSummary:
    """Freeze a test table as it is: every row that can be read, repeated ones too.

    Args:
      files: From ``resolve``.
      inputs: Columns to predict from.
      target: Column to predict.
      out: The file to write, ``golden.arrow``.
      kinds: Column -> type, for all but texts and a target of names.
      options: The target's, for types that read cells by them.
      plain: Column -> what makes its cells such as all later steps read them.
      order: Of rows in time order, what `GoldenRows.order` is.
    Raises:
      DataError: As ``read_rows``; no row can be used (DATA-020), or the disk is full (DATA-013).
    """
    import_pyarrow("Freezing golden rows")
    form = TableForm.of(inputs, target, kinds or {}, options)
    report = ReadReport()
    summary = TestSummary()

    def note(kind: str, file: SourceFile, number: int) -> None:
        first = summary.first.setdefault(kind, [])
        if len(first) < 20:
            first.append(file.place(number))

    def batches() -> Iterator[list[Sequence[Any]]]:
        for batch in read_batches(files, columns=[*inputs, target], report=report):
            summary.read += len(batch.numbers) + len(batch.broken)
            file = files[batch.file]
            batch = plain_batch(batch, plain or {})
            if packer:
                batch = packed(packer, batch, file.base, report.files[batch.file])
            for lost in batch.broken:
                note("broken", file, lost.number)
            if not batch.columns:
                continue
            usable = sift(batch, form)
            summary.empty += len(usable.empty)
            summary.num_rows += len(usable.labels)
            summary.repaired += len({repair.number for repair in usable.repaired})
            for number, _, _ in usable.empty:
                note("empty", file, number)
            for repair in usable.repaired:
                note("repaired", file, repair.number)
            places = [file.place(number) for number in usable.numbers]
            hashes = _hash_columns(
                *form.hashes(usable.inputs, usable.labels, batch.file, usable.numbers)
            )
            yield [*usable.inputs, usable.labels, places, *hashes]
        if not summary.num_rows:
            raise no_rows(files, report, summary.empty)

    media = media_columns(kinds or {}, inputs)
    # Golden rows are judged by for ever: each file is read to its end before it becomes one.
    with packing(out.with_suffix(""), media, thorough=True) as packer:
        _write(out, _schema(inputs, target, False, order, tuple(media)), batches())
    summary.broken = report.num_broken
    summary.notes = report.notes
    return summary


@final
class GoldenRows:
    """Frozen golden rows.

    Attributes:
      num_rows: How many.
      inputs: Names of the inputs.
      target: Name of the target.
      held_out: Whether they were taken from the training data (and not from a test table).
      order: Of rows in time order: ``date``, the column of moments or None; ``context``, how many
        of the first rows are there to look back at only; ``span``, first and last moment of the
        others, None of a test table. None for rows without order.
      exact: Hashes of the inputs, shape (num_rows, 2), uint64.
      folded: Hashes of the inputs without case, space and punctuation, the same shape.
    """

    def __init__(self, path: Path) -> None:
        self._rows = ArrowRows(path)
        try:
            metadata = self._rows.metadata
            self.inputs: tuple[str, ...] = tuple(json.loads(metadata["inputs"]))
            self.target = metadata["target"]
            self.held_out: bool = json.loads(metadata["held_out"])
            self.order: dict[str, Any] | None = json.loads(metadata.get("order", "null"))
            self.num_rows = self._rows.num_rows
            self.media: tuple[str, ...] = tuple(json.loads(metadata.get("media", "[]")))
            self._pack = Pack(path.with_suffix("")) if self.media else None
            self.exact, self.folded = (self._hashes(name) for name in ("exact", "folded"))
        except (KeyError, ValueError, OSError) as error:
            raise damaged(path, error) from None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Golden rows that ``write_rows`` or ``golden_from_test`` wrote.

        Raises:
          DataError: The file is missing or damaged (DATA-027).
        """
        return cls(path)

    @property
    def targets(self) -> list[str]:
        """The right labels, as text."""
        return self._rows.take("target", self._all())

    @property
    def places(self) -> list[str]:
        """Where each row came from, as ``file row N``."""
        return self._rows.take("place", self._all())

    def column(self, name: str) -> list[str]:
        """The texts of an input."""
        assert name in self.inputs, name
        return self._rows.take(f"input.{name}", self._all())

    def values(self, name: str, column: FittedColumn | None = None) -> list[Any]:
        """What a fitted column encodes: texts, or the bytes of files, read when they are used."""
        del column  # of forecasts it decides how much is known
        found = self.column(name)
        if self._pack is None or name not in self.media:
            return found
        return self._pack.get(found)

    def _all(self) -> RowIndices:
        return np.arange(self.num_rows, dtype=np.int64)

    def _hashes(self, name: str) -> Hashes:
        joined = b"".join(self._rows.take(name, self._all()))
        return np.frombuffer(joined, "<u8").reshape(-1, 2)
