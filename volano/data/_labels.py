"""What counts as a label, and when a column of labels is no such thing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volano.data._keys import fold
from volano.errors import DataError, shorten

__all__ = [
    "MAX_LABELS",
    "MISSING_LABELS",
    "LikeLabels",
    "check_labels",
    "is_missing",
    "like_labels",
    "too_many_labels",
]

MAX_LABELS = 10_000

# What spreadsheets, pandas, R and SQL write where there is nothing. "NA" and "none" are not among
# them: a country code and a fair name for a class.
MISSING_LABELS = frozenset(
    {
        *("", "#N/A", "-NaN", "-nan", "<NA>", "N/A", "NAN", "NULL", "NaN", "NaT", "None"),
        *("Null", "n/a", "nan", "null"),
    }
)


# Marks that tell classes apart: C, C++ and C#; -1 and 1; > and <.
_MEANT = re.compile(r"[+#%<>=]|^-(?=[.\d])")


@dataclass(frozen=True)
class LikeLabels:
    """Labels that may be one class, written in several ways.

    Attributes:
      rows: Label -> its rows, the most frequent first.
      fix: What to do, in one line.
    """

    rows: Mapping[str, int]
    fix: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"rows": dict(self.rows), "fix": self.fix}

    def __str__(self) -> str:
        shown = ", ".join(f"{shorten(label, 40)} {rows:,}" for label, rows in self.rows.items())
        return f"labels that differ only by case, space or punctuation: {shown}; {self.fix}"


def like_labels(counts: Mapping[str, int]) -> list[LikeLabels]:
    """Labels that differ only by case, space or punctuation. They are found, and not merged.

    Only a person knows whether they are one class. As they are, the model learns them as several
    and is counted wrong wherever it takes one for the other.

    Args:
      counts: Label -> its rows.
    Returns:
      The groups, that with the most rows first.
    Example:
      >>> [dict(found.rows) for found in like_labels({"Positive": 3, "positive": 9, "other": 4})]
      [{'positive': 9, 'Positive': 3}]
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for label in counts:
        # Digits on either side of a mark stay apart: 1.5 is not 15, and 1-2 is not 12.
        bare = fold(re.sub(r"(?<=\d)[\W_]+(?=\d)", "x", label))
        groups.setdefault((bare or label, *_MEANT.findall(label)), []).append(label)
    found = []
    for labels in groups.values():
        if len(labels) > 1:
            labels.sort(key=lambda label: (-counts[label], label))
            fix = f"if they are one class, write {shorten(labels[0], 40)} for all of them"
            found.append(LikeLabels({label: counts[label] for label in labels}, fix))
    return sorted(found, key=lambda group: (-sum(group.rows.values()), next(iter(group.rows))))


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
            expected="rows of at least two classes, or of different numbers",
            fix="add rows that differ in it, or name another column under target:",
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
        expected="names of classes, or a target whose type is number: that is regression",
        fix=f"target: {{{target}: number}}   (or put the numbers into a few bins with names)",
    )


def _shown(labels: list[str]) -> str:
    return ", ".join(shorten(label, 24) for label in labels[:3]) + ", ..."
