"""`volano predict`: a table in, the same table with answers out; row by row, in bounded memory."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from volano.columns import cell_of, column_kind
from volano.data import BrokenRow, ReadReport, Row, SourceFile, embedded, read_rows, sample
from volano.errors import DataError, WheelError, nearest, shorten
from volano.export import output_place, written
from volano.runtime import Model, Prediction

__all__ = ["AnswerSummary", "answer_table", "check_output", "open_output", "row_writer"]

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv"}
"""Extension -> format of an output; each also with .gz behind it."""

BATCH_ROWS = 512

FIRST_ROWS = 5
"""Rows with a loss that are named one by one."""

Predict = Callable[[Sequence[Mapping[str, Any]]], list[Prediction]]


@dataclass
class AnswerSummary:
    """What `answer_table` did.

    Attributes:
      rows: Rows written: as many as there are in the input.
      answered: Rows with an answer; broken rows have none.
      broken: Rows that could not be parsed.
      unread: Rows without an answer, since the photo or recording to judge by cannot be read.
      noted: Rows in which something was lost, such as text that was cut, or a cell that counts as
        missing because it cannot be read.
      first: The first rows without an answer, then of those in which something was lost, with the
        reason.
      more: Rows with a reason that are not among them.
      notes: What was noticed about the file.
    """

    rows: int = 0
    answered: int = 0
    broken: int = 0
    unread: int = 0
    noted: int = 0
    first: list[str] = field(default_factory=list)
    more: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, number: int, reason: str, *, unread: bool = False) -> None:
        """Remember a row, if it is among the first; one without an answer before all others."""
        line = f"row {number}: {reason}"
        self.first.insert(self.unread - 1 if unread else len(self.first), line)
        if len(self.first) > FIRST_ROWS:
            self.first.pop()
            self.more += 1


def answer_table(
    files: Sequence[SourceFile],
    output: Path | None,
    *,
    model: Model,
    predict: Predict,
    step: Callable[[str, float, float], None] = lambda label, done, total: None,
) -> AnswerSummary:
    """Answer every row of a table; for a forecast, write the rows that follow its last one.

    Args:
      files: The table.
      output: A ``.csv``, ``.tsv`` or ``.jsonl`` file, or one of these with ``.gz``, replaced in one
        step at the end; None for CSV on stdout.
      model: Says which columns it needs and what it predicts.
      predict: Answers rows.
      step: Told how far the work is.
    Raises:
      DataError: A column that the model needs is missing (DATA-520).
      WheelError: The output cannot be written, or is the table itself (WHEEL-040, 041, 042).
    """
    check_output(output, files)
    if getattr(model.task, "follows_table", False):
        from volano.wheel._following import answer_end

        return answer_end(files, output, model=model, predict=predict, step=step)
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
    fields = {"predicted": "value", **model.task.fields}
    added = [*(f"{target}_{name}" for name in fields), "prediction_id"]
    getters = dict(zip(added, [*fields.values(), "id"], strict=True))
    replaced = [name for name in columns if name in added]
    columns = [name for name in columns if name not in added]
    summary = AnswerSummary()
    report = ReadReport()
    total = sum(file.size_bytes for file in files)
    with open_output(output) as stream:
        write = row_writer(stream, output, [*columns, *added])
        rows = read_rows(files, report=report)
        for batch in _batched(rows):
            _answer_batch(
                batch,
                columns,
                getters,
                model,
                predict,
                write,
                summary,
                [file.base for file in files],
                plain=_format(output) == "jsonl",
            )
            step("predicting", min(report.size_bytes, total - 1), total)
    step("predicting", total, total)
    summary.notes = list(report.notes)
    if replaced:
        summary.notes.append(
            f"the table's own column{'s' if len(replaced) > 1 else ''} {', '.join(replaced)} "
            "gave way to the answers; rename what is to be kept"
        )
    return summary


def _answer_batch(
    batch: Sequence[Row | BrokenRow],
    columns: Sequence[str],
    added: Mapping[str, str],
    model: Model,
    predict: Predict,
    write: Callable[[Mapping[str, Any]], object],
    summary: AnswerSummary,
    bases: Sequence[Path],
    *,
    plain: bool,
) -> None:
    whole = [row for row in batch if isinstance(row, Row)]
    # An absent value is an empty one here: every row of the table gets its answer.
    kinds = {name: column.kind for name, column in model.inputs.items()}
    lost: list[dict[str, str]] = [{} for _ in whole]
    wanted = []
    for given, reasons in zip(whole, lost, strict=True):
        files: dict[str, str] = {}
        cells = embedded(given.values, kinds, bases[given.file], files)
        wanted.append(model.cells(cells, reasons))
        reasons |= files  # what is wrong with a file, rather than that its path is no photo
    # Without the photo itself there is nothing to judge by, and an answer would be made up.
    content = {name for name, kind in kinds.items() if column_kind(kind).content}
    readable = [content.isdisjoint(reasons) for reasons in lost]
    kept = [cells for cells, fine in zip(wanted, readable, strict=True) if fine]
    answers = iter(predict(kept) if kept else [])
    reasons_of = iter(zip(lost, readable, strict=True))
    for row in batch:
        summary.rows += 1
        if isinstance(row, BrokenRow):
            summary.broken += 1
            write(dict.fromkeys([*columns, *added], ""))
            continue
        reasons, fine = next(reasons_of)
        if not fine:
            summary.unread += 1
            summary.note(row.number, "; ".join(reasons.values()), unread=True)
            write({name: row.values.get(name) for name in columns} | dict.fromkeys(added, ""))
            continue
        answer = next(answers)
        summary.answered += 1
        notes = [f"{reason}: it counts as missing" for reason in reasons.values()]
        notes += answer.notes
        if not any(map(str.strip, (row.values.get(name) or "" for name in model.inputs))):
            notes = ["it is empty"]
        if notes:
            summary.noted += 1
            summary.note(row.number, "; ".join(notes))
        values: dict[str, Any] = {name: row.values.get(name) for name in columns}
        values |= {name: getattr(answer, key) for name, key in added.items()}
        if not plain:
            # JSON has lists; a cell of a table is text.
            predicted = next(iter(added))
            values[predicted] = cell_of(model.target, values[predicted])
        write(values)


def _batched(rows: Iterator[Row | BrokenRow]) -> Iterator[list[Row | BrokenRow]]:
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


def row_writer(
    stream: TextIO, output: Path | None, columns: Sequence[str]
) -> Callable[[Mapping[str, Any]], object]:
    """Writes rows in the form that the output's name asks for; stdout and devices get CSV."""
    form = _format(output)
    if form == "jsonl":
        return lambda values: stream.write(json.dumps(values, ensure_ascii=False) + "\n")
    table = csv.DictWriter(
        stream, columns, delimiter="\t" if form == "tsv" else ",", lineterminator="\n"
    )
    table.writeheader()
    return table.writerow


