"""CSV and TSV in blocks, with recovery after quotes that are never closed.

The csv module does the parsing. What it cannot do is notice that an unclosed quote has swallowed
the rest of the file, so a row that goes over several lines is only believed when its quotes are
strictly right, it has the header's number of fields, and it ends within MAX_ROW_LINES. Otherwise
its first line alone is broken, and reading goes on with the line after it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from volano.data._encoding import LineBlock, read_blocks
from volano.data._sources import SourceFile
from volano.data._table import (
    MAX_CELL_BYTES,
    Batch,
    BrokenRow,
    FileReport,
    Meter,
    Repair,
    excerpt,
    pick_columns,
)

__all__ = ["read_delimited"]

MAX_ROW_LINES = 1000
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_TOO_LONG = f"a row longer than {MAX_CELL_BYTES // 2**20} MB"
_UNCLOSED = "a quote is opened and never rightly closed"


@dataclass(slots=True)
class _Parsed:
    """Rows of a block: where each begins and ends, and its fields or the reason it has none."""

    spans: list[tuple[int, int]]
    rows: list[list[str] | str]
    consumed: int


def read_delimited(
    source: SourceFile,
    file: int,
    columns: Sequence[str] | None,
    report: FileReport,
    meter: Meter,
) -> Iterator[Batch]:
    """The rows of a CSV or TSV file, by column.

    Raises:
      DataError: As ``read_blocks`` and ``pick_columns``.
    """
    if csv.field_size_limit() < MAX_CELL_BYTES:
        csv.field_size_limit(MAX_CELL_BYTES)  # for the process; never lowered
    header: _Header | None = None
    number, line_before = 1, 0  # of the next row; lines of the file before this block
    pending = LineBlock([])
    for block in read_blocks(source, report, meter):
        block = _joined(pending, block)
        start = 0
        if header is None:
            found = _read_header(block, source, columns, report)
            if found is None and not block.final and len(block.lines) < MAX_ROW_LINES:
                pending = block
                continue
            if found is None:
                return
            header, start = found
        parsed = _parse(block, start, header.delimiter, header.width)
        batch = _batch(block, parsed, header, file, number, line_before)
        number += len(batch.numbers) + len(batch.broken)
        line_before += parsed.consumed
        pending = _tail(block, parsed.consumed)
        report.num_rows += len(batch.numbers)
        report.num_broken += len(batch.broken)
        report.num_repaired += len(batch.repaired)
        yield batch


@dataclass(slots=True)
class _Header:
    delimiter: str
    width: int
    picked: list[tuple[str, int]]


def _joined(pending: LineBlock, block: LineBlock) -> LineBlock:
    if not pending.lines:
        return block
    shift = len(pending.lines)
    return LineBlock(
        pending.lines + block.lines,
        pending.repaired | {at + shift: reason for at, reason in block.repaired.items()},
        pending.oversize | {at + shift for at in block.oversize},
        block.final,
    )


def _tail(block: LineBlock, consumed: int) -> LineBlock:
    return LineBlock(
        block.lines[consumed:],
        {at - consumed: reason for at, reason in block.repaired.items() if at >= consumed},
        {at - consumed for at in block.oversize if at >= consumed},
    )


def _read_header(
    block: LineBlock, source: SourceFile, columns: Sequence[str] | None, report: FileReport
) -> tuple[_Header, int] | None:
    """The header and the line after it; None when the block has nothing but blank lines."""
    start = 0
    while start < len(block.lines) and not block.lines[start].strip():
        start += 1
    if start == len(block.lines):
        return None
    expected = "\t" if source.format == "tsv" else ","
    declared = block.lines[start].strip().lower()
    if len(declared) == 5 and declared.startswith("sep=") and start + 1 < len(block.lines):
        # Excel's own way to name the delimiter: a line such as "sep=;" before the header.
        expected, start = declared[4], start + 1
    readings: dict[str, tuple[list[str], int]] = {}
    for delimiter in dict.fromkeys((expected, *_DELIMITERS)):
        reader = csv.reader(block.lines[start : start + MAX_ROW_LINES], delimiter=delimiter)
        names = [name.strip() for name in next(reader)]
        readings[delimiter] = (names, start + reader.line_num)
    chosen = expected
    if columns is not None:
        fitting = [d for d, (names, _) in readings.items() if set(columns) <= set(names)]
        chosen = fitting[0] if fitting else chosen
    if chosen == expected and len(readings[expected][0]) == 1:
        widest = max(readings, key=lambda delimiter: len(readings[delimiter][0]))
        if len(readings[widest][0]) > 1 and (
            columns is None or not set(columns) <= set(readings[expected][0])
        ):
            chosen = widest
    names, after = readings[chosen]
    if chosen != expected and chosen in _DELIMITERS:
        report.notes.append(f"its columns are separated by {_DELIMITERS[chosen]}")
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        report.notes.append(f"has more than one column named {', '.join(map(repr, repeated))}")
    return _Header(chosen, len(names), pick_columns(names, columns, where=source.name)), after


def _parse(block: LineBlock, start: int, delimiter: str, width: int) -> _Parsed:
    lines = block.lines
    if not block.oversize:
        # The usual case at the speed of C: each line is a row. The line that is added shows
        # whether the last row was closed; if it was, as many rows as lines proves the rest.
        try:
            rows = list(csv.reader([*lines[start:], "x"], delimiter=delimiter))
        except csv.Error:
            rows = []
        if len(rows) == len(lines) - start + 1 and rows[-1] == ["x"]:
            rows.pop()
            spans = [(at, at + 1) for at in range(start, len(lines))]
            return _Parsed(spans, list[list[str] | str](rows), len(lines))
    return _parse_slowly(block, start, delimiter, width)


def _parse_slowly(block: LineBlock, start: int, delimiter: str, width: int) -> _Parsed:
    lines = block.lines
    spans: list[tuple[int, int]] = []
    rows: list[list[str] | str] = []
    at = begin = start

    def add(end: int, row: list[str] | str) -> None:
        nonlocal begin
        spans.append((begin, end))
        rows.append(row)
        begin = end

    def feed() -> Iterator[str]:
        # What csv.reader asks for; `at` tells how far it got, since it never reads ahead.
        nonlocal at
        while at < len(lines) and at < begin + MAX_ROW_LINES and at not in block.oversize:
            at += 1
            yield lines[at - 1]

    while begin < len(lines):
        at = begin
        if begin in block.oversize:
            add(begin + 1, _TOO_LONG)
            continue
        try:
            for fields in csv.reader(feed(), delimiter=delimiter, strict=True):
                if at - begin > 1 and len(fields) != width:
                    add(begin + 1, _UNCLOSED)
                    break
                add(at, fields)
        except csv.Error as error:
            unfinished = at == len(lines) and at - begin < MAX_ROW_LINES
            if unfinished and not block.final and "unexpected end" in str(error):
                break
            add(begin + 1, _lone_line(lines[begin], delimiter, width))
    return _Parsed(spans, rows, begin)


def _lone_line(line: str, delimiter: str, width: int) -> list[str] | str:
    """A line that is no row by the strict rules: its fields by the lax ones, or what is wrong."""
    try:
        rows = list(csv.reader([line, "x"], delimiter=delimiter))
    except csv.Error:
        return _TOO_LONG
    if len(rows) == 2 and rows[1] == ["x"]:
        return rows[0]
    plain = line.rstrip("\r\n").split(delimiter)
    # Tabs do not occur in text, so with them a lone quote is just a character.
    return plain if delimiter == "\t" and len(plain) == width else _UNCLOSED


def _batch(
    block: LineBlock,
    parsed: _Parsed,
    header: _Header,
    file: int,
    number: int,
    line_before: int,
) -> Batch:
    names = tuple(name for name, _ in header.picked)
    rows, spans, width = parsed.rows, parsed.spans, header.width
    if not block.repaired and set(map(len, rows)) <= {width} and str not in set(map(type, rows)):
        by_column = list(zip(*rows, strict=True)) or [()] * width
        lines: Sequence[int] = (
            range(line_before + spans[0][0] + 1, line_before + spans[-1][1] + 1)
            if spans and len(spans) == spans[-1][1] - spans[0][0]
            else [line_before + begin + 1 for begin, _ in spans]
        )
        return Batch(
            file,
            names,
            range(number, number + len(rows)),
            lines,
            [by_column[index] for _, index in header.picked],
        )
    batch = Batch(file, names, [], [], [])
    numbers: list[int] = []
    starts: list[int] = []
    kept: list[list[str]] = []
    for (begin, end), row in zip(spans, rows, strict=True):
        line = line_before + begin + 1
        if isinstance(row, list):
            if not row or (width > 1 and len(row) == 1 and not row[0].strip()):
                continue  # a blank line is no row
            if len(row) > width and not any(row[width:]):
                batch.repaired.append(Repair(number, line, "empty fields at its end were left out"))
                row = row[:width]
            elif len(row) != width:
                some = "field" if len(row) == 1 else "fields"
                row = f"{len(row)} {some} where the header has {width}"
        if isinstance(row, str):
            batch.broken.append(BrokenRow(file, number, line, row, excerpt(block.lines[begin])))
        else:
            numbers.append(number)
            starts.append(line)
            kept.append(row)
            for at in range(begin, end) if block.repaired else ():
                if at in block.repaired:
                    batch.repaired.append(Repair(number, line, block.repaired[at]))
                    break
        number += 1
    by_column = list(zip(*kept, strict=True)) or [()] * width
    batch.numbers, batch.lines = numbers, starts
    batch.columns = [by_column[index] for _, index in header.picked]
    return batch
