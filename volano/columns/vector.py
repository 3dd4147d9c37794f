"""Vector: a fixed number of measurements in one cell."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from volano.columns._contract import Encoded, FittedColumn, Inference, Use
from volano.columns._missing import is_missing
from volano.columns.number import LARGEST_SCALED, are_numbers, moments
from volano.errors import BundleError, RequestError, shorten

__all__ = ["FittedVector", "VectorColumn", "VectorOptions", "parse_vector"]


class VectorOptions(BaseModel):
    """A vector has no options: its length is that of most training rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def parse_vector(value: object) -> NDArray[np.float64] | None:
    """Numbers of a cell: a JSON list, or numbers between spaces, commas or semicolons.

    Returns:
      Shape (length,); empty for a missing value; None when it is no vector of finite numbers.
    Example:
      >>> parse_vector("[1, 2.5]").tolist(), parse_vector("1 2 3").tolist(), parse_vector("a b")
      ([1.0, 2.5], [1.0, 2.0, 3.0], None)
    """
    if is_missing(value):
        return np.zeros(0)
    try:
        if isinstance(value, str):
            parts = value.strip().strip("[]()").replace(",", " ").replace(";", " ").split()
            found = np.array([float(part) for part in parts], np.float64)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, bool) for item in value):
            return None  # yes and no are no measurements
        else:
            found = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    if found.ndim != 1 or not np.isfinite(found).all():
        return None
    return found


@dataclass(frozen=True)
class FittedVector:
    """Means and deviations of each place.

    Attributes:
      centres: What becomes 0, one for each place.
      spreads: What becomes 1; none is 0.
    """

    kind: ClassVar[str] = "vector"
    name: str
    centres: tuple[float, ...]
    spreads: tuple[float, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the values that `encode` makes of one value."""
        return tuple(f"{self.name}[{place}]" for place in range(len(self.centres)))

    def check(self, value: object) -> list[float] | None:
        found = parse_vector(value)
        if found is None or len(found) not in (0, len(self.centres)):
            raise RequestError(
                16,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected=f"a list of {len(self.centres)} finite numbers, or null for none",
            )
        return found.tolist() or None

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        length = len(self.centres)
        return {
            "type": ["array", "null"],
            "items": {"type": "number"},
            "minItems": length,
            "maxItems": length,
            "examples": [[float(f"{centre:.3g}") for centre in self.centres]],
        }

    def facts(self) -> dict[str, Any]:
        """Its length."""
        return {"length": len(self.centres)}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Scaled values, float32, shape (num_rows, length); NaN where there is no vector."""
        length = len(self.centres)
        array = np.full((len(values), length), np.nan)
        notes: dict[int, str] = {}
        missing = unreadable = 0
        for row, value in enumerate(values):
            found = parse_vector(value)
            if found is None or len(found) not in (0, length):
                unreadable += 1
                if unreadable > 1000:
                    continue
                notes[row] = f"{self.name}: {shorten(value)} is no vector of {length} numbers"
            elif len(found):
                array[row] = found
            else:
                missing += 1
        with np.errstate(over="ignore"):
            scaled = (array - np.array(self.centres)) / np.array(self.spreads)
        return Encoded(
            {"values": np.clip(scaled, -LARGEST_SCALED, LARGEST_SCALED).astype(np.float32)},
            {"missing": missing, "unreadable": unreadable},
            notes,
        )

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        values = encoded.arrays["values"]
        assert isinstance(values, np.ndarray)
        return {f"{self.name}.values": values[rows]}

    def save(self, folder: Path) -> None:
        state = {"centres": list(self.centres), "spreads": list(self.spreads)}
        (folder / "vector.json").write_text(json.dumps(state) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["vector.json"])
            centres = tuple(float(item) for item in state["centres"])
            spreads = tuple(float(item) for item in state["spreads"])
            if len(centres) != len(spreads) or not all(map(math.isfinite, centres)):
                raise ValueError(f"{len(centres)} centres, {len(spreads)} spreads")
            if not centres or min(spreads) <= 0:
                raise ValueError("a spread is not above 0")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, centres, spreads)


class VectorColumn:
    """Cells such as ``[0.1, 0.2, 0.3]``, all of one length."""

    kind: ClassVar[str] = "vector"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = VectorOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedVector

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        present = [value for value in values if not is_missing(value)][:500]
        if not present:
            return Inference(0.0, "no values")
        found = [parse_vector(value) for value in present]
        if are_numbers(present):  # type: ignore[arg-type]
            return Inference(0.0, "numbers with commas")  # 1,234 is one number
        lengths = {len(item) for item in found if item is not None}
        if any(item is None for item in found) or len(lengths) != 1 or min(lengths) < 2:
            return Inference(0.0, "not numbers of one length")
        return Inference(0.98, f"{min(lengths)} numbers in each cell")

    @staticmethod
    def refuse(value: str) -> str | None:
        return "is no vector" if parse_vector(value) is None else None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedVector:
        del options, use
        found = [item for item in map(parse_vector, values) if item is not None and len(item)]
        if not found:
            return FittedVector(name, (0.0,), (1.0,))
        # The commonest, the first of equals: one row that was cut must not refuse all others.
        length = Counter(map(len, found)).most_common(1)[0][0]
        table = np.stack([item for item in found if len(item) == length])
        fitted = [
            (float(place[0]), 1.0) if (place == place[0]).all() else moments(place)
            for place in table.T
        ]
        centres, spreads = zip(*fitted, strict=True)
        return FittedVector(name, centres, tuple(spread or 1.0 for spread in spreads))
