"""Forecasting networks, fitted by gradient descent on windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from volano.columns.series import FittedSeries
from volano.training._learner import Fit, Job

if TYPE_CHECKING:
    from volano.training._plan import TrainPlan

__all__ = [
    "DLinearLearner",
    "GruLearner",
    "LstmLearner",
    "PatchLearner",
    "RnnLearner",
    "TcnLearner",
]

LEAST_STEPS = 1500
LEARNED_WINDOWS = 160_000
"""Windows that are learned from in all, repeated as often as it takes."""

MANY_VALUES = 200_000
"""Windows times series from which a net is worth making wide."""

_RATES: Mapping[str, tuple[float, float]] = {
    "dlinear": (2e-3, 0.0),
    "patchtst": (1e-3, 0.2),
}
"""Kind -> learning rate and dropout; of all others the last two lines of `_plan`."""


class _Forecasts:
    """What the learners below share: they differ in the net alone."""

    name: ClassVar[str]
    version: ClassVar[int] = 1

    @classmethod
    def suits(cls, job: Job) -> str | None:
        if job.task != "forecasting":
            return "it forecasts series, and the target is none"
        return None

    @classmethod
    def defaults(cls, job: Job) -> Sequence[dict[str, Any]]:
        del job
        return ({},)

    @classmethod
    def space(cls, job: Job) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        found: dict[str, Any] = {}
        if job.spec.learning_rate == "auto":
            found["learning_rate"] = FloatDistribution(3e-4, 1e-2, log=True)
        if cls.name != "dlinear":
            # Two lines have no width, and nothing to drop.
            found["width"] = CategoricalDistribution((16, 32, 64, 128))
            found["dropout"] = FloatDistribution(0.0, 0.5, step=0.05)
        return found

    @classmethod
    def fit(cls, job: Job) -> Fit:
        # Here and not above: torch takes seconds to import, and a linear forecast does without it.
        import torch

        from volano.models import ForecastContext
        from volano.models.forecasters import Forecaster
        from volano.training._loop import fit, network_logits

        target, inputs = job.prepared.target, job.prepared.inputs
        assert isinstance(target, FittedSeries)
        train, validation = job.train, job.validation
        values = train.num_rows * len(target.columns)
        width = int(job.settings.get("width", 64 if values >= MANY_VALUES else 32))
        torch.manual_seed(job.spec.seed)
        context = ForecastContext.of(inputs, target)
        # All that the loop asks of a network it has too, and encoders, of which it has none.
        network: Any = Forecaster(cls.name, target.columns, context, width)
        plan = _plan(job, cls.name, train.num_rows)

        def watch(epoch: int, loss: float) -> None:
            job.watch(round(1000 * epoch / plan.epochs), loss)

        result = fit(
            network,
            inputs,
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
        summary: dict[str, Any] = {
            "epochs": result.curves,
            "best_epoch": result.best_epoch,
            "plan": plan.as_dict(),
            "num_steps": result.num_steps,
            "rows_per_s": round(result.rows_per_s, 1),
            "precision": result.precision,
            "width": width,
        }
        outputs = network_logits(network, inputs, validation)
        return Fit(network, outputs, summary, {"epochs": max(1, result.best_epoch)})


def _plan(job: Job, kind: str, num_rows: int) -> TrainPlan:
    from volano.training._plan import TrainPlan

    spec = job.spec
    rate, dropout = _RATES.get(kind, (1e-3, 0.1))
    rate = job.settings.get("learning_rate", rate)
    dropout = job.settings.get("dropout", dropout)
    rows: int = 32 if spec.batch_rows == "auto" else spec.batch_rows
    epochs, passes = 0 if spec.epochs == "auto" else spec.epochs, 1
    if not epochs:
        epochs = max(3, min(30, round(LEARNED_WINDOWS / max(1, num_rows))))
        steps = -(-num_rows // rows)
        passes = max(1, LEAST_STEPS // (epochs * steps))
    rate = rate if spec.learning_rate == "auto" else spec.learning_rate
    return TrainPlan(
        epochs=epochs,
        passes=passes,
        learning_rate=rate,
        head_rate=rate,
        weight_decay=0.01,
        warmup=0.1,
        clip=1.0,
        batch_rows=rows,
        batch_tokens=max(4096, rows),
        dropout=dropout,
        memory=0.1,
        patience=3 if spec.patience == "auto" else spec.patience,
        # The nets are small: what a shorter format saves is less than what it costs to convert.
        precision="fp32",
        seed=spec.seed,
        augment="off",
    )


class DLinearLearner(_Forecasts):
    """A line for the trend and one for what is left."""

    name: ClassVar[str] = "dlinear"


class PatchLearner(_Forecasts):
    """A transformer over patches."""

    name: ClassVar[str] = "patchtst"


class TcnLearner(_Forecasts):
    """Residual convolutions along time."""

    name: ClassVar[str] = "tcn"


class GruLearner(_Forecasts):
    """A recurrent net with gates."""

    name: ClassVar[str] = "gru"


class LstmLearner(_Forecasts):
    """A recurrent net with gates and a memory."""

    name: ClassVar[str] = "lstm"


class RnnLearner(_Forecasts):
    """A recurrent net without gates."""

    name: ClassVar[str] = "rnn"