def _format(output: Path | None) -> str | None:
    if output is None:
        return "csv"
    name = output.name.lower().removesuffix(".gz")
    return FORMATS.get(Path(name).suffix)


def check_output(output: Path | None, files: Sequence[SourceFile] = ()) -> None:
    """Refuse an output that cannot be, before any work is done for it.

    Args:
      output: Where to; None for stdout.
      files: What is read meanwhile, and so must not be replaced.
    Raises:
      WheelError: It is a folder, or no file can be there (WHEEL-040); it is one of the files that
        are read (041); its extension is not one that is written (042).
    """
    if output is None:
        return
    place = output_place(output)
    if place.exists() and not place.is_file():
        return
    for file in files:
        if place.exists() and place.samefile(file.path):
            raise WheelError(
                41,
                "the answers would replace the rows that they are for",
                where=str(output),
                expected="another file than the table that is read",
                fix=f"-o {place.stem.split('.')[0]}-answers{''.join(place.suffixes)}",
            )
    if _format(output) is None:
        extension = output.suffix
        raise WheelError(
            42,
            f"the extension {shorten(extension)} is not one that Volano writes"
            if extension
            else f"the file name {shorten(output.name)} has no extension",
            where=str(output),
            expected="one of " + ", ".join(FORMATS) + ", each also with .gz",
            nearest=nearest(extension, FORMATS) if extension else None,
            fix=f"-o {output.name.split('.')[0] or 'answers'}.csv",
        )


@contextlib.contextmanager
def open_output(output: Path | None) -> Iterator[TextIO]:
    """The output, which takes its name only when it is whole.

    Raises:
      WheelError: As `check_output`.
    """
    if output is None:
        yield sys.stdout
        return
    check_output(output)
    with written(output) as place:
        if place.exists() or output.suffix.lower() != ".gz":
            with place.open("w", encoding="utf-8", newline="") as stream:
                yield stream
            return
        # Without a name and a time, so that the same answers give the same file.
        with (
            place.open("wb") as binary,
            gzip.GzipFile("", "wb", fileobj=binary, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream,
        ):
            yield stream
