"""`volano predict` of a forecast: a table in, the rows that follow its last one out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volano.columns.datetime import parse_moment
from volano.columns.series import FittedSeries
from volano.data import Row, SourceFile, Step, Timeline, read_rows, sample, time_line
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
      DataError: A column is missing (DATA-520), or no row can be used (DATA-060).
    """
    target = model.target
    assert isinstance(target, FittedSeries)
    columns = list(sample(files, 1).columns)
    wanted = [*([target.date] if target.date else []), *model.inputs]
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
    dates = kept.pop(target.date) if target.date else None
    line = time_line(kept, dates, step=Step.parse(target.step), where=files[0].name)
    filled = line.filled(len(line))
    request = {
        name: filled[-target.window :, place].tolist() for place, name in enumerate(model.inputs)
    }
    [answer] = predict([request])
    parts = {"predicted": answer.value, "low": answer.low, "high": answer.high}
    parts = {name: found for name, found in parts.items() if found is not None}
    first = target.date or "step"
    added = [f"{name}_{part}" for name in target.columns for part in parts]
    with open_output(output) as stream:
        write = row_writer(stream, output, [first, *added, "prediction_id"])
        for place in range(target.horizon):
            steps: dict[str, Any] = {
                f"{name}_{part}": found[name][place]
                for name in target.columns
                for part, found in parts.items()
            }
            moment = _moment(line, len(line) + place, dates) if dates else place + 1
            write({first: moment, **steps, "prediction_id": answer.id})
    step("predicting", 2, 2)
    summary.rows = summary.answered = target.horizon
    summary.notes = [
        f"the {target.horizon} steps that follow {len(line)} of "
        + (
            f"{files[0].name}, the last at {_moment(line, len(line) - 1, dates)}"
            if dates
            else files[0].name
        )
    ]
    mended = {name: count for name, count in line.counts.items() if count}
    if mended:
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in mended.items())
        summary.notes.append(f"mended: {said}")
    summary.notes += answer.notes
    return summary


def _moment(line: Timeline, place: int, dates: Sequence[str | None]) -> str:
    """A moment of the grid, as the table writes its own."""
    seconds = line.step.moment(line.first, place)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    example = next((value for value in dates if value and parse_moment(value) is not None), "")
    if moment.time() == datetime.time() and ":" not in example:
        return moment.date().isoformat()
    return moment.isoformat(sep="T" if "T" in example else " ")
