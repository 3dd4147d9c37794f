"""Labels: any number of names at once, or none. As the target it asks for multilabel."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.columns._missing import is_missing
from volano.columns.number import are_numbers, parse_numbers
from volano.errors import BundleError, RequestError, nearest, shorten

__all__ = ["FittedLabels", "LabelsColumn", "LabelsOptions", "parse_labels"]

SEPARATORS = ("|", ";", ",")
"""What `volano init` looks for between names, the clearest first."""

SHOWN_NAMES = 20
LONGEST_LIST = 100_000
"""Characters of a cell that may be a list as Python writes it."""


class LabelsOptions(BaseModel):
    """Options of labels.

    Attributes:
      separator: What stands between two names in a cell of text, and in tables of answers. Cells
        that are JSON lists are read as such, whatever it is.
      empty: What an empty cell means: ``missing``, that nobody has looked at the row, so that it
        teaches nothing; ``none``, that no label applies, which is an answer like any other. An
        empty JSON list is always the latter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    separator: str = Field("|", min_length=1, max_length=5)
    empty: Literal["missing", "none"] = "missing"


def parse_labels(value: object, separator: str = "|") -> tuple[str, ...] | None:
    """The names of a cell, sorted, each once; None when it is a list of something else.

    Example:
      >>> parse_labels("b|a| b"), parse_labels('["x, y", 3]'), parse_labels("[]"), parse_labels("")
      (('a', 'b'), ('3', 'x, y'), (), ())
    """
    items: Iterable[object] | None = None
    if isinstance(value, (list, tuple)):
        items = value
    elif isinstance(value, str):
        text = value.strip()
        items = _listed(text) if text[:1] == "[" and text[-1:] == "]" else None
        if items is None:
            items = text.split(separator)
    elif isinstance(value, (int, float)):
        items = [value]
    if items is None:
        return None
    names = set()
    for item in items:
        if isinstance(item, bool):
            item = "true" if item else "false"
        if not isinstance(item, (str, int, float)):
            return None
        if name := str(item).strip():
            names.add(name)
    return tuple(sorted(names))


