"""Rows of a table put on an even grid of time: order, repeats and gaps are mended and counted."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns.datetime import parse_moment
from volano.columns.series import fill_gaps, series_numbers
from volano.errors import DataError

__all__ = ["Step", "Timeline", "regular_dates", "time_line", "time_step"]

MOST_GAPS = 20
"""Steps of the grid for each row at the most: beyond that some date is wrong."""

LEAST_DATES = 24
MOST_REGULAR = 0.9
"""Share of the distances of a table in time order that are one step."""

_MONTH_S = 28 * 86_400.0
_SEASONS = {60.0: 1440, 600.0: 144, 900.0: 96, 1800.0: 48, 3600.0: 24, 86_400.0: 7, 604_800.0: 52}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """The distance of two rows.

    Attributes:
      seconds: Between two steps; 0 for steps of whole months, or where there are no dates.
      months: Between two steps; 0 for steps of seconds, or where there are no dates.
    """

    seconds: float = 0.0
    months: int = 0

    def places(self, moments: Floats, first: float) -> NDArray[np.int64]:
        """Which step each moment is nearest to, counted from `first`."""
        if self.months:
            found = (_month_of(moments) - _month_of(np.array([first]))) / self.months
        elif self.seconds:
            found = (moments - first) / self.seconds
        else:
            found = moments - first
        return np.round(found).astype(np.int64)

    def moment(self, first: float, place: int) -> float:
        """The moment of a step; without dates its number."""
        if self.months:
            start = _date(first)
            month = start.year * 12 + start.month - 1 + place * self.months
            day = min(start.day, 28) if start.day < 29 else start.day
            while True:
                try:
                    moved = start.replace(year=month // 12, month=month % 12 + 1, day=day)
                except ValueError:
                    day -= 1  # 31 January, a month later
                    continue
                return (moved - datetime.datetime(1970, 1, 1)).total_seconds()
        return first + place * (self.seconds or 1.0)

    def season(self) -> int:
        """Steps after which such a series usually repeats itself; 1 where that is not known."""
        if self.months:
            return 12 // self.months if 12 % self.months == 0 else 1
        return _SEASONS.get(self.seconds, 1)

    def __str__(self) -> str:
        if self.months:
            return f"{self.months} months"
        return f"{self.seconds!r} s" if self.seconds else ""

    @classmethod
    def parse(cls, text: str) -> Step:
        """The step that `str` wrote."""
        number, _, unit = text.partition(" ")
        if unit == "months":
            return cls(months=int(number))
        return cls(float(number)) if number else cls()


def _date(moment: float) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=moment)


def _month_of(moments: Floats) -> Floats:
    months = np.floor(moments).astype("int64").astype("datetime64[s]").astype("datetime64[M]")
    return months.astype(np.float64)


@dataclass(frozen=True)
class Timeline:
    """Series on an even grid.

    Attributes:
      names: The series.
      values: As they were measured, NaN where they were not, float64, (num_steps, num_series).
      step: The distance of two steps.
      first: Moment of the first step, in seconds since 1970; 0 without dates.
      place: Which step each row belongs to, int64, (num_rows,); -1 for one without a date.
      counts: ``out_of_order``, ``repeated`` (rows of a step that had one: they are averaged),
        ``moved`` (rows off the grid by more than a tenth of a step), ``undated``, ``gaps`` (steps
        without a row), ``missing`` and ``unreadable`` values.
    """

    names: tuple[str, ...]
    values: Floats
    step: Step
    first: float
    place: NDArray[np.int64]
    counts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def filled(self, stop: int) -> Floats:
        """Values of the steps before `stop` without gaps, (stop, num_series).

        Only what was measured before `stop` goes in: nothing of the future leaks.
        """
        return np.stack([fill_gaps(column[:stop]) for column in self.values.T], axis=1)


def time_step(moments: Floats) -> Step:
    """The commonest distance of moments.

    Args:
      moments: Seconds since 1970, ascending, without NaN.
    """
    distances = np.diff(moments)
    distances = distances[distances > 0]
    if not len(distances):
        return Step(1.0)
    median = float(np.median(distances))
    if median >= _MONTH_S:
        months = np.diff(_month_of(moments))
        months = months[months > 0]
        if len(months):
            return Step(months=max(1, round(float(np.median(months)))))
    found, times = np.unique(np.round(distances, 3), return_counts=True)
    # The median of an irregular log is no step that occurs; of a regular one both are the same.
    commonest = float(found[times.argmax()])
    return Step(commonest if times.max() > len(distances) / 2 else round(median, 3))


def time_line(
    columns: Mapping[str, Sequence[Any]],
    dates: Sequence[Any] | None,
    numbers: Sequence[int] | None = None,
    *,
    step: Step | None = None,
    where: str = "data",
) -> Timeline:
    """Put rows on a grid.

    Args:
      columns: Series -> raw values, one per row.
      dates: Raw moments; None when the rows are simply in order.
      numbers: Without dates the place of each row, ascending; None for 0, 1, 2, ...
      step: The distance of steps; None finds it.
      where: For messages.
    Raises:
      DataError: No row has a date (DATA-060); the dates leave far more gaps than there are rows
        (DATA-061).
    Example:
      >>> line = time_line({"y": ["1", "3"]}, ["2026-01-03", "2026-01-01"], step=Step(86400.0))
      >>> line.filled(3)[:, 0].tolist(), line.counts["gaps"], line.counts["out_of_order"]
      ([3.0, 2.0, 1.0], 1, 1)
    """
    names = tuple(columns)
    num_rows = len(columns[names[0]])
    parsed = [series_numbers(columns[name]) for name in names]
    raw = np.stack([values for values, _ in parsed], axis=1).reshape(num_rows, len(names))
    unreadable = int(sum(int(lost.sum()) for _, lost in parsed))
    if dates is None:
        moments = np.asarray(range(num_rows) if numbers is None else numbers, np.float64)
        step = Step()
    else:
        found = [parse_moment(value) for value in dates]
        moments = np.array([np.nan if item is None else item for item in found], np.float64)
    dated = ~np.isnan(moments)
    if not dated.any():
        raise DataError(
            60,
            f"none of {num_rows} rows has a date",
            where=where,
            expected="a column of moments such as 2026-01-31 12:00",
        )
    order = np.argsort(moments[dated], kind="stable")
    known = moments[dated]
    ordered = known[order]
    step = step or time_step(ordered)
    first = float(ordered[0])
    place = np.full(num_rows, -1, np.int64)
    place[dated] = step.places(known, first)
    num_steps = int(place.max()) + 1
    if num_steps > MOST_GAPS * int(dated.sum()) + 1000:
        raise DataError(
            61,
            f"{int(dated.sum())} rows are spread over {num_steps} steps of {step}",
            where=where,
            expected="rows at even distances, with few gaps",
            fix="look for a date that is far from the others",
        )
    sums = np.zeros((num_steps, len(names)))
    times = np.zeros((num_steps, len(names)))
    np.add.at(sums, place[dated], np.nan_to_num(raw[dated]))
    np.add.at(times, place[dated], ~np.isnan(raw[dated]))
    with np.errstate(invalid="ignore"):
        values = np.where(times > 0, sums / np.maximum(times, 1), np.nan)
    rows_of = np.bincount(place[dated], minlength=num_steps)
    grid = np.array([step.moment(first, spot) for spot in place[dated].tolist()])
    off = np.abs(known - grid) > 0.1 * step.seconds if step.seconds else np.zeros(len(known), bool)
    return Timeline(
        names,
        values,
        step,
        first,
        place,
        {
            "out_of_order": int((np.diff(known) < 0).sum()),
            "repeated": int(np.maximum(rows_of - 1, 0).sum()),
            "moved": int(off.sum()),
            "undated": int((~dated).sum()),
            "gaps": int((rows_of == 0).sum()),
            "missing": int(np.isnan(raw[dated]).sum()) - unreadable,
            "unreadable": unreadable,
        },
    )


def regular_dates(dates: Sequence[Any]) -> Step | None:
    """The distance of dates that rise at even steps, nearly all of them; else None.

    Example:
      >>> regular_dates([f"2026-01-{day:02}" for day in range(1, 29)])
      Step(seconds=86400.0, months=0)
    """
    found = [parse_moment(value) for value in dates]
    read = np.array([np.nan if item is None else item for item in found], np.float64)
    moments = read[~np.isnan(read)]
    # A few broken dates do not make a log anything else.
    if len(moments) < max(LEAST_DATES, MOST_REGULAR * len(read)):
        return None
    if (np.diff(moments) > 0).mean() < MOST_REGULAR:
        return None
    step = time_step(np.sort(moments))
    places = step.places(np.sort(moments), float(moments.min()))
    return step if (np.diff(places) == 1).mean() >= MOST_REGULAR else None
