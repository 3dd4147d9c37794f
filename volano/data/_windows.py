"""Tables in time order: windows of steps as examples.

An example is ``window`` steps to look back at and the ``horizon`` steps after them. The table is
cut by time: training steps, validation steps, golden steps. A window belongs to the part in which
all of its steps to come lie; what it looks back at may reach into the part before, which is past
by then, and never into the future. Steps after the golden ones, which later turns may have, train
again, in windows that touch no golden step at all. Groups are cut at the same moments, and no
window holds steps of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn, Windows, column_kind
from volano.columns.datetime import FittedDatetime
from volano.columns.series import FittedSeries, carry_on
from volano.data._golden import GoldenRows
from volano.data._golden_windows import GoldenWindows, moment_text, whole
from volano.data._ordered import OrderedTable, too_short
from volano.data._panel import GroupLine, Panel
from volano.data._prepared import save_windows
from volano.data._snapshot_file import RowIndices, Snapshot
from volano.data._timeline import Timeline

__all__ = ["WindowSplits", "window_splits"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WindowSplits:
    """What `window_splits` made of a table.

    Attributes:
      inputs: One fitted series for each that is looked back at or known ahead, and the columns of
        one value for each window.
      target: The series to forecast.
      rows: Windows of each split.
      golden_steps: Rows of the snapshot that are golden steps and do not train.
      facts: What is worth showing: steps, spans, what was mended; JSON-able.
    """

    inputs: dict[str, FittedColumn]
    target: FittedSeries
    rows: dict[str, int]
    golden_steps: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Part:
    """Steps of all groups one after the other, and the windows that are cut from them.

    Attributes:
      seen: Without gaps, (total, num_columns).
      came: As they were measured, NaN where they were not.
      starts: Of each window its first step to come, a place in both.
      times: The same on the grid of all groups, ascending.
      group: Of each window its group, a place among the panel's.
      rows: Of each window the row of the snapshot that is the last it looks back at.
    """

    seen: Floats
    came: Floats
    starts: NDArray[np.int64]
    times: NDArray[np.int64]
    group: NDArray[np.int64]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class _Stretch:
    """Steps of one group that follow each other: ``place`` is where they begin on its line."""

    group: int
    place: int
    values: Floats
    starts: NDArray[np.int64]


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
      DataError: As `OrderedTable.refuse_cut`; or no window is left (DATA-064).
    """
    panel = table.panel(snapshot, rows)
    num_steps, window, horizon = panel.num_steps, table.window(panel.num_steps), table.horizon
    low, high = _golden_span(panel, golden)
    cut = table.refuse_cut(low, num_steps, share)
    wanted = list(range(len(table.series)))
    num_windows = 0
    train, validation = [], []
    for place, group in enumerate(panel.groups):
        line = group.line
        first, middle, last = group.cut(cut), group.cut(low), group.cut(high)
        for start, stop in ((0, first), (last, len(line))):
            values = line.values[start:stop]
            starts = np.arange(window, len(values) - horizon + 1)
            num_windows += len(starts)
            kept = starts[whole(values, wanted, starts, horizon)]
            train.append(_Stretch(place, start, values, kept))
        # What validation looks back at reaches into training steps, which are past by then.
        begin = max(first - window, 0)
        values = line.values[begin:middle]
        starts = np.arange(max(window, first - begin), len(values) - horizon + 1)
        kept = starts[whole(values, wanted, starts, horizon)]
        validation.append(_Stretch(place, begin, values, kept))
    row_of = [_rows(group, rows) for group in panel.groups]
    learned = _part(train, panel, table, row_of, from_start=False)
    held = _part(validation, panel, table, row_of, from_start=True)
    if not len(learned.starts):
        raise too_short(num_steps, window, horizon)
    longest = max(panel.groups, key=lambda group: group.cut(cut))
    past = longest.line.filled(longest.cut(cut))
    season = _season(table, longest.line, past[:, 0])
    inputs, target = _fit(table, panel, learned, train, window, season)
    alone = _alone(table, snapshot, rows, panel, learned)
    _save(out / "train", {**inputs, **alone}, target, learned)
    _save(out / "validation", {**inputs, **alone}, target, held)
    firsts = _firsts(panel, rows)
    static = {name: snapshot.column(name, firsts) for name in table.static}
    for folder, part in ((out / "train", learned), (out / "validation", held)):
        np.save(folder / "rows.npy", part.rows)
        np.save(folder / "times.npy", part.times)
        _save_alone(folder, len(inputs), alone, table, panel, part, static)
    judged = GoldenWindows(golden, target)
    everything = {**inputs, **alone}
    _save_golden(out / "golden", inputs, target, judged)
    for place, (name, column) in enumerate(alone.items(), len(inputs)):
        encoded = column.encode(judged.values(name) if judged.num_rows else [])
        for key, array in encoded.arrays.items():
            assert isinstance(array, np.ndarray)
            (out / "golden" / str(place)).mkdir(parents=True, exist_ok=True)
            np.save(out / "golden" / str(place) / f"{key}.npy", array)
    missing = sum(int(np.isnan(group.line.values).sum()) for group in panel.groups)
    facts = {
        "steps": num_steps,
        "step": str(panel.step),
        "window": window,
        "horizon": horizon,
        "season": season,
        "series": list(table.series),
        "seen": list(table.seen),
        "train_steps": cut + num_steps - high,
        "validation_steps": low - cut,
        "golden_steps": high - low,
        "windows_left_out": int(num_windows - len(learned.starts)),
        **panel.counts,
        "filled": missing,
    }
    if table.group:
        facts["groups"] = len(panel.groups)
    if table.ahead or table.calendar:
        facts["ahead"] = [*table.ahead, *([table.date] if table.calendar else [])]
    if table.static:
        facts["static"] = list(table.static)
        facts["changing"] = _changing(table, snapshot, rows, panel)
    counts = {
        "train": len(learned.starts),
        "validation": len(held.starts),
        "golden": judged.num_rows,
    }
    inside = int(((panel.place >= low) & (panel.place < high)).sum())
    return WindowSplits(everything, target, counts, inside, facts)


