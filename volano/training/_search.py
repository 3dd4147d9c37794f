"""Trials: one learner after another with one setting after another, the good defaults first.

Optuna says what to try next (Akiba et al., `Optuna <https://arxiv.org/abs/1907.10902>`_, 2019) and
which trial is not worth finishing: one whose loss is above the median of the others at the same
point. Every finished trial is kept on disk, so that a turn that was stopped goes on where it was,
and its choice of a setting depends on the seed, the trial's number and the trials before it alone.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volano.errors import AssetError, VolanoError
from volano.models import load_model, save_model
from volano.training._folds import cross_fit
from volano.training._learner import Fit, Job, Pruned, TableLearner

__all__ = ["Trial", "Trials"]

KEPT = 10
"""Models that are kept, of all trials: those with the lowest loss."""

WARM_TRIALS = 4
"""Finished trials before one is stopped early."""

GRID = 250
"""Trials are compared at multiples of this place: each looks at its loss at places of its own, and
the median of the others is taken over those that looked at the very same one."""

WARM_PLACE = 500
"""No trial is stopped before."""

FOLD = 400
"""What a fold of a cross-fitted trial counts as: the first alone stops none."""


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
      number: Its place, from 0.
      model: The learner's name.
      settings: What was tried.
      loss: On validation rows, the mean; None where it was not finished.
      spread: Standard error of that mean.
      state: ``complete``, ``pruned`` or ``failed``.
      seconds: What it took.
      curve: How far -> loss there.
      error: Why it failed.
    """

    number: int
    model: str
    settings: Mapping[str, Any]
    loss: float | None
    state: str
    seconds: float
    curve: Mapping[str, float]
    error: str | None = None
    spread: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """What a record shows."""
        found = {
            "number": self.number,
            "model": self.model,
            "settings": dict(self.settings),
            "loss": self.loss,
            "spread": self.spread,
            "state": self.state,
            "seconds": round(self.seconds, 3),
        }
        return found | ({"error": self.error} if self.error else {})


class Judging(Protocol):
    """What trials ask of a `Judge`."""

    def part(self, rows: NDArray[np.int64], outputs: NDArray[Any]) -> float: ...

    def loss(self, outputs: NDArray[Any]) -> float: ...

    def spread(self, outputs: NDArray[Any]) -> float: ...


