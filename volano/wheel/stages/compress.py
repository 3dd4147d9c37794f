"""compress: bundles of the trained network, measured here; the smallest good one is chosen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from volano.compression import (
    Calibration,
    Candidate,
    bundle_size,
    choose,
    compression_pass,
    measure_speed,
)
from volano.data import EncodedSplit, Prepared, Snapshot
from volano.errors import BundleError
from volano.evaluation import row_scores
from volano.runtime import EncodedRows, Model, load
from volano.spec import CompressSpec
from volano.store import Run
from volano.tasks import task_for_target
from volano.wheel._stage import Context, Setting

__all__ = ["CompressStage"]

VALIDATION_ROWS = 4000
"""Validation rows that every candidate answers, at the most."""

CALIBRATION_ROWS = 512
CALIBRATION_BATCH = 16
SPEED_ROWS = 256

SPEED_FACTS = ("p50_ms", "p99_ms", "rows_per_s", "rows_per_s_spread")

PARITY = 1e-4
"""Largest difference of any probability between the trained network and its fp32 graph."""


class CompressStage:
    """Network -> candidate bundles, what each is worth, and the chosen one."""

    name: ClassVar[str] = "compress"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("data", "prepare", "train", "evaluate")

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        compress = setting.spec.compress
        return {
            "compress": compress if isinstance(compress, str) else compress.model_dump(),
            "metric": setting.spec.gate.metric,
            "lineage": {name: run.key for name, run in parents.items()},
        }

    def run(self, context: Context) -> Mapping[str, Any]:
        from volano.export import graph_of
        from volano.models import load_weights

        spec, say = context.spec, context.progress.say
        prepared = Prepared.open(context.parent("prepare"))
        network = load_weights(context.parent("train"))
        longest = max(column.max_tokens for column in prepared.inputs.values())  # type: ignore[attr-defined]
        graph = graph_of(network, longest)
        settings = spec.compress if isinstance(spec.compress, CompressSpec) else None
        passes = settings.passes if settings else ()
        calibration = _calibration(prepared) if passes else None
        validation = prepared.split("validation")
        rows = _speed_rows(context, prepared)
        candidates = []
        for place, name in enumerate(("fp32", *passes)):
            context.progress.step("compressing", place, 1 + len(passes))
            folder = context.out / "candidates" / name
            try:
                made = graph
                if place:
                    assert calibration is not None
                    made = compression_pass(name).apply(graph, calibration)
                self._write(context, prepared, folder, made.SerializeToString(), name)
                model = load(folder)
                if place == 0:
                    _check_parity(context, model, validation)
                scores = _scores(model, validation, spec.gate.metric)
                facts = measure_speed(model, rows)
            except Exception as error:
                # A pass that fails on one network is a finding; the turn goes on without it.
                if place == 0:
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                what = (str(error) or type(error).__name__).splitlines()[0][:300]
                say(f"    {name}: failed ({what})")
                candidates.append(Candidate(name, 0, None, {"refused": f"failed: {what}"}))
                continue
            candidates.append(Candidate(name, bundle_size(folder), scores, facts))
        context.progress.step("compressing", 1, 1)
        chosen, table = choose(candidates, settings.margin if settings else 0.0)
        for row in table:
            verdict = "chosen" if row["chosen"] else row.get("refused", "not the smallest")
            if row["size_bytes"]:
                say(
                    f"    {row['name']}: {row['size_bytes'] / 1e6:.1f} MB, "
                    f"{row['p50_ms']:.1f} ms a row, {row['rows_per_s']:.0f} rows/s: {verdict}"
                )
        summary = {"candidates": table, "chosen": candidates[chosen].name}
        # What was measured differs from run to run, and an artifact must not.
        lasting = [
            {
                # Several threads share a sum in no fixed order: the last digits are chance.
                key: round(value, 4) if isinstance(value, float) else value
                for key, value in row.items()
                if key not in SPEED_FACTS
            }
            for row in table
        ]
        (context.out / "candidates.json").write_text(
            json.dumps(lasting, indent=1), encoding="utf-8"
        )
        return summary

    def _write(
        self, context: Context, prepared: Prepared, folder: Path, graph: bytes, name: str
    ) -> None:
        from volano.export import write_bundle

        evaluated = context.parents["evaluate"].summary
        target = prepared.target
        task = task_for_target(target.kind).from_dict(
            {"temperature": evaluated["temperature"]}, target
        )
        write_bundle(
            folder,
            name=target.name,
            inputs=prepared.inputs,
            target=target,
            task=task,
            graph=graph,
            details={
                "precision": name,
                "metrics": {"validation": evaluated["metrics"]},
                "lineage": {
                    stage: {"key": run.key, "digest": run.artifact.digest}
                    for stage, run in context.parents.items()
                },
            },
        )


def _calibration(prepared: Prepared) -> Calibration:
    """Training rows at even distances, in batches of like length."""
    split = prepared.split("train")
    some = np.unique(np.linspace(0, split.num_rows - 1, CALIBRATION_ROWS).astype(np.int64))
    some = some[np.argsort(split.widths()[some], kind="stable")]
    batches = []
    for start in range(0, len(some), CALIBRATION_BATCH):
        rows = some[start : start + CALIBRATION_BATCH]
        batch: dict[str, Any] = {}
        for name, column in prepared.inputs.items():
            batch.update(column.collate(split.columns[name], rows))
        batches.append(batch)
    return Calibration(batches)


def _scored_rows(split: EncodedSplit) -> np.ndarray:
    known = np.flatnonzero(np.asarray(split.target) >= 0)
    return known[:: max(1, -(-len(known) // VALIDATION_ROWS))]


def _scores(model: Model, split: EncodedSplit, metric: str) -> np.ndarray:
    """The bundle's score on each validation row, through the runtime."""
    rows = _scored_rows(split)
    if len(rows) == 0:
        return np.zeros(0)
    outputs = model.outputs(EncodedRows(split.columns, split.num_rows), rows)
    probabilities = model.task.probabilities(outputs)  # type: ignore[attr-defined]
    return row_scores(probabilities, np.asarray(split.target)[rows], metric)


def _check_parity(context: Context, model: Model, split: EncodedSplit) -> None:
    """Compare the fp32 graph with the network it was made from, and refuse a difference."""
    wanted = np.load(context.parent("evaluate") / "parity_logits.npy")
    if len(wanted) == 0:
        return
    rows = np.arange(len(wanted), dtype=np.int64)
    found = model.outputs(EncodedRows(split.columns, split.num_rows), rows)
    probabilities = model.task.probabilities  # type: ignore[attr-defined]
    difference = float(np.abs(probabilities(found) - probabilities(wanted)).max())
    if not difference <= PARITY:
        raise BundleError(
            31,
            f"the exported graph differs from the trained network by {difference:.2g}",
            expected=f"probabilities that differ by at most {PARITY}",
            fix="report this, with the encoder's name: its export is wrong",
        )
    context.progress.say(f"    parity with the trained network: {difference:.1e}")


def _speed_rows(context: Context, prepared: Prepared) -> list[dict[str, Any]]:
    """Real rows to time answers with."""
    snapshot = Snapshot.open(context.parent("data"))
    rows = np.load(context.parent("prepare") / "train" / "rows.npy")
    some = rows[np.unique(np.linspace(0, len(rows) - 1, SPEED_ROWS).astype(np.int64))]
    columns = {name: snapshot.column(name, some) for name in prepared.inputs}
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
