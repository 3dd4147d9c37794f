"""Tables in time order: what each column is, and which steps are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volano.data._panel import Panel, flags, panel_of
from volano.data._snapshot_file import RowIndices, Snapshot
from volano.errors import DataError, nearest

__all__ = ["OrderedTable", "too_short"]

AUTO_WINDOW = 336
MOST_REPEATED = 0.5
"""Share of the rows whose dates may be those of others: of more, the rows are no steps in time."""

_ROLES = ("also", "ahead", "static")
_TYPES = {
    "also": ("number",),
    "ahead": ("number", "boolean", "datetime"),
    "static": ("number", "category", "boolean"),
    "group": ("category",),
}
_EXPECTED = {
    "also": "inputs of numbers",
    "ahead": "inputs of type number or boolean, or the column of moments",
    "static": "inputs of type number, category or boolean",
    "group": "an input of type category",
}


@dataclass(frozen=True)
class OrderedTable:
    """Which columns of a table are what, for a forecast.

    Attributes:
      date: The column of moments; None takes the rows in the order of the table.
      series: The series to forecast, the target first.
      seen: Series that are looked back at only.
      options: Of the target column.
      ahead: Numbers and flags that are known of steps to come.
      static: Columns that stay the same, in one table or in one group of it.
      group: The column that names the group of each row; None where all rows are one.
      calendar: Whether the date of the forecast itself is looked at.
      kinds: Column -> type.
    """

    date: str | None
    series: tuple[str, ...]
    seen: tuple[str, ...]
    options: Mapping[str, Any]
    ahead: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    group: str | None = None
    calendar: bool = False
    kinds: Mapping[str, str] | None = None

    @classmethod
    def of(cls, kinds: Mapping[str, str], target: str, options: Mapping[str, Any]) -> OrderedTable:
        """What the types of the columns say.

        Raises:
          DataError: An input can be no part of a forecast (DATA-062); or ``also``, ``ahead``,
            ``static`` or ``group`` names a column that is no such input, or one that has another
            part already (DATA-063).
        """
        inputs = {name: kind for name, kind in kinds.items() if name != target}
        dates = [name for name, kind in inputs.items() if kind == "datetime"]
        group = options.get("group")
        parts = {role: list(dict.fromkeys(options.get(role) or ())) for role in _ROLES}
        taken: dict[str, str] = {}
        for role, names in (*parts.items(), ("group", [group] if group else [])):
            for name in names:
                fits = inputs.get(name) in _TYPES[role]
                if not fits or (inputs[name] == "datetime" and name != dates[0]):
                    raise _no_part(role, name, target, inputs)
                if name in taken:
                    raise DataError(
                        63,
                        f"{name!r} is named under {taken[name]!r} and under {role!r}",
                        where=f"target.{target}.{role}",
                        expected="each column in one of them",
                    )
                taken[name] = role
        numbers = [name for name, kind in inputs.items() if kind == "number"]
        for name, kind in inputs.items():
            if name in dates[1:] or (name not in taken and kind not in ("datetime", "number")):
                raise DataError(
                    62,
                    f"the input {name!r} is {'another' if name in dates else 'a'} {kind}",
                    where="inputs",
                    expected="one datetime and any number of numbers, for a forecast; other types "
                    "where the target's options static, ahead or group name them",
                    fix=f"remove {name!r} from inputs",
                )
        return cls(
            dates[0] if dates else None,
            (target, *parts["also"]),
            tuple(name for name in numbers if name not in taken),
            options,
            tuple(name for name in parts["ahead"] if name not in dates),
            tuple(parts["static"]),
            group,
            bool(set(parts["ahead"]) & set(dates)),
            dict(kinds),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All series."""
        return (*self.series, *self.seen)

    @property
    def facts(self) -> dict[str, Any]:
        """What golden rows must know of themselves; JSON-able."""
        found: dict[str, Any] = {"date": self.date}
        if self.group:
            found["group"] = self.group
        if self.ahead:
            found["ahead"] = list(self.ahead)
        if self.static:
            found["static"] = list(self.static)
        return found

    def panel(self, snapshot: Snapshot, rows: RowIndices) -> Panel:
        """Rows of a snapshot on a grid of time, group by group."""
        columns: dict[str, Sequence[Any]] = {
            name: snapshot.column(name, rows) for name in self.names
        }
        columns |= {name: flags(snapshot.column(name, rows)) for name in self.ahead}
        dates = snapshot.column(self.date, rows) if self.date else None
        groups = snapshot.column(self.group, rows) if self.group else None
        numbers = None if self.date or self.group else _numbers(snapshot, rows)
        return panel_of(columns, dates, groups, numbers, where=snapshot.target)

    def window(self, num_steps: int) -> int:
        """Steps to look back at."""
        asked = self.options.get("window", "auto")
        if asked != "auto":
            return int(asked)
        return min(AUTO_WINDOW, max(4, num_steps // 8))

    @property
    def horizon(self) -> int:
        """Steps to forecast."""
        return int(self.options["horizon"])

    def golden_span(self, num_steps: int, *, share: float, most: int) -> int:
        """How many steps at the end of a table are golden.

        Raises:
          DataError: The table is too short (DATA-064).
        """
        window = self.window(num_steps)
        span = max(min(round(share * num_steps), most), self.horizon) if share else 0
        if num_steps - span < window + 2 * self.horizon + 1:
            raise too_short(num_steps, window, self.horizon)
        return span

    def refuse_cut(self, low: int, num_steps: int, share: float) -> int:
        """Where training ends and validation begins, of the steps before the golden ones.

        Args:
          low: The first golden step.
          num_steps: Of the whole table.
          share: Share of the steps before `low` to validate on.
        Raises:
          DataError: No training window is left (DATA-064), or the season that is asked for is
            longer than what trains (067).
        """
        window = self.window(num_steps)
        cut = low - max(round(share * low), self.horizon)
        if cut < window + self.horizon:
            raise too_short(num_steps, window, self.horizon)
        season = self.options.get("season", "auto")
        if season != "auto" and season >= cut:
            raise DataError(
                67,
                f"the season is {season} steps, and {cut} steps train",
                where="target",
                expected="a season that repeats itself in the training steps",
                fix="season: auto",
            )
        return cut

    def refuse_dates(self, panel: Panel) -> None:
        """Refuse rows that are no steps in time.

        Raises:
          DataError: More than half of the rows repeat the date of another (DATA-068).
        """
        repeated = panel.counts["repeated"]
        num_rows = int((panel.place >= 0).sum())
        if self.date and num_rows and repeated > MOST_REPEATED * num_rows:
            raise DataError(
                68,
                f"{repeated} of {num_rows} rows have the date of another row"
                + (" of their group" if self.group else ""),
                where="target",
                expected="one row for each step"
                + ("" if self.group else "; of several shops or sensors, a column that names them"),
                fix=f"group: COLUMN   in the options of {self.series[0]}",
            )

    def choose_golden(
        self, snapshot: Snapshot, *, share: float, most: int
    ) -> tuple[RowIndices, dict[str, Any], int]:
        """The last rows of the table, and those before them that are looked back at.

        Returns:
          Rows in time order; `GoldenRows.order` of them; and how many forecasts they allow of
          which no two share a step.
        Raises:
          DataError: The table is too short (DATA-064).
        """
        rows = np.arange(snapshot.num_source_rows, dtype=np.int64)
        panel = self.panel(snapshot, rows)
        self.refuse_dates(panel)
        num_steps, window = panel.num_steps, self.window(panel.num_steps)
        span = self.golden_span(num_steps, share=share, most=most)
        start = num_steps - span
        order = np.lexsort((rows, panel.place))
        chosen = order[panel.place[order] >= max(start - window, 0)] if span else order[:0]
        context = int((panel.place[chosen] < start).sum())
        ends = [
            panel.step.moment(panel.first, start),
            panel.step.moment(panel.first, num_steps - 1),
        ]
        facts = {**self.facts, "context": context, "span": ends if span else None}
        return rows[chosen], facts, span // self.horizon


def _no_part(role: str, name: str, target: str, inputs: Mapping[str, str]) -> DataError:
    able = [other for other, kind in inputs.items() if kind in _TYPES[role]]
    what = {
        "also": "the target is to be forecast with {}, which is no input of numbers",
        "ahead": "{} is to be known ahead, and is no input that can be",
        "static": "{} is to stay the same, and is no input that can",
        "group": "{} is to name groups, and is no input of names",
    }[role].format(repr(name))
    kind = _TYPES[role][0]
    return DataError(
        63,
        what,
        where=f"target.{target}.{role}",
        expected=f"{_EXPECTED[role]}: " + (", ".join(able) or "there is none"),
        nearest=nearest(name, able),
        fix=f"inputs: {{{name}: {kind}}}",
    )


def _numbers(snapshot: Snapshot, rows: RowIndices) -> list[int]:
    """The place of each row in the table, where rows were dropped too."""
    files = np.array(snapshot.rows.take("file", rows), np.int64)
    numbers = np.array(snapshot.rows.take("row", rows), np.int64)
    before = 0
    for file in np.unique(files):
        mine = files == file
        last = int(numbers[mine].max())
        numbers[mine] += before
        before += last
    found: list[int] = numbers.tolist()
    return found


def too_short(num_steps: int, window: int, horizon: int) -> DataError:
    """The error of a table that no windows can be cut from."""
    return DataError(
        64,
        f"the table has {num_steps} steps, which is too short to look back {window} and forecast "
        f"{horizon}",
        where="target",
        expected="steps for training, validation and golden windows",
        fix="lower horizon and window, or add rows",
    )