class Trials:
    """All trials of a turn, in a folder.

    Args:
      folder: Where they are kept, and found again; made here.
      job: What there is to learn.
      judge: Of the rows that trials are compared on.
      crossed: Whether each is cross-fitted.
    """

    def __init__(self, folder: Path, job: Job, judge: Judging, *, crossed: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._job, self._judge, self._crossed = folder, job, judge, crossed
        self.done: list[Trial] = []
        self._known = self._read()
        self._fits: dict[int, Fit] = {}

    def expected_s(self, model: str) -> float:
        """What another trial of a model takes: the mean of those that were finished."""
        found = [
            trial.seconds
            for trial in self.done
            if trial.model == model and trial.state == "complete"
        ]
        return sum(found) / max(1, len(found))

    def best(self, model: str | None = None) -> list[Trial]:
        """Trials whose models are kept, the lowest loss first."""
        found = [trial for trial in self.done if trial.state == "complete"]
        found = [trial for trial in found if (self._folder / str(trial.number) / "model").is_dir()]
        found = [trial for trial in found if model in (None, trial.model)]
        return sorted(found, key=lambda trial: (trial.loss, trial.number))

    def fit_of(self, trial: Trial) -> Fit:
        """The model of a trial that is kept."""
        if trial.number not in self._fits:
            folder = self._folder / str(trial.number)
            arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
            state = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
            model = load_model(folder / "model", self._job.prepared.inputs)
            self._fits[trial.number] = Fit(model, summary=state["summary"], **arrays)
        return self._fits[trial.number]

    def run(
        self,
        model: str,
        kind: type[TableLearner],
        settings: Mapping[str, Any],
        *,
        deadline: float = math.inf,
    ) -> Trial:
        """Try one setting, or find it among those that were tried already.

        Args:
          model: The learner's name.
          kind: The learner.
          settings: Its settings.
          deadline: When it has to come to an end, if that is before the job's.
        """
        return self._next(model, kind, settings, None, deadline)

    def search(self, model: str, kind: type[TableLearner]) -> Trial:
        """Try a setting that Optuna chooses."""
        optuna = _optuna()
        number = len(self.done)
        space = dict(kind.space(self._job))
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(
                seed=self._job.spec.seed * 100_003 + number, n_startup_trials=WARM_TRIALS
            ),
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=WARM_TRIALS, n_warmup_steps=WARM_PLACE
            ),
        )
        for trial in self.done:
            if trial.model == model and trial.state != "failed":
                study.add_trial(_told(optuna, trial, space))
        asked = study.ask(space)
        return self._next(model, kind, asked.params, asked)

    def _next(
        self,
        model: str,
        kind: type[TableLearner],
        settings: Mapping[str, Any],
        asked: Any,
        deadline: float = math.inf,
    ) -> Trial:
        number = len(self.done)
        found = self._known.get(number)
        if found is None or found.model != model or dict(found.settings) != dict(settings):
            found = self._try(number, model, kind, settings, asked, deadline)
            self._known[number] = found
        self.done.append(found)
        self._forget()
        return found

    def _try(
        self,
        number: int,
        model: str,
        kind: type[TableLearner],
        settings: Mapping[str, Any],
        asked: Any,
        deadline: float,
    ) -> Trial:
        folder = self._folder / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        curve: dict[str, float] = {}

        def watch(place: int, loss: float) -> None:
            place = place // GRID * GRID
            if str(place) in curve:
                return
            curve[str(place)] = loss
            if asked is not None:
                asked.report(loss, place)
                if asked.should_prune():
                    raise Pruned

        losses: dict[int, float] = {}

        def seen(fold: int, rows: NDArray[np.int64], outputs: NDArray[np.float32]) -> None:
            losses.setdefault(fold, self._judge.part(rows, outputs))
            watch(FOLD * (fold + 1), float(np.mean(list(losses.values()))))
            # Half of the folds are worth nothing, as long as there is a whole model.
            if self._job.late and self.best():
                raise Pruned

        def step(label: str, done: float, total: float) -> None:
            # Each trial by its number: a new one begins at nothing again.
            self._job.step(f"trial {number}, {model}: {label}", done, total)

        job = replace(
            self._job,
            settings=settings,
            watch=watch,
            scratch=scratch,
            step=step,
            deadline=min(deadline, self._job.deadline),
        )
        started = job.clock()
        state, error = "complete", None
        loss = spread = None
        try:
            fit = cross_fit(kind, job, seen) if self._crossed else kind.fit(job)
        except Pruned:
            state = "pruned"
        except VolanoError as failure:
            state, error = "failed", str(failure)
        else:
            known = [fit.outputs] if fit.held_out is None else [fit.held_out, fit.outputs]
            loss = self._judge.loss(np.concatenate(known))
            spread = self._judge.spread(np.concatenate(known))
            self._write(folder, fit)
        shutil.rmtree(scratch, ignore_errors=True)
        trial = Trial(
            number=number,
            model=model,
            settings=dict(settings),
            loss=loss,
            state=state,
            seconds=job.clock() - started,
            curve=curve,
            error=error,
            spread=spread,
        )
        text = json.dumps({**trial.as_dict(), "curve": curve})
        partial = folder / ".trial.json.part"
        partial.write_text(text, encoding="utf-8")
        # Last, and in one step: a trial is there as a whole or not at all.
        partial.replace(folder / "trial.json")
        return trial

    def _write(self, folder: Path, fit: Fit) -> None:
        save_model(fit.model, folder / "model")
        for name in ("outputs", "answers", "held_out"):
            values = getattr(fit, name)
            if values is not None:
                np.save(folder / f"{name}.npy", values)
        text = json.dumps({"summary": fit.summary})
        (folder / "fit.json").write_text(text, encoding="utf-8")

    def _forget(self) -> None:
        """Keep the best models only, and the best of each learner."""
        best = self.best()
        kept = {trial.number for trial in best[:KEPT]}
        kept |= {self.best(trial.model)[0].number for trial in best}
        for trial in best:
            if trial.number not in kept:
                shutil.rmtree(self._folder / str(trial.number) / "model")

    def _read(self) -> dict[int, Trial]:
        found = {}
        for path in self._folder.glob("*/trial.json"):
            try:
                trial = Trial(**json.loads(path.read_text(encoding="utf-8")))
            except (TypeError, ValueError):
                continue  # damaged from outside: it is tried again
            found[trial.number] = trial
        return found


def _told(optuna: Any, trial: Trial, space: Mapping[str, Any]) -> Any:
    """A trial as Optuna knows it."""
    states = optuna.trial.TrialState
    complete = trial.state == "complete"
    return optuna.trial.create_trial(
        state=states.COMPLETE if complete else states.PRUNED,
        value=trial.loss if complete else None,
        params=dict(trial.settings),
        distributions={name: space[name] for name in trial.settings},
        intermediate_values={int(place): loss for place, loss in trial.curve.items()},
    )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise AssetError(
            441,
            "Optuna is not installed, and the spec asks for a search",
            where="search",
            fix="pip install 'volano[train]'",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
