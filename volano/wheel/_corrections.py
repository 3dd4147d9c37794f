"""`volano feedback`: corrections from a table into the log, and out of it again."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volano.data import BrokenRow, SourceFile, read_rows, sample
from volano.errors import DataError
from volano.store import Correction, PredictionLog
from volano.wheel._answers import open_output, row_writer

__all__ = ["ImportSummary", "export_feedback", "import_feedback"]

BATCH_ROWS = 1000


@dataclass
class ImportSummary:
    """What `import_feedback` took in.

    Attributes:
      joined: Rows that named a prediction.
      labelled: Rows that brought their inputs instead.
      unknown: Prediction ids that this wheel never gave.
      empty: Rows without a value.
      broken: Rows that could not be parsed.
      new_names: Values that the champion does not know yet.
    """

    joined: int = 0
    labelled: int = 0
    unknown: list[str] = field(default_factory=list)
    empty: int = 0
    broken: int = 0
    new_names: list[str] = field(default_factory=list)


def import_feedback(
    log: PredictionLog,
    files: Sequence[SourceFile],
    *,
    inputs: Sequence[str],
    target: str,
    known: Iterable[str],
    who: str,
) -> ImportSummary:
    """Take corrections from a table.

    A row names a prediction (``prediction_id``) or brings the input columns; the right value is in
    the column of the target's name, else in ``value``. A column ``who`` overrides `who`.

    Raises:
      DataError: There is no column with values (DATA-530), or neither ids nor inputs (531).
    """
    columns = sample(files, 1).columns
    value_column = target if target in columns else "value"
    if value_column not in columns:
        raise DataError(
            530,
            "no column holds the right values",
            where=files[0].name,
            expected=f"a column {target!r}, or 'value'",
        )
    by_id = "prediction_id" in columns
    by_inputs = all(name in columns for name in inputs)
    if not by_id and not by_inputs:
        raise DataError(
            531,
            "the rows name no prediction",
            where=files[0].name,
            expected="a column 'prediction_id', or the inputs " + ", ".join(inputs),
        )
    summary = ImportSummary()
    known_names, new_names = set(known), set()
    corrections: list[Correction] = []
    labelled: dict[str, list[tuple[Mapping[str, Any], Any]]] = {}

    def flush() -> None:
        if corrections:
            unknown = log.feedback(corrections)
            summary.unknown.extend(unknown)
            summary.joined += len(corrections) - len(unknown)
            corrections.clear()
        for person, rows in labelled.items():
            summary.labelled += log.add_labelled(rows, person)
        labelled.clear()

    for number, row in enumerate(read_rows(files)):
        if isinstance(row, BrokenRow):
            summary.broken += 1
            continue
        value = (row.values.get(value_column) or "").strip()
        prediction = (row.values.get("prediction_id") or "").strip()
        person = (row.values.get("who") or "").strip() or who
        if not value or not (prediction or by_inputs):
            summary.empty += 1
            continue
        if value not in known_names:
            new_names.add(value)
        if prediction:
            corrections.append(Correction(prediction, value, person))
        else:
            values = {name: row.values.get(name) or "" for name in inputs}
            labelled.setdefault(person, []).append((values, value))
        if number % BATCH_ROWS == BATCH_ROWS - 1:
            flush()
    flush()
    summary.new_names = sorted(new_names)
    return summary


def export_feedback(
    log: PredictionLog, output: Path | None, *, inputs: Sequence[str], target: str
) -> int:
    """Write the feedback that holds: inputs, value, prediction, who and when; returns its rows.

    Args:
      log: Where it is.
      output: As of `answer_table`.
      inputs: The input columns.
      target: The target column.
    Raises:
      WheelError: The output cannot be written (WHEEL-040, 042).
    """
    count = 0
    with open_output(output) as stream:
        write = row_writer(stream, output, [*inputs, target, "prediction_id", "who", "at"])
        for row in _exported(log, inputs, target):
            write(row)
            count += 1
    return count


def _exported(log: PredictionLog, inputs: Sequence[str], target: str) -> Iterator[dict[str, Any]]:
    for item in log.current_feedback():
        moment = datetime.datetime.fromtimestamp(item.at, datetime.UTC)
        yield {
            **{name: item.inputs.get(name, "") for name in inputs},
            target: item.value,
            "prediction_id": item.prediction_id or "",
            "who": item.who,
            "at": moment.isoformat(timespec="seconds"),
        }