def _golden_span(panel: Panel, golden: GoldenRows) -> tuple[int, int]:
    """First golden step of the table, and the first after them; both its end when it has none."""
    span = golden.order["span"] if golden.order else None
    if span is None:
        return panel.num_steps, panel.num_steps
    low, high = panel.step.places(np.array(span), panel.first).tolist()
    low, high = max(low, 0), min(high + 1, panel.num_steps)
    return (low, high) if low < high else (panel.num_steps, panel.num_steps)


def _rows(group: GroupLine, rows: RowIndices) -> NDArray[np.int64]:
    """The row of the snapshot that each step of a group came from; -1 for a gap."""
    found = np.full(len(group.line), -1, np.int64)
    dated = group.line.place >= 0
    found[group.line.place[dated]] = rows[group.rows[dated]]
    return found


def _part(
    stretches: Sequence[_Stretch],
    panel: Panel,
    table: OrderedTable,
    row_of: Sequence[NDArray[np.int64]],
    *,
    from_start: bool,
) -> _Part:
    """Stretches one after the other, their windows in order of time.

    Args:
      from_start: Whether gaps are filled by all that the group was before, not by the stretch
        alone: what validation looks back at was known by then.
    """
    seen, starts, times, groups, rows = [], [], [], [], []
    before = 0
    num_plain = len(table.names)
    for stretch in stretches:
        line, stop = panel.groups[stretch.group].line, stretch.place + len(stretch.values)
        begin = 0 if from_start else stretch.place
        values = line.values[begin:stop]
        filled = Timeline(line.names, values, line.step, 0.0, line.place).filled(len(values))
        for place in range(num_plain, values.shape[1]):
            filled[:, place] = carry_on(values[:, place])
        seen.append(np.nan_to_num(filled[stretch.place - begin :]))
        at = stretch.starts + stretch.place
        starts.append(stretch.starts + before)
        times.append(at + panel.groups[stretch.group].offset)
        groups.append(np.full(len(at), stretch.group, np.int64))
        rows.append(row_of[stretch.group][at - 1])
        before += len(stretch.values)
    time = np.concatenate(times)
    order = np.argsort(time, kind="stable")
    return _Part(
        np.concatenate(seen),
        np.concatenate([stretch.values for stretch in stretches]),
        np.concatenate(starts)[order],
        time[order],
        np.concatenate(groups)[order],
        np.concatenate(rows)[order],
    )


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
    table: OrderedTable,
    panel: Panel,
    learned: _Part,
    stretches: Sequence[_Stretch],
    window: int,
    season: int,
) -> tuple[dict[str, FittedSeries], FittedSeries]:
    seen = learned.came
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(seen)
        num = np.maximum(known.sum(axis=0), 1)
        centres = np.where(known, seen, 0).sum(axis=0) / num
        spreads = np.sqrt((np.where(known, seen - centres, 0) ** 2).sum(axis=0) / num)
    spreads[spreads == 0] = 1.0
    step = str(panel.step)
    inputs = {}
    for at, name in enumerate((*table.names, *table.ahead)):
        ahead = table.horizon if name in table.ahead else 0
        scale = (float(centres[at]),), (float(spreads[at]),)
        inputs[name] = FittedSeries(
            name, (name,), *scale, window + ahead, 0, season, step, ahead=ahead
        )
    num_series = len(table.series)
    changes, times = np.zeros(num_series), 0
    before = 0
    for stretch in stretches:
        own = learned.seen[before : before + len(stretch.values), :num_series]
        before += len(stretch.values)
        if len(own) > season:
            changes += np.abs(own[season:] - own[:-season]).sum(axis=0)
            times += len(own) - season
    changes /= max(times, 1)
    changes[changes == 0] = 1.0
    target = FittedSeries(
        table.series[0],
        table.series,
        tuple(centres[:num_series].tolist()),
        tuple(spreads[:num_series].tolist()),
        window,
        table.horizon,
        season,
        step,
        tuple(changes.tolist()),
        table.date or "",
        group=table.group or "",
    )
    return inputs, target


