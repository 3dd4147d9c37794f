"""Golden rows of a table in time order, as forecasts to be judged."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.series import FittedSeries, carry_on
from volano.data._came import Came
from volano.data._golden import GoldenRows
from volano.data._panel import GroupLine, flags, panel_of
from volano.data._timeline import Step

__all__ = ["MOST_FILLED", "GoldenWindows", "moment_text", "open_golden", "whole"]

MOST_FILLED = 0.1
"""Share of the steps to come that may be filled gaps; windows with more of them are left out."""

Floats = NDArray[np.float64]


class GoldenWindows:
    """Golden rows as forecasts; like `GoldenRows`.

    Attributes:
      num_rows: Forecasts: one for each golden step at which ``horizon`` golden steps follow, of
        each group.
      inputs: All columns but the date and, first of all, the target.
      target: Name of the target.
      times: The golden step at which each begins, ascending.
    """

    def __init__(self, golden: GoldenRows, target: FittedSeries) -> None:
        assert golden.order is not None
        self._golden, self._column = golden, target
        self.target = golden.target
        order = golden.order
        self._date, self._group = order["date"], order.get("group")
        self._ahead = tuple(order.get("ahead", ()))
        self._static = tuple(order.get("static", ()))
        plain = {self._date, self._group, *self._static}
        self.inputs = tuple(n for n in (golden.target, *golden.inputs) if n not in plain)
        self.num_rows = 0
        self.times = self.starts = self.group = np.zeros(0, np.int64)
        self.groups: tuple[GroupLine, ...] = ()
        if not golden.num_rows:
            return
        columns: dict[str, Sequence[Any]] = {
            name: golden.targets if name == golden.target else golden.column(name)
            for name in self.inputs
        }
        columns |= {name: flags(columns[name]) for name in self._ahead}
        dates = golden.column(self._date) if self._date else None
        groups = golden.column(self._group) if self._group else None
        panel = panel_of(columns, dates, groups, step=Step.parse(target.step), where="golden rows")
        self._step, self._first = panel.step, panel.first
        self.groups = panel.groups
        own = panel.place[order["context"] :]
        first = int(own[own >= 0].min())
        # A test table has no rows before it to look back at: its first ones serve as such.
        horizon = target.horizon
        first = first or min(target.window, max(panel.num_steps - horizon, 1))
        wanted = [self.inputs.index(name) for name in target.columns if name in self.inputs]
        found = []
        for place, group in enumerate(panel.groups):
            starts = np.arange(max(first - group.offset, 1), len(group.line) - horizon + 1)
            starts = starts[whole(group.line.values, wanted, starts, horizon)]
            found.append(np.stack([starts + group.offset, np.full(len(starts), place), starts]))
        times, codes, starts = np.concatenate(found, axis=1)
        by_time = np.lexsort((codes, times))
        self.times, self.group, self.starts = times[by_time], codes[by_time], starts[by_time]
        self.num_rows = len(self.starts)
        self.filled = [self._filled(group) for group in panel.groups]

    def _filled(self, group: GroupLine) -> Floats:
        line = group.line
        found = line.filled(len(line))
        for name in self._ahead:
            place = self.inputs.index(name)
            found[:, place] = carry_on(line.values[:, place])
        return np.nan_to_num(found)

    @property
    def targets(self) -> Came:
        """Of each forecast the right values."""
        horizon = self._column.horizon
        steps = [
            {
                name: self.groups[group].line.values[at : at + horizon, place]
                for place, name in enumerate(self.inputs)
            }
            for group, at in self._each()
        ]
        return Came(steps, self.times)

    def _each(self) -> list[tuple[int, int]]:
        return list(zip(self.group.tolist(), self.starts.tolist(), strict=True))

    @property
    def places(self) -> list[str]:
        """The last row that each forecast looks back at, as ``file row N``."""
        places = self._golden.places
        row_of = [
            dict(zip(group.line.place.tolist(), group.rows.tolist(), strict=True))
            for group in self.groups
        ]
        return [
            places[row_of[group][at - 1]] if at - 1 in row_of[group] else ""
            for group, at in self._each()
        ]

    def values(self, name: str, column: FittedColumn | None = None) -> list[Any]:
        """What a fitted column encodes, as a request would give it.

        Args:
          name: A column.
          column: As it was fitted; None for one that is not known ahead.
        """
        if name == self._group:
            return [self.groups[group].name for group in self.group.tolist()]
        if name == self._date:
            return [
                moment_text(self._step.moment(self._first, time - 1))
                for time in self.times.tolist()
            ]
        if name in self._static:
            said = self._golden.column(name)
            first = [said[int(group.rows[0])] for group in self.groups]
            return [first[group] for group in self.group.tolist()]
        place = self.inputs.index(name)
        ahead = getattr(column, "ahead", 0)
        found = []
        for group, at in self._each():
            values = self.filled[group][: at + ahead, place]
            if len(values) < at + ahead:
                values = np.pad(values, (0, at + ahead - len(values)), mode="edge")
            found.append(values)
        return found

    def column(self, name: str) -> list[Any]:
        """As `values`, with nothing known ahead."""
        return self.values(name)


def moment_text(seconds: float) -> str:
    """A moment as a request gives it."""
    found = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return found.isoformat(sep=" ")


def open_golden(path: Path, target: FittedColumn) -> GoldenRows | GoldenWindows:
    """Golden rows as what a bundle with this target answers: rows, or forecasts."""
    golden = GoldenRows.open(path)
    if golden.order is None:
        return golden
    assert isinstance(target, FittedSeries)
    return GoldenWindows(golden, target)


def whole(
    values: Floats, wanted: Sequence[int], starts: NDArray[np.int64], horizon: int
) -> NDArray[np.bool_]:
    """Which windows can be used.

    The last step that is looked at was measured, so that no gap before it was filled with what
    came after; and of the steps to come at most a tenth were not.
    """
    if not len(starts):
        return np.zeros(0, bool)
    missing = np.isnan(values[:, list(wanted)])
    sums = np.concatenate([[0], np.cumsum(missing.sum(axis=1))])
    lost = sums[starts + horizon] - sums[starts]
    ends = np.asarray(missing[starts - 1].any(axis=1))
    return np.asarray(~ends & (lost <= MOST_FILLED * horizon * len(wanted)))
