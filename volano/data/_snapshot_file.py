"""Reading a snapshot: nothing is loaded until it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from volano.data._keyed import FILE as GROUPS
from volano.data._media import Pack
from volano.data._parquet import import_pyarrow
from volano.data._snapshot import FEEDBACK, MEDIA, MEMBERS, STRATA, SnapshotSummary
from volano.data._table import member_place, place_of
from volano.errors import DataError

__all__ = ["ArrowRows", "RowIndices", "Snapshot"]

RowIndices = npt.NDArray[np.int64]


@final
class ArrowRows:
    """Columns of an Arrow IPC file, memory-mapped, by row index in any order."""

    def __init__(self, path: Path) -> None:
        pyarrow = import_pyarrow("A snapshot")
        try:
            self._reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
            sizes = [
                self._reader.get_batch(at).num_rows for at in range(self._reader.num_record_batches)
            ]
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise damaged(path, error) from None
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.num_rows = int(self._starts[-1])
        self.num_batches = len(sizes)
        self.metadata: dict[str, str] = {
            key.decode(): value.decode()
            for key, value in (self._reader.schema.metadata or {}).items()
        }

    def batch(self, at: int) -> tuple[int, Any]:
        """Index of the first row of a record batch, and the batch."""
        return int(self._starts[at]), self._reader.get_batch(at)

    def take(self, column: str, rows: RowIndices) -> list[Any]:
        """The values at rows, in their order."""
        import pyarrow

        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return []
        assert rows.min() >= 0
        assert rows.max() < self.num_rows
        order = np.argsort(rows, kind="stable")
        sorted_rows = rows[order]
        borders = np.searchsorted(sorted_rows, self._starts)
        values: list[Any] = [None] * len(rows)
        for at in range(self.num_batches):
            low, high = borders[at], borders[at + 1]
            if low == high:
                continue
            start, records = self.batch(at)
            within = pyarrow.array(sorted_rows[low:high] - start)
            found = records.column(column).take(within).to_pylist()
            for place, value in zip(order[low:high].tolist(), found, strict=True):
                values[place] = value
        return values


@final
class Snapshot:
    """Frozen rows, by index: those of the sources first, then the feedback.

    Attributes:
      summary: What went in and what did not.
      labels: In the order of their codes.
      keys: Hashes and label codes, memory-mapped, one KEY_DTYPE per row.
      groups: Of each row the hash of its group, memory-mapped; None where nothing groups rows.
      path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        try:
            fields = json.loads((path / "summary.json").read_text(encoding="utf-8"))
            fields["inputs"] = tuple(fields["inputs"])
            fields["labels"] = tuple(fields["labels"])
            fields["media"] = tuple(fields.get("media", ()))
            fields["group"] = tuple(fields.get("group", ()))
            self.summary = SnapshotSummary(**fields)
            self.keys: npt.NDArray[np.void] = np.load(path / "keys.npy", mmap_mode="r")
            self.groups: npt.NDArray[np.uint64] | None = None
            if self.summary.group:
                self.groups = np.load(path / GROUPS, mmap_mode="r")
            self._strata = np.load(path / STRATA, mmap_mode="r") if self.summary.several else None
            self._pack = Pack(path / MEDIA) if self.summary.media else None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise damaged(path, error) from None
        self.path = path
        self.rows = ArrowRows(path / "rows.arrow")
        if not self.rows.num_rows == len(self.keys) == self.summary.num_rows:
            raise damaged(path, ValueError("its files differ in their numbers of rows"))

    @classmethod
    def open(cls, path: Path) -> Self:
        """A snapshot that ``take_snapshot`` wrote into a folder.

        Raises:
          DataError: A file is missing or damaged (DATA-027).
        """
        return cls(path)

    @property
    def num_rows(self) -> int:
        return self.summary.num_rows

    @property
    def num_source_rows(self) -> int:
        return self.summary.num_source_rows

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.summary.inputs

    @property
    def target(self) -> str:
        return self.summary.target

    @property
    def labels(self) -> tuple[str, ...]:
        return self.summary.labels

    def label_rows(self) -> dict[str, int]:
        """Label -> its rows; empty where targets are no names."""
        if self.summary.several:
            text = (self.path / "labels.json").read_text(encoding="utf-8")
            return {item["label"]: item["rows"] for item in json.loads(text)}
        if not self.summary.counted:
            return {}
        rows = np.bincount(self.keys["label"], minlength=len(self.labels)).tolist()
        return dict(zip(self.labels, rows, strict=True))

    def codes(self, rows: RowIndices) -> npt.NDArray[np.int32]:
        """Label codes at rows."""
        return np.ascontiguousarray(self.keys["label"][rows])

    @property
    def num_strata(self) -> int:
        """Classes by which rows are held out."""
        if self.summary.several:
            return len(self.labels) + 1
        return len(self.labels) if self.summary.counted else 1

    def strata(self, rows: RowIndices | slice) -> npt.NDArray[np.int32]:
        """The class that each row is held out by: its label, or its rarest one, or 0 for all."""
        if self._strata is not None:
            return np.ascontiguousarray(self._strata[rows])
        labels = self.keys["label"][rows]
        return np.ascontiguousarray(labels) if self.summary.counted else np.zeros_like(labels)

    def column(self, name: str, rows: RowIndices) -> list[str]:
        """The texts of an input or of the target, in the order of ``rows``."""
        return self.rows.take(self._stored(name), rows)

    def values(self, name: str, rows: RowIndices) -> list[Any]:
        """What a fitted column encodes: texts, or the bytes of files, read when they are used."""
        found = self.column(name, rows)
        if self._pack is None or name not in self.summary.media:
            return found
        return self._pack.get(found)

    def batches(
        self, rows: RowIndices, columns: Sequence[str], *, num_rows: int = 4096
    ) -> Iterator[dict[str, list[Any]]]:
        """Rows in their order, ``num_rows`` at a time, as column -> what is encoded."""
        for start in range(0, len(rows), num_rows):
            part = rows[start : start + num_rows]
            yield {name: self.values(name, part) for name in columns}

    def places(self, rows: RowIndices) -> list[str]:
        """Where rows came from: ``file row N``, ``feedback row N``, or a file of a folder."""
        return [
            name if number is None else place_of(name, number)
            for name, number in self.origins(rows)
        ]

    def origins(self, rows: RowIndices) -> list[tuple[str, int | None]]:
        """The file that each row came from, and its number there; None where the file is a row."""
        names = [file["name"] for file in self.summary.files]
        found: list[tuple[str, int | None]] = []
        for file, row in zip(
            self.rows.take("file", rows), self.rows.take("row", rows), strict=True
        ):
            members = self._members.get(str(file))
            if members is not None:
                found.append((member_place(names[file], members[row - 1]), None))
            else:
                found.append((names[file] if file >= 0 else FEEDBACK, row))
        return found

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        path = self.path / MEMBERS
        try:
            found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}  # no folders, or a snapshot of before
        except (OSError, ValueError) as error:
            raise damaged(path, error) from None
        return found

    def _stored(self, name: str) -> str:
        if name == self.target:
            return "target"
        assert name in self.inputs, name
        return f"input.{name}"


def damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        27,
        f"the frozen rows are incomplete or damaged ({str(error).splitlines()[0].rstrip('.')})",
        where=str(path),
        expected="files as Volano wrote them",
        fix="remove the folder and run: volano turn",
    )
