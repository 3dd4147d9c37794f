"""Several groups of series, such as shops, on one grid of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns.boolean import parse_boolean
from volano.columns.datetime import parse_moment
from volano.columns.number import parse_numbers
from volano.data._timeline import Step, Timeline, time_line, time_step
from volano.errors import DataError

__all__ = ["GroupLine", "Panel", "flags", "panel_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GroupLine:
    """The steps of one group.

    Attributes:
      name: The group's; empty where there are no groups.
      line: Its steps, from its first to its last.
      offset: Where its first step lies on the grid of all groups.
      rows: Which of the rows are its own, int64, in the order of ``line.place``.
    """

    name: str
    line: Timeline
    offset: int
    rows: NDArray[np.int64]

    def cut(self, place: int) -> int:
        """How many of its steps lie before a place of the grid."""
        return min(max(place - self.offset, 0), len(self.line))


@dataclass(frozen=True)
class Panel:
    """Groups on a grid.

    Attributes:
      groups: By name; one where there are no groups.
      step: The distance of two steps.
      first: Moment of the grid's first step.
      num_steps: From the first step of any group to the last of any.
      place: Of each row its step on the grid; -1 for one without a date or a group.
      counts: The sums of `Timeline.counts`; ``ungrouped``, rows without a group.
    """

    groups: tuple[GroupLine, ...]
    step: Step
    first: float
    num_steps: int
    place: NDArray[np.int64]
    counts: dict[str, int]


def panel_of(
    columns: Mapping[str, Sequence[Any]],
    dates: Sequence[Any] | None,
    groups: Sequence[Any] | None,
    numbers: Sequence[int] | None = None,
    *,
    step: Step | None = None,
    where: str = "data",
) -> Panel:
    """Put rows of all groups on one grid.

    Args:
      columns: As of `time_line`.
      dates: As of `time_line`; without them each group begins at the same step.
      groups: Name of each row's group; None where there are none.
      numbers: Without dates and groups, the place of each row.
      step: The distance of steps; None finds it, in all groups alike.
      where: For messages.
    Raises:
      DataError: As `time_line`; no row has a group (DATA-060).
    """
    num_rows = len(next(iter(columns.values())))
    if groups is None:
        line = time_line(columns, dates, numbers, step=step, where=where)
        rows = np.arange(num_rows, dtype=np.int64)
        one = (GroupLine("", line, 0, rows),)
        return Panel(one, line.step, line.first, len(line), line.place, line.counts)
    names = np.array([str(name).strip() if name else "" for name in groups], dtype=object)
    known, codes = np.unique(names.astype(str), return_inverse=True)
    places = [np.flatnonzero(codes == code) for code, name in enumerate(known) if name]
    if not places:
        raise DataError(
            60,
            f"none of {num_rows} rows has a group",
            where=where,
            expected="a column that names the group of each row",
        )
    if dates is not None and step is None:
        step = time_step(_moments(dates, max(places, key=len)))
    found = []
    counts: dict[str, int] = {}
    for rows in places:
        own_dates = None if dates is None else [dates[row] for row in rows.tolist()]
        if own_dates is not None and not any(parse_moment(date) is not None for date in own_dates):
            counts["undated"] = counts.get("undated", 0) + len(rows)
            continue
        own = {name: [values[row] for row in rows.tolist()] for name, values in columns.items()}
        line = time_line(own, own_dates, step=step, where=where)
        found.append((str(names[rows[0]]), line, rows))
        for name, count in line.counts.items():
            counts[name] = counts.get(name, 0) + count
    if not found:
        raise DataError(60, f"none of {num_rows} rows has a date", where=where, expected="moments")
    step = found[0][1].step
    first = min(line.first for _, line, _ in found)
    lines = []
    place = np.full(num_rows, -1, np.int64)
    for name, line, rows in found:
        offset = int(step.places(np.array([line.first]), first)[0])
        lines.append(GroupLine(name, line, offset, rows))
        dated = line.place >= 0
        place[rows[dated]] = line.place[dated] + offset
    num_steps = max(group.offset + len(group.line) for group in lines)
    counts["ungrouped"] = int((names == "").sum())
    return Panel(tuple(lines), step, first, num_steps, place, counts)


def _moments(dates: Sequence[Any], rows: NDArray[np.int64]) -> Floats:
    found = [parse_moment(dates[row]) for row in rows.tolist()]
    return np.sort(np.array([moment for moment in found if moment is not None], np.float64))


def flags(values: Sequence[Any]) -> Sequence[Any]:
    """Yes and no as 1 and 0, where values are such words; numbers stay as they are."""
    if not parse_numbers(values)[1].any():
        return values
    words = [parse_boolean(value) for value in values]
    return [value if word is None else word for value, word in zip(values, words, strict=True)]
