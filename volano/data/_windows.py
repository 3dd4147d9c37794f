"""Tables in time order: which steps are held out, and windows of steps as examples.

An example is ``window`` steps to look back at and the ``horizon`` steps after them. The table is
cut by time: training steps, validation steps, golden steps. A window belongs to the part in which
all of its steps to come lie; what it looks back at may reach into the part before, which is past
by then, and never into the future. Steps after the golden ones, which later turns may have, train
again, in windows that touch no golden step at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn, Windows
from volano.columns.series import FittedSeries
from volano.data._golden import GoldenRows
from volano.data._prepared import save_windows
from volano.data._snapshot_file import RowIndices, Snapshot
from volano.data._timeline import Step, Timeline, time_line
from volano.errors import DataError

__all__ = ["GoldenWindows", "OrderedTable", "WindowSplits", "open_golden", "window_splits"]

AUTO_WINDOW = 336
MOST_FILLED = 0.1
"""Share of the steps to come that may be filled gaps; windows with more of them are left out."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OrderedTable:
    """Which columns of a table are what, for a forecast.

    Attributes:
      date: The column of moments; None takes the rows in the order of the table.
      series: The series to forecast, the target first.
      seen: Series that are looked back at only.
      options: Of the target column.
    """

    date: str | None
    series: tuple[str, ...]
    seen: tuple[str, ...]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, kinds: Mapping[str, str], target: str, options: Mapping[str, Any]) -> OrderedTable:
        """What the types of the columns say.

        Raises:
          DataError: An input can be no part of a forecast (DATA-062), or ``also`` names a column
            that is no input of numbers (DATA-063).
        """
        inputs = {name: kind for name, kind in kinds.items() if name != target}
        dates = [name for name, kind in inputs.items() if kind == "datetime"]
        numbers = [name for name, kind in inputs.items() if kind == "number"]
        for name, kind in inputs.items():
            if kind not in ("datetime", "number") or name in dates[1:]:
                raise DataError(
                    62,
                    f"the input {name!r} is {'another' if name in dates else 'a'} {kind}",
                    where="inputs",
                    expected="one datetime and any number of numbers, for a forecast",
                    fix=f"remove {name!r} from inputs",
                )
        also = list(dict.fromkeys(options.get("also", ())))
        for name in also:
            if name not in numbers:
                raise DataError(
                    63,
                    f"the target is to be forecast with {name!r}, which is no input of numbers",
                    where=f"target.{target}.also",
                    expected="some of " + ", ".join(numbers) if numbers else "no names",
                    fix=f"inputs: {{{name}: number}}",
                )
        seen = tuple(name for name in numbers if name not in also)
        return cls(dates[0] if dates else None, (target, *also), seen, options)

    @property
    def names(self) -> tuple[str, ...]:
        """All series."""
        return (*self.series, *self.seen)

    def line(self, snapshot: Snapshot, rows: RowIndices) -> Timeline:
        """Rows of a snapshot on a grid of time."""
        columns = {name: snapshot.column(name, rows) for name in self.names}
        dates = snapshot.column(self.date, rows) if self.date else None
        numbers = None if self.date else _numbers(snapshot, rows)
        return time_line(columns, dates, numbers, where=snapshot.target)

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
        line = self.line(snapshot, rows)
        num_steps, window = len(line), self.window(len(line))
        span = max(min(round(share * num_steps), most), self.horizon) if share else 0
        if num_steps - span < window + 2 * self.horizon + 1:
            raise _too_short(num_steps, window, self.horizon)
        start = num_steps - span
        order = np.lexsort((rows, line.place))
        chosen = order[line.place[order] >= max(start - window, 0)] if span else order[:0]
        context = int((line.place[chosen] < start).sum())
        ends = [line.step.moment(line.first, start), line.step.moment(line.first, num_steps - 1)]
        facts = {"date": self.date, "context": context, "span": ends if span else None}
        return rows[chosen], facts, span // self.horizon


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


def _too_short(num_steps: int, window: int, horizon: int) -> DataError:
    return DataError(
        64,
        f"the table has {num_steps} steps, which is too short to look back {window} and forecast "
        f"{horizon}",
        where="target",
        expected="steps for training, validation and golden windows",
        fix="lower horizon and window, or add rows",
    )


