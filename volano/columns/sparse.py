"""Sparse: thousands of measurements in one cell, of which nearly all are zero."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Ragged, Use
from volano.columns._missing import is_missing
from volano.columns.number import LARGEST_SCALED
from volano.errors import BundleError, RequestError, shorten

__all__ = ["FittedSparse", "SparseColumn", "SparseOptions", "parse_sparse"]

LONGEST_KEY = 200


class SparseOptions(BaseModel):
    """Options of a sparse column.

    Attributes:
      min_rows: Places that are not zero in fewer training rows than this are left out.
      max_places: The most places, those that are not zero in most rows first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    min_rows: int = Field(2, ge=1)
    max_places: int = Field(200_000, ge=1, le=2_000_000)


def parse_sparse(value: object) -> dict[str, float] | None:
    """Places that are not zero; None when it is no such thing. A missing value has none.

    Example:
      >>> parse_sparse('{"17": 1.5, "red": 0}'), parse_sparse("17:1.5 90:2"), parse_sparse("17 1.5")
      ({'17': 1.5}, {'17': 1.5, '90': 2.0}, None)
    """
    if is_missing(value):
        return {}
    pairs: Iterable[tuple[object, object]]
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, str) and value.strip()[:1] == "{":
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        pairs = found.items()
    elif isinstance(value, str):
        pairs = [part.rpartition(":")[::2] for part in value.split()]
    else:
        return None
    places: dict[str, float] = {}
    for key, item in pairs:
        if isinstance(item, bool) or not isinstance(item, (int, float, str)):
            return None
        try:
            number = float(item)
        except (ValueError, OverflowError):
            return None
        key = str(key)
        if not key or len(key) > LONGEST_KEY or not math.isfinite(number):
            return None
        if number:
            places[key] = places.get(key, 0.0) + number
    return places


@dataclass(frozen=True)
class FittedSparse:
    """The places that occur, in the order of their codes, and what each is divided by.

    Nothing is taken off: a zero stays a zero, so that only what is not zero need ever be kept.
    """

    kind: ClassVar[str] = "sparse"
    name: str
    places: tuple[str, ...]
    scales: tuple[float, ...]

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {key: code for code, key in enumerate(self.places)}

    @property
    def num_places(self) -> int:
        """Places that `encode` knows; the next one is padding."""
        return len(self.places)

    def check(self, value: object) -> dict[str, float] | None:
        if is_missing(value):
            return None
        found = parse_sparse(value)
        if found is None:
            raise RequestError(
                19,
                f"{self.name} is {shorten(value)}",
                status=422,
                expected='places that are not zero: {"17": 1.5, "90": 2}, or "17:1.5 90:2", or '
                "null for none",
            )
        return found

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        example = dict.fromkeys(self.places[:2], 1.0)
        return {
            "type": ["object", "string", "null"],
            "additionalProperties": {"type": "number"},
            "examples": [example],
        }

    def facts(self) -> dict[str, Any]:
        """How many places."""
        return {"length": len(self.places)}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Rows of a CSR matrix: ``places``, int32 codes ascending, and ``weights``, float32."""
        codes = self._codes
        scales = np.array(self.scales, np.float64)
        ids: list[int] = []
        weights: list[float] = []
        offsets = np.zeros(len(values) + 1, np.int64)
        notes: dict[int, str] = {}
        counts = {"missing": 0, "unreadable": 0, "unseen": 0}
        for row, value in enumerate(values):
            found = parse_sparse(value)
            if found is None:
                counts["unreadable"] += 1
                if len(notes) < 1000:
                    notes[row] = f"{self.name}: {shorten(value)} is no list of places"
                found = {}
            elif not found and is_missing(value):
                counts["missing"] += 1
            known = sorted((codes[key], item) for key, item in found.items() if key in codes)
            new = len(found) - len(known)
            if new:
                counts["unseen"] += new
                if len(notes) < 1000:
                    notes[row] = f"{self.name}: {new} places were not seen in training"
            ids += [code for code, _ in known]
            weights += [item for _, item in known]
            offsets[row + 1] = len(ids)
        flat = np.array(ids, np.int32)
        scaled = np.array(weights, np.float64) / scales[flat] if len(flat) else np.zeros(0)
        scaled = np.clip(scaled, -LARGEST_SCALED, LARGEST_SCALED).astype(np.float32)
        arrays = {"places": Ragged(flat, offsets), "weights": Ragged(scaled, offsets)}
        return Encoded(arrays, counts, notes)

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Padded to the longest row: places int64 with the code after the last, weights with 0."""
        ids, weights = encoded.arrays["places"], encoded.arrays["weights"]
        assert isinstance(ids, Ragged)
        assert isinstance(weights, Ragged)
        padded, inside = ids.pad(rows, self.num_places)
        filled = np.zeros(padded.shape, np.float32)
        starts = weights.offsets[rows][:, None] + np.arange(padded.shape[1])
        filled[inside > 0] = weights.flat[starts[inside > 0]]
        return {f"{self.name}.places": padded, f"{self.name}.weights": filled}

    def save(self, folder: Path) -> None:
        state = {"places": self.places, "scales": list(self.scales)}
        text = json.dumps(state, ensure_ascii=False)
        (folder / "sparse.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["sparse.json"])
            places = tuple(str(item) for item in state["places"])
            scales = tuple(float(item) for item in state["scales"])
            if len(places) != len(scales) or len(set(places)) != len(places):
                raise ValueError(f"{len(places)} places, {len(scales)} scales")
            if not all(math.isfinite(scale) and scale > 0 for scale in scales):
                raise ValueError("a scale is not above 0")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, places, scales)


class SparseColumn:
    """Cells such as ``17:1.5 90:2`` or ``{"17": 1.5, "90": 2}``; all other places are zero."""

    kind: ClassVar[str] = "sparse"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = SparseOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedSparse

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        present = [value for value in values if not is_missing(value)][:500]
        if not present:
            return Inference(0.0, "no values")
        found = [parse_sparse(value) for value in present]
        if any(item is None for item in found):
            return Inference(0.0, "not places with numbers")
        sizes = [len(item) for item in found if item is not None]
        keys = {key for item in found if item for key in item}
        # 12:30 is a time of day.
        if max(sizes) < 2:
            return Inference(0.0, "one place in each cell")
        return Inference(
            0.99, f"places with numbers, {np.mean(sizes):.0f} of {len(keys)} in each cell"
        )

    @staticmethod
    def refuse(value: str) -> str | None:
        return "is no list of places" if parse_sparse(value) is None else None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedSparse:
        del use
        rows: dict[str, int] = {}
        largest: dict[str, float] = {}
        for value in values:
            for key, item in (parse_sparse(value) or {}).items():
                rows[key] = rows.get(key, 0) + 1
                largest[key] = max(largest.get(key, 0.0), abs(item))
        least = options.get("min_rows", 2)
        often = [key for key, count in rows.items() if count >= least]
        often = sorted(often, key=lambda key: (-rows[key], key))
        kept = sorted(often[: options.get("max_places", 200_000)])
        # Each place by its largest value: to -1..1, with zero where it was.
        return FittedSparse(name, tuple(kept), tuple(largest[key] for key in kept))
