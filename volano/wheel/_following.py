"""`volano predict` of a forecast: a table in, the rows that follow its last one out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volano.columns.datetime import parse_moment
from volano.columns.series import FittedSeries, carry_on
from volano.data import (
    GroupLine,
    Row,
    SourceFile,
    Step,
    Timeline,
    flags,
    moment_text,
    panel_of,
    read_rows,
    sample,
)
from volano.errors import DataError, nearest
from volano.runtime import Model, Prediction
from volano.wheel._answers import AnswerSummary, open_output, row_writer

__all__ = ["answer_end"]


def answer_end(
    files: Sequence[SourceFile],
    output: Path | None,
    *,
    model: Model,
    predict: Callable[[Sequence[Mapping[str, Any]]], list[Prediction]],
    step: Callable[[str, float, float], None],
) -> AnswerSummary:
    """Write the next steps of the series of a table.

    Args:
      files: The table, in time order or with its dates.
      output: As of `answer_table`.
      model: A bundle that forecasts.
      predict: Answers rows.
      step: Told how far the work is.
    Raises:
      DataError: A column is missing (DATA-520); no row can be used (DATA-060); what must be known
        ahead is not in the table (066).
    """
    target = model.target
    assert isinstance(target, FittedSeries)
    columns = list(sample(files, 1).columns)
    wanted = list(dict.fromkeys([*([target.date] if target.date else []), *model.inputs]))
    for name in wanted:
        if name not in columns:
            raise DataError(
                520,
                f"there is no column {name!r}",
                where=files[0].name,
                expected="the columns that the model learned from: " + ", ".join(wanted),
                nearest=nearest(name, columns),
                fix=f"rename the column in {files[0].name}",
            )
    summary = AnswerSummary()
    kept: dict[str, list[str | None]] = {name: [] for name in wanted}
    for row in read_rows(files):
        if not isinstance(row, Row):
            summary.broken += 1
            continue
        for name, values in kept.items():
            values.append(row.values.get(name))
    step("predicting", 1, 2)
    series = {n: c for n, c in model.inputs.items() if isinstance(c, FittedSeries)}
    table: dict[str, Sequence[Any]] = {
        name: flags(kept[name]) if column.ahead else kept[name] for name, column in series.items()
    }
    dates = kept[target.date] if target.date else None
    panel = panel_of(
        table,
        dates,
        kept[target.group] if target.group else None,
        step=Step.parse(target.step),
        where=files[0].name,
    )
    ends = [_end(group, series, target, files[0].name) for group in panel.groups]
    requests = [
        _request(group, end, model, target, kept, dates)
        for group, end in zip(panel.groups, ends, strict=True)
    ]
    answers = predict(requests)
    has_ends = any(answer.low is not None for answer in answers)
    names = ["predicted", *(["low", "high"] if has_ends else [])]
    first = target.date or "step"
    added = [f"{name}_{part}" for name in target.columns for part in names]
    grouped = [target.group] if target.group else []
    with open_output(output) as stream:
        write = row_writer(stream, output, [*grouped, first, *added, "prediction_id"])
        for group, end, answer in zip(panel.groups, ends, answers, strict=True):
            parts = {"predicted": answer.value, "low": answer.low, "high": answer.high}
            for place in range(target.horizon):
                steps: dict[str, Any] = {
                    f"{name}_{part}": parts[part][name][place]
                    for name in target.columns
                    for part in names
                }
                moment = _moment(group.line, end + place, dates) if dates else place + 1
                own = {target.group: group.name} if grouped else {}
                write({**own, first: moment, **steps, "prediction_id": answer.id})
    step("predicting", 2, 2)
    summary.rows = summary.answered = target.horizon * len(answers)
    longest, end = max(zip(panel.groups, ends, strict=True), key=lambda pair: pair[1])
    summary.notes = [
        f"the {target.horizon} steps that follow {end} of "
        + (
            f"{files[0].name}, the last at {_moment(longest.line, end - 1, dates)}"
            if dates
            else files[0].name
        )
        + (f", for each of {len(answers)} groups" if grouped else "")
    ]
    counts = dict(panel.counts)
    # What is to be forecast is not missing.
    past = [place for place, column in enumerate(series.values()) if not column.ahead]
    for group, end in zip(panel.groups, ends, strict=True):
        rows = group.line.place[group.line.place >= end]
        unknown = int(np.isnan(group.line.values[rows][:, past]).sum())
        counts["missing"] = max(0, counts.get("missing", 0) - unknown)
    mended = {name: count for name, count in counts.items() if count}
    if mended:
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in mended.items())
        summary.notes.append(f"mended: {said}")
    summary.notes += list(dict.fromkeys(note for answer in answers for note in answer.notes))
    return summary


def _end(
    group: GroupLine, series: Mapping[str, FittedSeries], target: FittedSeries, where: str
) -> int:
    """How many steps of a group lie in the past: the rows after them say what is known ahead."""
    line, names = group.line, list(series)
    ahead = [name for name, column in series.items() if column.ahead]
    if not ahead:
        return len(line)
    wanted = [names.index(name) for name in target.columns]
    measured = np.flatnonzero((~np.isnan(line.values[:, wanted])).any(axis=1))
    end = int(measured[-1]) + 1 if len(measured) else 0
    if not end or len(line) - end < target.horizon:
        of = f" of {group.name}" if group.name else ""
        raise DataError(
            66,
            f"{len(line) - end} of the {target.horizon} steps to come{of} are in the table, and "
            f"{', '.join(ahead)} must be known ahead",
            where=where,
            expected=f"{target.horizon} rows after the last one that has {target.columns[0]}, with "
            + ", ".join(ahead),
            fix=f"add those rows, with nothing for {target.columns[0]}",
        )
    return end


def _request(
    group: GroupLine,
    end: int,
    model: Model,
    target: FittedSeries,
    kept: Mapping[str, Sequence[str | None]],
    dates: Sequence[str | None] | None,
) -> dict[str, Any]:
    """What a client would send of a group."""
    filled = group.line.filled(end)
    found: dict[str, Any] = {}
    place = 0
    for name, column in model.inputs.items():
        if isinstance(column, FittedSeries):
            if column.ahead:
                whole = carry_on(group.line.values[: end + column.ahead, place])
                found[name] = np.nan_to_num(whole)[-column.window :].tolist()
            else:
                found[name] = filled[-target.window :, place].tolist()
            place += 1
        elif name == target.group:
            found[name] = group.name
        elif name == target.date and dates is not None:
            found[name] = moment_text(group.line.step.moment(group.line.first, end - 1))
        else:
            dated = np.flatnonzero(group.line.place >= 0)
            earliest = group.rows[dated[group.line.place[dated].argmin()]]
            found[name] = model.inputs[name].check(kept[name][int(earliest)])
    return found


def _moment(line: Timeline, place: int, dates: Sequence[str | None]) -> str:
    """A moment of the grid, as the table writes its own."""
    seconds = line.step.moment(line.first, place)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    example = next((value for value in dates if value and parse_moment(value) is not None), "")
    if moment.time() == datetime.time() and ":" not in example:
        return moment.date().isoformat()
    return moment.isoformat(sep="T" if "T" in example else " ")
