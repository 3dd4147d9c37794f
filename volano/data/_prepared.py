"""Encoded rows on disk: flat arrays that training maps into memory instead of reading."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from volano.columns import (
    Encoded,
    EncodedSplit,
    FittedColumn,
    Ragged,
    Windows,
    column_kind,
    media_kind,
)
from volano.data._came import Came
from volano.data._snapshot_file import RowIndices, Snapshot

__all__ = ["EncodedRows", "Prepared", "encode_split", "save_columns", "save_windows"]

COLUMNS = "columns.json"

HEADER_BYTES = 256

FILE_ROWS = 128
"""Rows of files that are decoded before they are written: pixels take far more than tokens."""


@dataclass(frozen=True)
class EncodedRows:
    """What `encode_split` did.

    Attributes:
      counts: Column -> what was lost: the sums of `Encoded.counts`.
      lost: Places, among the rows given, of those that could not be read and were left out.
    """

    counts: dict[str, dict[str, int]]
    lost: NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """A prepared folder: fitted columns and encoded splits."""

    folder: Path
    inputs: Mapping[str, FittedColumn]
    target: FittedColumn
    details: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Read what `save_columns` and `encode_split` wrote."""
        entry = json.loads((folder / COLUMNS).read_text(encoding="utf-8"))
        inputs = {item["name"]: _load(folder, item) for item in entry["inputs"]}
        return cls(folder, inputs, _load(folder, entry["target"]), entry["details"])

    def split(self, name: str) -> EncodedSplit:
        """One of ``train``, ``validation``, ``golden``."""
        folder = self.folder / name
        # Numbered, because a column's name may hold what a file's name may not.
        columns = {
            column: Encoded(_arrays(folder / str(number)))
            for number, column in enumerate(self.inputs)
        }
        arrays = _arrays(folder)
        target, groups = arrays["target"], arrays.get("groups")
        assert not isinstance(target, Ragged)
        return EncodedSplit(columns, target, None if groups is None else np.asarray(groups))

    def rows(self, split: str) -> RowIndices:
        """Rows of the snapshot that a split was made of; of a forecast the last one looked at."""
        found: RowIndices = np.load(self.folder / split / "rows.npy")
        return found

    def values(self, split: str, snapshot: Snapshot) -> Sequence[Any]:
        """The right values of a split, as evaluators take them: raw, one for each example."""
        target = self.split(split).target
        if not isinstance(target, Windows):
            return snapshot.column(snapshot.target, self.rows(split))
        unscaled = self.target.unscaled(np.asarray(target))  # type: ignore[attr-defined]
        names = self.target.columns  # type: ignore[attr-defined]
        steps = [dict(zip(names, one.T, strict=True)) for one in unscaled]
        times = self.times(split)
        assert times is not None
        return Came(steps, times)

    def times(self, split: str) -> NDArray[np.int64] | None:
        """The step at which each window of a split begins, ascending; None of other rows."""
        place = self.folder / split / "times.npy"
        return np.load(place) if place.exists() else None

    def requests(self, split: str, snapshot: Snapshot, most: int) -> list[dict[str, Any]]:
        """Rows of a split as a client would send them, at even distances."""
        places = np.arange(self.split(split).num_rows, dtype=np.int64)
        some = places[np.unique(np.linspace(0, len(places) - 1, most).astype(np.int64))]
        columns: dict[str, Sequence[Any]] = {}
        for name, encoded in self.split(split).columns.items():
            array = encoded.arrays.get("values")
            if isinstance(array, Windows):
                unscaled = self.inputs[name].unscaled(array[some][..., None])  # type: ignore[attr-defined]
                columns[name] = unscaled[..., 0].tolist()
            elif self.times(split) is not None:
                columns[name] = snapshot.values(name, np.maximum(self.rows(split)[some], 0))
            else:
                columns[name] = snapshot.values(name, self.rows(split)[some])
        return [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]


def _load(folder: Path, entry: Mapping[str, Any]) -> FittedColumn:
    files = {path.name: path.read_bytes() for path in sorted((folder / entry["folder"]).iterdir())}
    return column_kind(entry["type"]).Fitted.load(entry["name"], files)


def _arrays(folder: Path) -> dict[str, Ragged | Windows | NDArray[Any]]:
    arrays: dict[str, Ragged | Windows | NDArray[Any]] = {}
    for path in sorted(folder.glob("*.npy")):
        name, _, part = path.stem.partition(".")
        if part == "flat" and (folder / f"{name}.starts.npy").exists():
            arrays[name] = Windows(
                np.load(path, mmap_mode="r"),
                np.load(folder / f"{name}.starts.npy"),
                int(np.load(folder / f"{name}.length.npy")[0]),
            )
        elif part == "flat":
            arrays[name] = Ragged(
                np.load(path, mmap_mode="r"), np.load(folder / f"{name}.offsets.npy")
            )
        elif not part:
            arrays[name] = np.load(path, mmap_mode="r")
    return arrays


