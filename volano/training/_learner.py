"""What trains one model of a turn, and the table of those that can."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit
from volano.data import Prepared
from volano.models import is_sparse, is_table
from volano.spec import TrainSpec
from volano.tasks import task_for_target

__all__ = [
    "Fit",
    "Job",
    "Learner",
    "Pruned",
    "TableLearner",
    "TrainedModel",
    "learner",
    "learner_kinds",
    "portfolio",
]

Step = Callable[[str, float, float], None]


class Pruned(Exception):
    """Raised by `Job.watch`: this fit is not worth finishing."""


class TrainedModel(Protocol):
    """A model that can be saved and exported."""

    family: ClassVar[str]

    def num_weights(self) -> int:
        """How many numbers were fitted."""

    def save(self, folder: Path) -> None:
        """Write it as safetensors and JSON."""


@dataclass(frozen=True)
class Job:
    """What there is to learn.

    Attributes:
      prepared: Fitted columns and encoded splits.
      task: The task's kind.
      spec: The spec's ``train`` section.
      root: The wheel's folder.
      scratch: Where checkpoints are kept and looked for.
      step: Told how far the run is.
      say: Told what is worth a line.
      settings: The learner's own, one of its `defaults` or from its `space`; empty: its first.
      rows: Rows to learn from and rows to steer by, where they are not the prepared ones.
      watch: Told how far the fit is (any rising measure that is the same for all settings) and the
        loss on validation rows there; may raise `Pruned`.
      deadline: When to come to an end with what there is, by `clock`.
      clock: Seconds that never go back.
    """

    prepared: Prepared
    task: str
    spec: TrainSpec
    root: Path
    scratch: Path
    step: Step = lambda label, done, total: None
    say: Callable[[str], None] = lambda text: None
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[EncodedSplit, EncodedSplit] | None = None
    watch: Callable[[int, float], None] = lambda place, loss: None
    deadline: float = math.inf
    clock: Callable[[], float] = time.monotonic

    @property
    def train(self) -> EncodedSplit:
        """Rows to learn from."""
        return self.rows[0] if self.rows else self.prepared.split("train")

    @property
    def validation(self) -> EncodedSplit:
        """Rows to steer by; may be none."""
        return self.rows[1] if self.rows else self.prepared.split("validation")

    @property
    def late(self) -> bool:
        """Whether time is over."""
        return self.clock() > self.deadline

    def timer(self) -> Callable[[], float]:
        """Tells the share of the time from now to the deadline that is over; 0 without one."""
        started = self.clock()
        return lambda: (self.clock() - started) / max(1e-9, self.deadline - started)

    @property
    def num_outputs(self) -> int:
        """Outputs of a model of this task: one per class, or one."""
        return len(getattr(self.prepared.target, "names", ())) or 1

    @property
    def truth(self) -> NDArray[np.float64]:
        """Of several names: 1 where a name applies, shape (num_rows, num_outputs)."""
        return np.asarray(np.asarray(self.train.target)[:, :-1] > 0, np.float64)

    def label_weights(self, truth: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of several names: what a row that has a name counts for it, one that has not being 1."""
        if self.spec.class_weights == "none":
            return np.ones(truth.shape[1])
        # One row more of each kind: a name that no row has weighs much, but not without end.
        having = truth.sum(axis=0) + 1
        weights: NDArray[np.float64] = (len(truth) + 2 - having) / having
        return weights

    def row_weights(self, split: EncodedSplit) -> NDArray[np.float64] | None:
        """Weight of each row, mean 1, where classes are to count the same; else None."""
        if self.spec.class_weights == "none" or self.task != "classification":
            return None
        codes = np.asarray(split.target)
        counts = np.bincount(codes, minlength=self.num_outputs)
        weights: NDArray[np.float64] = len(codes) / ((counts > 0).sum() * counts[codes])
        return weights


