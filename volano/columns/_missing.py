"""What tables write where there is nothing."""

from __future__ import annotations

__all__ = ["MISSING", "is_missing"]

MISSING = frozenset(
    {
        *("", "#N/A", "-NaN", "-nan", "<NA>", "N/A", "NA", "NAN", "NULL", "NaN", "NaT", "None"),
        *("Null", "n/a", "na", "nan", "none", "null", "?", "-", ".", "#DIV/0!", "#NULL!"),
    }
)
"""Spellings of spreadsheets, pandas, R, SQL and old statistics programs (`?`, `.`)."""


def is_missing(value: object) -> bool:
    """Whether a raw value of a column of measurements stands for there being none."""
    return value is None or (isinstance(value, str) and value.strip() in MISSING)
