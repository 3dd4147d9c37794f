"""compress: bundles of the trained models, measured here; the smallest good one is chosen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from volano.compression import (
    Calibration,
    Candidate,
    bundle_size,
    choose,
    compression_pass,
    measure_encoding,
    measure_speed,
)
from volano.data import Prepared, Snapshot
from volano.errors import BundleError
from volano.evaluation import evaluator, gate_metric, independent_rows, unit_scores
from volano.runtime import EncodedRows, Model, load
from volano.spec import CompressSpec
from volano.store import Run
from volano.tasks import Task, task_for_target
from volano.wheel._stage import Context, Setting
from volano.wheel.stages.train import evidence

__all__ = ["CompressStage"]

VALIDATION_ROWS = 4000
"""Validation rows that every candidate answers, at the most."""

CALIBRATION_ROWS = 512
CALIBRATION_BATCH = 16
SPEED_ROWS = 256

SPEED_FACTS = ("p50_ms", "p99_ms", "rows_per_s", "rows_per_s_spread")


class CompressStage:
    """Models -> candidate bundles, what each is worth, and the chosen one.

    The best model as it was trained comes first, and all others are compared with it: a simpler
    model that is not worse by more than the margin ships instead, as a smaller graph does.
    """

    name: ClassVar[str] = "compress"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("data", "prepare", "train", "evaluate")

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        compress = setting.spec.compress
        return {
            "compress": compress if isinstance(compress, str) else compress.model_dump(),
            "metric": setting.spec.gate.metric,
            "lineage": {name: run.key for name, run in parents.items()},
        }

    def run(self, context: Context) -> Mapping[str, Any]:
        spec, say = context.spec, context.progress.say
        prepared = Prepared.open(context.parent("prepare"))
        settings = spec.compress if isinstance(spec.compress, CompressSpec) else None
        passes = settings.passes if settings else ()
        # `compress: off` ships the best model as it is.
        names = context.parents["train"].summary["order"][: None if settings else 1]
        making = _Making(context, prepared, _speed_rows(context, prepared))
        candidates: list[Candidate] = []
        for place, name in enumerate(names):
            context.progress.step("compressing", place, len(names))
            made = making.candidates(name, passes, must=place == 0, single=len(names) == 1)
            if place == 0:
                # What a pass makes of the best model need only be as often right.
                for candidate in made[1:]:
                    candidate.likelihoods = None
            candidates += made
        context.progress.step("compressing", 1, 1)
        metric = gate_metric(spec.gate.metric, making.judge)
        scale = 1.0
        if candidates[0].scores is not None and len(candidates[0].scores):
            scale = making.judge.loss_scale(metric, candidates[0].scores)
        for candidate in candidates:
            if candidate.scores is not None and len(candidate.scores):
                # For people: in parts of the first one's error a score says little.
                candidate.facts["mean_score"] = float(candidate.scores.mean())
                candidate.scores = candidate.scores / scale
        chosen, table = choose(
            candidates,
            settings.margin if settings else 0.0,
            rows="cross-fitted rows" if making.crossed else "validation rows",
        )
        for row in table:
            verdict = "chosen" if row["chosen"] else row.get("refused", "not the smallest")
            if row["size_bytes"]:
                say(
                    f"    {row['name']}: {row['size_bytes'] / 1e6:.1f} MB, "
                    f"{row['p50_ms']:.1f} ms a row, {row['rows_per_s']:.0f} rows/s: {verdict}"
                )
        ready = context.out / "candidates" / candidates[chosen].name
        summary = {
            "candidates": table,
            "chosen": candidates[chosen].name,
            "encoding_ms": measure_encoding(load(ready, threads=1), making.rows),
            "compared_rows": making.compared,
            "cross_fitted": making.crossed,
        }
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


class _Making:
    """Makes and measures the bundles of one turn."""

    def __init__(self, context: Context, prepared: Prepared, rows: list[dict[str, Any]]) -> None:
        self._context, self._prepared, self.rows = context, prepared, rows
        self._task = task_for_target(prepared.target.kind)
        self.judge = evaluator(self._task.kind)
        self._metric = gate_metric(context.spec.gate.metric, self.judge)
        self._calibration: Calibration | None = None
        folder = context.parent("train") / "models"
        self._evidence = {
            name: evidence(folder / name, prepared)
            for name in context.parents["train"].summary["order"]
        }
        # Cross-fitted models are compared on training rows as well, where all of them are.
        self._least = min(len(found.targets) for found in self._evidence.values())
        self.crossed = self._least > prepared.split("validation").num_rows
        self.compared = 0

    def candidates(
        self, model: str, passes: Sequence[str], *, must: bool, single: bool
    ) -> list[Candidate]:
        """The bundles of one model: as it was trained, and after each pass that suits it.

        Args:
          model: Its name.
          passes: The passes to try.
          must: Whether the bundle as it was trained has to succeed.
          single: Whether it is the only model, so that its name says nothing.
        """
        from volano.export import graph_of
        from volano.models import load_model

        context, prepared = self._context, self._prepared
        trained = load_model(context.parent("train") / "models" / model, prepared.inputs)
        state = context.parents["evaluate"].summary["states"][model]
        task = self._task.from_dict(state, prepared.target)
        graph = graph_of(trained, prepared.inputs)
        found = []
        apart = self._evidence[model].learned
        # Of a model that has learned from these rows, nothing on them says what a pass costs.
        useful = trained.family == "network" and not apart
        for name in ("fp32", *(passes if useful else ())):
            shown = name if single else (model if name == "fp32" else f"{model}-{name}")
            folder = context.out / "candidates" / shown
            try:
                made = graph
                if name != "fp32":
                    made = compression_pass(name).apply(graph, self._rows_to_calibrate())
                self._write(folder, task, made.SerializeToString(), shown)
                bundle = load(folder)
                if name == "fp32":
                    self._check_parity(model, bundle)
                known = self._evidence[model].outputs if apart else None
                scores = self._scores(bundle, self._metric, known)
                likelihoods = self._scores(bundle, self.judge.selection, known)
                facts = {"model": model, **measure_speed(bundle, self.rows)}
            except Exception as error:
                # A pass that fails on one network is a finding; the turn goes on without it.
                if must and name == "fp32":
                    raise
                shutil.rmtree(folder, ignore_errors=True)
                what = (str(error) or type(error).__name__).splitlines()[0][:300]
                context.progress.say(f"    {shown}: failed ({what})")
                found.append(Candidate(shown, 0, None, {"refused": f"failed: {what}"}))
                continue
            mixed = trained.family == "ensemble"
            size = bundle_size(folder)
            found.append(Candidate(shown, size, scores, facts, likelihoods, ensemble=mixed))
        return found

    def _rows_to_calibrate(self) -> Calibration:
        if self._calibration is None:
            self._calibration = _calibration(self._prepared)
        return self._calibration

    def _scores(self, model: Model, metric: str, known: np.ndarray | None) -> np.ndarray:
        """The bundle's score on each row that it is compared on.

        Args:
          model: The bundle, which answers through the runtime.
          metric: What to score by.
          known: What is to be expected of it on rows that it has learned from; None where it has
            not, so that its own answers say it.
        """
        split = self._prepared.split("validation")
        targets = np.asarray(split.target)
        if known is not None:
            targets = max((found.targets for found in self._evidence.values()), key=len)
            targets, known = targets[-self._least :], known[-self._least :]
        rows = _scored_rows(targets)
        if len(rows) == 0:
            return np.zeros(0)
        if known is None:
            outputs = model.outputs(EncodedRows(split.columns, split.num_rows), rows)
        else:
            outputs = known[rows]
        self.compared = len(rows)
        scores = self.judge.scores(metric, model.task, outputs, targets[rows])
        times = self._prepared.times("validation")
        if times is not None:
            times = times[rows]
        units = independent_rows(self.judge, len(scores), self._prepared.target, times)
        return unit_scores(scores, units)

    def _check_parity(self, name: str, model: Model) -> None:
        """Compare the fp32 graph with the model it was made from, and refuse a difference."""
        wanted = np.load(self._context.parent("evaluate") / f"parity_{name}.npy")
        if len(wanted) == 0:
            return
        split = self._prepared.split("validation")
        rows = np.arange(len(wanted), dtype=np.int64)
        found = model.outputs(EncodedRows(split.columns, split.num_rows), rows)
        difference = self.judge.parity(model.task, wanted, found)
        if not difference <= self.judge.tolerance:
            raise BundleError(
                31,
                f"the exported graph differs from the trained model by {difference:.2g}",
                expected=f"answers that differ by at most {self.judge.tolerance}",
                fix="report this, with the model's name: its export is wrong",
            )
        self._context.progress.say(f"    parity with the trained model: {difference:.1e}")

    def _write(self, folder: Path, task: Task, graph: bytes, name: str) -> None:
        from volano.export import write_bundle

        context, prepared = self._context, self._prepared
        write_bundle(
            folder,
            name=prepared.target.name,
            inputs=prepared.inputs,
            target=prepared.target,
            task=task,
            graph=graph,
            details={
                "precision": name,
                "metrics": {"validation": context.parents["evaluate"].summary["metrics"]},
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


def _scored_rows(targets: np.ndarray) -> np.ndarray:
    there = targets >= 0 if targets.dtype.kind == "i" else ~np.isnan(targets)
    # Of forecasts each row has many targets, of which some may be missing.
    known = np.flatnonzero(there.reshape(len(there), -1).any(axis=1) if there.ndim > 1 else there)
    if there.ndim > 1:
        return known
    return known[:: max(1, -(-len(known) // VALIDATION_ROWS))]


def _speed_rows(context: Context, prepared: Prepared) -> list[dict[str, Any]]:
    """Real rows to time answers with."""
    return prepared.requests("train", Snapshot.open(context.parent("data")), SPEED_ROWS)
