"""`volano feedback`: corrections from a table into the log, out of it again, and taken back."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from volano.columns import FittedColumn, MediaKind, column_kind, media_bytes
from volano.data import (
    BrokenRow,
    SourceFile,
    as_text,
    embedded,
    is_missing,
    media_columns,
    read_rows,
    sample,
)
from volano.errors import DataError, RequestError, WheelError, nearest, shorten
from volano.store import Correction, PredictionLog, TakenBack
from volano.wheel._answers import open_output, row_writer

__all__ = ["ImportSummary", "export_feedback", "import_feedback", "remove_feedback"]

BATCH_ROWS = 1000

LONGEST_NAME = 200
"""Characters of a class name or of who gives feedback, as in the service."""

LONGEST_ID = 64
"""Characters of a prediction's id, as in the service."""

FIRST_ROWS = 20
"""Refused rows that are named one by one."""


@dataclass
class ImportSummary:
    """What `import_feedback` took in.

    What is not taken in is counted: over HTTP each of these would have been refused.

    Attributes:
      joined: Rows that named a prediction.
      labelled: Rows that brought their inputs instead.
      new: Of both, those that nothing had been said of.
      changed: Of both, those of which something else counted until now.
      unchanged: Of both, those that say what counts already; they are not written again.
      unknown: Prediction ids that this wheel never gave.
      empty: Rows without a value.
      broken: Rows that could not be parsed.
      missing: Rows whose value is a word for nothing, such as ``nan`` or ``null``.
      unfit: Rows whose value cannot be one: a name longer than 200 characters or with line breaks,
        or what is no number where the target is one; or whose ``who`` is no name.
      unfit_as: The target's type, where that is why.
      unreadable: Rows with a photo or a recording that cannot be read to its end.
      refused: Names that the champion does not know -> their rows; taken in only as new classes.
      nearest: Refused name -> the known name that is closest, where one is close.
      first: The first rows that were refused, as ``row 3: 'Positive'``.
      new_names: Names that the champion does not know and that were taken in as new classes.
    """

    joined: int = 0
    labelled: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    unknown: list[str] = field(default_factory=list)
    empty: int = 0
    broken: int = 0
    missing: int = 0
    unfit: int = 0
    unfit_as: str = ""
    unreadable: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    nearest: dict[str, str] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    new_names: list[str] = field(default_factory=list)

    def lines(self, num_names: int) -> list[str]:
        """What was taken in and what was not, for a person; `num_names` refused names at most."""
        said = [
            f"{self.new + self.changed} corrections taken in: {self.new} new, "
            f"{self.changed} changed; {self.unchanged} unchanged"
        ]
        if self.unknown:
            more = ", ..." if len(self.unknown) > 1 else ""
            first = shorten(self.unknown[0])
            said.append(f"  {len(self.unknown)} ids are not of this wheel: {first}{more}")
        if self.empty or self.broken:
            said.append(f"  left out: {self.empty} rows without a value, {self.broken} broken rows")
        if self.missing or self.unfit:
            unfit = f"is no {self.unfit_as}" if self.unfit_as else "is too long or has line breaks"
            said.append(
                f"  refused: {self.missing} rows with a word for nothing, {self.unfit} whose "
                f"value {unfit}"
            )
        if self.unreadable:
            said.append(f"  refused: {self.unreadable} rows whose files cannot be read")
        for name, count in list(self.refused.items())[:num_names]:
            close = self.nearest.get(name)
            hint = f"; did you mean {shorten(close)}?" if close else ""
            said.append(f"  refused: {count} rows with the unknown class {shorten(name)}{hint}")
        if len(self.refused) > num_names:
            said.append(f"  refused: {len(self.refused) - num_names} more unknown classes")
        if self.refused:
            said.append("  --new-class takes unknown names in, as classes that are to be learned")
        return said