_CALENDAR = ("month", "day", "weekday", "hour")
"""Parts of the date that come again; the year and the moment itself never do."""


def _alone(
    table: OrderedTable, snapshot: Snapshot, rows: RowIndices, panel: Panel, learned: _Part
) -> dict[str, FittedColumn]:
    """Columns of one value for each window, fitted on what trains."""
    found: dict[str, FittedColumn] = {}
    kinds = table.kinds or {}
    firsts = _firsts(panel, rows)
    trained = np.unique(learned.group)
    for name in table.static:
        values = [snapshot.column(name, firsts)[group] for group in trained.tolist()]
        options = column_kind(kinds[name]).Options().model_dump(mode="json")
        found[name] = column_kind(kinds[name]).fit(name, values, options)
    if table.group:
        names = [panel.groups[group].name for group in trained.tolist()]
        options = column_kind("category").Options(max_names=100_000).model_dump(mode="json")
        found[table.group] = column_kind("category").fit(table.group, names, options)
    if table.calendar and table.date:
        moments = _moments(panel, np.unique(learned.times))
        fitted = column_kind("datetime").fit(table.date, moments, {})
        assert isinstance(fitted, FittedDatetime)
        parts = tuple(part for part in fitted.parts if part.partition("_")[0] in _CALENDAR)
        found[table.date] = FittedDatetime(
            table.date, fitted.middle, fitted.spread, parts or fitted.parts, fitted.day_first
        )
    return found


