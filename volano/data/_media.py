"""Photos and recordings of a table: read once, and kept in one file beside the frozen rows.

    NAME.pack       the files' bytes, one after the other, each once
    NAME.index.npy  INDEX_DTYPE, sorted by digest: where each of them is

A cell of the frozen rows holds ``sha256:`` and the digest of the bytes, so that rows with the same
photo are found as rows with the same text are, and stay the same in another pack.
"""

from __future__ import annotations

import base64
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, final

import numpy as np

from volano.columns import LARGEST_MEDIA_BYTES, MediaKind, column_kinds, media_bytes, media_kind
from volano.data._table import Batch, BrokenRow

__all__ = ["Pack", "PackWriter", "Packer", "embedded", "is_media", "media_columns", "stat_digest"]

INDEX_DTYPE = np.dtype([("digest", "V32"), ("offset", "<u8"), ("size", "<u8")])

_REFERENCE = "sha256:"
EMPTY_FILE = "is an empty file"

_READ_BYTES = 4 * 2**20
_MOST_FILES = 256
_THREADS = 4


def media_columns(kinds: Mapping[str, str], names: Sequence[str]) -> dict[str, type[MediaKind]]:
    """Column -> its type, of those whose values are files."""
    found = {name: media_kind(kinds[name]) for name in names if name in kinds}
    return {name: kind for name, kind in found.items() if kind}


def is_media(start: bytes) -> bool:
    """Whether bytes are the beginning of a file that some column type reads."""
    kinds = (media_kind(name) for name in column_kinds())
    return any(kind.recognises(start) for kind in kinds if kind)


