"""What changed class by class between two bundles that answered the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from volano.errors import DataError
from volano.evaluation.gate import judge

__all__ = ["ClassChange", "class_changes", "holm"]


@dataclass(frozen=True)
class ClassChange:
    """One class: its recall under the reference and under the candidate.

    Attributes:
      name: The class.
      support: Rows that have it.
      before: Recall of the reference: the share of these rows that it answers rightly.
      after: Recall of the candidate.
      effect: after - before.
      low: Lower end of the effect's 95% interval, of this class by itself.
      high: Its upper end.
      num_better: Rows of the class that only the candidate answers rightly.
      num_worse: Rows of the class that only the reference answers rightly.
      given_before: Rows, of any class, that the reference gives this name.
      given: Rows, of any class, that the candidate gives this name.
      p: Two-sided p-value of "the recall is the same", of this class by itself.
      adjusted_p: The same, corrected for having looked at all classes.
    """

    name: str
    support: int
    before: float
    after: float
    effect: float
    low: float
    high: float
    num_better: int
    num_worse: int
    given_before: int
    given: int
    p: float
    adjusted_p: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def class_changes(
    answers: Sequence[str], reference: Sequence[str], targets: Sequence[str]
) -> list[ClassChange]:
    """Recall of every class, candidate against reference, largest change first.

    Recall and not F1: it is a proportion of a fixed set of rows, so that the paired interval and
    test of the gate (Tango, exact McNemar) hold for it as they are. What recall does not see, rows
    of other classes that are now given this name, ``given`` and ``given_before`` show.

    Among many classes some change by luck. ``adjusted_p`` is Holm's: with the p-values in rising
    order, p(1) <= ... <= p(m),

        adjusted p(i) = max over j <= i of min(1, (m - j + 1) p(j))

    and the chance that any class at all has one of at most 0.05, when none has changed, is at most
    0.05, however the classes depend on each other.

    Args:
      answers: What the candidate answers, row by row.
      reference: What the champion answers to the same rows.
      targets: The right names.
    Returns:
      One per class that occurs among `targets`.
    Raises:
      DataError: The three differ in length, or are empty (DATA-416).
    Example:
      >>> [change] = class_changes(["a", "b"], ["a", "a"], ["a", "a"])
      >>> change.effect, change.num_worse, change.given
      (-0.5, 1, 1)

    References:
      Holm, `A Simple Sequentially Rejective Multiple Test Procedure
      <https://www.jstor.org/stable/4615733>`_, 1979.
    """
    if not len(answers) == len(reference) == len(targets) > 0:
        raise DataError(
            416,
            f"there are {len(answers)} answers, {len(reference)} of the reference, and "
            f"{len(targets)} targets",
            where="class_changes",
            expected="one of each per row, and at least one row",
            fix="answer the same golden rows with both",
        )
    right_N = np.array([one == two for one, two in zip(answers, targets, strict=True)])
    other_N = np.array([one == two for one, two in zip(reference, targets, strict=True)])
    names, code_N = np.unique(np.array(targets, dtype=object), return_inverse=True)
    order_N = np.argsort(code_N, kind="stable")
    borders = np.searchsorted(code_N[order_N], np.arange(len(names) + 1))
    given, given_before = Counter(answers), Counter(reference)
    found = []
    for code, name in enumerate(names.tolist()):
        rows = order_N[borders[code] : borders[code + 1]]
        judged = judge(right_N[rows], other_N[rows], alpha=0.05)
        found.append(
            ClassChange(
                name=name,
                support=len(rows),
                before=float(other_N[rows].mean()),
                after=float(right_N[rows].mean()),
                effect=judged.effect,
                low=judged.low,
                high=judged.high,
                num_better=judged.num_better,
                num_worse=judged.num_worse,
                given_before=given_before[name],
                given=given[name],
                p=min(1.0, 2 * min(judged.p_better, judged.p_worse)),
                adjusted_p=1.0,
            )
        )
    return sorted(holm(found), key=lambda change: (-abs(change.effect), -change.support))


def holm(changes: Sequence[ClassChange]) -> list[ClassChange]:
    """The changes, each with its p-value corrected for all of them, by name."""
    adjusted, largest = [], 0.0
    for place, change in enumerate(sorted(changes, key=lambda change: change.p)):
        largest = max(largest, min(1.0, (len(changes) - place) * change.p))
        adjusted.append(ClassChange(**{**asdict(change), "adjusted_p": largest}))
    return sorted(adjusted, key=lambda change: change.name)
