"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

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
    missing_column,
)

__all__ = ["as_text", "read_jsonl"]


def as_text(value: object) -> str | None:
    """A value as the text that stands for it, the same in every run.

    Example:
      >>> [as_text(value) for value in ("a", 1, 0.1, True, None, {"b": 1, "a": 2})]
      ['a', '1', '0.1', 'true', None, '{"b": 1, "a": 2}']
    """
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def read_jsonl(
    source: SourceFile,
    file: int,
    columns: Sequence[str] | None,
    report: FileReport,
    meter: Meter,
) -> Iterator[Batch]:
    """The rows of a JSON Lines file, by column; a key that a row lacks is None.

    Raises:
      DataError: As ``read_blocks``; a wanted key is in no row of the first block (DATA-008).
    """
    names: tuple[str, ...] | None = None
    number, line_before = 1, 0
    late: set[str] = set()
    for block in read_blocks(source, report, meter):
        rows, batch = _parse(block, file, number, line_before)
        number += len(rows) + len(batch.broken)
        line_before += len(block.lines)
        seen = dict.fromkeys(key for row in rows for key in row)
        if names is None and rows:
            names = tuple(seen) if columns is None else tuple(columns)
            for name in names:
                if name not in seen:
                    raise missing_column(name, seen, where=source.name)
        if columns is None and names is not None:
            for key in seen.keys() - set(names) - late:
                late.add(key)
                report.notes.append(f"the key {key!r} comes late and was left out")
        batch.names = names or ()
        batch.columns = [[as_text(row.get(name)) for row in rows] for name in batch.names]
        report.num_rows += len(rows)
        report.num_broken += len(batch.broken)
        _mend_text(batch)
        report.num_repaired += len(batch.repaired)
        yield batch


def _parse(
    block: LineBlock, file: int, number: int, line_before: int
) -> tuple[list[dict[str, Any]], Batch]:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    lines: list[int] = []
    broken: list[BrokenRow] = []
    repaired: list[Repair] = []
    for at, text in enumerate(block.lines):
        line = line_before + at + 1
        reason = None
        row: Any = None
        if at in block.oversize:
            reason = f"a row longer than {MAX_CELL_BYTES // 2**20} MB"
        else:
            try:
                row = json.loads(text)
            except RecursionError:
                reason = "values nested too deeply"
            except ValueError as error:
                if not text.strip():
                    continue  # a blank line is no row
                reason = f"not JSON ({error})"
        if reason is None and not isinstance(row, dict):
            reason = f"a {_kind(row)} where an object in {{}} should be"
        if reason is None:
            rows.append(row)
            numbers.append(number)
            lines.append(line)
            if at in block.repaired:
                repaired.append(Repair(number, line, block.repaired[at]))
        else:
            broken.append(BrokenRow(file, number, line, reason, excerpt(text)))
        number += 1
    return rows, Batch(file, (), numbers, lines, [], broken, repaired)


def _kind(value: object) -> str:
    names = {str: "text", list: "list", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _mend_text(batch: Batch) -> None:
    """JSON can escape what no text may hold: half of a surrogate pair, and NUL."""
    for values in batch.columns:
        assert isinstance(values, list)
        joined = "".join(value for value in values if value)
        if "\0" not in joined:
            try:
                joined.encode()
                continue
            except UnicodeEncodeError:
                pass
        for at, value in enumerate(values):
            if value is None:
                continue
            mended = value.encode("utf-8", "replace").decode().replace("\0", "")
            if mended != value:
                values[at] = mended
                batch.repaired.append(
                    Repair(batch.numbers[at], batch.lines[at], "characters that are none were cut")
                )
