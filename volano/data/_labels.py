"""What counts as a label, and when a column of labels is no such thing."""

from __future__ import annotations

import math
from collections.abc import Mapping

from volano.errors import DataError, shorten

__all__ = ["MAX_LABELS", "MISSING_LABELS", "check_labels", "is_missing", "too_many_labels"]

MAX_LABELS = 10_000

# What spreadsheets, pandas, R and SQL write where there is nothing. "NA" and "none" are not among
# them: a country code and a fair name for a class.
MISSING_LABELS = frozenset(
    {
        *("", "#N/A", "-NaN", "-nan", "<NA>", "N/A", "NAN", "NULL", "NaN", "NaT", "None"),
        *("Null", "n/a", "nan", "null"),
    }
)


def is_missing(label: str) -> bool:
    """Whether a label, stripped, stands for there being none."""
    return label in MISSING_LABELS


def too_many_labels(target: str, num_rows: int, examples: list[str]) -> DataError:
    if _fractional_share(examples) >= 0.9:
        return _numbers(target, len(examples), num_rows, examples)
    return DataError(
        21,
        f"the column has more than {MAX_LABELS:,} different labels in {num_rows:,} rows "
        f"({_shown(examples)})",
        where=target,
        expected="a column of names that repeat, not one of ids or free text",
        fix="name another column under target: in volano.yaml",
    )


def check_labels(target: str, counts: Mapping[str, int]) -> None:
    """Refuse labels that no classifier can learn.

    Raises:
      DataError: There is only one class (DATA-022), or the labels are measurements (DATA-023).
    """
    labels = sorted(counts)
    num_rows = sum(counts.values())
    if len(labels) == 1:
        raise DataError(
            22,
            f"all {num_rows:,} rows have the label {shorten(labels[0])}",
            where=target,
            expected="rows of at least two classes",
            fix="add rows of another class, or name another column under target:",
        )
    # Half stars and the like are classes with a dot in their names; measurements are many.
    measured = len(labels) > 20 or (len(labels) >= 3 and len(labels) > 0.8 * num_rows)
    if measured and _fractional_share(labels) >= 0.9:
        raise _numbers(target, len(labels), num_rows, labels)


def _fractional_share(labels: list[str]) -> float:
    """The share of labels that are numbers, if half of these or more are not whole."""
    num_numbers = num_fractions = 0
    for label in labels:
        try:
            value = float(label)
        except ValueError:
            continue
        num_numbers += 1
        num_fractions += math.isfinite(value) and not value.is_integer()
    return num_numbers / len(labels) if num_fractions * 2 >= num_numbers > 0 else 0.0


def _numbers(target: str, num_labels: int, num_rows: int, labels: list[str]) -> DataError:
    return DataError(
        23,
        f"the labels are numbers: {num_labels:,} different ones in {num_rows:,} rows "
        f"({_shown(labels)})",
        where=target,
        expected="names of classes; predicting a number is regression, which this version "
        "does not train",
        fix="put the numbers into a few bins with names, such as low, middle and high",
    )


def _shown(labels: list[str]) -> str:
    return ", ".join(shorten(label, 24) for label in labels[:3]) + ", ..."
