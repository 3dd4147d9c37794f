"""What trains one model of a turn, and the table of those that can."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit
from volano.data import Prepared
from volano.models import is_table
from volano.spec import TrainSpec
from volano.tasks import task_for_target

__all__ = ["Fit", "Job", "Learner", "TrainedModel", "learner", "learner_kinds", "portfolio"]

Step = Callable[[str, float, float], None]


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
    """

    prepared: Prepared
    task: str
    spec: TrainSpec
    root: Path
    scratch: Path
    step: Step = lambda label, done, total: None
    say: Callable[[str], None] = lambda text: None

    @property
    def num_outputs(self) -> int:
        """Outputs of a model of this task: one per class, or one."""
        return len(getattr(self.prepared.target, "names", ())) or 1

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
      outputs: What it answers to the validation rows, float32, shape (num_rows, num_outputs).
      summary: What is worth showing: curves, settings, seconds; JSON-able.
    """

    model: TrainedModel
    outputs: NDArray[np.float32]
    summary: dict[str, Any] = field(default_factory=dict)


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


_KINDS = {
    "boosted": "volano.training.boosted:BoostedLearner",
    "linear": "volano.training.linear:LinearLearner",
    "network": "volano.training.network:NetworkLearner",
}


def learner_kinds() -> list[str]:
    """The names of all learners, sorted."""
    return sorted(_KINDS)


def learner(name: str) -> type[Learner]:
    """A learner by its name."""
    module, _, attribute = _KINDS[name].partition(":")
    return cast("type[Learner]", getattr(importlib.import_module(module), attribute))


def portfolio(prepared: Prepared) -> tuple[str, ...]:
    """What ``train: {models: auto}`` trains, the simplest first."""
    if task_for_target(prepared.target.kind).kind == "forecasting":
        return ("linear",)
    if all(map(is_table, prepared.inputs.values())):
        return ("linear", "boosted")
    return ("network",)


def table_refusal(inputs: Mapping[str, Any]) -> str | None:
    """Why a model of tables cannot take these columns; None when it can."""
    others = [name for name, column in inputs.items() if not is_table(column)]
    if not others:
        return None
    return f"it takes numbers and names, and the column {others[0]!r} is neither"
