"""Requests that arrive while the graph runs are answered together by its next run."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from volano.errors import RequestError
from volano.runtime import Model, new_prediction_ids
from volano.serving._slot import gap_of
from volano.serving._writer import LogWriter
from volano.store._log import LoggedPrediction
from volano.tasks import Answer

__all__ = ["Batcher", "Overloaded"]

_log = logging.getLogger("volano.serving")

QUEUE_BATCHES = 16
"""Batches that may wait: more would answer later than anyone waits."""

SLICE_S = 0.02
"""About how long a batch may take. Rows per second do not grow with rows per batch once the cores
are busy, but everyone in a batch waits for its last row."""

# One encoder for all: `json.dumps` with options makes a new one at each call.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Overloaded(RequestError):
    """More rows wait than can be answered in good time."""

    def __init__(self) -> None:
        super().__init__(
            60,
            "the service has more to do than it can answer in good time",
            status=503,
            fix="try again after the seconds in the Retry-After header",
        )


@dataclass(eq=False)
class _Request:
    model: Model
    columns: Mapping[str, Sequence[Any]]
    num_rows: int
    top: int | None
    done: asyncio.Future[list[bytes]]
    rendered: list[bytes]
    num_taken: int = 0
    num_open: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_open = self.num_rows


@dataclass(frozen=True)
class _Piece:
    """Some rows of a request: those that one batch answers."""

    request: _Request
    start: int
    stop: int


class Batcher:
    """Worker threads between the event loop and the graph.

    A free worker takes what waits, up to `max_batch_rows`; nobody waits for a batch to fill unless
    `max_wait_ms` says so. A request with more rows than fit goes to the end of the line with its
    rest, so that small requests are never stuck behind it. Used from one event loop.

    Args:
      writer: Logs the answers before they are given; None keeps no log.
      num_workers: Runs of the graph side by side.
      max_batch_rows: Rows answered together at the most.
      max_wait_ms: How long the first row of a batch waits for others.
      max_queue_rows: Rows that may wait; None for 16 batches.
      slice_s: About how long a batch may take, judged by those before it.
    """

    def __init__(
        self,
        writer: LogWriter | None,
        *,
        num_workers: int,
        max_batch_rows: int,
        max_wait_ms: float = 0.0,
        max_queue_rows: int | None = None,
        slice_s: float = SLICE_S,
    ) -> None:
        self._writer = writer
        self._max_batch_rows = max_batch_rows
        self._max_wait_s = max_wait_ms / 1000
        self._max_queue_rows = max_queue_rows or QUEUE_BATCHES * max_batch_rows
        self._slice_s = slice_s
        self._row_s = 0.0
        self._waiting: deque[_Request] = deque()
        self._num_waiting = 0
        self._num_idle = 0
        self._closed = False
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._threads = [
            threading.Thread(target=self._work, name=f"volano-batch-{number}", daemon=True)
            for number in range(num_workers)
        ]
        for thread in self._threads:
            thread.start()

    async def answer(
        self, model: Model, columns: Mapping[str, Sequence[Any]], top: int | None = None
    ) -> list[bytes]:
        """Answer checked rows.

        Args:
          model: What answers.
          columns: From `Model.check`.
          top: Probabilities per answer at the most; None for all.
        Returns:
          One JSON object per row, in order; already logged.
        Raises:
          RequestError: Too much waits already (REQUEST-060).
          StoreError: The answers could not be logged.
        """
        num_rows = len(next(iter(columns.values())))
        request = _Request(
            model, columns, num_rows, top, self._loop.create_future(), [b""] * num_rows
        )
        with self._changed:
            # A lone large request is always taken: otherwise it could never be answered.
            if self._closed or (
                self._num_waiting and self._num_waiting + num_rows > self._max_queue_rows
            ):
                raise Overloaded
            self._waiting.append(request)
            self._num_waiting += num_rows
            self._changed.notify()
        return await request.done

    def close(self) -> None:
        """Answer what waits, then stop the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while pieces := self._take():
            begin = time.monotonic()
            self._answer(pieces)
            row_s = (time.monotonic() - begin) / sum(piece.stop - piece.start for piece in pieces)
            # A running mean; a race between workers loses one sample of it.
            self._row_s += 0.1 * (row_s - self._row_s) if self._row_s else row_s

    def _take(self) -> list[_Piece]:
        """The next batch; empty when the batcher is closed and nothing waits."""
        with self._changed:
            self._num_idle += 1
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._max_wait_s and not self._closed:
                until = time.monotonic() + self._max_wait_s
                while self._num_waiting < self._max_batch_rows and not self._closed:
                    left = until - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
            # What waits is shared with the other workers that are free.
            share = -(-self._num_waiting // self._num_idle)
            timely = self._slice_s / self._row_s if self._row_s else self._max_batch_rows
            room = int(max(1, min(self._max_batch_rows, share, timely)))
            self._num_idle -= 1
            pieces: list[_Piece] = []
            rests: list[_Request] = []
            while self._waiting and room and self._same_model(pieces):
                request = self._waiting.popleft()
                if request.done.cancelled():
                    self._num_waiting -= request.num_rows - request.num_taken
                    continue
                stop = min(request.num_rows, request.num_taken + room)
                pieces.append(_Piece(request, request.num_taken, stop))
                room -= stop - request.num_taken
                self._num_waiting -= stop - request.num_taken
                request.num_taken = stop
                if stop < request.num_rows:
                    rests.append(request)
            self._waiting.extend(rests)
            if self._waiting:
                self._changed.notify()
            if pieces or self._closed:
                return pieces
        return self._take()

    def _same_model(self, pieces: Sequence[_Piece]) -> bool:
        return not pieces or self._waiting[0].model is pieces[0].request.model

    def _answer(self, pieces: Sequence[_Piece]) -> None:
        try:
            rendered, entries = _rendered(pieces)
        except Exception as error:
            if len(pieces) > 1:
                # A row that breaks the graph must not fail its neighbours: each request alone.
                for piece in pieces:
                    self._answer([piece])
            else:
                self._deliver(pieces, [], error)
            return
        if self._writer is None:
            self._deliver(pieces, rendered, None)
            return

        def written(future: Future[list[str]]) -> None:
            self._deliver(pieces, rendered, future.exception())

        try:
            self._writer.record(entries).add_done_callback(written)
        except Exception as error:
            self._deliver(pieces, rendered, error)

    def _deliver(
        self, pieces: Sequence[_Piece], rendered: Sequence[bytes], error: BaseException | None
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, pieces, rendered, error)
        except RuntimeError:
            # The loop is closed: the service was told twice to stop, and nobody waits any more.
            _log.warning("answers were ready after the service had stopped")


def _resolve(
    pieces: Sequence[_Piece], rendered: Sequence[bytes], error: BaseException | None
) -> None:
    """On the event loop: hand rows to their requests, and wake those that are complete."""
    start = 0
    for piece in pieces:
        request, num_rows = piece.request, piece.stop - piece.start
        if request.done.done():
            pass
        elif error is not None:
            request.done.set_exception(error)
        else:
            request.rendered[piece.start : piece.stop] = rendered[start : start + num_rows]
            request.num_open -= num_rows
            if not request.num_open:
                request.done.set_result(request.rendered)
        start += num_rows


def _rendered(pieces: Sequence[_Piece]) -> tuple[list[bytes], list[LoggedPrediction]]:
    """Answers of one batch as JSON, and as the log keeps them."""
    model = pieces[0].request.model
    columns: dict[str, list[Any]] = {name: [] for name in model.inputs}
    tops: list[int | None] = []
    for piece in pieces:
        for name, values in columns.items():
            values.extend(piece.request.columns[name][piece.start : piece.stop])
        tops.extend([piece.request.top] * (piece.stop - piece.start))
    encoded = model.encode(columns)
    answers = model.answers(encoded)
    ids = new_prediction_ids(len(answers))
    now = time.time()
    rendered: list[bytes] = []
    entries: list[LoggedPrediction] = []
    rows = zip(*columns.values(), strict=True)
    for number, (id_, answer, row) in enumerate(zip(ids, answers, rows, strict=True)):
        rendered.append(_json(id_, answer, model.id, encoded.notes.get(number, ()), tops[number]))
        entries.append(
            LoggedPrediction(
                id_,
                model.id,
                dict(zip(columns, row, strict=True)),
                answer.value,
                answer.probability,
                gap_of(
                    answer.probabilities,
                    encoded.notes.get(number, ()),
                    whole=answer.probability if isinstance(answer.value, list) else None,
                ),
                now,
            )
        )
    return rendered, entries


def _json(id_: str, answer: Answer, bundle: str, notes: Sequence[str], top: int | None) -> bytes:
    fields: dict[str, Any] = {"id": id_, "value": answer.value}
    # As `Prediction.as_dict`: what the task does not have is left out.
    if answer.probability is not None:
        probabilities = answer.probabilities
        if top is not None and top < len(probabilities):
            probabilities = dict(islice(probabilities.items(), top))
        fields["probability"], fields["probabilities"] = answer.probability, probabilities
    if answer.low is not None:
        fields["low"], fields["high"] = answer.low, answer.high
    fields["bundle"], fields["notes"] = bundle, notes
    return _encode(fields).encode()
