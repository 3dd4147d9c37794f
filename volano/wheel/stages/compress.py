"""compress: smaller models made of the trained ones, measured here; the smallest good one ships."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any, ClassVar

from volano.compression import (
    Candidate,
    Goal,
    accepted_row,
    choose,
    measure_encoding,
    measure_start,
    pass_version,
)
from volano.data import Prepared, Snapshot
from volano.errors import shown_size
from volano.evaluation import gate_metric
from volano.runtime import load
from volano.spec import CompressSpec
from volano.store import Run
from volano.wheel._stage import Context, Setting
from volano.wheel.stages._making import Making, seeks
from volano.wheel.stages._unlabelled import unlabelled_identity

__all__ = ["CompressStage"]

SPEED_ROWS = 256

MEASURED_FACTS = (
    "p50_ms", "p99_ms", "rows_per_s", "rows_per_s_spread", "start_s", "start_s_spread",
    "peak_mb", "peak_mb_spread", "seconds", "front", "missed", "metrics",
)  # fmt: skip


class CompressStage:
    """Models -> candidate bundles, what each is worth, and the chosen one.

    The best model as it was trained comes first, and all others are compared with it: a simpler
    model that is not worse by more than the margin ships instead, as a smaller one made of it does.
    """

    name: ClassVar[str] = "compress"
    version: ClassVar[int] = 6
    needs: ClassVar[tuple[str, ...]] = ("data", "golden", "prepare", "train", "evaluate")

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        compress = setting.spec.compress
        return {
            # Where a key comes from, and how much is asked at once, changes no answer.
            "compress": compress
            if isinstance(compress, str)
            else compress.model_dump(exclude={"endpoint": {"key", "at_once"}}),
            "passes": {}
            if isinstance(compress, str)
            else {name: pass_version(name) for name in compress.passes},
            # A list that says what is the default says that it is meant.
            "seeks": not isinstance(compress, str) and seeks(compress),
            "metric": setting.spec.gate.metric,
            **(
                {"unlabelled": unlabelled_identity(setting, compress.unlabelled)}
                if not isinstance(compress, str) and compress.unlabelled
                else {}
            ),
            "lineage": {name: run.key for name, run in parents.items()},
        }

    def run(self, context: Context) -> Mapping[str, Any]:
        spec = context.spec
        prepared = Prepared.open(context.parent("prepare"))
        settings = spec.compress if isinstance(spec.compress, CompressSpec) else None
        # `compress: off` ships the best model as it is.
        names = context.parents["train"].summary["order"][: None if settings else 1]
        making = Making(context, prepared, _speed_rows(context, prepared), single=len(names) == 1)
        candidates: list[Candidate] = []
        for place, name in enumerate(names):
            context.progress.step("compressing", place, len(names))
            first = making.as_trained(name, must=place == 0)
            candidates.append(first)
            if settings is not None and first.scores is not None:
                made = list(making.smaller(name, settings, whole=place == 0))
                if place == 0:
                    # What a pass makes of the best model need only be as often right.
                    for candidate in made:
                        candidate.likelihoods = None
                candidates += made
        context.progress.step("compressing", 1, 1)
        metric = gate_metric(spec.gate.metric, making.judge, spec.train.quantile)
        scale = 1.0
        if candidates[0].scores is not None and len(candidates[0].scores):
            scale = making.judge.loss_scale(metric, candidates[0].scores)
        for candidate in candidates:
            if candidate.scores is not None and len(candidate.scores):
                # For people: in parts of the first one's error a score says little.
                candidate.facts["mean_score"] = float(candidate.scores.mean())
                candidate.scores = candidate.scores / scale
        goal = (
            Goal(settings.margin, size_bytes=settings.size, row_ms=settings.latency)
            if settings
            else Goal(0.0)
        )
        held_out = "cross-fitted rows" if making.crossed else "validation rows"
        chosen, table = choose(candidates, goal, making.slices(), held_out=held_out)
        searched = bool(settings and settings.budget)
        ready = load(context.out / "candidates" / candidates[chosen].name, threads=1)
        asked = accepted_row(ready, making.rows)
        for row in table:
            folder = context.out / "candidates" / row["name"]
            if not searched:
                # What is fast differs from run to run, and what an artifact holds must not.
                row["kept"] = row["size_bytes"] > 0
            if not row["kept"]:
                shutil.rmtree(folder, ignore_errors=True)
            elif row["chosen"] or (searched and row["passed"]):
                row |= measure_start(folder, asked, runs=3 if searched else 1)
            self._say(context, row)
        summary = {
            "candidates": table,
            "chosen": candidates[chosen].name,
            "encoding_ms": measure_encoding(ready, making.rows),
            "compared_rows": making.compared,
            **({"endpoint": making.told} if making.told else {}),
            "cross_fitted": making.crossed,
        }
        # What was measured differs from run to run, and an artifact must not.
        lasting = [
            {
                # Several threads share a sum in no fixed order: the last digits are chance.
                key: round(value, 4) if isinstance(value, float) else value
                for key, value in row.items()
                if key not in MEASURED_FACTS
            }
            for row in table
        ]
        (context.out / "candidates.json").write_text(
            json.dumps(lasting, indent=1), encoding="utf-8"
        )
        return summary

    @staticmethod
    def _say(context: Context, row: Mapping[str, Any]) -> None:
        missed = "misses the goal: " + ", ".join(row["missed"]) if row["missed"] else ""
        if row["chosen"]:
            verdict = (
                f"chosen; {missed}, and so do all that are good enough" if missed else "chosen"
            )
        else:
            verdict = row.get("refused") or missed or "not the smallest"
        if row["size_bytes"]:
            context.progress.say(
                f"    {row['name']}: {shown_size(row['size_bytes'])}, "
                f"{row['p50_ms']:.1f} ms a row, {row['rows_per_s']:.0f} rows/s: {verdict}"
            )


def _speed_rows(context: Context, prepared: Prepared) -> list[dict[str, Any]]:
    """Real rows to time answers with."""
    return prepared.requests("train", Snapshot.open(context.parent("data")), SPEED_ROWS)
