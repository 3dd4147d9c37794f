"""evaluate: how good the trained network is on validation rows, and what simple models reach."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from volano.data import GoldenRows, Prepared, Snapshot
from volano.evaluation import BASELINES, classification_report, fit_temperature, softmax
from volano.store import Run
from volano.wheel._stage import Context, Setting
from volano.wheel.stages import golden as golden_stage

__all__ = ["EvaluateStage"]

PARITY_ROWS = 512
"""Rows whose logits are kept, for the exported graph to be compared with."""


class EvaluateStage:
    """Network and validation rows -> temperature, metrics; training rows -> baselines."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("data", "golden", "prepare", "train")

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        del parents
        return {"seed": setting.spec.train.seed}

    def run(self, context: Context) -> Mapping[str, Any]:
        out, say = context.out, context.progress.say
        prepared = Prepared.open(context.parent("prepare"))
        logits = np.load(context.parent("train") / "validation_logits.npy")
        labels = np.asarray(prepared.split("validation").target)
        names = prepared.target.names  # type: ignore[attr-defined]
        known = labels >= 0
        # Fewer than two classes say nothing of how sure the network should be.
        temperature = 1.0
        report: dict[str, Any] = {}
        if len(np.unique(labels[known])) > 1:
            temperature = fit_temperature(logits[known], labels[known])
        if known.any():
            probabilities = softmax(logits[known], temperature)
            report = classification_report(probabilities, labels[known], names).as_dict()
            say(f"    validation accuracy {report['metrics']['accuracy']['value']:.1%}")
        np.save(out / "parity_logits.npy", logits[:PARITY_ROWS])
        baselines = self._baselines(context, prepared)
        summary = {"temperature": temperature, "baselines": baselines}
        (out / "validation.json").write_text(json.dumps(report), encoding="utf-8")
        return {**summary, "metrics": report.get("metrics", {})}

    def _baselines(self, context: Context, prepared: Prepared) -> dict[str, Any]:
        """Each baseline's answers on the golden rows, and its accuracy there."""
        golden = GoldenRows.open(context.parent("golden") / golden_stage.FILE)
        if golden.num_rows == 0:
            return {}
        snapshot = Snapshot.open(context.parent("data"))
        rows = np.load(context.parent("prepare") / "train" / "rows.npy")
        codes = np.asarray(prepared.split("train").target)
        inputs = list(prepared.inputs)
        train_texts = _joined([snapshot.column(name, rows) for name in inputs])
        texts = _joined([golden.column(name) for name in inputs])
        names = prepared.target.names  # type: ignore[attr-defined]
        right = np.array(golden.targets)
        results: dict[str, Any] = {}
        for name, baseline in BASELINES.items():
            found = baseline(train_texts, codes, texts, seed=context.spec.train.seed)
            answers = np.array(names)[found.predictions]
            np.save(context.out / f"baseline_{name}.npy", answers == right)
            results[name] = {"accuracy": float((answers == right).mean())}
        best = max(results.items(), key=lambda item: item[1]["accuracy"])
        context.progress.say(
            f"    best baseline on golden rows: {best[0]} {best[1]['accuracy']:.1%}"
        )
        return results


def _joined(columns: list[list[str]]) -> list[str]:
    return (
        columns[0] if len(columns) == 1 else ["\n".join(row) for row in zip(*columns, strict=True)]
    )
