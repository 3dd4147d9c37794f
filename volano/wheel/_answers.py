"""`volano predict`: a table in, the same table with answers out; row by row, in bounded memory."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from volano.data import BrokenRow, ReadReport, Row, SourceFile, read_rows, sample
from volano.errors import DataError, nearest
from volano.runtime import Model, Prediction
from volano.store import disk_errors

__all__ = ["AnswerSummary", "answer_table", "open_output"]

BATCH_ROWS = 512

Predict = Callable[[Sequence[Mapping[str, Any]]], list[Prediction]]


@dataclass
class AnswerSummary:
    """What `answer_table` did.

    Attributes:
      rows: Rows written: as many as there are in the input.
      answered: Rows with an answer; broken rows have none.
      broken: Rows that could not be parsed.
      noted: Rows in which something was lost, such as text that was cut.
      notes: What was noticed about the file.
    """

    rows: int = 0
    answered: int = 0
    broken: int = 0
    noted: int = 0
    notes: list[str] = field(default_factory=list)


def answer_table(
    files: Sequence[SourceFile],
    output: Path | None,
    *,
    model: Model,
    predict: Predict,
    step: Callable[[str, float, float], None] = lambda label, done, total: None,
) -> AnswerSummary:
    """Answer every row of a table.

    Args:
      files: The table.
      output: A ``.csv``, ``.tsv`` or ``.jsonl`` file, replaced in one step at the end; None for
        CSV on stdout.
      model: Says which columns it needs and what it predicts.
      predict: Answers rows.
      step: Told how far the work is.
    Raises:
      DataError: A column that the model needs is missing (DATA-520).
    """
    columns = list(sample(files, 1).columns)
    missing = [name for name in model.inputs if name not in columns]
    if missing:
        raise DataError(
            520,
            f"there is no column {missing[0]!r}",
            where=files[0].name,
            expected="the columns that the model learned from: " + ", ".join(model.inputs),
            nearest=nearest(missing[0], columns),
            fix=f"rename the column in {files[0].name}",
        )
    target = model.target.name
    added = [f"{target}_predicted", f"{target}_probability", "prediction_id"]
    columns = [name for name in columns if name not in added]
    summary = AnswerSummary()
    report = ReadReport()
    total = sum(file.size_bytes for file in files)
    with open_output(output) as stream:
        write = _writer(stream, output, [*columns, *added])
        rows = read_rows(files, report=report)
        for batch in _batched(rows):
            _answer_batch(batch, columns, added, list(model.inputs), predict, write, summary)
            step("predicting", min(report.size_bytes, total - 1), total)
    step("predicting", total, total)
    summary.notes = list(report.notes)
    return summary


def _answer_batch(
    batch: Sequence[Row | BrokenRow],
    columns: Sequence[str],
    added: Sequence[str],
    inputs: Sequence[str],
    predict: Predict,
    write: Callable[[dict[str, Any]], None],
    summary: AnswerSummary,
) -> None:
    whole = [row for row in batch if isinstance(row, Row)]
    # An absent value is an empty one here: every row of the table gets its answer.
    wanted = [{name: row.values.get(name) or "" for name in inputs} for row in whole]
    answers = iter(predict(wanted) if wanted else [])
    for row in batch:
        summary.rows += 1
        if isinstance(row, BrokenRow):
            summary.broken += 1
            write(dict.fromkeys([*columns, *added], ""))
            continue
        answer = next(answers)
        summary.answered += 1
        summary.noted += bool(answer.notes)
        values: dict[str, Any] = {name: row.values.get(name) for name in columns}
        values |= dict(zip(added, (answer.value, answer.probability, answer.id), strict=True))
        write(values)


def _batched(rows: Iterator[Row | BrokenRow]) -> Iterator[list[Row | BrokenRow]]:
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


def _writer(
    stream: TextIO, output: Path | None, columns: list[str]
) -> Callable[[dict[str, Any]], None]:
    suffix = output.suffix.lower() if output else ".csv"
    if suffix in (".jsonl", ".ndjson"):

        def write_json(values: dict[str, Any]) -> None:
            stream.write(json.dumps(values, ensure_ascii=False) + "\n")

        return write_json
    table = csv.DictWriter(
        stream, columns, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n"
    )
    table.writeheader()
    return table.writerow


@contextlib.contextmanager
def open_output(output: Path | None) -> Iterator[TextIO]:
    """The output, which takes its name only when it is whole."""
    if output is None:
        yield sys.stdout
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.part")
    with disk_errors(output):
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", newline="") as stream:
                yield stream
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
