"""Series as people write them: in a cell, in a request, one or several side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volano.columns._missing import is_missing
from volano.columns.number import parse_numbers

__all__ = [
    "LARGEST_VALUE",
    "carry_on",
    "fill_gaps",
    "parse_channels",
    "parse_series",
    "series_numbers",
]

LARGEST_VALUE = 1e30
"""Beyond this a value of a series counts as one that cannot be read: no network knows such numbers,
and one of them would make all others look alike."""

Floats = NDArray[np.float64]

_DECIMALS = re.compile(r"(\d),(\d)")


def series_numbers(values: Sequence[object]) -> tuple[Floats, NDArray[np.bool_]]:
    """As `parse_numbers`; what is too large to be a measurement cannot be read either."""
    found, unreadable = parse_numbers(values)
    huge = np.abs(np.nan_to_num(found)) > LARGEST_VALUE
    found[huge] = np.nan
    return found, unreadable | huge


def parse_series(value: object) -> Floats | None:
    """Numbers of a cell or a request: a list, or numbers between spaces, commas or semicolons.

    Nothing between two commas or semicolons is a missing value. Between semicolons a comma stands
    before decimals.

    Returns:
      Shape (length,), NaN for a missing value within; empty for nothing at all; None when
      something in it is no finite number.
    Example:
      >>> parse_series("1 2,5"), parse_series("1,5;;2,25")
      (array([1., 2., 5.]), array([1.5 ,  nan, 2.25]))
      >>> parse_series([1, None]), parse_series("a b")
      (array([ 1., nan]), None)
    """
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype.kind not in "fiu":
            return None
        plain: Floats = value.astype(np.float64, copy=False)
        return None if (np.abs(np.nan_to_num(plain)) > LARGEST_VALUE).any() else plain
    if is_missing(value):
        return np.zeros(0)
    parts: Sequence[object]
    if isinstance(value, str):
        parts = _split(value.strip().strip("[]()"))
    elif isinstance(value, (list, tuple)):
        parts = value
    else:
        return None
    types = set(map(type, parts))
    if types & {bool, list, tuple, dict}:
        return None
    found, unreadable = series_numbers(parts)
    return None if unreadable.any() else found


def _split(text: str) -> list[str | None]:
    """A cell's numbers, each as it is written; None for one that is missing."""
    if not text.strip():
        return []
    places = text.split(";") if ";" in text else text.split(",")
    if ";" in text:
        places = [_DECIMALS.sub(r"\1.\2", place) for place in places]
    if not places[-1].strip():
        places.pop()  # what ends with a separator has no value behind it
    found: list[str | None] = []
    for place in places:
        found += place.split() or [None]
    return found


def parse_channels(value: object) -> Floats | None:
    """One series, or several equally long ones: a list of lists, or series between ``|``.

    Returns:
      Shape (num_series, length); (1, 0) for nothing at all; None when it is none of these.
    Example:
      >>> parse_channels("1 2 | 3 4").tolist(), parse_channels([[1, None], [2, 3]]).tolist()
      ([[1.0, 2.0], [3.0, 4.0]], [[1.0, nan], [2.0, 3.0]])
      >>> parse_channels("[[1, 2], [3]]")
    """
    several: Sequence[object] | None = None
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[["):
            several = text.strip("[] ").replace("] ,", "],").split("],")
        elif "|" in text:
            several = text.split("|")
    elif isinstance(value, np.ndarray) and value.ndim == 2:
        several = list(value)
    elif isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple)):
        several = value
    if several is None:
        one = parse_series(value)
        return None if one is None else one[None]
    found = [parse_series(part) for part in several]
    if (
        any(part is None for part in found)
        or len({len(part) for part in found if part is not None}) != 1
    ):
        return None
    return np.stack([part for part in found if part is not None])


def fill_gaps(values: Floats) -> Floats:
    """Missing values on the straight line between their neighbours; at the ends the nearest one.

    Returns:
      The same shape, (num_steps,); as it was when nothing is known at all.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) in (0, len(values)):
        return values
    return np.interp(np.arange(len(values)), known, values[known])


def carry_on(values: Floats) -> Floats:
    """Missing values as the last one that was known; at the start the first one that is.

    What is known ahead stays as it was until something else is said.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) in (0, len(values)):
        return np.nan_to_num(values)
    last = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return values[known[np.maximum(last, 0)]]
