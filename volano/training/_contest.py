"""All models of a turn: what the spec names or the columns suggest, trials, and an ensemble."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.errors import TrainError, VolanoError
from volano.models import is_table
from volano.training._ensemble import Judge, ensemble_of, select
from volano.training._folds import joined
from volano.training._learner import FEW_ROWS, Fit, Job, Learner, TableLearner, learner
from volano.training._search import Trial, Trials

__all__ = ["Contest", "compete"]

TASKS = ("classification", "regression")
"""Tasks whose rows are judged one by one, so that models of tables can be searched and mixed."""

PATIENT_TRIALS = 1000
"""Trials within a budget at the most."""

NETWORK_EVERY = 4
"""Of so many trials one is a network's, where there are both: it takes longer, and is better more
seldom."""

NETWORK_ROWS = 200_000
"""Training rows above which a budget does not try a network beside the trees."""


@dataclass
class Contest:
    """What was trained.

    Attributes:
      fits: Name -> model.
      rows: What is worth showing of each, the refused ones among them: ``name``, ``seconds``, ...
      trials: Every setting that was tried.
    """

    fits: dict[str, Fit] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)


def compete(
    job: Job, names: Sequence[str], *, trials: int = 0, budget_s: float | None = None
) -> Contest:
    """Train every model, try settings, and mix what came out.

    Args:
      job: What there is to learn; each model gets a folder of its own in its scratch.
      names: The models, in order.
      trials: Settings to try beside each learner's defaults.
      budget_s: Seconds for all of it; what an interrupted run took before counts.
    Raises:
      TrainError: The only model cannot be trained (TRAIN-002), or none can (003).
    """
    contest = Contest()
    table = all(map(is_table, job.prepared.inputs.values())) and job.task in TASKS
    searching = trials > 0 or budget_s is not None
    others = _Others(job, contest, names)
    if not table:
        until = math.inf if budget_s is None else time.monotonic() + budget_s
        for place, name in enumerate(names):
            others.train(name, until, len(names) - place)
        return others.finished()
    crossed = job.train.num_rows <= FEW_ROWS and (len(names) > 1 or searching)
    crossed = crossed and job.validation.num_rows > 0
    splits = [job.train, job.validation] if crossed else [job.validation]
    targets = np.asarray(joined(splits).target)
    judge = Judge(targets, job.spec, classes=job.task == "classification")
    held = Trials(job.scratch / "trials", job, judge, crossed=crossed)
    deadline = math.inf
    if budget_s is not None:
        deadline = time.monotonic() + budget_s - held.seconds()
    held.limit(deadline)
    for name in names:
        kind = learner(name)
        refusal = kind.suits(job)
        if refusal is None and name == "network" and len(names) > 1:
            refusal = _too_long(job, deadline)
        if refusal is not None:
            others.refuse(name, refusal, 0.0)
            continue
        for settings in _table_learner(kind).defaults(job):
            if time.monotonic() > deadline and held.best():
                break
            held.run(name, _table_learner(kind), settings)
    if searching:
        _search(job, held, names, trials if budget_s is None else PATIENT_TRIALS, deadline)
    contest.trials = held.done
    for name in names:
        mine = [trial for trial in held.done if trial.model == name]
        best = held.best(name)
        seconds = sum(trial.seconds for trial in mine)
        if best:
            fit = held.fit_of(best[0])
            if len(mine) > 1:
                fit.summary["tried"] = len(mine)
            others.take(name, fit, seconds)
        elif mine:
            why = next((trial.error for trial in mine if trial.error), None)
            others.refuse(name, why or "no time was left for it", seconds)
    if len(held.best()) > 1:
        _mix(job, held, judge, others)
    return others.finished()


def _table_learner(kind: type[Learner]) -> type[TableLearner]:
    return kind  # type: ignore[return-value]


def _too_long(job: Job, deadline: float) -> str | None:
    if job.train.num_rows > NETWORK_ROWS and deadline < math.inf:
        return f"{job.train.num_rows:,} rows take a network longer than the budget"
    return None


def _search(job: Job, held: Trials, names: Sequence[str], trials: int, deadline: float) -> None:
    able = [name for name in names if held.best(name) and _table_learner(learner(name)).space(job)]
    networks = [name for name in able if name == "network"]
    rest = [name for name in able if name != "network"] or networks
    if not rest:
        return
    for number in range(trials):
        # Not begun where an average trial would not end in time.
        average = held.seconds() / max(1, len(held.done))
        if time.monotonic() + 0.5 * average > deadline:
            break
        turn = networks and number % NETWORK_EVERY == NETWORK_EVERY - 1
        name = networks[0] if turn else rest[number % len(rest)]
        job.step("trying settings", number, trials)
        held.search(name, _table_learner(learner(name)))


def _mix(job: Job, held: Trials, judge: Judge, others: _Others) -> None:
    started = time.perf_counter()
    # A network with an encoder of its own, such as of series, is no model of a table to mix with.
    able = [(trial, held.fit_of(trial)) for trial in held.best()]
    able = [pair for pair in able if not getattr(pair[1].model, "columns", ())]
    if len(able) < 2:
        return
    best, fits = [trial for trial, _ in able], [fit for _, fit in able]
    found = select(judge, [_evidence(fit) for fit in fits], job.spec.seed)
    if found is None:
        return
    weights, temperatures, expected = found
    if judge.loss(expected) >= min(trial.loss for trial in best if trial.loss is not None):
        return
    names = [f"{trial.model}-{trial.number}" for trial in best]
    model = ensemble_of(
        names, [fit.model for fit in fits], weights, temperatures, classes=judge.classes
    )
    answers = [fit.outputs if fit.answers is None else fit.answers for fit in fits]
    taken = [output for output, weight in zip(answers, weights, strict=True) if weight > 0]
    num_train = len(expected) - len(fits[0].outputs)
    fit = Fit(
        model,
        expected[num_train:],
        {"members": [[member.name, round(member.weight, 4)] for member in model.members]},
        answers=model.mixed(taken),
        held_out=expected[:num_train] if num_train else None,
    )
    others.take("ensemble", fit, time.perf_counter() - started)


def _evidence(fit: Fit) -> NDArray[np.float32]:
    return fit.outputs if fit.held_out is None else np.concatenate([fit.held_out, fit.outputs])


class _Others:
    """Gathers what each model came to."""

    def __init__(self, job: Job, contest: Contest, names: Sequence[str]) -> None:
        self._job, self._contest, self._names = job, contest, names

    def train(self, name: str, until: float, num_left: int) -> None:
        """Fit a model with the rows as they are, and its share of the time for `num_left` of them.

        Forecasts alone keep to it: they come to an end with what they have.
        """
        scratch: Path = self._job.scratch / name
        scratch.mkdir(parents=True, exist_ok=True)
        job = replace(self._job, scratch=scratch)
        refusal = learner(name).suits(job)
        if self._job.task == "forecasting" and until < math.inf:
            left = until - time.monotonic()
            job = replace(job, deadline=time.monotonic() + left / num_left)
            if left <= 0 and self._contest.fits:
                refusal = refusal or "no time was left for it"
        started = time.perf_counter()
        if refusal is None:
            try:
                fit = learner(name).fit(job)
            except VolanoError as error:
                refusal = str(error)
        if refusal is not None:
            self.refuse(name, refusal, time.perf_counter() - started)
        else:
            self.take(name, fit, time.perf_counter() - started)

    def refuse(self, name: str, refusal: str, seconds: float) -> None:
        if len(self._names) == 1:
            raise TrainError(
                2,
                f"the model {name!r} cannot be trained: {refusal}",
                expected="a model that takes these columns",
                fix="train: {models: auto}",
            )
        self._job.say(f"    {name}: left out: {refusal}")
        self._contest.rows.append({"name": name, "seconds": seconds, "refused": refusal})

    def take(self, name: str, fit: Fit, seconds: float) -> None:
        self._contest.fits[name] = fit
        row = {
            "name": name,
            "seconds": seconds,
            "family": fit.model.family,
            "num_weights": fit.model.num_weights(),
        }
        self._contest.rows.append({**row, **fit.summary})

    def finished(self) -> Contest:
        rows = self._contest.rows
        if not self._contest.fits:
            raise TrainError(
                3,
                "no model could be trained: " + "; ".join(str(row["refused"]) for row in rows),
                expected="at least one model that takes these columns",
                fix="train: {models: auto}",
            )
        return self._contest
