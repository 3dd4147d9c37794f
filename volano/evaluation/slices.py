"""Parts of the rows that are looked at by themselves, so that no average hides one that failed."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_ROWS", "row_slices"]

LEAST_ROWS = 8
"""Rows of a slice below which nothing could be shown of it."""

LETTERS = 200
"""Of a text, to see what script it is written in."""

Mask = NDArray[np.bool_]


def row_slices(
    columns: Mapping[str, Sequence[Any]], right: Sequence[str] | None = None
) -> dict[str, Mask]:
    """Slices by class, by length and script of texts, and by what is missing.

    Args:
      columns: Input column -> raw values.
      right: The right name of each row; None where the target is no name.
    Returns:
      Slice in words -> whether each row is in it; only slices of at least `LEAST_ROWS` rows that
      are not all of them.
    """
    found: dict[str, Mask] = {}
    if right is not None:
        names = np.array(right, dtype=object)
        found |= {f"class {name}": names == name for name in sorted(set(right))}
    for column, values in columns.items():
        empty = np.array([value is None or value == "" for value in values])
        found[f"{column} is missing"] = empty
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(values) and _is_prose(texts):
            found |= _of_texts(column, texts)
    return {name: mask for name, mask in found.items() if LEAST_ROWS <= int(mask.sum()) < len(mask)}


def _is_prose(texts: Sequence[str]) -> bool:
    some = texts[:: max(1, len(texts) // 200)]
    return bool(some) and sum(any(map(str.isspace, t.strip())) for t in some) > len(some) / 2


def _of_texts(column: str, texts: Sequence[str]) -> dict[str, Mask]:
    lengths = np.array([len(text) for text in texts])
    low, high = np.quantile(lengths, (0.1, 0.9))
    found = {
        f"{column} of at most {low:.0f} characters": lengths <= low,
        f"{column} of at least {high:.0f} characters": lengths >= high,
    }
    scripts = np.array([_script(text) for text in texts], dtype=object)
    return found | {
        f"{column} in {name} letters": scripts == name for name in sorted(set(scripts)) if name
    }


def _script(text: str) -> str:
    """Of most of its letters, as Unicode names them: LATIN, CJK, CYRILLIC; empty without any."""
    counts: dict[str, int] = {}
    for letter in filter(str.isalpha, text[:LETTERS]):
        name = unicodedata.name(letter, "").split(" ")[0]
        counts[name] = counts.get(name, 0) + 1
    return max(counts, key=counts.__getitem__).capitalize() if counts else ""
