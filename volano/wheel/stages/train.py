"""train: prepared rows -> a network's weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from volano.data import Prepared
from volano.models import encoder_identity
from volano.spec import ColumnSpec
from volano.store import Run
from volano.wheel._stage import Context, Setting

__all__ = ["TrainStage"]


def _encoder(setting: Setting, column: ColumnSpec) -> Mapping[str, Any]:
    return encoder_identity(
        column.type, column.options, setting.root, fingerprint=setting.store.fingerprint
    )


class TrainStage:
    """Prepared rows -> weights, learning curves, logits of the validation rows."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 1
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
        return {"train": setting.spec.train.model_dump()} | (
            {"encoders": folders} if folders else {}
        )

    def run(self, context: Context) -> Mapping[str, Any]:
        # Here and not above: torch takes seconds to import, and a cached run never needs it.
        from volano.training import release_cores

        try:
            return self._run(context)
        finally:
            release_cores()

    def _run(self, context: Context) -> Mapping[str, Any]:
        from volano.models import build_network, save_weights
        from volano.training import fit, network_logits, plan_training

        prepared = Prepared.open(context.parent("prepare"))
        train, validation = prepared.split("train"), prepared.split("validation")
        num_outputs = len(prepared.target.names)  # type: ignore[attr-defined]
        pretrained = all(detail["encoder"] != "scratch" for detail in prepared.details.values())
        spec = context.spec.train
        plan = plan_training(spec, num_rows=train.num_rows, pretrained=pretrained)
        network = build_network(
            prepared.inputs,
            prepared.details,
            num_outputs,
            root=context.root,
            num_rows=train.num_rows,
            seed=spec.seed,
        )
        result = fit(
            network,
            prepared.inputs,
            train,
            validation,
            plan,
            scratch=context.scratch,
            step=context.progress.step,
            say=context.progress.say,
        )
        save_weights(network, context.out)
        logits = network_logits(network, prepared.inputs, validation)
        np.save(context.out / "validation_logits.npy", logits)
        curves = {
            "head_start": result.head_start,
            "epochs": result.curves,
            "best_epoch": result.best_epoch,
        }
        (context.out / "curves.json").write_text(json.dumps(curves, indent=1), encoding="utf-8")
        return {
            **curves,
            "plan": plan.as_dict(),
            "num_steps": result.num_steps,
            "num_weights": sum(parameter.numel() for parameter in network.parameters()),
            "rows_per_s": round(result.rows_per_s, 1),
            "precision": result.precision,
        }
