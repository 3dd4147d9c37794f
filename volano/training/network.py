"""Networks: one encoder per column, fitted by gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from volano.training._learner import Fit, Job

if TYPE_CHECKING:
    from volano.training._plan import TrainPlan

__all__ = ["NetworkLearner"]


class NetworkLearner:
    """Encoders of all columns, their fusion and a head, learned together."""

    name: ClassVar[str] = "network"
    version: ClassVar[int] = 2

    @staticmethod
    def suits(job: Job) -> str | None:
        if job.task == "forecasting":
            return "it answers with one number or name, and a forecast has many"
        return None  # every column has an encoder

    @staticmethod
    def defaults(job: Job) -> Sequence[dict[str, Any]]:
        if job.train.num_rows < 2000:
            return ({},)
        return ({"width": 256, "depth": 3, "waves": 24, "dropout": 0.1, "learning_rate": 0.002},)

    @staticmethod
    def space(job: Job) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution, IntDistribution

        del job
        return {
            "width": IntDistribution(64, 384, step=64),
            "depth": IntDistribution(1, 4),
            "waves": IntDistribution(0, 48, step=8),
            "dropout": FloatDistribution(0.0, 0.5, step=0.05),
            "learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
        }

    @staticmethod
    def fit(job: Job) -> Fit:
        # Here and not above: torch takes seconds to import, and tables may do without it.
        from volano.models import build_network
        from volano.training._loop import fit, network_logits
        from volano.training._plan import plan_training

        prepared = job.prepared
        train, validation = job.train, job.validation
        chosen = [detail["encoder"] for detail in prepared.details.values() if "encoder" in detail]
        settings = dict(job.settings)
        made_of = {"activation": job.spec.activation, "pooling": job.spec.pooling}
        network = build_network(
            prepared.inputs,
            {name: {**detail, **made_of} for name, detail in prepared.details.items()},
            job.num_outputs,
            root=job.root,
            num_rows=train.num_rows,
            seed=job.spec.seed,
            table=_table(settings, job),
            fusion=job.spec.fusion,
        )
        known = [bool(getattr(encoder, "pretrained", False)) for encoder in network.encoders]
        recipes = [getattr(encoder, "recipe", "") for encoder in network.encoders]
        plan = plan_training(
            job.spec,
            num_rows=train.num_rows,
            pretrained=any(known),
            # Gates start from nothing as well, and a head above them knows nothing at first.
            mixed=not all(known) or network.fusion is not None,
            table=not chosen,
            # Beside a pretrained encoder, its own careful rates are the ones to keep to.
            convolution=set(recipes) == {"convolution"},
            cost=max((getattr(encoder, "cost", 1.0) for encoder in network.encoders), default=1.0),
            pieces=set(recipes) == {"pieces"} and network.table is None,
        )
        if not chosen:
            plan = _with_settings(plan, settings, job)

        def watch(epoch: int, loss: float) -> None:
            job.watch(round(1000 * epoch / plan.epochs), loss)

        result = fit(
            network,
            prepared.inputs,
            train,
            validation,
            plan,
            task=job.task,
            scratch=job.scratch,
            step=job.step,
            say=job.say,
            watch=watch,
            gone=job.timer(),
        )
        summary = {
            "head_start": result.head_start,
            "epochs": result.curves,
            "best_epoch": result.best_epoch,
            "plan": plan.as_dict(),
            "num_steps": result.num_steps,
            "rows_per_s": round(result.rows_per_s, 1),
            "precision": result.precision,
        }
        outputs = network_logits(network, prepared.inputs, validation)
        return Fit(network, outputs, summary, {"epochs": max(1, result.best_epoch)})


_SHAPE = ("width", "depth", "waves")


def _table(settings: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Options of the part that reads numbers and names; what the spec says comes first."""
    found = {key: settings[key] for key in _SHAPE if key in settings}
    if job.spec.hidden != "auto":
        found["hidden"] = job.spec.hidden
    if job.spec.activation != "auto":
        found["activation"] = job.spec.activation
    return found


def _with_settings(plan: TrainPlan, settings: Mapping[str, Any], job: Job) -> TrainPlan:
    """A plan for a table with some of its numbers replaced; the spec's own stay."""
    changes: dict[str, Any] = {}
    if job.spec.learning_rate == "auto" and "learning_rate" in settings:
        changes |= dict.fromkeys(("learning_rate", "head_rate"), settings["learning_rate"])
    if "dropout" in settings:
        changes["dropout"] = settings["dropout"]
    if "epochs" in settings:
        # So many were best in each fold; here there is nothing to steer by.
        changes |= {"epochs": int(settings["epochs"]), "patience": 0}
    return replace(plan, **changes)
