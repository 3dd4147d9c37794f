"""What every column type does, and the arrays that pass between columns and models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

__all__ = [
    "Column",
    "Encoded",
    "EncodedSplit",
    "FittedColumn",
    "Inference",
    "Ragged",
    "Use",
    "Windows",
    "cell_of",
    "facts_of",
    "schema_of",
]

Use = Literal["input", "target", "both"]


@dataclass(frozen=True)
class Inference:
    """How well a column type fits some raw values.

    Attributes:
      score: 0 (cannot be) to 1 (certain); the highest score wins.
      reason: Why, in words that `volano init` prints.
      options: Options without which the values would be read otherwise; `volano init` writes them.
    """

    score: float
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length without padding.

    Attributes:
      flat: All rows one after the other, shape (total,).
      offsets: Row i is ``flat[offsets[i]:offsets[i + 1]]``; int64, shape (num_rows + 1,).
    """

    flat: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each row, shape (num_rows,)."""
        return np.diff(self.offsets)

    def pad(
        self, rows: NDArray[np.int64], fill: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The chosen rows as a rectangle.

        Returns:
          Values int64, shape (len(rows), longest), filled up on the right; and a mask int64 of the
          same shape, 1 where there is a value.
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        columns = np.arange(max(int(lengths.max(initial=0)), 1))
        inside = columns < lengths[:, None]
        values = np.full(inside.shape, fill, dtype=np.int64)
        values[inside] = self.flat[(starts[:, None] + columns)[inside]]
        return values, inside.astype(np.int64)


@dataclass(frozen=True)
class Windows:
    """Rows that are stretches of one long array, which may overlap; nothing is copied until asked.

    Attributes:
      flat: The long array, shape (total, ...).
      starts: Row i is ``flat[starts[i]:starts[i] + length]``; int64, shape (num_rows,).
      length: Of every row.
    """

    flat: NDArray[Any]
    starts: NDArray[np.int64]
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array that it stands for."""
        return (len(self.starts), self.length, *self.flat.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.flat.dtype

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """The chosen rows, shape (len(rows), length, ...)."""
        starts = np.asarray(self.starts[rows])
        found: NDArray[Any] = self.flat[starts[..., None] + np.arange(self.length)]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy
        found = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)


@dataclass(frozen=True)
class Encoded:
    """Values as a model takes them, with what was lost on the way.

    Attributes:
      arrays: Name -> one array per row: ragged, rectangular, or windows of a longer array.
      counts: What was truncated, unknown or coerced: name -> count over all rows.
      notes: Row -> what was lost in that row, in words. Rows without loss are absent.
      lost: Rows whose value could not be read at all: training leaves them out.
    """

    arrays: Mapping[str, Ragged | Windows | NDArray[Any]]
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[int, str] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True)
class EncodedSplit:
    """The rows of one split, every column encoded.

    Attributes:
      columns: Input column -> its encoded rows, memory-mapped.
      target: Class code (or number) of each row, shape (num_rows,); -1 for a class not trained on;
        of labels see `FittedLabels.targets`; of forecasts the steps to come, shape (num_rows,
        horizon, num_series).
      groups: Of each row the group that is held out as a whole; None where nothing groups rows.
    """

    columns: Mapping[str, Encoded]
    target: NDArray[Any] | Windows
    groups: NDArray[np.uint64] | None = None

    @property
    def num_rows(self) -> int:
        return len(self.target)

    def widths(self) -> NDArray[np.int64]:
        """Tokens of each row in its longest column, shape (num_rows,)."""
        widths = np.ones(self.num_rows, np.int64)
        for encoded in self.columns.values():
            for array in encoded.arrays.values():
                if isinstance(array, Ragged):
                    widths = np.maximum(widths, array.lengths)
        return widths


@runtime_checkable
class FittedColumn(Protocol):
    """A column that has seen its training rows: frozen, and the same in training and serving."""

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """The column's name in the table."""

    def check(self, value: object) -> Any:
        """The value as `encode` takes it.

        Raises:
          RequestError: It is not of this column's type.
        """

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Values to arrays; also says what was lost."""

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Some encoded rows as the graph's inputs, padded to the longest of them."""

    def save(self, folder: Path) -> None:
        """Write the fitted state as plain files (JSON and the like, never a pickle)."""

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        """Read what `save` wrote: file name -> content."""

    # A target that is names has ``names``. One that is several at once also has ``split``, a value
    # -> its names or None, and ``cell``, a value -> a cell of a table.


def schema_of(column: FittedColumn) -> dict[str, Any]:
    """What a value is in JSON, as JSON Schema with an example: what the column's `schema` says.

    A column need not have a `schema`; then its values may be anything, and have no example.
    """
    schema = getattr(column, "schema", None)
    return dict(schema()) if callable(schema) else {}


def facts_of(column: FittedColumn) -> dict[str, Any]:
    """What else a client should know of a column: what its `facts` says; empty without one."""
    facts = getattr(column, "facts", None)
    return dict(facts()) if callable(facts) else {}


def cell_of(column: FittedColumn, value: Any) -> Any:
    """A value of the target as a cell of a table: what its `cell` says; as it is without one."""
    cell = getattr(column, "cell", None)
    return cell(value) if callable(cell) else value


class Column(Protocol):
    """A column type: what a third party implements to add one.

    Attributes:
      kind: Its name in specs.
      version: Raised when the same values would be encoded otherwise.
      use: Whether it can be an input, the target, or both.
      content: Whether a value is a thing of its own (a text, a photo), so that two rows with the
        same one are the same row twice. Rows of numbers and names alone are observations, and
        many of them may well agree.
      names: Whether a target of this type is one name out of few, which can be counted.
      in_order: Need not be there: whether, as the target, its rows are steps in time, and examples
        are windows of them.
      canonical: Need not be there: of a target that is several names at once, a cell and the
        options -> a JSON list of its names, sorted; None where nothing is said.
      plain: Need not be there: options -> what makes a cell of a table, as it is read, such as all
        later steps have it; None where cells stay as they are.
      infer_named: Need not be there: `infer` with the column's name before the values.
      left_out: Need not be there: name and values -> why `volano init` leaves the column out
        whatever other types say of it, in words, or None.
      warn: Need not be there: name and values -> what `volano check` warns of, in words, or None.
      hint: Need not be there: its commonest options, as `volano init` writes them in a comment.
      Options: The model of its options.
      Fitted: What `fit` returns.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    use: ClassVar[Use]
    content: ClassVar[bool]
    names: ClassVar[bool]
    Options: ClassVar[type[BaseModel]]
    Fitted: ClassVar[type[FittedColumn]]

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        """How well this type fits the raw values of a column, as an input or as the target."""

    @staticmethod
    def refuse(value: str) -> str | None:
        """Why a raw value that is not empty cannot be a target, in words; None when it can."""

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedColumn:
        """Learn from training rows only. May read `values` once, as a stream."""
