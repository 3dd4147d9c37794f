"""Rows into an Arrow IPC file, with memory bounded by rows and by characters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

__all__ = ["RowWriter"]

_BATCH_ROWS = 65_536
_BATCH_CHARACTERS = 64 * 2**20


@final
class RowWriter:
    """Rows to an Arrow file, in batches whose borders do not depend on how they came in."""

    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow

        self._pyarrow = pyarrow
        self._schema = schema
        self._sink = path.open("wb")
        self._writer = pyarrow.ipc.new_file(self._sink, schema)
        self._pending: list[list[Any]] = [[] for _ in schema]
        self._characters = 0

    def add(self, columns: Sequence[Sequence[Any]]) -> None:
        for pending, values in zip(self._pending, columns, strict=True):
            pending.extend(values)
            if values and isinstance(values[0], str):
                self._characters += sum(map(len, values))
        while len(self._pending[0]) >= _BATCH_ROWS:
            self._flush(_BATCH_ROWS)
        if self._characters > _BATCH_CHARACTERS:
            self._flush(len(self._pending[0]))

    def _flush(self, num_rows: int) -> None:
        arrays = [
            self._pyarrow.array(pending[:num_rows], type=column.type)
            for pending, column in zip(self._pending, self._schema, strict=True)
        ]
        for pending in self._pending:
            del pending[:num_rows]
        self._characters = 0
        self._writer.write_batch(self._pyarrow.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        if self._pending[0]:
            self._flush(len(self._pending[0]))
        self._writer.close()
        self._sink.close()

    def abort(self) -> None:
        """Let go of the file; what was written is of no use."""
        self._sink.close()
