"""train: prepared rows -> fitted models, the best on validation rows first."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from volano.data import Prepared
from volano.errors import SpecError, TrainError, VolanoError, nearest
from volano.evaluation import evaluator
from volano.models import encoder_identity, save_model
from volano.spec import ColumnSpec, TrainSpec
from volano.store import Run
from volano.tasks import task_for_target
from volano.training import Fit, Job, learner, learner_kinds, portfolio
from volano.wheel._stage import Context, Setting

__all__ = ["OUTPUTS", "TrainStage", "check_models"]

OUTPUTS = "validation_outputs.npy"


def check_models(spec: TrainSpec) -> None:
    """Refuse names of models that there are not.

    Raises:
      SpecError: A name is unknown (SPEC-043), or none is given (044).
    """
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
            )


def _encoder(setting: Setting, column: ColumnSpec) -> Mapping[str, Any]:
    return encoder_identity(
        column.type, column.options, setting.root, fingerprint=setting.store.fingerprint
    )


class TrainStage:
    """Prepared rows -> models, each with what it answers to the validation rows."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 2
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
        names = portfolio(prepared) if spec.models == "auto" else tuple(dict.fromkeys(spec.models))
        rows: list[dict[str, Any]] = []
        fits: dict[str, Fit] = {}
        for name in names:
            job = Job(
                prepared,
                task,
                spec,
                context.root,
                context.scratch / name,
                context.progress.step,
                say,
            )
            job.scratch.mkdir(parents=True, exist_ok=True)
            refusal = learner(name).suits(job)
            started = time.perf_counter()
            if refusal is None:
                try:
                    fits[name] = learner(name).fit(job)
                except VolanoError as error:
                    refusal = str(error)
            row: dict[str, Any] = {"name": name, "seconds": time.perf_counter() - started}
            if refusal is not None:
                if len(names) == 1:
                    raise TrainError(
                        2,
                        f"the model {name!r} cannot be trained: {refusal}",
                        expected="a model that takes these columns",
                        fix="train: {models: auto}",
                    )
                say(f"    {name}: left out: {refusal}")
                rows.append({**row, "refused": refusal})
                continue
            fit = fits[name]
            row |= {
                "family": fit.model.family,
                "num_weights": fit.model.num_weights(),
                "loss": _loss(prepared, task, fit.outputs),
            }
            rows.append({**row, **fit.summary})
        if not fits:
            raise TrainError(
                3,
                "no model could be trained: " + "; ".join(str(row["refused"]) for row in rows),
                expected="at least one model that takes these columns",
                fix="train: {models: auto}",
            )
        # The first is the best; equals stay in the order in which they were trained.
        order = sorted(fits, key=lambda name: _order(rows, name))
        for name in order:
            folder = context.out / "models" / name
            save_model(fits[name].model, folder)
            np.save(folder / OUTPUTS, fits[name].outputs)
            if len(fits) > 1:
                say(f"    {name}: validation loss {_order(rows, name):.5g}")
        best = next(row for row in rows if row["name"] == order[0])
        curves = {key: best.get(key) for key in ("head_start", "epochs", "best_epoch")}
        (context.out / "curves.json").write_text(json.dumps(curves, indent=1), encoding="utf-8")
        summary = {key: value for key, value in best.items() if key not in ("name", "seconds")}
        return {**summary, "best": order[0], "order": order, "models": rows}


def _loss(prepared: Prepared, task: str, outputs: Any) -> float | None:
    """Mean of what models are chosen by, on validation rows; None without any."""
    judge = evaluator(task)
    targets = np.asarray(prepared.split("validation").target)
    if not len(targets):
        return None
    state = task_for_target(prepared.target.kind).from_dict(
        judge.calibrate(outputs, targets), prepared.target
    )
    return float(-judge.scores(judge.selection, state, outputs, targets).mean())


def _order(rows: list[dict[str, Any]], name: str) -> float:
    loss = next(row["loss"] for row in rows if row["name"] == name)
    return float("inf") if loss is None else float(loss)
