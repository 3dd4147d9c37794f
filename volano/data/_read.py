"""Rows from files of any known format, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from volano.data._delimited import read_delimited
from volano.data._folder import read_folder
from volano.data._jsonl import read_jsonl
from volano.data._parquet import read_parquet
from volano.data._sources import SourceFile
from volano.data._table import Batch, BrokenRow, FileReport, Meter, ReadReport, Row
from volano.errors import DataError

__all__ = ["Sample", "read_batches", "read_rows", "sample"]

SAMPLE_CHARACTERS = 64 * 2**20

Reader = Callable[[SourceFile, int, Sequence[str] | None, FileReport, Meter], Iterator[Batch]]
_READERS: dict[str, Reader] = {
    "csv": read_delimited,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "tsv": read_delimited,
}


def read_batches(
    files: Sequence[SourceFile],
    *,
    columns: Sequence[str] | None,
    report: ReadReport,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Batch]:
    """The rows of all files in order, by column, about a megabyte at a time."""
    total = sum(file.size_bytes for file in files)
    before = 0
    for index, source in enumerate(files):
        found = FileReport(source.name, source.format, size_bytes=source.size_bytes)
        if source.note:
            found.notes.append(source.note)
        report.files.append(found)

        def meter(done: int, before: int = before) -> None:
            if progress:
                progress(min(before + done, total), total)

        if source.size_bytes == 0:
            if len(files) == 1:
                raise _empty(source)
            found.notes.append("is empty")
            continue
        has_header = False
        batches = (
            read_folder(source.members, source.format, index, columns, found, meter)
            if source.members is not None
            else _READERS[source.format](source, index, columns, found, meter)
        )
        for batch in batches:
            has_header = True
            yield batch
        if not has_header and source.format in ("csv", "tsv", "jsonl"):
            if len(files) == 1:
                raise _empty(source)
            found.notes.append("holds nothing but blank lines")
        elif not found.num_rows and not found.num_broken:
            found.notes.append("has no rows")
        before += source.size_bytes


def _empty(source: SourceFile) -> DataError:
    return DataError(
        7,
        "the file is empty",
        where=source.name,
        expected="a line with the names of the columns, and rows below it",
        fix=f"head -c 200 {source.name}",
    )


def read_rows(
    files: Sequence[SourceFile],
    *,
    columns: Sequence[str] | None = None,
    report: ReadReport | None = None,
) -> Iterator[Row | BrokenRow]:
    """The rows of all files in order, those that cannot be read in their places.

    Reads as a stream: memory does not depend on the size of the files.

    Args:
      files: From ``resolve``.
      columns: The ones to read; all when None.
      report: Is filled in as reading goes on, and complete at the end.
    Raises:
      DataError: Not readable (DATA-005), Parquet without pyarrow (DATA-006), empty (DATA-007), a
        column is missing (DATA-008) or there twice (DATA-009), a damaged gzip (DATA-010) or
        Parquet file (DATA-011), or a file that is not what its name says (DATA-012).
    """
    for batch in read_batches(files, columns=columns, report=report or ReadReport()):
        broken = iter(batch.broken)
        upcoming = next(broken, None)
        values = zip(*batch.columns, strict=True) if batch.columns else iter(())
        for number, line, row in zip(batch.numbers, batch.lines, values, strict=True):
            while upcoming and upcoming.number < number:
                yield upcoming
                upcoming = next(broken, None)
            named = dict(zip(batch.names, row, strict=True))
            yield Row(batch.file, number, line, named)
        if upcoming:
            yield upcoming
            yield from broken


@dataclass(frozen=True)
class Sample:
    """The first rows of a table, enough to guess what its columns are.

    Attributes:
      columns: Names in the order of the file.
      rows: Column -> text.
      notes: What a person should know about the files.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str | None]]
    notes: list[str]


def sample(files: Sequence[SourceFile], num_rows: int = 1000) -> Sample:
    """The first rows of the first file that has any, for ``volano init``.

    Raises:
      DataError: As ``read_rows``; no file has rows (DATA-020).
    """
    report = ReadReport()
    columns: tuple[str, ...] = ()
    rows: list[dict[str, str | None]] = []
    characters = 0
    if files and files[0].is_folder:
        # Sorted by class, the first rows of a folder are of one class alone: every so many.
        whole = list(read_batches(files[:1], columns=None, report=report))
        columns = whole[0].names if whole else ()
        every = [row for batch in whole for row in zip(*batch.columns, strict=True)]
        step = max(1, -(-len(every) // num_rows))
        return Sample(
            columns, [dict(zip(columns, row, strict=True)) for row in every[::step]], report.notes
        )
    for batch in read_batches(files, columns=None, report=report):
        if columns and batch.names != columns:
            break
        columns = columns or batch.names
        for values in zip(*batch.columns, strict=True):
            rows.append(dict(zip(batch.names, values, strict=True)))
            characters += sum(len(value) for value in values if value)
            # Photos within a table: some of them say as much as all.
            if len(rows) == num_rows or characters > SAMPLE_CHARACTERS:
                break
        if len(rows) == num_rows or characters > SAMPLE_CHARACTERS:
            break
    if not rows:
        raise no_rows(files, report)
    notes = report.notes
    if report.num_broken:
        notes.append(f"{report.num_broken:,} of the first rows cannot be read")
    return Sample(columns, rows, notes)


def no_rows(files: Sequence[SourceFile], report: ReadReport, num_empty: int = 0) -> DataError:
    lost = [
        f"{count:,} {kind}"
        for count, kind in ((report.num_broken, "broken"), (num_empty, "empty"))
        if count
    ]
    return DataError(
        20,
        "no row can be used" + (f": {' and '.join(lost)}" if lost else ": there are none"),
        where=", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else ""),
        expected="rows with inputs and a target"
        if num_empty
        else "rows below the names of the columns",
        fix=f"{'ls -l' if files[0].is_folder else 'head -n 5'} {files[0].name}"
        if files
        else "add rows",
    )
