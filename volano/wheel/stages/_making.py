"""The bundles that compress makes of a turn's models: as they were trained, and smaller ones."""

from __future__ import annotations

import functools
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import volano
from volano.columns import Encoded, FittedColumn, media_kind
from volano.compression import (
    Attempt,
    Candidate,
    Compact,
    Lessons,
    Measured,
    bundle_size,
    compression_pass,
    measure_speed,
    search,
)
from volano.data import Prepared, Snapshot
from volano.errors import BundleError
from volano.evaluation import (
    agreement,
    evaluator,
    gate_metric,
    independent_rows,
    row_slices,
    unit_scores,
)
from volano.runtime import EncodedRows, Model, load
from volano.spec import CompressSpec, digest
from volano.tasks import Task, task_for_target
from volano.wheel._stage import Context
from volano.wheel.stages._unlabelled import told_of, unlabelled_rows
from volano.wheel.stages.train import evidence

__all__ = ["Making", "seeks"]

VALIDATION_ROWS = 4000
"""Validation rows that every candidate answers, at the most."""

MOST_VARIANTS = 4
"""Of each row, that a teacher is asked about where there is a budget for it."""

ASKING = 0.25
"""Share of a budget in which a teacher may be asked: what is left is for its students."""

MOST_AGREEMENT = 0.9
"""Share of the rows on which a smaller model answers as the one that it was made of, where that one
is right more often than that. An average may hide that many answers changed for the worse and as
many for the better: people who have learned what to expect of a model notice the first."""

TAUGHT_BY = ("seed", "precision", "augment")
"""What of the spec's ``train`` section holds for students too."""

STUDENT_MARGIN = 0.01
"""The least margin at which more than 8 bits is tried though nobody asked for something small or
fast. No student has ever stayed within half a percent of a teacher that was worth its bytes, and
what fewer tokens cost shows on the words of tomorrow rather than on those of the validation rows.
"""