@dataclass
class Fit:
    """One trained model.

    Attributes:
      model: The model.
      outputs: What is to be expected of it on the validation rows, float32, shape (num_rows,
        num_outputs): its answers, or those of models like it that had not learned from these rows.
      summary: What is worth showing: curves, settings, seconds; JSON-able.
      choices: What validation rows chose and rows alone do not say, such as a number of rounds: as
        `settings` it makes a fit that needs no validation rows.
      answers: What it answers to the validation rows, where that is not `outputs`.
      held_out: As `outputs`, for the training rows; None where nothing is known of them.
    """

    model: TrainedModel
    outputs: NDArray[np.float32]
    summary: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, float] = field(default_factory=dict)
    answers: NDArray[np.float32] | None = None
    held_out: NDArray[np.float32] | None = None


class Learner(Protocol):
    """Fits one kind of model. Has no state.

    Attributes:
      name: In specs and reports.
      version: Raised when the same job would give another model.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @staticmethod
    def suits(job: Job) -> str | None:
        """Why it cannot take the job, in words; None when it can."""

    @staticmethod
    def fit(job: Job) -> Fit:
        """Fit a model.

        Raises:
          TrainError: Training failed, in words.
        """


class TableLearner(Learner, Protocol):
    """A learner of tables: it takes any rows and settings, so that it can be searched over."""

    @staticmethod
    def defaults(job: Job) -> Sequence[Mapping[str, Any]]:
        """Settings that are good as a rule, the best first; at least one, each within `space`."""

    @staticmethod
    def space(job: Job) -> Mapping[str, Any]:
        """What to search over: name -> Optuna's distribution; empty when there is nothing."""


_KINDS = {
    "boosted": "volano.training.boosted:BoostedLearner",
    "dlinear": "volano.training.forecaster:DLinearLearner",
    "forest": "volano.training.forest:ForestLearner",
    "gru": "volano.training.forecaster:GruLearner",
    "linear": "volano.training.linear:LinearLearner",
    "lstm": "volano.training.forecaster:LstmLearner",
    "network": "volano.training.network:NetworkLearner",
    "patchtst": "volano.training.forecaster:PatchLearner",
    "rnn": "volano.training.forecaster:RnnLearner",
    "tcn": "volano.training.forecaster:TcnLearner",
}


MANY_NAMES = 20
"""Classes beyond which trees beside a text or a photo wait for a budget: they grow trees for each,
over hundreds of numbers that stand for the text, and on 77 classes took longer than the network."""

FEW_ROWS = 5000
"""Training rows up to which models are cheap enough to be judged by cross-fitting."""


def learner_kinds() -> list[str]:
    """The names of all learners, sorted."""
    return sorted(_KINDS)


def learner(name: str) -> type[Learner]:
    """A learner by its name."""
    module, _, attribute = _KINDS[name].partition(":")
    return cast("type[Learner]", getattr(importlib.import_module(module), attribute))


def portfolio(prepared: Prepared, *, long: bool = False) -> tuple[str, ...]:
    """What ``train: {models: auto}`` trains, the simplest first.

    Args:
      prepared: The rows.
      long: Whether the spec gives a budget or asks for a search.
    """
    if task_for_target(prepared.target.kind).kind == "forecasting":
        return ("linear", "dlinear", "gru", "tcn", "patchtst") if long else ("linear",)
    rich = [column for column in prepared.inputs.values() if not is_table(column)]
    tabular = [column for column in prepared.inputs.values() if is_table(column)]
    if rich and all(map(is_sparse, rich)):
        # Places that are nearly all zero: a line takes them as they are, and is hard to beat.
        return ("linear",)
    if not tabular:
        return ("network",)
    if rich or any(column.kind == "series" for column in tabular):
        # Numbers beside a text or a picture: trees may know all that is to be known. Along time a
        # network sees what a table of numbers does not show.
        many = rich and not long and len(getattr(prepared.target, "names", ())) > MANY_NAMES
        return ("linear", "network") if many else ("linear", "boosted", "network")
    if long:
        return ("linear", "forest", "boosted", "network")
    if prepared.split("train").num_rows <= FEW_ROWS:
        return ("linear", "forest", "boosted")
    return ("linear", "boosted")


def table_refusal(inputs: Mapping[str, Any]) -> str | None:
    """Why a model of tables cannot take these columns; None when it can."""
    others = [name for name, column in inputs.items() if not is_table(column)]
    if not others:
        return None
    if is_sparse(inputs[others[0]]):
        return f"it takes a number for each place, and {others[0]!r} is sparse"
    return f"it takes numbers and names, and the column {others[0]!r} is neither"