def import_feedback(
    log: PredictionLog,
    files: Sequence[SourceFile],
    *,
    inputs: Sequence[str],
    target: str,
    known: Iterable[str],
    who: str,
    kind: str = "category",
    kinds: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    plain: Mapping[str, Callable[[str], str]] | None = None,
    new_class: bool = False,
) -> ImportSummary:
    """Take corrections from a table, under the rules by which the service takes them.

    A row names a prediction (``prediction_id``, or ``id`` as in an answer) or brings the input
    columns; the right value is in the column of the target's name, else in ``value``. A column
    ``who`` overrides `who`.

    Args:
      log: Where they go.
      files: The table.
      inputs: The input columns.
      target: The target column.
      known: Names that the champion knows; empty without a champion: then every name is taken in.
      who: Who says so, where the table does not.
      kind: The target's type.
      options: The target's, for types that read cells by them.
      plain: Input -> what makes its cells such as all later steps read them.
      kinds: Input -> type; paths of photos and recordings are read from beside the table.
      new_class: Whether names that the champion does not know are classes to be learned.
    Raises:
      DataError: There is no column with values (DATA-530), or neither ids nor inputs (531).
      WheelError: `new_class` for a target that is not a name (WHEEL-043); the target is a series,
        which learns from the table itself (044).
    """
    several = getattr(column_kind(kind), "canonical", None)
    if new_class and several is None and not column_kind(kind).names:
        raise WheelError(
            43,
            f"--new-class is given, and the target {target!r} is a {kind}: it has no classes",
            expected=f"corrections whose values are each a {kind}",
            fix="leave --new-class out",
        )
    if getattr(column_kind(kind), "in_order", False):
        raise WheelError(
            44,
            f"the target {target!r} is a series, and a table of answers has many rows for each "
            "forecast",
            where=files[0].name if files else "",
            expected="what came to be in the wheel's own table: the next turn learns from it there",
            fix=f"append the rows, with {target} as it came, to the data of volano.yaml",
        )
    read = None if several else _reader(target, kind, options or {})
    columns = sample(files, 1).columns
    value_column = target if target in columns else "value"
    if value_column not in columns:
        raise DataError(
            530,
            "no column holds the right values",
            where=files[0].name,
            expected=f"a column {target!r}, or 'value'",
        )
    by_inputs = all(name in columns for name in inputs)
    # Answers call it id; beside the inputs that may be a row's own name, and no prediction.
    ids = "prediction_id"
    if ids not in columns and not by_inputs and "id" not in (*inputs, target):
        ids = "id"
    by_id = ids in columns
    if not by_id and not by_inputs:
        raise DataError(
            531,
            "the rows name no prediction",
            where=files[0].name,
            expected="a column 'prediction_id', or the inputs " + ", ".join(inputs),
        )
    media = media_columns(kinds or {}, [name for name in inputs if name in columns])
    summary = ImportSummary()
    known_names, new_names = set(known), set()
    corrections: list[Correction] = []
    labelled: dict[str, list[tuple[Mapping[str, Any], Any]]] = {}

    words = _Words(log)

    def is_news(inputs: Mapping[str, Any], value: Any, prediction: str | None) -> bool:
        what = words.hear(inputs, value, prediction)
        setattr(summary, what, getattr(summary, what) + 1)
        return what != "unchanged"

    def flush() -> None:
        found = log.find([item.prediction_id for item in corrections])
        summary.unknown.extend(
            item.prediction_id for item in corrections if item.prediction_id not in found
        )
        joined = [item for item in corrections if item.prediction_id in found]
        summary.joined += len(joined)
        log.feedback(
            [
                item
                for item in joined
                if is_news(found[item.prediction_id].inputs, item.value, item.prediction_id)
            ]
        )
        corrections.clear()
        for person, rows in labelled.items():
            summary.labelled += len(rows)
            log.add_labelled([row for row in rows if is_news(*row, None)], person)
        labelled.clear()

    def note(row: int, value: str) -> None:
        if len(summary.first) < FIRST_ROWS:
            summary.first.append(f"row {row}: {shorten(value)}")

    for number, row in enumerate(read_rows(files)):
        if isinstance(row, BrokenRow):
            summary.broken += 1
            continue
        # Here and not at the end of the loop, so that a refused row cannot put it off.
        if number % BATCH_ROWS == 0:
            flush()
        value = (row.values.get(value_column) or "").strip()
        prediction = (row.values.get(ids) or "").strip() if by_id else ""
        person = (row.values.get("who") or "").strip() or who
        if not value or not (prediction or by_inputs):
            summary.empty += 1
            continue
        if is_missing(value):
            summary.missing += 1
            note(row.number, value)
            continue
        right: Any = value
        if read is not None:
            try:
                right = read.check(value)
            except RequestError:
                right = None
            if right is None or not _is_name(person):
                summary.unfit += 1
                summary.unfit_as = kind
                note(row.number, value)
                continue
        else:
            names = [value]
            if several:
                # Kept as a list, as the service keeps it: the separator may change.
                text = several(value, options or {})
                names = json.loads(text) if text is not None else [""]
                right = names
            unknown = [name for name in names if name not in known_names]
            fit = all(name and _is_name(name) for name in unknown)
            if not fit or not _is_name(person):
                summary.unfit += 1
                note(row.number, value)
                continue
            if unknown and known_names and not new_class:
                for name in unknown:
                    summary.refused[name] = summary.refused.get(name, 0) + 1
                note(row.number, value)
                continue
            new_names.update(unknown)
        if prediction and not (len(prediction) <= LONGEST_ID and prediction.isprintable()):
            summary.unknown.append(shorten(prediction))
        elif prediction:
            corrections.append(Correction(prediction, right, person))
        else:
            given = embedded(row.values, kinds or {}, files[row.file].base)
            if any(_unreadable(kind_of, given[name]) for name, kind_of in media.items()):
                summary.unreadable += 1
                note(row.number, next(row.values[name] or "" for name in media))
                continue
            for name, read_cell in (plain or {}).items():
                if cell := given.get(name):
                    given = {**given, name: read_cell(cell)}
            values = {name: given.get(name) or "" for name in inputs}
            labelled.setdefault(person, []).append((values, right))
    flush()
    summary.new_names = sorted(new_names)
    for name in summary.refused:
        close = nearest(name, known_names)
        if close is not None:
            summary.nearest[name] = close
    return summary


