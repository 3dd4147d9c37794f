"""The one place that holds the model that serves, so that it can be replaced between requests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volano.columns import schema_of
from volano.errors import VolanoError
from volano.runtime import Model, Prediction, available_cores, load
from volano.store._log import LoggedPrediction

__all__ = [
    "ModelSlot",
    "Served",
    "Watcher",
    "example_row",
    "gap_of",
    "logged",
    "open_model",
    "watch",
]

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
    row = example_row(model)
    if row is not None:
        model.predict([row])
    return model


def example_row(model: Model) -> dict[str, Any] | None:
    """A row that the model takes; None when one of its columns gives no example."""
    examples = {name: schema_of(item).get("examples") for name, item in model.inputs.items()}
    if not all(examples.values()):
        return None
    return {name: found[0] for name, found in examples.items() if found}


def num_workers(model: Model) -> int:
    """How many runs of the graph side by side fill the cores."""
    return max(1, available_cores() // model.threads)


def gap_of(
    probabilities: Mapping[str, float], notes: Sequence[str] = (), *, whole: float | None = None
) -> float:
    """How little a label of an answer would teach, 0 to 1: the queue is in its order.

    Probability of the best answer minus that of the second best. Where answers have none, as with
    numbers: 1 / (1 + notes), so that rows with most inputs that were missing in training, beyond
    its range or unreadable come first. What the models disagree on is not asked: one bundle serves.

    Args:
      probabilities: Of an answer, highest first.
      notes: What was lost or unusual on the way in.
      whole: Of several names at once, how sure the model is of exactly these: this is the gap then.
    """
    if whole is not None:
        return round(whole, 6)
    values = iter(probabilities.values())
    first = next(values, None)
    if first is None:
        return round(1 / (1 + len(notes)), 6)
    return round(first - next(values, 0.0), 6)


def logged(prediction: Prediction, inputs: Mapping[str, Any]) -> LoggedPrediction:
    """An answer with its inputs, as the log keeps it."""
    return LoggedPrediction(
        prediction.id,
        prediction.bundle,
        inputs,
        prediction.value,
        prediction.probability,
        gap_of(
            prediction.probabilities,
            prediction.notes,
            whole=prediction.probability if isinstance(prediction.value, list) else None,
        ),
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
