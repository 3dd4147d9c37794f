"""Group commit: what many requests want to log goes to the store in one transaction."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from volano.errors import StoreError
from volano.store._log import Correction, LoggedPrediction, PredictionLog

__all__ = ["LogWriter"]

GROUP_ROWS = 4000
"""Rows per transaction at the most, so that no caller waits long behind others."""


@dataclass
class _Job:
    predictions: Sequence[LoggedPrediction] = ()
    corrections: Sequence[Correction] = ()
    probe: bool = False
    done: Future[list[str]] = field(default_factory=Future)

    @property
    def num_rows(self) -> int:
        return len(self.predictions) + len(self.corrections)


class LogWriter:
    """One thread that writes the log. While it commits, what arrives waits for the next commit.

    A future is done only after COMMIT: what it acknowledges survives a killed process.

    Args:
      log: Where to write.
    """

    def __init__(self, log: PredictionLog) -> None:
        self._log = log
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="volano-log", daemon=True)
        self._thread.start()

    def record(self, predictions: Sequence[LoggedPrediction]) -> Future[list[str]]:
        """Log answers; the future is done, with an empty list, when they are committed."""
        return self._put(_Job(predictions=predictions))

    def feedback(self, items: Sequence[Correction]) -> Future[list[str]]:
        """Log corrections, all or none; the future has the ids that are not known."""
        return self._put(_Job(corrections=items))

    def probe(self) -> Future[list[str]]:
        """See whether the log can be written."""
        return self._put(_Job(probe=True))

    def close(self) -> None:
        """Write what is still waiting, and stop."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._thread.join()

    def _put(self, job: _Job) -> Future[list[str]]:
        if self._closed:
            raise StoreError(59, "the log is closed: the service is stopping")
        self._jobs.put(job)
        return job.done

    def _work(self) -> None:
        more = True
        while more:
            job = self._jobs.get()
            group: list[_Job] = []
            while True:
                if job is None:
                    more = False
                    break
                group.append(job)
                if sum(item.num_rows for item in group) >= GROUP_ROWS:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._commit(group)

    def _commit(self, group: Sequence[_Job]) -> None:
        try:
            if any(job.probe for job in group):
                self._log.probe()
            writing = [job for job in group if not job.probe]
            unknown = iter(
                self._log.commit(
                    [item for job in writing for item in job.predictions],
                    [job.corrections for job in writing if job.corrections],
                )
                if writing
                else ()
            )
            answers = [next(unknown) if job.corrections else [] for job in group]
        except BaseException as error:
            if len(group) == 1:
                _set(group[0].done, error)
                return
            # One caller's rows must not fail another's: each alone.
            for job in group:
                self._commit([job])
            return
        for job, answer in zip(group, answers, strict=True):
            _set(job.done, answer)


def _set(future: Future[list[str]], outcome: list[str] | BaseException) -> None:
    # A caller that no longer waits has cancelled its future.
    with contextlib.suppress(Exception):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