class GoldenWindows:
    """Golden rows of a table in time order, as forecasts to be judged; like `GoldenRows`.

    Attributes:
      num_rows: Forecasts: one for each golden step at which ``horizon`` golden steps follow.
      inputs: All series.
      target: Name of the target.
    """

    def __init__(self, golden: GoldenRows, target: FittedSeries) -> None:
        assert golden.order is not None
        self._golden, self._column = golden, target
        self.target = golden.target
        date = golden.order["date"]
        self.inputs = tuple(name for name in (golden.target, *golden.inputs) if name != date)
        self.num_rows = 0
        self.starts: NDArray[np.int64] = np.zeros(0, np.int64)
        if not golden.num_rows:
            return
        columns = {
            name: golden.targets if name == golden.target else golden.column(name)
            for name in self.inputs
        }
        dates = golden.column(date) if date else None
        line = time_line(columns, dates, step=Step.parse(target.step), where="golden rows")
        self.line = line
        self._filled = line.filled(len(line))
        own = line.place[golden.order["context"] :]
        first = int(own[own >= 0].min())
        # A test table has no rows before it to look back at: its first ones serve as such.
        first = first or min(target.window, max(len(line) - target.horizon, 1))
        wanted = [self.inputs.index(name) for name in target.columns]
        starts = np.arange(first, len(line) - target.horizon + 1)
        self.starts = starts[_whole(line.values, wanted, starts, target.horizon)]
        self.num_rows = len(self.starts)

    @property
    def targets(self) -> list[dict[str, Floats]]:
        """Of each forecast the right values: series -> steps, NaN where nothing was measured."""
        horizon = self._column.horizon
        return [
            {
                name: self.line.values[at : at + horizon, place]
                for place, name in enumerate(self.inputs)
            }
            for at in self.starts.tolist()
        ]

    @property
    def places(self) -> list[str]:
        """The last row that each forecast looks back at, as ``file row N``."""
        places = self._golden.places
        row_of = dict(zip(self.line.place.tolist(), range(self._golden.num_rows), strict=True))
        return [places[row_of[at - 1]] if at - 1 in row_of else "" for at in self.starts.tolist()]

    def values(self, name: str) -> list[Floats]:
        """What a fitted column encodes: the same as `column`."""
        return self.column(name)

    def column(self, name: str) -> list[Floats]:
        """All of a series before each forecast, as a request would give it."""
        values = self._filled[:, self.inputs.index(name)]
        return [values[:at] for at in self.starts.tolist()]


def open_golden(path: Path, target: FittedColumn) -> GoldenRows | GoldenWindows:
    """Golden rows as what a bundle with this target answers: rows, or forecasts."""
    golden = GoldenRows.open(path)
    if golden.order is None:
        return golden
    assert isinstance(target, FittedSeries)
    return GoldenWindows(golden, target)


def _whole(
    values: Floats, wanted: Sequence[int], starts: NDArray[np.int64], horizon: int
) -> NDArray[np.bool_]:
    """Which windows can be used.

    The last step that is looked at was measured, so that no gap before it was filled with what
    came after; and of the steps to come at most a tenth were not.
    """
    missing = np.isnan(values[:, list(wanted)])
    sums = np.concatenate([[0], np.cumsum(missing.sum(axis=1))])
    lost = sums[starts + horizon] - sums[starts]
    ends = np.asarray(missing[starts - 1].any(axis=1))
    return np.asarray(~ends & (lost <= MOST_FILLED * horizon * len(wanted)))


@dataclass(frozen=True)
class WindowSplits:
    """What `window_splits` made of a table.

    Attributes:
      inputs: One fitted series for each that is looked back at.
      target: The series to forecast.
      rows: Windows of each split.
      golden_steps: Rows of the snapshot that are golden steps and do not train.
      facts: What is worth showing: steps, spans, what was mended; JSON-able.
    """

    inputs: dict[str, FittedSeries]
    target: FittedSeries
    rows: dict[str, int]
    golden_steps: int
    facts: dict[str, Any]


def window_splits(
    out: Path,
    table: OrderedTable,
    snapshot: Snapshot,
    rows: RowIndices,
    golden: GoldenRows,
    *,
    share: float,
) -> WindowSplits:
    """Fit the series on training steps and write windows of every split.

    Args:
      out: The prepared folder.
      table: Which columns are what.
      snapshot: All usable rows.
      rows: Those to use.
      golden: Frozen rows, none of which trains.
      share: Share of the steps before the golden ones to validate on, 0 to 1.
    Raises:
      DataError: The table is too short (DATA-064).
    """
    line = table.line(snapshot, rows)
    num_steps, window, horizon = len(line), table.window(len(line)), table.horizon
    low, high = _golden_span(line, golden)
    cut = low - max(round(share * low), horizon)
    if cut < window + horizon:
        raise _too_short(num_steps, window, horizon)
    # Each part is filled by itself: a gap at its end must not be filled with what comes after.
    past, later = line.filled(cut), _part(line, high, num_steps).filled(num_steps - high)
    flat = np.concatenate([past, later])
    wanted = list(range(len(table.series)))
    seen = np.concatenate([line.values[:cut], line.values[high:]])
    starts = np.concatenate(
        [
            np.arange(window, cut - horizon + 1),
            np.arange(cut + window, len(flat) - horizon + 1),
        ]
    )
    all_starts = len(starts)
    starts = starts[_whole(seen, wanted, starts, horizon)]
    if not len(starts):
        raise _too_short(num_steps, window, horizon)
    season = _season(table, line, past[:, 0])
    inputs, target = _fit(table, line, seen, flat, window, season)
    steps = np.concatenate([np.arange(cut), np.arange(high, num_steps)])
    row_of = np.full(num_steps, -1, np.int64)
    row_of[line.place[line.place >= 0]] = rows[line.place >= 0]
    _save(out / "train", inputs, target, flat, flat, starts)
    np.save(out / "train" / "rows.npy", row_of[steps[starts - 1]])
    # Validation: what it looks back at reaches into training steps, which are past by then.
    begin = cut - window
    held = line.filled(low)[begin:]
    after = np.arange(window, low - begin - horizon + 1)
    after = after[_whole(line.values[begin:low], wanted, after, horizon)]
    _save(out / "validation", inputs, target, held, line.values[begin:low], after)
    np.save(out / "validation" / "rows.npy", row_of[after + begin - 1])
    judged = GoldenWindows(golden, target)
    _save_golden(out / "golden", inputs, target, judged)
    facts = {
        "steps": num_steps,
        "step": str(line.step),
        "window": window,
        "horizon": horizon,
        "season": season,
        "series": list(table.series),
        "seen": list(table.seen),
        "train_steps": len(steps),
        "validation_steps": low - cut,
        "golden_steps": high - low,
        "windows_left_out": int(all_starts - len(starts)),
        **line.counts,
        "filled": int(np.isnan(line.values).sum()),
    }
    counts = {"train": len(starts), "validation": len(after), "golden": judged.num_rows}
    inside = int(((line.place >= low) & (line.place < high)).sum())
    return WindowSplits(inputs, target, counts, inside, facts)


