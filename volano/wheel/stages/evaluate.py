"""evaluate: how good the best model is on validation rows, and what simple ones reach."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import column_kind, media_kind
from volano.data import GoldenRows, Prepared, Snapshot, open_golden
from volano.evaluation import evaluator
from volano.models import is_table, table_features, tree_matrix
from volano.store import Run
from volano.tasks import task_for_target
from volano.wheel._stage import Context, Setting
from volano.wheel.stages import golden as golden_stage
from volano.wheel.stages.train import evidence

__all__ = ["EvaluateStage"]

PARITY_ROWS = 512
"""Rows whose outputs are kept, for the exported graph to be compared with."""


class EvaluateStage:
    """Models and validation rows -> calibration, metrics; training rows -> baselines."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("data", "golden", "prepare", "train")

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        del parents
        return {"seed": setting.spec.train.seed}

    def run(self, context: Context) -> Mapping[str, Any]:
        out, say = context.out, context.progress.say
        prepared = Prepared.open(context.parent("prepare"))
        targets = np.asarray(prepared.split("validation").target)
        kind = task_for_target(prepared.target.kind)
        judge = evaluator(kind.kind)
        trained = context.parents["train"].summary
        states = {}
        report: dict[str, Any] = {}
        for name in trained["order"]:
            found = evidence(context.parent("train") / "models" / name, prepared)
            states[name] = judge.calibrate(found.outputs, found.targets)
            np.save(out / f"parity_{name}.npy", found.answers[:PARITY_ROWS])
            if name == trained["best"] and len(targets):
                task = kind.from_dict(states[name], prepared.target)
                values = prepared.values("validation", Snapshot.open(context.parent("data")))
                outputs = found.outputs[len(found.outputs) - len(targets) :]
                report = judge.report(task, outputs, values, prepared.target)
                shown = judge.show(judge.headline, report["metrics"][judge.headline])
                say(f"    validation {judge.headline} {shown}")
        baselines = self._baselines(context, prepared, kind.kind)
        (out / "validation.json").write_text(json.dumps(report), encoding="utf-8")
        return {
            "task": kind.kind,
            "headline": judge.headline,
            "states": states,
            # The best model's, by the name that reports know it by.
            "temperature": states[trained["best"]].get("temperature"),
            "baselines": baselines,
            "metrics": report.get("metrics", {}),
        }

    def _baselines(self, context: Context, prepared: Prepared, task: str) -> dict[str, Any]:
        """Each baseline's answers on the golden rows, and how good they are."""
        golden = open_golden(context.parent("golden") / golden_stage.FILE, prepared.target)
        if golden.num_rows == 0:
            return {}
        judge = evaluator(task)
        right = prepared.target.targets(golden.targets)  # type: ignore[attr-defined]
        content = [
            name
            for name, column in prepared.inputs.items()
            if column_kind(column.kind).content and not media_kind(column.kind)
        ]
        found: dict[str, NDArray[Any]]
        own = getattr(judge, "baselines", None)
        if own is not None:
            found = own(prepared)
        elif content and hasattr(judge, "text_baselines"):
            assert isinstance(golden, GoldenRows)
            found = self._text_baselines(context, prepared, golden, content, judge)
        else:
            found = self._table_baselines(context, prepared, judge)
        results: dict[str, Any] = {}
        for name, predictions in found.items():
            np.save(context.out / f"baseline_{name}.npy", predictions)
            scores = judge.baseline_scores(judge.metrics[0], predictions, right)
            results[name] = {judge.metrics[0]: float(scores.mean())}
        best = max(results, key=lambda name: results[name][judge.metrics[0]])
        context.progress.say(
            f"    best baseline on golden rows: {best} "
            f"({judge.metrics[0].replace('_', ' ')} {abs(results[best][judge.metrics[0]]):.4g})"
        )
        return results

    def _text_baselines(
        self,
        context: Context,
        prepared: Prepared,
        golden: GoldenRows,
        columns: list[str],
        judge: Any,
    ) -> dict[str, NDArray[Any]]:
        snapshot = Snapshot.open(context.parent("data"))
        rows = np.load(context.parent("prepare") / "train" / "rows.npy")
        targets = np.asarray(prepared.split("train").target)
        train_texts = _joined([snapshot.column(name, rows) for name in columns])
        texts = _joined([golden.column(name) for name in columns])
        found: dict[str, NDArray[Any]] = judge.text_baselines(
            train_texts, targets, texts, seed=context.spec.train.seed
        )
        return found

    def _table_baselines(
        self, context: Context, prepared: Prepared, judge: Any
    ) -> dict[str, NDArray[Any]]:
        inputs = {name: column for name, column in prepared.inputs.items() if is_table(column)}
        features = table_features(inputs)
        train, golden = prepared.split("train"), prepared.split("golden")
        ranks = [
            np.arange(feature.num_codes, dtype=np.float32)
            for feature in features
            if not feature.size
        ]
        found: dict[str, NDArray[Any]] = judge.table_baselines(
            tree_matrix(features, ranks, train),
            np.asarray(train.target),
            tree_matrix(features, ranks, golden),
            seed=context.spec.train.seed,
        )
        return found


def _joined(columns: list[list[str]]) -> list[str]:
    return (
        columns[0] if len(columns) == 1 else ["\n".join(row) for row in zip(*columns, strict=True)]
    )
