"""train: prepared rows -> fitted models, the best on validation rows first."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.data import Prepared
from volano.errors import SpecError, nearest
from volano.evaluation import evaluator
from volano.models import encoder_identity, save_model
from volano.spec import ColumnSpec, Spec, TrainSpec
from volano.store import Run
from volano.tasks import task_for_target
from volano.training import Fit, Job, compete, learner, learner_kinds, portfolio
from volano.wheel._stage import Context, Setting

__all__ = ["Evidence", "TrainStage", "check_models", "evidence"]

OUTPUTS, ANSWERS, HELD_OUT = "validation_outputs.npy", "answers.npy", "held_out.npy"


MIXED = ("ensemble", "stacked")
"""Models that nobody names: they are made of the others."""


def check_models(whole: Spec) -> None:
    """Refuse names of models that there are not, and losses of other tasks.

    Raises:
      SpecError: A name is unknown (SPEC-043), or none is given (044), or the loss is none of what
        the target asks for (045).
    """
    spec = whole.train
    _check_loss(spec, task_for_target(whole.target_column.type).kind)
    if spec.models == "auto":
        return
    if not spec.models:
        raise SpecError(44, "train.models is empty", expected="auto, or a list of names")
    for name in spec.models:
        if name not in learner_kinds():
            raise SpecError(
                43,
                f"there is no model {name!r}",
                where="train.models",
                expected="auto, or some of " + ", ".join(learner_kinds()),
                nearest=nearest(name, learner_kinds()),
                fix="leave it out: models that were trained are mixed where that is better"
                if name in MIXED
                else None,
            )


def _encoder(setting: Setting, column: ColumnSpec) -> Mapping[str, Any]:
    return encoder_identity(
        column.type, column.options, setting.root, fingerprint=setting.store.fingerprint
    )


class TrainStage:
    """Prepared rows -> models, each with what it answers to the validation rows."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("prepare",)

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        del parents
        # Weights in a folder may change while their tokenizer, all that prepare keeps of them,
        # stays the same. Of others, prepare's artifact names the package or the commit.
        folders = {
            name: found["folder"]
            for name, column in setting.spec.inputs.items()
            if "folder" in (found := _encoder(setting, column))
        }
        return {
            "train": setting.spec.train.model_dump(),
            "learners": {name: learner(name).version for name in learner_kinds()},
            **({"encoders": folders} if folders else {}),
            **({"search": setting.spec.search.trials} if setting.spec.search.trials else {}),
            **({"budget": setting.spec.budget} if setting.spec.budget else {}),
        }

    def run(self, context: Context) -> Mapping[str, Any]:
        try:
            return self._run(context)
        finally:
            # torch takes seconds to import; trees and linear models never do.
            if "torch" in sys.modules:
                from volano.training import release_cores

                release_cores()

    def _run(self, context: Context) -> Mapping[str, Any]:
        prepared = Prepared.open(context.parent("prepare"))
        spec, say = context.spec.train, context.progress.say
        task = task_for_target(prepared.target.kind).kind
        _check_loss(spec, task)
        long = context.spec.budget is not None or context.spec.search.trials > 0
        names = tuple(dict.fromkeys(spec.models))
        if spec.models == "auto":
            names = portfolio(prepared, long=long)
        job = Job(prepared, task, spec, context.root, context.scratch, context.progress.step, say)
        contest = compete(
            job, names, trials=context.spec.search.trials, budget_s=context.spec.budget
        )
        fits = contest.fits
        loss = {name: _loss(prepared, task, fit) for name, fit in fits.items()}
        rows = [
            {**row, "loss": loss[row["name"]]} if row["name"] in loss else row
            for row in contest.rows
        ]
        # The first is the best; equals stay in the order in which they were trained.
        order = sorted(fits, key=lambda name: _place(loss[name]))
        for name in order:
            folder, fit = context.out / "models" / name, fits[name]
            save_model(fit.model, folder)
            np.save(folder / OUTPUTS, fit.outputs)
            if fit.answers is not None:
                np.save(folder / ANSWERS, fit.answers)
            if fit.held_out is not None:
                np.save(folder / HELD_OUT, fit.held_out)
            if len(fits) > 1:
                say(f"    {name}: validation loss {_shown(loss[name])}")
        best = next(row for row in rows if row["name"] == order[0])
        curves = {key: best.get(key) for key in ("head_start", "epochs", "best_epoch")}
        (context.out / "curves.json").write_text(json.dumps(curves, indent=1), encoding="utf-8")
        summary = {key: value for key, value in best.items() if key not in ("name", "seconds")}
        summary |= {"best": order[0], "order": order, "models": rows}
        if contest.trials:
            summary["trials"] = [trial.as_dict() for trial in contest.trials]
        return summary


@dataclass(frozen=True)
class Evidence:
    """What is to be expected of a model, on rows that it was not fitted on.

    Attributes:
      outputs: Shape (num_rows, num_outputs): of the validation rows, before them of the training
        rows where the model was cross-fitted.
      targets: What is right for these rows.
      answers: What the model as it was saved answers to the validation rows.
      learned: Whether the saved model has learned from these rows, so that `outputs`, and not its
        answers, say how good it is.
    """

    outputs: NDArray[np.float32]
    targets: NDArray[Any]
    answers: NDArray[np.float32]
    learned: bool


def evidence(folder: Path, prepared: Prepared) -> Evidence:
    """What `TrainStage` wrote of one model; `folder` is the model's."""
    outputs = np.load(folder / OUTPUTS)
    answers = np.load(folder / ANSWERS) if (folder / ANSWERS).exists() else outputs
    targets = np.asarray(prepared.split("validation").target)
    learned = answers is not outputs
    if (folder / HELD_OUT).exists():
        outputs = np.concatenate([np.load(folder / HELD_OUT), outputs])
        targets = np.concatenate([np.asarray(prepared.split("train").target), targets])
    return Evidence(outputs, targets, answers, learned)


_LOSSES = {
    "regression": ("squared", "absolute", "huber", "quantile"),
    "classification": ("cross_entropy", "focal"),
    "multilabel": ("cross_entropy",),
}


def _check_loss(spec: TrainSpec, task: str) -> None:
    known = _LOSSES.get(task, ())
    if spec.loss != "auto" and spec.loss not in known:
        raise SpecError(
            45,
            f"the loss {spec.loss} is none of {task}",
            where="train.loss",
            expected=", ".join(("auto", *known)),
            fix="train: {loss: auto}",
        )


def _loss(prepared: Prepared, task: str, fit: Fit) -> float | None:
    """Mean of what models are chosen by, on rows they were not fitted on; None without any."""
    judge = evaluator(task)
    targets = np.asarray(prepared.split("validation").target)
    outputs = fit.outputs
    if not len(targets):
        return None
    if fit.held_out is not None:
        outputs = np.concatenate([fit.held_out, outputs])
        targets = np.concatenate([np.asarray(prepared.split("train").target), targets])
    state = task_for_target(prepared.target.kind).from_dict(
        judge.calibrate(outputs, targets), prepared.target
    )
    return float(-judge.scores(judge.selection, state, outputs, targets).mean())


def _place(loss: float | None) -> float:
    return math.inf if loss is None else loss


def _shown(loss: float | None) -> str:
    return "unknown" if loss is None else f"{loss:.5g}"
