"""Category: one of a fixed set of names."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.columns.number import are_numbers
from volano.errors import BundleError, RequestError, nearest, shorten

__all__ = ["CategoryColumn", "CategoryOptions", "FittedCategory"]


SHOWN_NAMES = 20
"""Names that a service lists of an input."""


class CategoryOptions(BaseModel):
    """Options of a category.

    Attributes:
      max_names: As an input: the most names with a code of their own, the commonest first.
      min_rows: As an input: names in fewer training rows than this share a code.
      buckets: As an input: how many codes the names without one of their own are spread over, by
        a hash; ``auto`` takes 1, or some hundreds for columns of very many names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_names: int = Field(1000, ge=1, le=100_000)
    min_rows: int = Field(1, ge=1)
    buckets: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = "auto"


@dataclass(frozen=True)
class FittedCategory:
    """The names that occur; the code of a name is its place among them.

    As the target, the names are sorted, and another one is refused. As an input (`buckets` above
    0) the first codes belong to names without a place: unseen ones and rare ones, spread by a hash
    over `buckets` codes; a name's code is `buckets` plus its place. An empty cell is a name too.
    """

    kind: ClassVar[str] = "category"
    name: str
    names: tuple[str, ...]
    buckets: int = 0

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names, self.buckets)}

    @property
    def num_codes(self) -> int:
        """Codes that `encode` may give."""
        return len(self.names) + self.buckets

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the values that `encode` makes of one value."""
        return (self.name,)

    def check(self, value: object) -> str:
        if value is None and self.buckets:
            return ""
        if isinstance(value, (bool, int)) or (self.buckets and isinstance(value, float)):
            value = str(value)
        if not isinstance(value, str):
            raise RequestError(
                11,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected="one of the names of this category, as text",
            )
        value = value.strip()
        if value not in self._codes and not self.buckets:
            first = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
            raise RequestError(
                12,
                f"{self.name} has no class {shorten(value)}",
                status=422,
                expected=f"one of {first}",
                nearest=nearest(value, self.names),
            )
        return value

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        example = next((name for name in self.names if name), "")
        if self.buckets:
            return {"type": ["string", "null"], "examples": [example]}
        return {"enum": list(self.names), "examples": [example]}

    def facts(self) -> dict[str, Any]:
        """Some of the names, the commonest first for an input, and how many there are."""
        return {"names": list(self.names[:SHOWN_NAMES]), "num_names": len(self.names)}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Codes, int64, shape (num_rows,); a target that was not trained on is -1."""
        codes = self._codes
        if not self.buckets:
            array = np.fromiter((codes.get(value, -1) for value in values), np.int64, len(values))
            return Encoded({"codes": array}, {"unknown": int((array < 0).sum())})
        stripped = [value.strip() if value else "" for value in values]
        found = {
            value: codes.get(value, zlib.crc32(value.encode("utf-8", "replace")) % self.buckets)
            for value in set(stripped)
        }
        array = np.fromiter((found[value] for value in stripped), np.int64, len(values))
        unseen = np.flatnonzero(array < self.buckets)
        notes = {
            int(row): f"{self.name}: {shorten(stripped[row])} has no code of its own"
            for row in unseen[:1000]
        }
        counts = {"missing": sum(not value for value in stripped), "unseen": len(unseen)}
        return Encoded({"codes": array}, counts, notes)

    def targets(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """What a task learns: the code of each name, -1 for one that was not trained on."""
        return np.asarray(self.encode(values).arrays["codes"])

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        codes = encoded.arrays["codes"]
        assert isinstance(codes, np.ndarray)
        return {f"{self.name}.codes": codes[rows]}

    def save(self, folder: Path) -> None:
        state: dict[str, Any] = {"names": self.names}
        if self.buckets:
            state["buckets"] = self.buckets
        text = json.dumps(state, ensure_ascii=False, indent=1)
        (folder / "category.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["category.json"])
            names = tuple(str(item) for item in state["names"])
            buckets = int(state.get("buckets", 0))
            if not (names or buckets) or len(set(names)) != len(names) or buckets < 0:
                raise ValueError(f"{len(names)} names, {len(set(names))} different")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, names, buckets)


class CategoryColumn:
    """Names such as ``positive``, ``negative``; as the target it asks for classification."""

    kind: ClassVar[str] = "category"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "both"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = True
    hint: ClassVar[str] = (
        "{type: category, max_names: 1000, min_rows: 1}   # min_rows: rarer names share a code"
    )
    Options: ClassVar[type[BaseModel]] = CategoryOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedCategory

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        present = [value.strip() for value in values if value and value.strip()]
        if not present:
            return Inference(0.0, "no values")
        distinct = len(set(present))
        words = float(np.mean([len(value.split()) for value in present]))
        share = distinct / len(present)
        if distinct == 1:
            return Inference(0.3 if use == "target" else 0.0, f"1 name in {len(present)} rows")
        score = max(0.0, 1.0 - share * 2) * (1.0 if words <= 3 else 0.5)
        if are_numbers(present) and (use == "input" or distinct > 20):
            score *= 0.5  # names that are all numbers have an order that names do not have
        return Inference(score, f"{distinct} names in {len(present)} rows")

    @staticmethod
    def refuse(value: str) -> str | None:
        del value
        return None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedCategory:
        if use == "target":
            return FittedCategory(name, tuple(sorted(set(values))))
        counts = Counter(value.strip() if value else "" for value in values)
        # The commonest first, equals by name, so that the same rows give the same codes.
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [item for item, count in ordered if count >= options.get("min_rows", 1)]
        kept = kept[: options.get("max_names", 1000)]
        buckets = options.get("buckets", "auto")
        if buckets == "auto":
            # Names beyond the limit are many, and one code for all would mix them all.
            beyond = len(counts) - len(kept)
            buckets = max(1, min(4096, beyond // 4)) if len(counts) > 1000 else 1
        return FittedCategory(name, tuple(kept), buckets)
