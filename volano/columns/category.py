"""Category: one of a fixed set of names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.errors import BundleError, RequestError, nearest, shorten

__all__ = ["CategoryColumn", "CategoryOptions", "FittedCategory"]


class CategoryOptions(BaseModel):
    """A category has no options yet."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class FittedCategory:
    """The names that occur, sorted; the code of a name is its place among them."""

    kind: ClassVar[str] = "category"
    name: str
    names: tuple[str, ...]

    def check(self, value: object) -> str:
        if isinstance(value, (bool, int)):
            value = str(value)
        if not isinstance(value, str):
            raise RequestError(
                11,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected="one of the names of this category, as text",
            )
        value = value.strip()
        if value not in self.names:
            first = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
            raise RequestError(
                12,
                f"{self.name} has no class {shorten(value)}",
                status=422,
                expected=f"one of {first}",
                nearest=nearest(value, self.names),
            )
        return value

    def encode(self, values: Sequence[Any]) -> Encoded:
        codes = {name: code for code, name in enumerate(self.names)}
        array = np.fromiter((codes.get(value, -1) for value in values), np.int64, len(values))
        return Encoded({"codes": array}, {"unknown": int((array < 0).sum())})

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        codes = encoded.arrays["codes"]
        assert isinstance(codes, np.ndarray)
        return {f"{self.name}.codes": codes[rows]}

    def save(self, folder: Path) -> None:
        text = json.dumps({"names": self.names}, ensure_ascii=False, indent=1)
        (folder / "category.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            names = tuple(str(item) for item in json.loads(files["category.json"])["names"])
            if not names or len(set(names)) != len(names):
                raise ValueError(f"{len(names)} names, {len(set(names))} different")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, names)


class CategoryColumn:
    """Names such as ``positive``, ``negative``; as the target it asks for classification."""

    kind: ClassVar[str] = "category"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "target"
    Options: ClassVar[type[BaseModel]] = CategoryOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedCategory

    @staticmethod
    def infer(values: Sequence[str | None]) -> Inference:
        present = [value.strip() for value in values if value and value.strip()]
        if not present:
            return Inference(0.0, "no values")
        distinct = len(set(present))
        words = float(np.mean([len(value.split()) for value in present]))
        share = distinct / len(present)
        if distinct == 1:
            return Inference(0.3, f"1 name in {len(present)} rows")
        score = max(0.0, 1.0 - share * 2) * (1.0 if words <= 3 else 0.5)
        return Inference(score, f"{distinct} names in {len(present)} rows")

    @staticmethod
    def fit(name: str, values: Iterable[str], options: Mapping[str, Any]) -> FittedCategory:
        del options
        return FittedCategory(name, tuple(sorted(set(values))))