def _unreadable(kind: type[MediaKind], value: str | None) -> bool:
    """Whether a photo or recording is none that a turn could learn from; a missing one is none."""
    if not value:
        return False
    try:
        data = media_bytes(value)
    except ValueError:
        return True
    return data is not None and kind.problem(data) is not None


def _reader(target: str, kind: str, options: Mapping[str, Any]) -> FittedColumn | None:
    """What reads values of a target that is not a name; None for names, which are as they are."""
    column = column_kind(kind)
    return None if column.names else column.fit(target, [], options, "target")


class _Words:
    """What has been said already: of each prediction, and of each inputs.

    Kept as digests, some 300 bytes for each correction that there is.
    """

    def __init__(self, log: PredictionLog) -> None:
        self._own: dict[bytes, bytes] = {}
        self._counting: dict[bytes, bytes] = {}
        for row in log.standing_feedback():
            self.hear(row.inputs, row.value, row.prediction_id)

    def hear(self, inputs: Mapping[str, Any], value: Any, prediction: str | None) -> str:
        """Take a word in; returns whether it is ``new``, ``changed`` or ``unchanged``.

        It is unchanged only when it was said of the same and also counts: another prediction
        with the same inputs may have had a later word.
        """
        key, said = _key(dict(inputs)), _key(value)
        own = prediction.encode() if prediction else key
        before, counts = self._own.get(own), self._counting.get(key)
        self._own[own] = self._counting[key] = said
        if before is None:
            return "new" if counts in (None, said) else "changed"
        return "unchanged" if before == counts == said else "changed"


def _key(value: Any) -> bytes:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # as SQLite gives it back
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest()


def remove_feedback(log: PredictionLog, ids: Sequence[str], *, who: str = "") -> TakenBack:
    """Take back the corrections of predictions: no later turn learns from them.

    Args:
      log: Where they are.
      ids: Of predictions. One that has no correction, or none any more, is no error.
      who: Who says so.
    Raises:
      WheelError: An id is of no prediction of this wheel; nothing is taken back then (WHEEL-016).
    """
    found = log.take_back(ids, who)
    if found.unknown:
        more = f" (and {len(found.unknown) - 1} more)" if len(found.unknown) > 1 else ""
        raise WheelError(
            16,
            f"there is no prediction {shorten(found.unknown[0])}{more}; nothing was removed",
            expected="ids of this wheel's predictions, which stand beside its corrections",
            fix="volano feedback export",
        )
    return found


def _is_name(value: str) -> bool:
    return len(value) <= LONGEST_NAME and value.isprintable()


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
            # A list or an object as JSON, which a table of corrections is read as.
            write({n: as_text(v) if isinstance(v, (list, dict)) else v for n, v in row.items()})
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
