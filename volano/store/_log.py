"""What was answered, and what people said of it: predictions, feedback and the queue."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from volano.errors import StoreError
from volano.store import _tables
from volano.store._database import reason

__all__ = ["Correction", "LabelledRow", "LoggedPrediction", "PredictionLog", "TakenBack"]

CHUNK_ROWS = 500
"""Rows or ids per statement: below SQLite's oldest limit of 999 values."""

QUEUE_DEPTH = 20
"""Candidates looked at for each wanted row of the queue, so that a choice of classes is left."""

_predictions = _tables.predictions
_feedback = _tables.feedback

_taken_back = sa.cast(_feedback.c.value, sa.Text) == "null"
"""A row with null for a value takes back what was said of its prediction before it."""


@dataclass(frozen=True)
class LoggedPrediction:
    """One answer, as it is kept.

    Attributes:
      id: Joins feedback to it; sorts by time.
      bundle: Id of the bundle that answered.
      inputs: Column name -> value, as it came in.
      value: What was predicted.
      probability: How sure the model was; None where the task has none.
      gap: How little a label would teach, 0 to 1: the probability of the best answer minus that of
        the second best, or 1 / (1 + notes) where answers have none; None in logs of before.
      at: Seconds since 1970, UTC.
    """

    id: str
    bundle: str
    inputs: Mapping[str, Any]
    value: Any
    probability: float | None
    gap: float | None
    at: float


@dataclass(frozen=True)
class Correction:
    """What someone says the right answer was.

    Attributes:
      prediction_id: The prediction that it is about.
      value: The right value, already checked by the target's column.
      who: Who says so.
    """

    prediction_id: str
    value: Any
    who: str = ""


@dataclass(frozen=True)
class LabelledRow:
    """Inputs with the value that people last gave them.

    Attributes:
      inputs: Column name -> value.
      value: The right value.
      prediction_id: The prediction it was said of; None for a row that came without one.
      who: Who said so.
      at: Seconds since 1970, UTC.
      place: Grows with each feedback given.
    """

    inputs: Mapping[str, Any]
    value: Any
    prediction_id: str | None
    who: str
    at: float
    place: int


@dataclass(frozen=True)
class TakenBack:
    """What `PredictionLog.take_back` found, each in the order given.

    Attributes:
      removed: Predictions whose corrections counted until now.
      without: Predictions that had none, or none any more.
      unknown: Ids that are of no prediction; when there is any, nothing was taken back.
    """

    removed: list[str]
    without: list[str]
    unknown: list[str]