def _golden_span(line: Timeline, golden: GoldenRows) -> tuple[int, int]:
    """First golden step of the table, and the first after them; both its end when it has none."""
    span = golden.order["span"] if golden.order else None
    if span is None:
        return len(line), len(line)
    low, high = line.step.places(np.array(span), line.first).tolist()
    low, high = max(low, 0), min(high + 1, len(line))
    return (low, high) if low < high else (len(line), len(line))


def _part(line: Timeline, start: int, stop: int) -> Timeline:
    return Timeline(line.names, line.values[start:stop], line.step, 0.0, line.place)


def _season(table: OrderedTable, line: Timeline, values: Floats) -> int:
    """Steps until the series repeats itself: as asked, by the calendar, or by autocorrelation."""
    asked = table.options.get("season", "auto")
    if asked != "auto":
        return int(asked)
    known = line.step.season()
    if 1 < known <= len(values) // 3:
        return known
    changes = np.diff(values)
    changes = changes - changes.mean()
    most = min(400, len(changes) // 3)
    power = float(changes @ changes)
    if most < 3 or not power:
        return 1
    found = np.array([changes[lag:] @ changes[:-lag] for lag in range(2, most)]) / power
    best = int(found.argmax())
    # A season this weak would make the baselines worse, not better.
    return best + 2 if found[best] > 0.3 else 1


def _fit(
    table: OrderedTable, line: Timeline, seen: Floats, filled: Floats, window: int, season: int
) -> tuple[dict[str, FittedSeries], FittedSeries]:
    centres = np.nanmean(seen, axis=0) if len(seen) else np.zeros(len(table.names))
    centres = np.nan_to_num(centres)
    spreads = np.nan_to_num(np.nanstd(seen, axis=0))
    spreads[spreads == 0] = 1.0
    step = str(line.step)
    inputs = {
        name: FittedSeries(
            name, (name,), (float(centres[at]),), (float(spreads[at]),), window, 0, season, step
        )
        for at, name in enumerate(table.names)
    }
    num = len(table.series)
    changes = np.abs(filled[season:, :num] - filled[:-season, :num]).mean(axis=0)
    changes[changes == 0] = 1.0
    target = FittedSeries(
        table.series[0],
        table.series,
        tuple(centres[:num].tolist()),
        tuple(spreads[:num].tolist()),
        window,
        table.horizon,
        season,
        step,
        tuple(changes.tolist()),
        table.date or "",
    )
    return inputs, target


def _save(
    folder: Path,
    inputs: Mapping[str, FittedSeries],
    target: FittedSeries,
    looked_at: Floats,
    to_come: Floats,
    starts: NDArray[np.int64],
) -> None:
    """Windows of one split; `starts` are the first steps to come."""
    for place, column in enumerate(inputs.values()):
        windows = Windows(
            column.scaled(looked_at[:, place], 0), starts - column.window, column.window
        )
        save_windows(folder / str(place), "values", windows)
    scaled = [target.scaled(to_come[:, place], place) for place in range(len(target.columns))]
    save_windows(folder, "target", Windows(np.stack(scaled, axis=1), starts, target.horizon))


def _save_golden(
    folder: Path,
    inputs: Mapping[str, FittedSeries],
    target: FittedSeries,
    golden: GoldenWindows,
) -> None:
    if not golden.num_rows:
        nothing = np.zeros((0, len(inputs)))
        _save(folder, inputs, target, nothing, nothing, np.zeros(0, np.int64))
        return
    order = [golden.inputs.index(name) for name in inputs]
    filled = golden.line.filled(len(golden.line))[:, order]
    # As `encode` does with a history that is too short.
    padding = np.repeat(filled[:1], target.window, axis=0)
    unknown = np.full((target.window, len(order)), np.nan)
    _save(
        folder,
        inputs,
        target,
        np.concatenate([padding, filled]),
        np.concatenate([unknown, golden.line.values[:, order]]),
        golden.starts + target.window,
    )
