"""What every reader of a table hands on: rows as text, rows it could not read, and what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from volano.errors import DataError, nearest, shorten

__all__ = [
    "MAX_CELL_BYTES",
    "Batch",
    "BrokenRow",
    "FileReport",
    "Meter",
    "ReadReport",
    "Repair",
    "Row",
    "excerpt",
    "member_place",
    "pick_columns",
    "place_of",
    "places_by_file",
    "plain_batch",
]

# A row longer than this is a damaged file far more often than a document; it also bounds memory.
MAX_CELL_BYTES = 16 * 2**20

Meter = Callable[[int], None]


class Row(NamedTuple):
    """One row of a table.

    Attributes:
      file: Index of the file in the sequence that was read.
      number: Row within its file from 1, the header not counted.
      line: Line of the file on which the row begins, from 1; None where a format has no lines.
      values: Column -> text; None where the value is missing (JSON null, Parquet null).
    """

    file: int
    number: int
    line: int | None
    values: dict[str, str | None]


class BrokenRow(NamedTuple):
    """A row that could not be read, and why."""

    file: int
    number: int
    line: int | None
    reason: str
    text: str


class Repair(NamedTuple):
    """A row that was read after something in it was put right."""

    number: int
    line: int | None
    reason: str


@dataclass(slots=True)
class Batch:
    """Rows that follow each other in one file, by column: what the readers make.

    A Python object per row is what makes reading slow, so only the public iterator makes them.
    """

    file: int
    names: tuple[str, ...]
    numbers: Sequence[int]
    lines: Sequence[int | None]
    columns: list[Sequence[str | None]]
    broken: list[BrokenRow] = field(default_factory=list)
    repaired: list[Repair] = field(default_factory=list)


def plain_batch(batch: Batch, plain: Mapping[str, Callable[[str], str]]) -> Batch:
    """A batch with the cells of some columns as all later steps read them: column -> how."""
    if plain.keys().isdisjoint(batch.names) or not batch.columns:
        return batch
    columns = [
        [cell and plain[name](cell) for cell in column] if name in plain else column
        for name, column in zip(batch.names, batch.columns, strict=True)
    ]
    return replace(batch, columns=columns)


@dataclass
class FileReport:
    """What was found in one file.

    Attributes:
      encoding: The one that was used; empty for Parquet.
      num_rows: Rows that could be read.
      num_broken: Rows that could not.
      num_repaired: Rows of num_rows in which something was put right.
      size_bytes: On disk.
      notes: What a person should know: another delimiter than the name says, and the like.
    """

    name: str
    format: str
    encoding: str = ""
    num_rows: int = 0
    num_broken: int = 0
    num_repaired: int = 0
    size_bytes: int = 0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class ReadReport:
    """What was found in all files; complete once the iteration has ended."""

    files: list[FileReport] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        return sum(file.num_rows for file in self.files)

    @property
    def num_broken(self) -> int:
        return sum(file.num_broken for file in self.files)

    @property
    def num_repaired(self) -> int:
        return sum(file.num_repaired for file in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def notes(self) -> list[str]:
        """All notes, each with its file's name."""
        return [f"{file.name}: {note}" for file in self.files for note in file.notes]

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.num_rows,
            "broken": self.num_broken,
            "repaired": self.num_repaired,
            "bytes": self.size_bytes,
            "files": [file.as_dict() for file in self.files],
        }


def place_of(file: str, number: int) -> str:
    """Where a row is, in words.

    A row and not a line: cells may go over several lines, and Parquet has none.

    Args:
      file: The file's name, or ``feedback``.
      number: From 1, for the first row below the header.
    """
    return f"{file} row {number}"


def member_place(folder: str, path: str) -> str:
    """Where a file of a folder is, in words; names that are no UTF-8 are shown as far as they are.

    Example:
      >>> member_place("photos/", "cat/1.jpg")
      'photos/cat/1.jpg'
    """
    shown = path.encode("utf-8", "replace").decode("utf-8")
    return f"{folder.rstrip('/')}/{shown}"


def places_by_file(places: Iterable[str]) -> dict[str, list[str]]:
    """Places as `place_of` writes them, as file -> row numbers, in the order found.

    A file of a folder is a row by itself, and has no numbers.

    Records of turns before 0.1.0 was released have ``file:number``; these are read too.

    Example:
      >>> places_by_file(["a.csv row 3", "a.csv row 9", "old.csv:7"])
      {'a.csv': ['3', '9'], 'old.csv': ['7']}
      >>> places_by_file(["photos/cat/1.jpg"])
      {'photos/cat/1.jpg': []}
    """
    found: dict[str, list[str]] = {}
    for place in places:
        for mark in (" row ", ":"):
            file, _, number = place.rpartition(mark)
            if file and number.isdigit():
                found.setdefault(file, []).append(number)
                break
        else:
            found.setdefault(place, [])
    return found


def excerpt(text: str, limit: int = 80) -> str:
    """The start of a row as it can stand in a report: one line, cut when long."""
    line = text[: limit + 1].replace("\r", " ").replace("\n", " ").strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


def pick_columns(
    names: Sequence[str], wanted: Sequence[str] | None, *, where: str
) -> list[tuple[str, int]]:
    """Name and position of each wanted column; of all columns when none are named.

    Raises:
      DataError: A wanted column is not there (DATA-008) or is there twice (DATA-009).
    """
    if wanted is None:
        wanted = list(dict.fromkeys(names))
    picked = []
    for name in wanted:
        count = names.count(name)
        if count == 0:
            raise missing_column(name, names, where=where)
        if count > 1:
            raise DataError(
                9,
                f"{count} columns are named {name!r}",
                where=where,
                expected="each column that is used to have a name of its own",
                fix="rename all but one of them in the first line of the file",
            )
        picked.append((name, names.index(name)))
    return picked


def missing_column(name: str, names: Iterable[str], *, where: str) -> DataError:
    known = [known for known in names if known]
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    close = nearest(name, known)
    return DataError(
        8,
        f"there is no column {shorten(name)}",
        where=where,
        expected=f"one of: {shown}" if known else "a first line with the names of the columns",
        nearest=repr(close) if close else None,
        fix=(
            f"write {close!r} in volano.yaml"
            if close
            else "name a column that is there in volano.yaml, or put the names of the columns "
            "in the file's first line"
        ),
    )
