"""All models of a turn: what the spec names or the columns suggest, trials, and an ensemble."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.errors import TrainError, VolanoError
from volano.models import EnsembleModel, Member, is_sparse, is_table
from volano.training._ensemble import Judge, ensemble_of, select
from volano.training._flat import flatten
from volano.training._folds import joined
from volano.training._learner import FEW_ROWS, Fit, Job, Learner, TableLearner, learner
from volano.training._search import Trial, Trials
from volano.training._stacking import stack
from volano.training._window_judge import WindowJudge

__all__ = ["Contest", "compete"]

TASKS = ("classification", "multilabel", "regression")
"""Tasks whose rows are judged one by one, so that models of tables can be searched and mixed."""

PATIENT_TRIALS = 1000
"""Trials within a budget at the most."""

NETWORK_EVERY = 4
"""Of so many trials one is a network's, where there are both: it takes longer, and is better more
seldom."""

MOST_STACKED = 6
"""Members of a stacked ensemble at the most."""

WRITTEN_EVERY_S = 2.0
"""How often it is written down how much of a budget is used up."""

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
    if budget_s is not None:
        job = _within(job, budget_s)
    searching = trials > 0 or budget_s is not None
    others = _Others(job, contest, names)
    if searching and job.task == "forecasting":
        _forecasts(job, contest, names, others, trials if budget_s is None else PATIENT_TRIALS)
        return others.finished()
    # A network takes every column as it is; on a table it is one of its models.
    apart = not all(map(is_table, job.prepared.inputs.values()))
    tabular = [name for name in names if not (apart and name == "network")]
    # Columns of thousands of places go to linear models as they are.
    wide = any(map(is_sparse, job.prepared.inputs.values()))
    flat = flatten(job) if job.task in TASKS and tabular and not wide else None
    if flat is None:
        for name in names:
            others.train(name)
        if trials:
            job.say("    no model here has settings to search: `search` tries none")
        return others.finished()
    whole = len(tabular) < len(names)
    crossed = job.train.num_rows <= FEW_ROWS and (len(names) > 1 or searching)
    # A network that reads texts or looks at pictures takes too long to be fitted in each fold.
    crossed = crossed and job.validation.num_rows > 0 and not whole
    splits = [flat.job.train, flat.job.validation] if crossed else [flat.job.validation]
    targets = np.asarray(joined(splits).target)
    judge = Judge(
        targets,
        job.spec,
        classes=job.task == "classification",
        several=job.task == "multilabel",
    )
    held = Trials(job.scratch / "trials", flat.job, judge, crossed=crossed)
    deadline = job.deadline
    for name in tabular:
        kind = learner(name)
        refusal = kind.suits(flat.job)
        if refusal is None and name == "network" and len(names) > 1:
            refusal = _too_long(job, deadline)
        if refusal is not None:
            others.refuse(name, refusal, 0.0)
            continue
        for settings in _table_learner(kind).defaults(flat.job):
            if job.clock() > deadline and held.best():
                break
            held.run(name, _table_learner(kind), settings)
    if whole:
        others.train("network")
    if searching:
        most = trials if budget_s is None else PATIENT_TRIALS
        _search(flat.job, held, tabular, most, deadline)
    contest.trials = held.done
    for name in tabular:
        _take(name, held, others, whole=flat.whole)
    found = [
        _Able(f"{trial.model}-{trial.number}", trial.model, flat.whole(held.fit_of(trial)))
        for trial in held.best()
    ]
    if whole and "network" in contest.fits:
        found.append(_Able("network", "network", contest.fits["network"]))
    _mix(judge, targets, job, found, others)
    return others.finished()


def _forecasts(
    job: Job, contest: Contest, names: Sequence[str], others: _Others, trials: int
) -> None:
    """Search over forecasts: each model as it is by default, within its share of the time, and then
    other settings.
    """
    judge = WindowJudge(job.validation.target)
    held = Trials(job.scratch / "trials", job, judge, crossed=False)
    refusals = {}
    for place, name in enumerate(names):
        refusal = learner(name).suits(job)
        if refusal is None and job.late and held.best():
            refusal = "no time was left for it"
        if refusal is not None:
            refusals[name] = refusal
            continue
        now = job.clock()
        share = now + max(0.0, job.deadline - now) / (len(names) - place)
        held.run(name, _table_learner(learner(name)), {}, deadline=share)
    _search(job, held, [name for name in names if name not in refusals], trials, job.deadline)
    contest.trials = held.done
    for name in names:
        _take(name, held, others, refusals.get(name))


def _take(
    name: str,
    held: Trials,
    others: _Others,
    refusal: str | None = None,
    whole: Callable[[Fit], Fit] = lambda fit: fit,
) -> None:
    """What the trials of a model came to: its best, or why there is none."""
    mine = [trial for trial in held.done if trial.model == name]
    seconds = sum(trial.seconds for trial in mine)
    best = held.best(name)
    if best:
        fit = held.fit_of(best[0])
        if len(mine) > 1:
            fit.summary["tried"] = len(mine)
        others.take(name, whole(fit), seconds)
    elif mine or refusal:
        why = next((trial.error for trial in mine if trial.error), refusal)
        others.refuse(name, why or "no time was left for it", seconds)


def _within(job: Job, budget_s: float) -> Job:
    """A job that ends when the budget is used up, by an interrupted run before it as well."""
    kept = job.scratch / "spent.json"
    try:
        before = float(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        before = 0.0
    started = job.clock()
    last = started

    def step(label: str, done: float, total: float) -> None:
        nonlocal last
        now = job.clock()
        if now - last >= WRITTEN_EVERY_S:
            last = now
            partial = kept.with_suffix(".part")
            partial.write_text(json.dumps(before + now - started), encoding="utf-8")
            partial.replace(kept)
        job.step(label, done, total)

    return replace(job, step=step, deadline=started + budget_s - before)


def _table_learner(kind: type[Learner]) -> type[TableLearner]:
    return kind  # type: ignore[return-value]


def _too_long(job: Job, deadline: float) -> str | None:
    if job.train.num_rows > NETWORK_ROWS and deadline < math.inf:
        return f"{job.train.num_rows:,} rows take a network longer than the budget"
    return None


def _search(job: Job, held: Trials, names: Sequence[str], trials: int, deadline: float) -> None:
    """Try settings by turns, of each model that has any, until trials or time are used up."""
    able = [name for name in names if held.best(name) and _table_learner(learner(name)).space(job)]
    networks = [name for name in able if name == "network"]
    rest = [name for name in able if name != "network"] or networks
    if not rest:
        return
    for number in range(trials):
        turn = networks and number % NETWORK_EVERY == NETWORK_EVERY - 1
        name = networks[0] if turn else rest[number % len(rest)]
        # Not begun where one would as a rule not get halfway in time; another model may be faster.
        left = deadline - job.clock()
        if 0.5 * held.expected_s(name) > left:
            able = [other for other in rest if 0.5 * held.expected_s(other) <= left]
            if not able or left < 0:
                break
            name = able[0]
        job.step("trying settings", number, trials)
        held.search(name, _table_learner(learner(name)))


@dataclass(frozen=True)
class _Able:
    """A model that an ensemble may take in."""

    name: str
    model: str
    fit: Fit


def _mix(
    judge: Judge, targets: NDArray[Any], job: Job, found: Sequence[_Able], others: _Others
) -> None:
    """The weighted mean and the stack of some models, where they are better than each alone."""
    if len(found) < 2:
        return
    started = job.clock()
    losses = [judge.loss(_evidence(able.fit)) for able in found]
    chosen = select(judge, [_evidence(able.fit) for able in found], job.spec.seed)
    few = []
    if chosen is not None:
        weights, temperatures, expected = chosen
        few = [able for able, weight in zip(found, weights, strict=True) if weight > 0]
        if judge.loss(expected) < min(losses):
            model = ensemble_of(
                [able.name for able in found],
                [able.fit.model for able in found],
                weights,
                temperatures,
                classes=judge.classes,
                several=judge.several,
            )
            others.take("ensemble", _fit_of(model, few, expected), job.clock() - started)
    if judge.several:
        return  # a stack has one right answer to learn
    started = job.clock()
    # The best of each kind, and what the mean took in: each member costs time in every answer.
    order = sorted(range(len(found)), key=losses.__getitem__)
    for kind in dict.fromkeys(able.model for able in found):
        best = next(found[place] for place in order if found[place].model == kind)
        few += [best] if best not in few else []
    few = few[:MOST_STACKED]
    made = stack(judge, targets, [_evidence(able.fit) for able in few], job.spec)
    if made is not None and judge.loss(made.expected) < min(losses):
        members = [
            Member(able.name, able.fit.model, float(weight), float(temperature))
            for able, weight, temperature in zip(few, made.weights, made.temperatures, strict=True)
        ]
        model = EnsembleModel(tuple(members), judge.classes, tuple(map(float, made.bias)))
        others.take("stacked", _fit_of(model, few, made.expected), job.clock() - started)


def _fit_of(model: EnsembleModel, able: Sequence[_Able], expected: NDArray[np.float32]) -> Fit:
    """An ensemble as a model of the turn, with what is to be expected of it."""
    fits = [one.fit for one in able]
    answers = [fit.outputs if fit.answers is None else fit.answers for fit in fits]
    num_train = len(expected) - len(fits[0].outputs)
    return Fit(
        model,
        expected[num_train:],
        {"members": [[member.name, round(member.weight, 4)] for member in model.members]},
        answers=model.mixed(answers),
        held_out=expected[:num_train] if num_train else None,
    )


def _evidence(fit: Fit) -> NDArray[np.float32]:
    return fit.outputs if fit.held_out is None else np.concatenate([fit.held_out, fit.outputs])


class _Others:
    """Gathers what each model came to."""

    def __init__(self, job: Job, contest: Contest, names: Sequence[str]) -> None:
        self._job, self._contest, self._names = job, contest, names

    def train(self, name: str) -> None:
        """Fit a model with the rows as they are."""
        scratch: Path = self._job.scratch / name
        scratch.mkdir(parents=True, exist_ok=True)
        job = replace(self._job, scratch=scratch)
        refusal = learner(name).suits(job)
        started = job.clock()
        if refusal is None:
            try:
                fit = learner(name).fit(job)
            except VolanoError as error:
                refusal = str(error)
        seconds = job.clock() - started
        if refusal is not None:
            self.refuse(name, refusal, seconds)
        else:
            self.take(name, fit, seconds)

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
            # What a table was made flat for is what a person wants to know.
            "family": getattr(fit.model, "model", fit.model).family,
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