def _firsts(panel: Panel, rows: RowIndices) -> NDArray[np.int64]:
    """The first row of each group, in time: what stays the same is read there."""
    found = []
    for group in panel.groups:
        dated = np.flatnonzero(group.line.place >= 0)
        found.append(rows[group.rows[dated[group.line.place[dated].argmin()]]])
    return np.array(found, np.int64)


def _changing(
    table: OrderedTable, snapshot: Snapshot, rows: RowIndices, panel: Panel
) -> dict[str, int]:
    """Columns that are said to stay the same -> rows in which they do not."""
    found = {}
    firsts = _firsts(panel, rows)
    for name in table.static:
        first = snapshot.column(name, firsts)
        said = snapshot.column(name, rows)
        found[name] = sum(
            int(sum(said[row] != own for row in group.rows.tolist()))
            for group, own in zip(panel.groups, first, strict=True)
        )
    return {name: count for name, count in found.items() if count}


def _moments(panel: Panel, times: NDArray[np.int64]) -> list[str]:
    """Moments of the last steps that windows look back at."""
    return [moment_text(panel.step.moment(panel.first, time - 1)) for time in times.tolist()]


def _save_alone(
    folder: Path,
    first: int,
    alone: Mapping[str, FittedColumn],
    table: OrderedTable,
    panel: Panel,
    part: _Part,
    static: Mapping[str, Sequence[str]],
) -> None:
    """Write, for each window, the columns of one value; encoded once and then repeated."""
    for place, (name, column) in enumerate(alone.items(), first):
        if name == table.date:
            different, codes = np.unique(part.times, return_inverse=True)
            encoded = column.encode(_moments(panel, different))
        else:
            codes = part.group
            encoded = column.encode(
                [group.name for group in panel.groups] if name == table.group else static[name]
            )
        (folder / str(place)).mkdir(parents=True, exist_ok=True)
        for key, array in encoded.arrays.items():
            assert isinstance(array, np.ndarray)
            np.save(folder / str(place) / f"{key}.npy", array[codes])


def _save(
    folder: Path, inputs: Mapping[str, FittedColumn], target: FittedSeries, part: _Part
) -> None:
    """Windows of one split."""
    for place, column in enumerate(inputs.values()):
        if not isinstance(column, FittedSeries):
            continue
        windows = Windows(
            column.scaled(part.seen[:, place], 0),
            part.starts - (column.window - column.ahead),
            column.window,
        )
        save_windows(folder / str(place), "values", windows)
    num = len(target.columns)
    scaled = [target.scaled(part.came[:, place], place) for place in range(num)]
    save_windows(folder, "target", Windows(np.stack(scaled, axis=1), part.starts, target.horizon))


def _save_golden(
    folder: Path,
    inputs: Mapping[str, FittedSeries],
    target: FittedSeries,
    golden: GoldenWindows,
) -> None:
    """As `encode` does with what a request gives: a history that is too short is filled up."""
    order = [golden.inputs.index(name) for name in inputs]
    seen, came = [], []
    starts = golden.starts
    padding = target.window
    before = 0
    bases = []
    for group, filled in zip(golden.groups, golden.filled if golden.num_rows else [], strict=False):
        seen += [np.repeat(filled[:1, order], padding, axis=0), filled[:, order]]
        came += [np.full((padding, len(order)), np.nan), group.line.values[:, order]]
        bases.append(before + padding)
        before += padding + len(filled)
    if golden.num_rows:
        starts = golden.starts + np.array(bases, np.int64)[golden.group]
    empty = np.zeros((0, len(order)))
    part = _Part(
        np.concatenate(seen) if seen else empty,
        np.concatenate(came) if came else empty,
        starts,
        golden.times,
        golden.group,
        np.zeros(0, np.int64),
    )
    _save(folder, inputs, target, part)
    np.save(folder / "times.npy", golden.times)
