"""Networks: one encoder per column, fitted by gradient descent."""

from __future__ import annotations

from typing import ClassVar

from volano.training._learner import Fit, Job

__all__ = ["NetworkLearner"]


class NetworkLearner:
    """Encoders of all columns, their fusion and a head, learned together."""

    name: ClassVar[str] = "network"
    version: ClassVar[int] = 1

    @staticmethod
    def suits(job: Job) -> str | None:
        if job.task == "forecasting":
            return "it answers with one number or name, and a forecast has many"
        return None  # every column has an encoder

    @staticmethod
    def fit(job: Job) -> Fit:
        # Here and not above: torch takes seconds to import, and tables may do without it.
        from volano.models import build_network
        from volano.training._loop import fit, network_logits
        from volano.training._plan import plan_training

        prepared = job.prepared
        train, validation = prepared.split("train"), prepared.split("validation")
        chosen = [detail["encoder"] for detail in prepared.details.values() if "encoder" in detail]
        plan = plan_training(
            job.spec,
            num_rows=train.num_rows,
            pretrained=bool(chosen) and all(encoder != "scratch" for encoder in chosen),
            table=not chosen,
        )
        network = build_network(
            prepared.inputs,
            prepared.details,
            job.num_outputs,
            root=job.root,
            num_rows=train.num_rows,
            seed=job.spec.seed,
        )
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
        return Fit(network, network_logits(network, prepared.inputs, validation), summary)
