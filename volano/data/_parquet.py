"""Parquet, by way of pyarrow, which the base install does not have."""

from __future__ import annotations

import base64
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from volano.data._encoding import damaged_gzip
from volano.data._jsonl import as_text
from volano.data._media import is_media
from volano.data._sources import SourceFile, unreadable
from volano.data._table import Batch, FileReport, Meter, Repair, pick_columns
from volano.errors import DataError

__all__ = ["import_pyarrow", "read_parquet"]

_BATCH_ROWS = 8192
_BATCH_BYTES = 32 * 2**20


def import_pyarrow(purpose: str) -> Any:
    """pyarrow, or an error that says how to get it.

    Raises:
      DataError: It is not installed (DATA-006).
    """
    try:
        import pyarrow
    except ImportError:
        raise DataError(
            6,
            f"{purpose} needs pyarrow, which is not installed",
            expected="the training extra",
            fix='pip install "volano[train]"',
        ) from None
    return pyarrow


def read_parquet(
    source: SourceFile,
    file: int,
    columns: Sequence[str] | None,
    report: FileReport,
    meter: Meter,
) -> Iterator[Batch]:
    """The rows of a Parquet file, by column, every value as text.

    Raises:
      DataError: pyarrow is missing (DATA-006), the file is damaged or no Parquet (DATA-011), or as
        ``pick_columns``.
    """
    pyarrow = import_pyarrow(f"{source.name} is Parquet, and reading it")
    from pyarrow import parquet

    try:
        with ExitStack() as stack:
            path = _unzipped(source, stack) if source.gzipped else source.path
            # buffer_size: read a column in pieces, not a whole row group at once.
            opened = stack.enter_context(parquet.ParquetFile(path, buffer_size=2**20))
            names = list(opened.schema_arrow.names)
            picked = pick_columns(names, columns, where=source.name)
            wanted = [name for name, _ in picked]
            total = opened.metadata.num_rows
            number = 1
            # Photos in a table make rows of a megabyte.
            row_bytes = sum(
                opened.metadata.row_group(at).total_byte_size
                for at in range(opened.metadata.num_row_groups)
            ) // max(total, 1)
            step = max(16, min(_BATCH_ROWS, _BATCH_BYTES // max(row_bytes, 1)))
            for records in opened.iter_batches(batch_size=step, columns=wanted):
                rows = range(number, number + records.num_rows)
                batch = Batch(file, tuple(wanted), rows, [None] * len(rows), [])
                for name in wanted:
                    batch.columns.append(_column(records.column(name), batch))
                number += records.num_rows
                report.num_rows += len(rows)
                report.num_repaired += len(batch.repaired)
                meter(source.size_bytes * (number - 1) // max(total, 1))
                yield batch
    except pyarrow.ArrowInvalid as error:
        raise _damaged(source, error, report) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged_gzip(source.name, error, report.num_rows) from None
    except OSError as error:
        # Arrow reports damaged pages as OSError without an errno.
        if error.errno is None:
            raise _damaged(source, error, report) from None
        raise unreadable(source.name, error) from None


def _damaged(source: SourceFile, error: Exception, report: FileReport) -> DataError:
    return DataError(
        11,
        f"the Parquet file cannot be read beyond row {report.num_rows:,} "
        f"({str(error).splitlines()[0].rstrip('.')}); none of its rows is used",
        where=source.name,
        expected="a complete Parquet file",
        fix="copy or write the file again",
    )


def _unzipped(source: SourceFile, stack: ExitStack) -> Path:
    # Parquet is read from its end, which a gzip stream cannot do.
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="volano-")))
    with gzip.open(source.path) as zipped, (folder / "table.parquet").open("wb") as plain:
        shutil.copyfileobj(zipped, plain, 2**20)
    return folder / "table.parquet"


def _column(array: Any, batch: Batch) -> Sequence[str | None]:
    import pyarrow

    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        values = array.cast(pyarrow.binary()).to_pylist()
    kind = array.type
    files = _files(values)
    if files is not None:
        return files
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        values = [as_text(v) if not isinstance(v, bytes) else v for v in values]
    for at, value in enumerate(values):
        if isinstance(value, bytes):
            try:
                values[at] = value.decode()
            except UnicodeDecodeError:
                values[at] = value.decode("latin-1")
                batch.repaired.append(
                    Repair(batch.numbers[at], None, "bytes that are not UTF-8 were read as Latin-1")
                )
        if value and "\0" in values[at]:
            values[at] = values[at].replace("\0", "")
            batch.repaired.append(Repair(batch.numbers[at], None, "NUL bytes were removed"))
    return values


def _files(values: list[Any]) -> list[str | None] | None:
    """Photos and recordings as ``data:`` URIs; None when the values are none.

    They come as bytes, or as ``{bytes, path}``, in which datasets of the Hugging Face hub have
    them.
    """
    first = next((value for value in values if value), None)
    if isinstance(first, dict) and "bytes" in first:
        values = [value["bytes"] if value else None for value in values]
        first = next((value for value in values if value), None)
    if not isinstance(first, bytes) or not is_media(first[:64]):
        return None
    return [
        None if value is None else "data:;base64," + base64.b64encode(value).decode("ascii")
        for value in values
    ]
