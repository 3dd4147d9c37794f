"""Boolean: yes or no."""

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
from volano.columns._missing import is_missing
from volano.errors import BundleError, RequestError, shorten

__all__ = ["BooleanColumn", "BooleanOptions", "FittedBoolean", "parse_boolean"]

_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1", "1.0", "是", "ja", "oui", "si"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0", "0.0", "否", "nein", "non"), 0.0),
}


class BooleanOptions(BaseModel):
    """A boolean has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def parse_boolean(value: object) -> float | None:
    """1 for yes, 0 for no, NaN for missing, None for anything else.

    Example:
      >>> parse_boolean("Yes"), parse_boolean(0), parse_boolean("maybe")
      (1.0, 0.0, None)
    """
    if isinstance(value, bool):
        return float(value)
    if is_missing(value):
        return float("nan")
    return _WORDS.get(str(value).strip().casefold())


@dataclass(frozen=True)
class FittedBoolean:
    """Yes as 1 and no as 0; there is nothing to fit."""

    kind: ClassVar[str] = "boolean"
    name: str

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the values that `encode` makes of one value."""
        return (self.name,)

    def check(self, value: object) -> bool | None:
        number = parse_boolean(value)
        if number is None:
            raise RequestError(
                14,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected="true or false, or null for neither",
            )
        return None if np.isnan(number) else bool(number)

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        return {"type": ["boolean", "null"], "examples": [True]}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """1, 0, or NaN for missing; float32, shape (num_rows, 1)."""
        known = {value: parse_boolean(value) for value in set(values)}
        unreadable = [row for row, value in enumerate(values) if known[value] is None]
        numbers = np.array(
            [np.nan if known[value] is None else known[value] for value in values], np.float32
        )
        counts = {
            "missing": int(np.isnan(numbers).sum()) - len(unreadable),
            "unreadable": len(unreadable),
        }
        notes = {
            row: f"{self.name}: {shorten(values[row])} is neither yes nor no"
            for row in unreadable[:1000]
        }
        return Encoded({"values": numbers[:, None]}, counts, notes)

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        values = encoded.arrays["values"]
        assert isinstance(values, np.ndarray)
        return {f"{self.name}.values": values[rows]}

    def save(self, folder: Path) -> None:
        (folder / "boolean.json").write_text("{}\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            json.loads(files["boolean.json"])
        except (KeyError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name)


class BooleanColumn:
    """``true`` or ``false``, ``yes`` or ``no``, ``1`` or ``0``."""

    kind: ClassVar[str] = "boolean"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = BooleanOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedBoolean

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        present = [value for value in values if not is_missing(value)]
        if not present:
            return Inference(0.0, "no values")
        found = {parse_boolean(value) for value in set(present)}
        if None in found:
            return Inference(0.0, "values that are neither yes nor no")
        if any("." in str(value) for value in set(present)):
            # A count or a measurement of which few rows were seen: the next one may be 2.0, which
            # a number takes and a boolean would refuse.
            return Inference(0.05, "0.0 and 1.0, written as measurements are")
        return Inference(1.0 if len(found) == 2 else 0.5, "yes or no")

    @staticmethod
    def refuse(value: str) -> str | None:
        return "is neither yes nor no" if parse_boolean(value) is None else None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedBoolean:
        del values, options, use
        return FittedBoolean(name)
