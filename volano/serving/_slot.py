"""The one place that holds the model that serves, so that it can be replaced between requests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volano.errors import VolanoError
from volano.runtime import Model, Prediction, available_cores, load
from volano.store._log import LoggedPrediction

__all__ = ["ModelSlot", "Served", "Watcher", "gap_of", "logged", "open_model", "watch"]

_log = logging.getLogger("volano.serving")


def open_model(path: str | Path, *, threads: int | None = None) -> Model:
    """Open a bundle for serving, and let it answer once so that the first request is not slow.

    Args:
      path: A bundle's folder, or a `.volano` file.
      threads: Threads of one run of the graph; None takes what serves the most requests: one, and
        as many runs side by side as there are cores.
    Raises:
      BundleError: It is damaged, incomplete, newer than this version, or unsafe.
    """
    model = load(path, threads=threads or 1)
    # Whatever a column makes of these words: as a cell of a table they never fail.
    model.outputs(model.encode({name: ["warm up"] for name in model.inputs}))
    return model


def num_workers(model: Model) -> int:
    """How many runs of the graph side by side fill the cores."""
    return max(1, available_cores() // model.threads)


def gap_of(probabilities: Mapping[str, float]) -> float | None:
    """Probability of the best answer minus that of the second best; None where there is none."""
    values = iter(probabilities.values())
    first = next(values, None)
    if first is None:
        return None
    return round(first - next(values, 0.0), 6)


def logged(prediction: Prediction, inputs: Mapping[str, Any]) -> LoggedPrediction:
    """An answer with its inputs, as the log keeps it."""
    return LoggedPrediction(
        prediction.id,
        prediction.bundle,
        inputs,
        prediction.value,
        prediction.probability,
        gap_of(prediction.probabilities),
        time.time(),
    )


@dataclass(frozen=True)
class Served:
    """A model and since when it serves (seconds since 1970, UTC)."""

    model: Model
    since: float


class ModelSlot:
    """Holds the model that serves. A request keeps the model that it began with.

    Args:
      model: The first one.
    Attributes:
      problem: Why the newest champion could not be taken; None when all is well.
    """

    def __init__(self, model: Model) -> None:
        self.served = Served(model, time.time())
        self.problem: str | None = None

    @property
    def current(self) -> Model:
        return self.served.model

    @property
    def since(self) -> float:
        return self.served.since

    def swap(self, model: Model) -> None:
        """Serve another model from the next request on."""
        self.served = Served(model, time.time())
        self.problem = None


class Watcher:
    """Looks for a new champion now and then, in a thread of its own. Made by `watch`."""

    def __init__(
        self, slot: ModelSlot, newest: Callable[[], tuple[str, Path] | None], every_s: float
    ) -> None:
        self._slot, self._newest, self._every_s = slot, newest, every_s
        self._refused: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="volano-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; returns when the thread has ended."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._every_s):
            self.look()

    def look(self) -> None:
        """Look once, and swap if there is a new champion that can be opened."""
        found: tuple[str, Path] | None = None
        try:
            found = self._newest()
            if found and found[0] not in (self._slot.current.id, self._refused):
                self._slot.swap(open_model(found[1], threads=self._slot.current.threads))
                _log.info("now serving bundle %s", self._slot.current.id[:16])
        # Whatever is wrong with the new one, the old one goes on serving.
        except Exception as error:
            self._refused = found[0] if found else None
            self._slot.problem = f"the newest champion could not be opened: {error}"
            _log.warning("%s", self._slot.problem, exc_info=not isinstance(error, VolanoError))


def watch(
    slot: ModelSlot, newest: Callable[[], tuple[str, Path] | None], *, every_s: float = 5.0
) -> Watcher:
    """Serve a new champion as soon as there is one, without dropping a request.

    Args:
      slot: What to swap the model in.
      newest: Gives the champion's bundle id and path, or None when there is none; called in the
        watcher's thread.
      every_s: How often to look.
    """
    return Watcher(slot, newest, every_s)