def save_columns(
    folder: Path,
    inputs: Mapping[str, FittedColumn],
    target: FittedColumn,
    details: Mapping[str, Any],
) -> None:
    """Write fitted columns, each in a folder of its own, and what else is worth knowing."""

    def save(column: FittedColumn, place: str) -> dict[str, Any]:
        (folder / place).mkdir(parents=True)
        column.save(folder / place)
        return {"name": column.name, "type": column.kind, "folder": place}

    entry = {
        "inputs": [
            save(column, f"columns/{number}") for number, column in enumerate(inputs.values())
        ],
        "target": save(target, "columns/target"),
        "details": dict(details),
    }
    text = json.dumps(entry, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / COLUMNS).write_text(text + "\n", encoding="utf-8")


def save_windows(folder: Path, name: str, windows: Windows) -> None:
    """Write windows so that `Prepared.split` finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.flat.npy", np.ascontiguousarray(windows.flat))
    np.save(folder / f"{name}.starts.npy", windows.starts)
    np.save(folder / f"{name}.length.npy", np.array([windows.length]))


class _Growing:
    """A .npy file whose length is known only at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int, ...] = ()
        self._length = 0

    def append(self, values: NDArray[Any]) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
            self._dtype, self._shape = values.dtype, values.shape[1:]
            write_header(self._file, self._dtype, (2**62, *self._shape))
        assert values.dtype == self._dtype
        self._file.write(np.ascontiguousarray(values).data)
        self._length += len(values)

    def close(self) -> None:
        if self._file is not None:
            # The header was written for the longest array there can be, so it cannot move the data.
            assert self._dtype is not None
            write_header(self._file, self._dtype, (self._length, *self._shape))
            self._file.close()


def write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """The head of a .npy file, of `HEADER_BYTES` whatever the shape."""
    from numpy.lib import format as npy

    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    text = repr(dict(sorted(header.items())))
    room = HEADER_BYTES - 10 - 1
    assert len(text) <= room
    file.seek(0)
    file.write(b"\x93NUMPY\x01\x00" + (room + 1).to_bytes(2, "little"))
    file.write(text.encode().ljust(room) + b"\n")


def encode_split(
    folder: Path,
    inputs: Mapping[str, FittedColumn],
    target: FittedColumn,
    batches: Iterable[Mapping[str, list[Any]]],
    *,
    keep_lost: bool = False,
) -> EncodedRows:
    """Encode rows batch by batch into flat arrays; memory does not grow with their number.

    A row with a value that cannot be read at all, such as a damaged photo, is left out.

    Args:
      folder: Where the split's arrays go; made here.
      batches: Column name -> values, the target among them.
      keep_lost: Whether rows that cannot be read stay, as with rows to be judged on.
    """
    counts: dict[str, dict[str, int]] = {name: {} for name in inputs}
    files: dict[Path, _Growing] = {}
    lengths: dict[Path, list[NDArray[np.int64]]] = {}

    def append(path: Path, values: NDArray[Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.setdefault(path, _Growing(path)).append(values)

    nothing: dict[str, list[Any]] = {name: [] for name in (*inputs, target.name)}
    media = any(media_kind(column.kind) for column in inputs.values())
    lost: list[int] = []
    done = 0
    # An empty batch first, so that a split without rows has its arrays as well.
    for batch in itertools.chain([nothing], _pieces(batches, FILE_ROWS) if media else batches):
        every = {name: column.encode(batch[name]) for name, column in inputs.items()}
        gone = sorted(frozenset().union(*(encoded.lost for encoded in every.values())))
        lost += [done + row for row in gone]
        kept = np.setdiff1d(np.arange(len(batch[target.name])), gone)
        done += len(batch[target.name])
        for number, (name, encoded) in enumerate(every.items()):
            for key, count in encoded.counts.items():
                counts[name][key] = counts[name].get(key, 0) + count
            for key, array in encoded.arrays.items():
                assert not isinstance(array, Windows)
                if gone and not keep_lost:
                    array = _rows_of(array, kept)
                if isinstance(array, Ragged):
                    append(folder / str(number) / f"{key}.flat.npy", array.flat)
                    place = folder / str(number) / f"{key}.offsets.npy"
                    lengths.setdefault(place, []).append(array.lengths)
                else:
                    append(folder / str(number) / f"{key}.npy", array)
        targets = target.targets(batch[target.name])  # type: ignore[attr-defined]
        append(folder / "target.npy", targets if keep_lost or not gone else targets[kept])
    for growing in files.values():
        growing.close()
    for path, parts in lengths.items():
        joined = np.concatenate(parts)
        offsets = np.zeros(len(joined) + 1, np.int64)
        np.cumsum(joined, out=offsets[1:])
        np.save(path, offsets)
    return EncodedRows(counts, np.array(lost, np.int64))


def _pieces(
    batches: Iterable[Mapping[str, list[Any]]], num_rows: int
) -> Iterator[Mapping[str, list[Any]]]:
    for batch in batches:
        length = len(next(iter(batch.values())))
        for start in range(0, length, num_rows):
            yield {name: values[start : start + num_rows] for name, values in batch.items()}


def _rows_of(array: Ragged | NDArray[Any], rows: NDArray[np.int64]) -> Ragged | NDArray[Any]:
    if not isinstance(array, Ragged):
        return array[rows]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(array.lengths[rows], out=offsets[1:])
    parts = [array.flat[array.offsets[row] : array.offsets[row + 1]] for row in rows.tolist()]
    return Ragged(np.concatenate([array.flat[:0], *parts]), offsets)
