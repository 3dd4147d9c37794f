"""Encoded rows on disk: flat arrays that training maps into memory instead of reading."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from volano.columns import Encoded, EncodedSplit, FittedColumn, Ragged, Windows, column_kind
from volano.data._snapshot_file import RowIndices, Snapshot

__all__ = ["Prepared", "encode_split", "save_columns", "save_windows"]

COLUMNS = "columns.json"


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
        target = _arrays(folder)["target"]
        assert not isinstance(target, Ragged)
        return EncodedSplit(columns, target)

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
        return [dict(zip(names, steps.T, strict=True)) for steps in unscaled]

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
            else:
                columns[name] = snapshot.column(name, self.rows(split)[some])
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
            self._write_header(2**62)
        assert values.dtype == self._dtype
        self._file.write(np.ascontiguousarray(values).data)
        self._length += len(values)

    def close(self) -> None:
        if self._file is not None:
            # The header was written for the longest array there can be, so it cannot move the data.
            self._file.seek(0)
            self._write_header(self._length)
            self._file.close()

    def _write_header(self, length: int) -> None:
        assert self._file is not None
        assert self._dtype is not None
        from numpy.lib import format as npy

        header = {
            "descr": npy.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (length, *self._shape),
        }
        text = repr(dict(sorted(header.items())))
        room = 256 - 10 - 1
        assert len(text) <= room
        self._file.write(b"\x93NUMPY\x01\x00" + (room + 1).to_bytes(2, "little"))
        self._file.write(text.encode().ljust(room) + b"\n")


def encode_split(
    folder: Path,
    inputs: Mapping[str, FittedColumn],
    target: FittedColumn,
    batches: Iterable[Mapping[str, list[Any]]],
) -> dict[str, dict[str, int]]:
    """Encode rows batch by batch into flat arrays; memory does not grow with their number.

    Args:
      folder: Where the split's arrays go; made here.
      batches: Column name -> values, the target among them.
    Returns:
      Column -> what was lost: the sums of `Encoded.counts`.
    """
    counts: dict[str, dict[str, int]] = {name: {} for name in inputs}
    files: dict[Path, _Growing] = {}
    lengths: dict[Path, list[NDArray[np.int64]]] = {}

    def append(path: Path, values: NDArray[Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.setdefault(path, _Growing(path)).append(values)

    nothing: dict[str, list[Any]] = {name: [] for name in (*inputs, target.name)}
    # An empty batch first, so that a split without rows has its arrays as well.
    for batch in itertools.chain([nothing], batches):
        for number, (name, column) in enumerate(inputs.items()):
            encoded = column.encode(batch[name])
            for key, count in encoded.counts.items():
                counts[name][key] = counts[name].get(key, 0) + count
            for key, array in encoded.arrays.items():
                assert not isinstance(array, Windows)
                if isinstance(array, Ragged):
                    append(folder / str(number) / f"{key}.flat.npy", array.flat)
                    place = folder / str(number) / f"{key}.offsets.npy"
                    lengths.setdefault(place, []).append(array.lengths)
                else:
                    append(folder / str(number) / f"{key}.npy", array)
        append(folder / "target.npy", target.targets(batch[target.name]))  # type: ignore[attr-defined]
    for growing in files.values():
        growing.close()
    for path, parts in lengths.items():
        joined = np.concatenate(parts)
        offsets = np.zeros(len(joined) + 1, np.int64)
        np.cumsum(joined, out=offsets[1:])
        np.save(path, offsets)
    return counts