@final
class PackWriter:
    """Writes a pack; the same files in the same order give the same bytes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._index = path.with_name(f"{path.name}.index.npy")
        self._stream: IO[bytes] = path.with_name(f"{path.name}.pack").open("wb")
        self._places: dict[bytes, tuple[int, int]] = {}
        self._offset = 0

    def add(self, data: bytes | memoryview) -> str:
        """Keep some bytes; returns the reference to them."""
        hashed = hashlib.sha256(data)
        digest = hashed.digest()
        if digest not in self._places:
            self._places[digest] = (self._offset, len(data))
            self._stream.write(data)
            self._offset += len(data)
        return _REFERENCE + digest.hex()

    def close(self) -> None:
        self._stream.close()
        index = np.empty(len(self._places), INDEX_DTYPE)
        for row, digest in enumerate(sorted(self._places)):
            index[row] = (digest, *self._places[digest])
        np.save(self._index, index)

    def abort(self) -> None:
        """Let go of the file; what was written is of no use."""
        self._stream.close()


@final
class Pack:
    """Reads a pack: memory-mapped, so that bytes are read when they are decoded."""

    def __init__(self, path: Path) -> None:
        self._index = np.load(path.with_name(f"{path.name}.index.npy"), mmap_mode="r")
        # Sorted bytes compare as numbers do when the first byte counts most.
        self._first = np.ascontiguousarray(self._index["digest"]).view(">u8").reshape(-1, 4)[:, 0]
        self._first = self._first.astype(np.uint64)
        with path.with_name(f"{path.name}.pack").open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._bytes = memoryview(mapped)

    def get(self, references: Sequence[str]) -> list[memoryview | None]:
        """The bytes that cells refer to; None for an empty cell.

        Raises:
          ValueError: A reference is to nothing in the pack.
        """
        rows = [row for row, reference in enumerate(references) if reference]
        digests = bytes.fromhex("".join([references[row][len(_REFERENCE) :] for row in rows]))
        wanted = np.frombuffer(digests, ">u8").reshape(-1, 4)
        at = np.searchsorted(self._first, wanted[:, 0].astype(np.uint64))
        at = np.minimum(at, max(len(self._index) - 1, 0))
        found: list[memoryview | None] = [None] * len(references)
        if not rows:
            return found
        places = self._index[at]
        same = (np.ascontiguousarray(places["digest"]).view(">u8").reshape(-1, 4) == wanted).all(1)
        if not same.all():
            # Two files whose digests begin with the same 64 bits will not be seen; a lost one may.
            raise ValueError(f"{references[rows[int(np.argmin(same))]][:20]}... is not in the pack")
        ends = places["offset"] + places["size"]
        for row, start, end in zip(rows, places["offset"].tolist(), ends.tolist(), strict=True):
            found[row] = self._bytes[start:end]
        return found


@final
class Packer:
    """Replaces paths and base64 of rows by references, and puts the bytes into a pack.

    Args:
      path: Where the pack goes, without its endings.
      columns: Column -> its type.
      thorough: Whether each file is read to its end here, which costs as much as decoding it.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, type[MediaKind]], *, thorough: bool = False
    ) -> None:
        self._writer = PackWriter(path)
        self._columns = columns
        self._thorough = thorough
        self._usual_bytes = float(_READ_BYTES)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="volano-read")

    def close(self) -> None:
        self._pool.shutdown()
        self._writer.close()

    def abort(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._writer.abort()

    def pack(self, batch: Batch, base: Path | None) -> Batch:
        """A batch with references in the place of files; rows whose file is not one are broken.

        Args:
          batch: Rows with paths, base64 or ``data:`` URIs.
          base: Where relative paths start; None where paths are not followed: in feedback, whose
            values came over the net.
        """
        reasons: dict[int, str] = {}
        columns = list(batch.columns)
        shown: dict[int, str] = {}
        for place, name in enumerate(batch.names[: len(columns)]):
            if name not in self._columns:
                continue
            kind = self._columns[name]
            cells = columns[place]
            found: list[str | None] = []
            for row, data in enumerate(self._read(cells, base)):
                reason = data if isinstance(data, str) else None
                if isinstance(data, (bytes, memoryview)):
                    reason = self._problem(kind, data)
                if reason:
                    reasons.setdefault(row, f"unreadable: {name} {reason}")
                    shown.setdefault(row, (cells[row] or "")[:80])
                usable = not reason and data is not None and not isinstance(data, str)
                found.append(self._writer.add(data) if usable else "")  # type: ignore[arg-type]
            columns[place] = found
        if not reasons:
            return Batch(
                batch.file,
                batch.names,
                batch.numbers,
                batch.lines,
                columns,
                batch.broken,
                batch.repaired,
            )
        kept = [row for row in range(len(batch.numbers)) if row not in reasons]
        broken = [
            BrokenRow(batch.file, batch.numbers[row], batch.lines[row], reason, shown[row])
            for row, reason in sorted(reasons.items())
        ]
        lost = {row.number for row in broken}
        return Batch(
            batch.file,
            batch.names,
            [batch.numbers[row] for row in kept],
            [batch.lines[row] for row in kept],
            [[column[row] for row in kept] for column in columns],
            sorted([*batch.broken, *broken], key=lambda row: row.number),
            [repair for repair in batch.repaired if repair.number not in lost],
        )

    def _problem(self, kind: type[MediaKind], data: bytes | memoryview) -> str | None:
        if not len(data):
            return EMPTY_FILE
        if not kind.recognises(bytes(data[:64])):
            return "is of no kind that is read"
        return kind.problem(data) if self._thorough else None

    def _read(
        self, cells: Sequence[str | None], base: Path | None
    ) -> Iterator[bytes | memoryview | str | None]:
        """The bytes of each cell in turn, or why there are none."""
        start = 0
        pending: list[Any] = []
        root = str(base) if base else None
        while start < len(cells) or pending:
            while start < len(cells) and len(pending) < _THREADS:
                # Few large files or many small ones at a time: some megabytes.
                step = int(max(1, min(_MOST_FILES, _READ_BYTES / self._usual_bytes)))
                pending.append(self._pool.submit(_contents, cells[start : start + step], root))
                start += step
            done = pending.pop(0).result()
            sizes = [len(item) for item in done if isinstance(item, (bytes, memoryview))]
            self._usual_bytes = max(1.0, float(np.mean(sizes)) if sizes else 1.0)
            yield from done


def _contents(
    cells: Sequence[str | None], base: str | None
) -> list[bytes | memoryview | str | None]:
    return [_content(cell, base) for cell in cells]


def _content(cell: str | None, base: str | None) -> bytes | memoryview | str | None:
    """The bytes that a cell stands for; a text that says why there are none."""
    if not cell or cell.isspace():
        return None
    if base is None or cell[:5].lower() == "data:":
        try:
            return media_bytes(cell)
        except ValueError as error:
            return str(error)
    # Plain system calls: with many small files, Python's own layers take most of the time.
    try:
        handle = os.open(os.path.join(base, cell.strip()), os.O_RDONLY)  # noqa: PTH118
    except (OSError, ValueError) as error:
        return f"cannot be opened ({getattr(error, 'strerror', None) or error})"
    try:
        size = os.fstat(handle).st_size
        if size > LARGEST_MEDIA_BYTES:
            return f"is larger than {LARGEST_MEDIA_BYTES // 2**20} MB"
        parts = [os.read(handle, size + 1)]
        while parts[-1] and sum(map(len, parts)) < size:
            parts.append(os.read(handle, size))
        return parts[0] if len(parts) == 1 else b"".join(parts)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    finally:
        os.close(handle)


def embedded(
    row: Mapping[str, str | None],
    kinds: Mapping[str, str],
    base: Path,
    lost: dict[str, str] | None = None,
) -> Mapping[str, str | None]:
    """A row of a table as it stands by itself: paths become the files' bytes in base64.

    One that cannot be read stays as it is, and no column takes a path for a value.

    Args:
      row: Column -> cell.
      kinds: Column -> type; others stay as they are.
      base: Where paths start.
      lost: Receives column -> reason for each file that cannot be read.
    """
    found = dict(row)
    for name in media_columns(kinds, list(row)):
        data = _content(row[name], str(base))
        if isinstance(data, (bytes, memoryview)) and len(data):
            found[name] = base64.b64encode(data).decode("ascii")
        elif data is not None and lost is not None:
            lost[name] = f"{name} {data if isinstance(data, str) else EMPTY_FILE}"
    return found


def stat_digest(batches: Iterator[Batch], base_of: Callable[[int], Path]) -> str:
    """A digest of the sizes and times of the files that cells name, to notice when one changes."""
    digest = hashlib.sha256()
    for batch in batches:
        base = str(base_of(batch.file))
        for column in batch.columns:
            for cell in column:
                if not cell or cell[:5].lower() == "data:":
                    continue
                try:
                    found = os.stat(os.path.join(base, cell.strip()))  # noqa: PTH116, PTH118
                    digest.update(f"{found.st_size} {found.st_mtime_ns}\n".encode())
                except (OSError, ValueError):
                    digest.update(b"-\n")
    return digest.hexdigest()