class Making:
    """Makes and measures the bundles of one turn.

    Args:
      context: Of the stage.
      prepared: The turn's rows.
      rows: Real rows to time answers with.
      single: Whether one model is all there is: its bundles go by their passes alone.

    Attributes:
      judge: The task's evaluator.
      rows: Real rows to time answers with.
      crossed: Whether rows that were learned from are compared on, by models fitted without them.
      compared: Rows that were compared on.
      told: What an endpoint was asked, and what that cost; empty without one.
    """

    def __init__(
        self, context: Context, prepared: Prepared, rows: list[dict[str, Any]], *, single: bool
    ) -> None:
        self._context, self._prepared, self.rows = context, prepared, rows
        self._single = single
        self._task = task_for_target(prepared.target.kind)
        self.judge = evaluator(self._task.kind)
        spec = context.spec
        self._metric = gate_metric(spec.gate.metric, self.judge, spec.train.quantile)
        folder = context.parent("train") / "models"
        self._evidence = {
            name: evidence(folder / name, prepared)
            for name in context.parents["train"].summary["order"]
        }
        # Cross-fitted models are compared on training rows as well, where all of them are.
        self._least = min(len(found.targets) for found in self._evidence.values())
        self.crossed = self._least > prepared.split("validation").num_rows
        self.compared = 0
        self.told: dict[str, int] = {}
        self._read_unlabelled = False
        self._models: dict[str, Compact] = {}
        # What is known of each as it was trained: as a bundle, and in rows a second.
        self._known: dict[str, Measured] = {}
        self._rates: dict[str, float] = {}
        # What each answers as it was trained, and how far what is made of it has to agree.
        self._teachers: dict[str, tuple[np.ndarray, float]] = {}
        # With its column, so that no other can have its id.
        self._others: dict[int, tuple[FittedColumn, Encoded]] = {}

    def as_trained(self, model: str, *, must: bool) -> Candidate:
        """The bundle of a model as it was trained.

        Args:
          model: Its name.
          must: Whether it has to succeed.
        """
        from volano.export import graph_of
        from volano.models import load_model

        context, inputs = self._context, self._prepared.inputs
        shown = "fp32" if self._single else model
        try:
            trained = load_model(context.parent("train") / "models" / model, inputs)
            self._models[model] = Compact(inputs, graph_of(trained, inputs), trained)
            graph = self._models[model].graph
            made = self._candidate(model, shown, inputs, graph, trained=True)
            if (measured := _measured(made)) is not None:
                self._known[model] = measured
            return made
        except Exception as error:
            if must:
                raise
            return self._failed(shown, model, error)

    def smaller(self, model: str, settings: CompressSpec, *, whole: bool) -> Iterator[Candidate]:
        """What the passes make of a model.

        Args:
          model: Its name.
          settings: What may be tried, and for how long.
          whole: Whether students are worth their time; else the quick passes alone.
        """
        from volano.export import graph_of

        context, start = self._context, self._models[model]
        shown = "fp32" if self._single else model
        passes = _passes(settings, whole=whole, network=start.model.family == "network")
        # Of a model that has learned from these rows, nothing on them says what a pass costs.
        learned = self._evidence[model].learned
        if whole and seeks(settings):
            left = [name for name in settings.passes if learned or name not in passes]
            why = "rows are few, and those compared on have been learned from"
            why = why if learned else "there is no network"
            if left:
                context.progress.say(f"    {shown}: not tried: {', '.join(left)}: {why}")
        if learned or not passes:
            return
        budget = settings.budget if whole else None
        found: list[Candidate] = []

        def measure(attempt: Attempt) -> Measured | None:
            assert attempt.made is not None
            name = attempt.name if self._single else f"{model}-{attempt.name}"
            taught = any(_teaches(step) for step, _ in attempt.steps)
            made = self._candidate(
                model, name, attempt.made.inputs, attempt.made.graph, taught=taught
            )
            made.facts |= {"steps": attempt.as_dict(), "seconds": round(attempt.seconds, 1)}
            if attempt.made.notes:
                made.facts["notes"] = list(attempt.made.notes)
            found.append(made)
            return _measured(made)

        variants = 1 if budget is None else self._variants(model, budget)
        lessons = Lessons(
            self._prepared,
            Snapshot.open(context.parent("data")),
            self._task.kind,
            load(context.out / "candidates" / shown, threads=1),
            self._scratch(model, variants),
            train=context.spec.train,
            step=context.progress.step,
            deadline=math.inf if budget is None else time.monotonic() + budget,
            variants=variants,
            graph_of=graph_of,
            unlabelled=lambda: self._given(settings),
        )
        try:
            for attempt in search(
                start,
                lessons,
                passes,
                measure,
                known=self._known.get(model),
                reaches=lambda found: _reaches(found, settings),
                long=budget is not None,
            ):
                if attempt.error is not None:
                    name = attempt.name if self._single else f"{model}-{attempt.name}"
                    yield self._failed(name, model, attempt.error)
                else:
                    yield found[-1]
            if whole and settings.unlabelled and not self._read_unlabelled:
                context.progress.say(
                    "    rows without a label were not read: no student was taught"
                )
        finally:
            if "torch" in sys.modules:
                from volano.training import release_cores

                release_cores()

    def _variants(self, model: str, budget_s: float) -> int:
        """Variants of each row that the teacher can be asked about in its share of the time."""
        rows_per_s = self._rates[model]
        asked = ASKING * budget_s * rows_per_s / max(1, self._prepared.split("train").num_rows)
        return max(1, min(MOST_VARIANTS, round(asked) - 1))

    def _given(self, settings: CompressSpec) -> tuple[Mapping[str, Sequence[Any]], Sequence[int]]:
        """Rows that nobody has labelled, and what an endpoint calls the first of them."""
        if not settings.unlabelled:
            return {}, ()
        self._read_unlabelled = True
        rows = unlabelled_rows(self._context, settings.unlabelled)
        if settings.endpoint is None:
            return rows.columns, ()
        names = self._prepared.target.names  # type: ignore[attr-defined]
        cache = self._context.setting.store.folder / "endpoint.jsonl"
        told = told_of(self._context, settings.endpoint, rows, names, cache)
        self.told = told.counts
        return rows.columns, told.codes

    def _scratch(self, model: str, variants: int) -> Path:
        """Where a teacher's answers and its students are kept: another goal finds them again."""
        context = self._context
        what = {
            "of": "students",
            "code": volano.__version__,
            "parents": {name: run.artifact.digest for name, run in context.parents.items()},
            "model": model,
            "train": {key: getattr(context.spec.train, key) for key in TAUGHT_BY},
            "variants": variants,
            **{key: context.ingredients.get(key) for key in ("passes", "unlabelled")},
            "endpoint": context.ingredients["compress"].get("endpoint"),
        }
        return context.setting.store.scratch(digest(what))

    def slices(self) -> dict[str, np.ndarray]:
        """Parts of the compared rows that must each hold up, by name: which rows are in it."""
        split = self._prepared.split("validation")
        targets = np.asarray(split.target)
        if targets.ndim > 1 or any(found.learned for found in self._evidence.values()):
            return {}  # windows of a series; or rows of which only some are compared
        rows = _scored_rows(targets)
        if not len(rows):
            return {}
        snapshot = Snapshot.open(self._context.parent("data"))
        places = self._prepared.rows("validation")[rows]
        names = getattr(self._prepared.target, "names", None)
        right = [names[code] for code in targets[rows].tolist()] if names else None
        columns = {
            name: snapshot.values(name, places)
            for name, column in self._prepared.inputs.items()
            if not media_kind(column.kind)
        }
        return row_slices(columns, right)

    def _candidate(
        self,
        model: str,
        name: str,
        inputs: Mapping[str, FittedColumn],
        graph: Any,
        *,
        trained: bool = False,
        taught: bool = False,
    ) -> Candidate:
        context = self._context
        folder = context.out / "candidates" / name
        state = context.parents["evaluate"].summary["states"][model]
        task = self._task.from_dict(state, self._prepared.target)
        content = graph.SerializeToString()
        self._write(folder, inputs, task, content, name)
        bundle = load(folder)
        if trained:
            self._check_parity(model, bundle)
        targets, rows, outputs = self._answered(bundle, model, inputs, trained=trained)
        if taught and len(rows):
            # A student is less sure than its teacher, or surer.
            calibrated = self.judge.calibrate(outputs, targets)
            task = self._task.from_dict(calibrated, self._prepared.target)
            shutil.rmtree(folder)
            self._write(folder, inputs, task, content, name)
            bundle = load(folder)
        scores = self._scores(self._metric, task, outputs, targets, rows)
        likelihoods = self._scores(self.judge.selection, task, outputs, targets, rows)
        facts = {"model": model, **measure_speed(bundle, self.rows)}
        facts["metrics"] = self._metrics(task, outputs, rows)
        # What has learned from these rows is not made smaller by them.
        if len(rows) and not self._evidence[model].learned:
            facts |= self._agreement(model, task, outputs, targets, trained=trained)
        if trained:
            self._rates[model] = facts["rows_per_s"]
        mixed = self._models[model].model.family == "ensemble" and not taught
        size = bundle_size(folder)
        return Candidate(name, size, scores, facts, likelihoods, ensemble=mixed)

    def _answered(
        self, bundle: Model, model: str, inputs: Mapping[str, FittedColumn], *, trained: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a bundle is compared by: what is right of some rows, which rows of their split they
        are, and its outputs for them; where it has learned from them, what is to be expected of it.
        """
        targets = np.asarray(self._prepared.split("validation").target)
        known = None
        if trained and self._evidence[model].learned:
            known = self._evidence[model].outputs[-self._least :]
            targets = max((found.targets for found in self._evidence.values()), key=len)
            targets = targets[-self._least :]
        rows = _scored_rows(targets)
        if known is not None:
            return targets[rows], rows, known[rows]
        if not len(rows):
            return targets[rows], rows, np.zeros(0)
        # One thread for those that follow, which may be calibrated by this: the same last digits
        # every time.
        one = bundle if trained else load(bundle.path, threads=1)
        return targets[rows], rows, one.outputs(self._encoded(inputs), rows)

    def _failed(self, name: str, model: str, error: Exception | str) -> Candidate:
        what = str(error) or type(error).__name__
        what = what if isinstance(error, str) else f"failed: {what.splitlines()[0][:300]}"
        shutil.rmtree(self._context.out / "candidates" / name, ignore_errors=True)
        self._context.progress.say(f"    {name}: {what}")
        return Candidate(name, 0, None, {"model": model, "refused": what})

    def _scores(
        self,
        metric: str,
        task: Task,
        outputs: np.ndarray,
        targets: np.ndarray,
        rows: np.ndarray,
    ) -> np.ndarray:
        """A bundle's score on each row that it is compared on; see `_answered`."""
        if not len(rows):
            return np.zeros(0)
        self.compared = len(rows)
        scores = self.judge.scores(metric, task, outputs, targets)
        times = self._prepared.times("validation")
        if times is not None:
            times = times[rows]
        units = independent_rows(self.judge, len(scores), self._prepared.target, times)
        return unit_scores(scores, units)

    @functools.cached_property
    def _right(self) -> Sequence[Any]:
        """The right values of the validation rows, as evaluators take them."""
        return self._prepared.values("validation", Snapshot.open(self._context.parent("data")))

    def _metrics(self, task: Task, outputs: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        """What a bundle reaches on the validation rows; empty where others are compared on."""
        num_rows = self._prepared.split("validation").num_rows
        if self.crossed or not len(rows):
            return {}
        values = self._right
        if len(rows) < num_rows:
            if not isinstance(values, list):
                return {}  # windows, of which some have nothing right
            values = [values[row] for row in rows]
        found = self.judge.report(task, outputs, values, self._prepared.target)
        return dict(found["metrics"])

    def _agreement(
        self, model: str, task: Task, outputs: np.ndarray, targets: np.ndarray, *, trained: bool
    ) -> dict[str, float]:
        """How far a bundle answers as that of the model as it was trained does; and how far it has
        to, which is as far as that one answers as is right, or nine tenths.
        """
        answers = self.judge.answers(task, outputs)
        if trained:
            right = agreement(answers, self.judge.truth(targets))
            self._teachers[model] = answers, min(MOST_AGREEMENT, right)
            return {}
        theirs, least = self._teachers[model]
        return {"agreement": round(agreement(answers, theirs), 4), "least_agreement": least}

    def _check_parity(self, name: str, model: Model) -> None:
        """Compare the fp32 graph with the model it was made from, and refuse a difference."""
        wanted = np.load(self._context.parent("evaluate") / f"parity_{name}.npy")
        if len(wanted) == 0:
            return
        rows = np.arange(len(wanted), dtype=np.int64)
        found = model.outputs(self._encoded(self._prepared.inputs), rows)
        difference = self.judge.parity(model.task, wanted, found)
        if not difference <= self.judge.tolerance:
            raise BundleError(
                31,
                f"the exported graph differs from the trained model by {difference:.2g}",
                expected=f"answers that differ by at most {self.judge.tolerance}",
                fix="report this, with the model's name: its export is wrong",
            )
        self._context.progress.say(f"    parity with the trained model: {difference:.1e}")

    def _encoded(self, inputs: Mapping[str, FittedColumn]) -> EncodedRows:
        """Validation rows as some columns encode them."""
        split = self._prepared.split("validation")
        columns = dict(split.columns)
        for name, column in inputs.items():
            if column is not self._prepared.inputs[name]:
                columns[name] = self._encoded_anew(column)
        return EncodedRows(columns, split.num_rows)

    def _encoded_anew(self, column: FittedColumn) -> Encoded:
        key = id(column)
        if key not in self._others:
            snapshot = Snapshot.open(self._context.parent("data"))
            values = snapshot.values(column.name, self._prepared.rows("validation"))
            self._others[key] = (column, column.encode(values))
        return self._others[key][1]

    def _write(
        self,
        folder: Path,
        inputs: Mapping[str, FittedColumn],
        task: Task,
        graph: bytes,
        name: str,
    ) -> None:
        from volano.export import write_bundle

        context, prepared = self._context, self._prepared
        write_bundle(
            folder,
            name=prepared.target.name,
            inputs=inputs,
            target=prepared.target,
            task=task,
            graph=graph,
            details={
                "precision": name,
                # Deploy adds what the one that ships reaches.
                "metrics": {},
                "lineage": {
                    stage: {"key": run.key, "digest": run.artifact.digest}
                    for stage, run in context.parents.items()
                },
            },
        )


def _passes(settings: CompressSpec, *, whole: bool, network: bool) -> list[str]:
    """Those worth trying on a model.

    Args:
      settings: Of the spec.
      whole: Whether it is the best model of the turn: only that one teaches.
      network: Whether it is one. In trees and lines there is nothing that could be done in 8 bits.
    """
    found = []
    for name in settings.passes:
        makes = compression_pass(name).makes
        if makes == "graph":
            worth = network
        elif makes == "model":
            worth = network and seeks(settings)
        else:
            worth = whole and seeks(settings)
        if worth:
            found.append(name)
    return found


def seeks(settings: CompressSpec) -> bool:
    """Whether somebody asks for something small or fast, and is ready to pay for it."""
    asked = settings.budget or settings.size or settings.latency or settings.unlabelled
    named = "passes" in settings.model_fields_set
    return bool(asked) or named or settings.margin >= STUDENT_MARGIN


def _teaches(name: str) -> bool:
    return compression_pass(name).makes in ("student", "recovery")


def _reaches(found: Measured, settings: CompressSpec) -> bool:
    """Whether a bundle is as small and fast as the spec asks."""
    small = settings.size is None or found.size_bytes <= settings.size
    return small and (settings.latency is None or found.row_ms <= settings.latency)


def _measured(made: Candidate) -> Measured | None:
    """What the search has to know of a bundle; None where there are no rows to compare on."""
    if made.scores is None or not len(made.scores):
        return None
    return Measured(float(made.scores.mean()), made.size_bytes, made.facts["p50_ms"])


def _scored_rows(targets: np.ndarray) -> np.ndarray:
    there = targets >= 0 if targets.dtype.kind == "i" else ~np.isnan(targets)
    # Of forecasts each row has many targets, of which some may be missing.
    known = np.flatnonzero(there.reshape(len(there), -1).any(axis=1) if there.ndim > 1 else there)
    if there.ndim > 1:
        return known
    return known[:: max(1, -(-len(known) // VALIDATION_ROWS))]
