"""Id: a key, such as a user, an item or a shop number, that comes back in several rows."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.columns._missing import is_missing
from volano.errors import BundleError, RequestError, shorten

__all__ = ["FittedId", "IdColumn", "IdOptions"]

LONGEST_ID = 1000
"""Characters of a key; longer ones are texts."""

NEARLY_ALL = 0.9
"""Share of different keys among the rows from which they say nothing of other rows."""

FEW_ROWS = 20
"""Rows under which nothing is said of how often keys come back."""

_NAMED = re.compile(r"(?:^|[_\s.-])(?i:ids?|key|uuid|guid|sku|ean|asin|isbn)$|[a-z](?:Id|ID|Key)$")
_SHAPES = re.compile(r"[A-Za-z]+|\d+")


class IdOptions(BaseModel):
    """Options of an id.

    Attributes:
      min_rows: Keys in fewer training rows than this have no code of their own: what few rows say
        of a key is chance.
      max_ids: The most keys with a code of their own, the commonest first.
      buckets: How many codes all other keys are spread over, by a hash.
      group: Whether rows with one key are always held out together, so that validation and golden
        rows are of keys that no training row has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    min_rows: int = Field(5, ge=1)
    max_ids: int = Field(100_000, ge=1, le=1_000_000)
    buckets: int = Field(1, ge=1, le=100_000)
    group: bool = False


@dataclass(frozen=True)
class FittedId:
    """The keys that come back often enough, the commonest first.

    The first codes, as many as `buckets`, belong to all other keys, seen or not; then each key has
    its own. A missing key is 0.
    """

    kind: ClassVar[str] = "id"
    by_target: ClassVar[bool] = False
    name: str
    ids: tuple[str, ...]
    buckets: int = 1

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {key: code for code, key in enumerate(self.ids, self.buckets)}

    @property
    def num_codes(self) -> int:
        """Codes that `encode` may give."""
        return len(self.ids) + self.buckets

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the values that `encode` makes of one value."""
        return (self.name,)

    def check(self, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or len(value) > LONGEST_ID:
            raise RequestError(
                18,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected="a key, as text or as a whole number, or null for none",
            )
        return value.strip()

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        return {"type": ["string", "integer", "null"], "examples": ["1234"]}

    def facts(self) -> dict[str, Any]:
        """How many keys have a code of their own; none is named, since keys may be of people."""
        return {"num_names": len(self.ids)}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Codes, int64, shape (num_rows,)."""
        stripped = ["" if is_missing(value) else str(value).strip() for value in values]
        codes = self._codes
        found = {
            value: codes.get(
                value,
                zlib.crc32(value.encode("utf-8", "replace")) % self.buckets if value else 0,
            )
            for value in set(stripped)
        }
        array = np.fromiter((found[value] for value in stripped), np.int64, len(values))
        unseen = [row for row in np.flatnonzero(array < self.buckets).tolist() if stripped[row]]
        notes = {
            row: f"{self.name}: {shorten(stripped[row])} has no code of its own"
            for row in unseen[:1000]
        }
        counts = {"missing": sum(not value for value in stripped), "unseen": len(unseen)}
        return Encoded({"codes": array}, counts, notes)

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        codes = encoded.arrays["codes"]
        assert isinstance(codes, np.ndarray)
        return {f"{self.name}.codes": codes[rows]}

    def save(self, folder: Path) -> None:
        state = {"ids": self.ids, "buckets": self.buckets}
        text = json.dumps(state, ensure_ascii=False, indent=0)
        (folder / "id.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["id.json"])
            ids, buckets = tuple(str(item) for item in state["ids"]), int(state["buckets"])
            if buckets < 1 or len(set(ids)) != len(ids):
                raise ValueError(f"{len(ids)} keys, {len(set(ids))} different, {buckets} buckets")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, ids, buckets)


def _present(values: Sequence[object]) -> list[str]:
    return [str(value).strip() for value in values if not is_missing(value)]


class IdColumn:
    """Keys such as ``U-00123``: which user, which item; what a key is called says nothing."""

    kind: ClassVar[str] = "id"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    hint: ClassVar[str] = (
        "{type: id, min_rows: 5, group: true}   # group: rows of one key are held out together"
    )
    Options: ClassVar[type[BaseModel]] = IdOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedId

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        present = _present(values)
        if not present:
            return Inference(0.0, "no values")
        if IdColumn.left_out("id", values):
            return Inference(0.0, "a key of its own for each row")
        distinct = len(set(present))
        if distinct <= FEW_ROWS or max(map(len, present)) > 64:
            return Inference(0.0, f"{distinct} names")
        # U-00123 and U-00007 have one shape: the same runs of letters, and digits where digits are.
        shapes = {_SHAPES.sub(_shape, value) for value in present}
        digits = all(any(character.isdigit() for character in value) for value in present)
        coded = any(character.isalpha() for character in present[0]) or _padded(present)
        if len(shapes) > 2 or not digits or not coded:
            return Inference(0.0, "of no common shape, as keys are")
        return Inference(
            0.93, f"{distinct} keys such as {shorten(present[0], 24)}, which come back"
        )

    @staticmethod
    def infer_named(name: str, values: Sequence[str | None]) -> Inference:
        """As `infer`, with what the column is called: ``user_id`` says more than 1042 does."""
        found = IdColumn.infer(values)
        present = _present(values)
        distinct = len(set(present))
        if found.score or not _NAMED.search(name) or distinct <= FEW_ROWS:
            return found
        if IdColumn.left_out(name, values) or not all(map(_is_key, present)):
            return found
        return Inference(0.99, f"{distinct} keys in {len(present)} rows; by its name")

    @staticmethod
    def left_out(name: str, values: Sequence[str | None]) -> str | None:
        """Why a column that is called a key must not be learned from; None where it may be."""
        present = _present(values)
        if len(present) < FEW_ROWS or not _NAMED.search(name):
            return None
        share = len(set(present)) / len(present)
        if share < NEARLY_ALL or not all(map(_is_key, present)):
            return None
        return f"a key of its own for {share:.0%} of the rows, which says nothing of other rows"

    @staticmethod
    def warn(name: str, values: Sequence[str | None]) -> str | None:
        """What `volano check` says of keys that hardly come back."""
        counts = Counter(_present(values))
        once = sum(count == 1 for count in counts.values())
        rows = sum(counts.values())
        if rows < FEW_ROWS or once < 0.5 * rows:
            return None
        return (
            f"the ids of {name} hardly come back: {once:,} of {rows:,} rows have one that no other "
            "row has, and nothing is learned of these; leave the column out, or use it with "
            "group: true alone"
        )

    @staticmethod
    def refuse(value: str) -> str | None:
        del value
        return None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedId:
        del use
        counts = Counter("" if is_missing(value) else value.strip() for value in values)
        counts.pop("", None)
        # The commonest first, equals by name, so that the same rows give the same codes.
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [key for key, count in ordered if count >= options.get("min_rows", 5)]
        kept = kept[: options.get("max_ids", 100_000)]
        return FittedId(name, tuple(kept), options.get("buckets", 1))


def _shape(run: re.Match[str]) -> str:
    return "0" if run[0].isdigit() else run[0]


def _padded(present: Sequence[str]) -> bool:
    """Whether whole numbers are written as keys are: with zeros before them."""
    return all(value.isdigit() for value in present) and any(
        len(value) > 1 and value[0] == "0" for value in present
    )


def _is_key(value: str) -> bool:
    """One word without a dot that could be a decimal's."""
    return len(value) <= 64 and len(value.split()) == 1 and not re.fullmatch(r"-?\d*[.,]\d+", value)