def _listed(text: str) -> list[object] | None:
    """A list as JSON or Python writes it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text) if len(text) <= LONGEST_LIST else None
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, list) else None


@dataclass(frozen=True)
class FittedLabels:
    """The names that occur in training, sorted; the place of a name is that of its output.

    Attributes:
      names: At least one.
      separator: As in the options.
    """

    kind: ClassVar[str] = "labels"
    name: str
    names: tuple[str, ...]
    separator: str = "|"

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def split(self, value: object) -> tuple[str, ...] | None:
        """The names of a value, known ones and others; None where it is no list of names."""
        return parse_labels(value, self.separator)

    def check(self, value: object) -> list[str]:
        found = self.split(value)
        # An empty list says that none applies; an empty field of a form says nothing.
        if isinstance(value, str) and not value.strip():
            found = None
        if found is None:
            raise RequestError(
                17,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected="a list of names; [] says that none applies",
            )
        for item in found:
            if item not in self._places:
                first = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
                raise RequestError(
                    12,
                    f"{self.name} has no label {shorten(item)}",
                    status=422,
                    expected=f"some of {first}",
                    nearest=nearest(item, self.names),
                )
        return list(found)

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        return {
            "type": "array",
            "items": {"enum": list(self.names)},
            "uniqueItems": True,
            "examples": [list(self.names[:2])],
        }

    def facts(self) -> dict[str, Any]:
        """Some of the names, and how many there are."""
        return {"names": list(self.names[:SHOWN_NAMES]), "num_names": len(self.names)}

    def cell(self, value: Sequence[str]) -> str:
        """A value as a cell of a table, which `check` reads again."""
        if any(self.separator in name for name in value):
            return json.dumps(list(value), ensure_ascii=False)
        joined = self.separator.join(value)
        # What looks like a list would be read as one; and an empty cell may mean that nobody knows.
        return joined if joined and joined[0] != "[" else json.dumps(list(value))

    def targets(self, values: Sequence[Any]) -> NDArray[np.int8]:
        """What a task learns, int8, shape (num_rows, num_names + 1).

        1 where a name applies and 0 where it does not; at the end how many names apply that were
        not trained on, 127 at the most.
        """
        found = np.zeros((len(values), len(self.names) + 1), np.int8)
        places = self._places
        known: dict[Any, tuple[list[int], int]] = {}
        for row, value in enumerate(values):
            key = value if isinstance(value, str) else tuple(value)
            if key not in known:
                names = parse_labels(value, self.separator) or ()
                mine = [places[name] for name in names if name in places]
                known[key] = mine, min(127, len(names) - len(mine))
            mine, unknown = known[key]
            found[row, mine] = 1
            found[row, -1] = unknown
        return found

    def encode(self, values: Sequence[Any]) -> Encoded:
        """``labels``: int8, shape (num_rows, num_names), 1 where a name applies."""
        found = self.targets(values)
        return Encoded({"labels": found[:, :-1]}, {"unknown": int((found[:, -1] > 0).sum())})

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        labels = encoded.arrays["labels"]
        assert isinstance(labels, np.ndarray)
        return {f"{self.name}.labels": labels[rows]}

    def save(self, folder: Path) -> None:
        state = {"names": self.names, "separator": self.separator}
        text = json.dumps(state, ensure_ascii=False, indent=1)
        (folder / "labels.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["labels.json"])
            names = tuple(str(item) for item in state["names"])
            separator = str(state["separator"])
            if not names or len(set(names)) != len(names) or not separator:
                raise ValueError(f"{len(names)} names, {len(set(names))} different")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, names, separator)


class LabelsColumn:
    """Cells such as ``red|round`` or ``["red", "round"]``; each row has any number of names."""

    kind: ClassVar[str] = "labels"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "target"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = LabelsOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedLabels

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "target") -> Inference:
        del use
        present = [value.strip() for value in values if value and not is_missing(value)]
        if not present:
            return Inference(0.0, "no values")
        lists = [_listed(value) if value[:1] == "[" else None for value in present]
        if all(item is not None and parse_labels(item) is not None for item in lists):
            if any(item and parse_numbers(item)[1].any() for item in lists):
                return Inference(0.985, f"lists of names in {len(present)} rows")
            return Inference(0.1, "lists of numbers, or empty ones")
        if are_numbers(present):
            return Inference(0.0, "numbers")  # 1,234 is one number
        reason = "no separator between names that come back in other company"
        for separator in SEPARATORS:
            found = _apart(present, separator)
            if found:
                return Inference(0.985, found, {"separator": separator})
        return Inference(0.0, reason)

    @staticmethod
    def refuse(value: str) -> str | None:
        return "is no list of names" if parse_labels(value) is None else None

    @staticmethod
    def canonical(value: str, options: Mapping[str, Any]) -> str | None:
        """A cell as every later step reads it, a sorted JSON list; None where it is none.

        So two ways to write the same labels are the same target, and corrections, which come as
        lists, are written as cells are.
        """
        if not value.strip() and options.get("empty", "missing") == "missing":
            return None
        names = parse_labels(value, options.get("separator", "|"))
        return None if names is None else json.dumps(list(names), ensure_ascii=False)

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "target"
    ) -> FittedLabels:
        """Names of the values; those in fewer than the option ``min_rows`` are left out."""
        del use
        separator = options.get("separator", "|")
        counts: Counter[str] = Counter()
        for value, times in Counter(values).items():
            for found in parse_labels(value, separator) or ():
                counts[found] += times
        least = options.get("min_rows", 1)
        names = sorted(found for found, count in counts.items() if count >= least)
        return FittedLabels(name, tuple(names), separator)


def _apart(present: Sequence[str], separator: str) -> str | None:
    """Why a separator is what stands between names, in words; None where that is not clear.

    Clear is that some cells have one name and others several, that names come back, and that
    their combinations are more than they are, or that names also stand alone: "Ulm, Germany" is one
    name, and so is "Doe, John".
    """
    parts = [[part.strip() for part in value.split(separator)] for value in present]
    sizes = [len([part for part in row if part]) for row in parts]
    several = sum(size > 1 for size in sizes)
    if not several or len(set(sizes)) < 2:
        return None
    counts = Counter(part for row in parts for part in set(row) if part)
    total = sum(counts.values())
    if len(counts) > max(2, 0.34 * total) or max(map(len, counts)) > 60:
        return None
    words = float(np.mean([len(part.split()) for part in counts]))
    if words > 4:
        return None
    alone = {row[0] for row, size in zip(parts, sizes, strict=True) if size == 1}
    together = {part for row, size in zip(parts, sizes, strict=True) if size > 1 for part in row}
    combinations = {frozenset(row) for row in parts}
    if len(combinations) <= len(counts) and not alone & together:
        return None
    return (
        f"names between {separator!r}: {len(counts)} different ones in {len(present)} rows, "
        f"several in {several}"
    )