class PredictionLog:
    """The log of predictions and feedback. Safe to use from several threads and processes.

    Nothing is ever changed or deleted: a later word on the same inputs counts instead of an
    earlier one, and both are kept; to take a word back is a later word too. What a method has
    returned from survives a killed process.

    Args:
      engine: From `open_database`.
    Raises:
      StoreError: From every method: the store is locked (STORE-050), its disk is full (051), it is
        read-only (052), it cannot be read or reached (053), an id was recorded before (054), or
        the database says something else (059).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._labelled: set[bytes] = set()
        self._labelled_up_to = 0

    def record(self, predictions: Sequence[LoggedPrediction]) -> None:
        """Keep answers, all in one transaction."""
        self.commit(predictions, ())

    def feedback(self, items: Sequence[Correction], *, strict: bool = False) -> list[str]:
        """Keep corrections, each with the inputs of its prediction, all in one transaction.

        Args:
          strict: Record nothing at all when one of the predictions is not known.
        Returns:
          The ids that are not known, in order; their corrections are not recorded.
        """
        return self.commit((), [items], strict=strict)[0]

    def commit(
        self,
        predictions: Sequence[LoggedPrediction],
        corrections: Sequence[Sequence[Correction]],
        *,
        strict: bool = True,
    ) -> list[list[str]]:
        """Predictions, then groups of corrections (which may be about them), in one transaction.

        Returns:
          The unknown ids of each group. A strict group with any is not recorded, others are.
        """
        now = time.time()
        unknown: list[list[str]] = []
        with _said(), self._engine.begin() as connection:
            if predictions:
                connection.execute(_predictions.insert(), [_row_of(item) for item in predictions])
            for group in corrections:
                known = _inputs_of(connection, {item.prediction_id for item in group})
                missing = [x.prediction_id for x in group if x.prediction_id not in known]
                unknown.append(missing)
                rows = [
                    {
                        "prediction_id": item.prediction_id,
                        "inputs": known[item.prediction_id],
                        "value": item.value,
                        "who": item.who,
                        "at": now,
                    }
                    for item in group
                    if item.prediction_id in known and not (strict and missing)
                ]
                if rows:
                    connection.execute(_feedback.insert(), rows)
        return unknown

    def add_labelled(self, rows: Iterable[tuple[Mapping[str, Any], Any]], who: str) -> int:
        """Keep labelled rows that came without a prediction, all in one transaction.

        Args:
          rows: Inputs and their value; read once, as a stream.
        Returns:
          How many there were.
        """
        now, num_rows, stream = time.time(), 0, iter(rows)
        with _said(), self._engine.begin() as connection:
            while chunk := list(islice(stream, CHUNK_ROWS)):
                values = [
                    {"inputs": _sorted(inputs), "value": value, "who": who, "at": now}
                    for inputs, value in chunk
                ]
                connection.execute(_feedback.insert(), values)
                num_rows += len(chunk)
        return num_rows

    def take_back(self, ids: Sequence[str], who: str = "") -> TakenBack:
        """Take back all that was said of these predictions, in one transaction.

        What was said of others with the same inputs counts again, and so does what is said of
        these later.

        Args:
          ids: Of predictions; when one of them is not known, nothing is taken back.
          who: Who says so.
        """
        wanted = list(dict.fromkeys(ids))
        with _said(), self._engine.begin() as connection:
            known = _inputs_of(connection, set(wanted))
            unknown = [item for item in wanted if item not in known]
            standing: set[str] = set()
            for start in range(0, len(wanted), CHUNK_ROWS):
                chunk = wanted[start : start + CHUNK_ROWS]
                query = _standing(_feedback.c.prediction_id)
                query = query.where(_feedback.c.prediction_id.in_(chunk))
                standing.update(connection.execute(query).scalars())
            removed = [] if unknown else [item for item in wanted if item in standing]
            rows = [
                {
                    "prediction_id": item,
                    "inputs": known[item],
                    "value": sa.JSON.NULL,
                    "who": who,
                    "at": time.time(),
                }
                for item in removed
            ]
            if rows:
                connection.execute(_feedback.insert(), rows)
        return TakenBack(removed, [x for x in wanted if x in known and x not in standing], unknown)

    def current_feedback(self) -> Iterator[LabelledRow]:
        """For each distinct inputs the value last given, in the order of giving, as a stream."""
        # JSON is stored as the text that we write, with sorted keys: equal inputs, equal text.
        latest = _standing(sa.func.max(_feedback.c.place)).group_by(
            sa.cast(_feedback.c.inputs, sa.Text)
        )
        return self._rows(sa.select(_feedback).where(_feedback.c.place.in_(latest)))

    def standing_feedback(self) -> Iterator[LabelledRow]:
        """All that was said and not taken back, in the order of giving, as a stream."""
        return self._rows(_standing(_feedback))

    def _rows(self, query: sa.Select[Any]) -> Iterator[LabelledRow]:
        query = query.order_by(_feedback.c.place)
        with _said(), self._engine.connect() as connection:
            options = {"stream_results": True, "yield_per": CHUNK_ROWS}
            for row in connection.execute(query, execution_options=options):
                yield LabelledRow(
                    row.inputs, row.value, row.prediction_id, row.who, row.at, row.place
                )

    def num_feedback(self) -> int:
        """How often feedback was given, words that no longer count included."""
        return int(self._scalar(sa.select(sa.func.count(_feedback.c.place)).where(~_taken_back)))

    def num_predictions(self) -> int:
        """How many answers there are."""
        return int(self._scalar(sa.select(sa.func.count()).select_from(_predictions)))

    def watermark(self) -> int:
        """The place of the last feedback, 0 when there is none: grows when anything is new."""
        return int(self._scalar(sa.select(sa.func.max(_feedback.c.place))) or 0)

    def probe(self) -> None:
        """Write and commit one small row, to see whether the log can be written.

        Raises:
          StoreError: It cannot.
        """
        meta = _tables.meta
        with _said(), self._engine.begin() as connection:
            changed = connection.execute(
                meta.update().where(meta.c.key == "log_probe").values(value=str(time.time()))
            )
            if not changed.rowcount:
                connection.execute(meta.insert().values(key="log_probe", value=str(time.time())))

    def find(self, ids: Sequence[str]) -> dict[str, LoggedPrediction]:
        """The predictions with these ids; unknown ones are absent."""
        found: dict[str, LoggedPrediction] = {}
        with _said(), self._engine.connect() as connection:
            for start in range(0, len(ids), CHUNK_ROWS):
                query = sa.select(_predictions).where(
                    _predictions.c.id.in_(ids[start : start + CHUNK_ROWS])
                )
                found |= {row.id: _logged(row) for row in connection.execute(query)}
        return found

    def predictions(
        self, limit: int, after: str = "", *, bundle: str | None = None
    ) -> list[LoggedPrediction]:
        """Answers in the order of time, `limit` at the most.

        Args:
          after: Only those with a higher id: the last id of the page before.
          bundle: Only those of this bundle.
        """
        query = sa.select(_predictions).where(_predictions.c.id > after)
        if bundle is not None:
            query = query.where(_predictions.c.bundle == bundle)
        with _said(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_predictions.c.id).limit(limit))
            return [_logged(row) for row in rows]

    def queue(self, limit: int, bundle: str | None = None) -> list[LoggedPrediction]:
        """Answers without feedback whose label would teach the most, the best first.

        Smallest gap between the best and the second best answer first (margin sampling: Settles,
        `Active Learning Literature Survey <https://burrsettles.com/pub/settles.activelearning.pdf>`_,
        2009). Inputs that are equal up to case and space are asked for once, and not at all when
        any of them has feedback. While others have something to offer, no predicted class takes
        more than twice its even share: one confused pair of classes must not fill the queue.

        Args:
          limit: How many at the most.
          bundle: Only answers of this bundle.
        """
        if limit <= 0:
            return []
        self._read_labelled()
        later = _feedback.alias()
        # Answered, unless the last that was said of it is that all of it is taken back.
        answered = sa.exists().where(
            _feedback.c.prediction_id == _predictions.c.id,
            ~_taken_back,
            ~sa.exists().where(
                later.c.prediction_id == _feedback.c.prediction_id,
                later.c.place > _feedback.c.place,
                sa.cast(later.c.value, sa.Text) == "null",
            ),
        )
        query = sa.select(_predictions).where(~answered)
        if bundle is not None:
            query = query.where(_predictions.c.bundle == bundle)
        # Nulls first in SQLite, last in PostgreSQL, unless told.
        query = query.order_by(_predictions.c.gap.asc().nulls_last(), _predictions.c.id)
        candidates: list[LoggedPrediction] = []
        seen = set(self._labelled)
        with _said(), self._engine.connect() as connection:
            options = {"stream_results": True, "yield_per": CHUNK_ROWS}
            for row in connection.execute(query, execution_options=options):
                key = _folded(row.inputs)
                if key not in seen:
                    seen.add(key)
                    candidates.append(_logged(row))
                    if len(candidates) >= limit * QUEUE_DEPTH:
                        break
        return _varied(candidates, limit)

    def _read_labelled(self) -> None:
        """Bring the keys of the inputs that have feedback up to date; only new rows are read."""
        query = sa.select(_feedback.c.place, _feedback.c.inputs, _taken_back.label("back")).where(
            _feedback.c.place > self._labelled_up_to
        )
        labelled, last, anew = self._labelled, self._labelled_up_to, False
        with _said(), self._engine.connect() as connection:
            options = {"stream_results": True, "yield_per": CHUNK_ROWS}
            for place, inputs, back in connection.execute(query, execution_options=options):
                labelled.add(_folded(inputs))
                anew = anew or bool(back)
                last = max(last, place)
        if anew:
            # The same inputs may have had a word from elsewhere: only all rows together tell.
            self._labelled = {_folded(row.inputs) for row in self.standing_feedback()}
        self._labelled_up_to = last

    def _scalar(self, query: sa.Select[Any]) -> Any:
        with _said(), self._engine.connect() as connection:
            return connection.execute(query).scalar_one()


def _standing(*what: Any) -> sa.Select[Any]:
    """A query over what was said and not taken back later."""
    back = (
        sa.select(_feedback.c.prediction_id, sa.func.max(_feedback.c.place).label("place"))
        .where(_taken_back)
        .group_by(_feedback.c.prediction_id)
        .subquery()
    )
    joined = _feedback.outerjoin(back, _feedback.c.prediction_id == back.c.prediction_id)
    return (
        sa.select(*what)
        .select_from(joined)
        .where(sa.or_(back.c.place.is_(None), _feedback.c.place > back.c.place))
    )


def _varied(candidates: Sequence[LoggedPrediction], limit: int) -> list[LoggedPrediction]:
    """The first `limit`, none of whose classes takes more than twice its even share if it can."""
    keys = [json.dumps(item.value) for item in candidates]
    share = -(-2 * limit // max(1, len(set(keys))))
    taken: Counter[str] = Counter()
    chosen: list[int] = []
    for place, key in enumerate(keys):
        if taken[key] < share:
            taken[key] += 1
            chosen.append(place)
    chosen = chosen[:limit]
    rest = sorted(set(range(len(candidates))) - set(chosen))[: limit - len(chosen)]
    return [candidates[place] for place in sorted([*chosen, *rest])]


def _folded(inputs: Mapping[str, Any]) -> bytes:
    """A key that inputs share when they are equal up to case and space."""
    folded = {
        name: " ".join(value.split()).casefold() if isinstance(value, str) else value
        for name, value in inputs.items()
    }
    text = json.dumps(folded, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).digest()


def _sorted(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(inputs.items()))


def _row_of(item: LoggedPrediction) -> dict[str, Any]:
    return {
        "id": item.id,
        "bundle": item.bundle,
        "inputs": _sorted(item.inputs),
        "value": item.value,
        "probability": item.probability,
        "gap": item.gap,
        "at": item.at,
    }


def _logged(row: sa.Row[Any]) -> LoggedPrediction:
    return LoggedPrediction(
        row.id, row.bundle, row.inputs, row.value, row.probability, row.gap, row.at
    )


def _inputs_of(connection: sa.Connection, ids: set[str]) -> dict[str, Any]:
    wanted = sorted(ids)
    found: dict[str, Any] = {}
    for start in range(0, len(wanted), CHUNK_ROWS):
        query = sa.select(_predictions.c.id, _predictions.c.inputs).where(
            _predictions.c.id.in_(wanted[start : start + CHUNK_ROWS])
        )
        found |= {row.id: row.inputs for row in connection.execute(query)}
    return found


_SQLSTATES = {"53100": 51, "25006": 52, "55P03": 50, "40P01": 50, "40001": 50}
"""PostgreSQL: disk_full, read_only_sql_transaction, lock_not_available, deadlock, serialization."""

_PHRASES = {
    "locked": 50,
    "is full": 51,
    "readonly": 52,
    "disk i/o": 53,
    "unable to open": 53,
    "malformed": 53,
    "not a database": 53,
    "connection": 53,
}
"""What SQLite and the network say, in lower case."""

_MEANINGS = {
    50: ("the store is locked by another process", "try again when the other process is done"),
    51: ("the store's disk is full", "free some space on that disk"),
    52: ("the store is read-only", "give this user the right to write it"),
    53: ("the store cannot be read or reached", "see that its file or server is there"),
    54: ("a prediction of that id was recorded before", None),
    59: ("the store refused", None),
}


@contextmanager
def _said() -> Iterator[None]:
    """The database's errors in our words."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        number = _number(error)
        what, fix = _MEANINGS[number]
        raise StoreError(number, f"{what} ({reason(error)})", fix=fix) from error


def _number(error: Exception) -> int:
    if isinstance(error, IntegrityError):
        return 54
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        if state in _SQLSTATES:
            return _SQLSTATES[state]
        if error.connection_invalidated or (state or "").startswith("08"):
            return 53
    said = reason(error).lower()
    return next((number for phrase, number in _PHRASES.items() if phrase in said), 59)
