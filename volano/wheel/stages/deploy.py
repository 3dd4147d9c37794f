"""deploy: the chosen bundle answers the golden rows, beside the champion; the gate decides."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.compression import measure_speed
from volano.data import GoldenRows, GoldenWindows, open_golden
from volano.evaluation import (
    AlphaSpending,
    evaluator,
    gate_metric,
    independent_rows,
    judge,
    minimum_rows,
    unit_scores,
)
from volano.export import describe_bundle
from volano.runtime import MANIFEST, Model, load
from volano.spec import GateSpec, digest
from volano.store import Run
from volano.wheel._stage import Context, Setting
from volano.wheel.stages import golden as golden_stage

__all__ = ["BUNDLE", "DeployStage"]

BUNDLE = "bundle"
WORST_MISTAKES = 40
SPEED_ROWS = 256

OUTPUT_ROWS = 2048
"""Golden rows that are encoded and answered at a time."""


class DeployStage:
    """Chosen bundle, champion and golden rows -> verdict, and the bundle with its metrics."""

    name: ClassVar[str] = "deploy"
    version: ClassVar[int] = 4
    needs: ClassVar[tuple[str, ...]] = ("golden", "evaluate", "compress")

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        champion = setting.store.champion()
        candidate = _bundle_id(chosen_bundle(parents["compress"]))
        # The same question to the same golden rows is one test, however often it is asked.
        question = {
            "candidate": candidate,
            "champion": champion.artifact.digest if champion else None,
            "golden": parents["golden"].artifact.digest,
            "metric": setting.spec.gate.metric,
        }
        same = champion is not None and candidate == _bundle_id(champion.artifact.path / BUNDLE)
        ingredients = {
            "question": question,
            "champion_turn": champion.turn if champion else None,
            # Asking whether a bundle is better than itself spends nothing.
            "test_number": None,
            "gate": setting.spec.gate.model_dump(),
        }
        if same:
            return ingredients
        found = parents["golden"].summary
        # Of rows that overlap only those count that do not.
        golden_rows = int(found.get("independent", found["rows"]))
        fewest = 0

        def worth(number: int) -> bool:
            # With so few rows nothing can be promoted, whatever the answers: nothing is spent.
            nonlocal fewest
            fewest = _fewest_rows(setting.spec.gate, number, "independent" in found)
            return golden_rows >= fewest

        number = setting.store.test_number(digest(question), worth=worth)
        if number is None:
            return {**ingredients, "fewest_rows": fewest}
        return {**ingredients, "test_number": number}

    def run(self, context: Context) -> Mapping[str, Any]:
        out = context.out
        source = chosen_bundle(context.parents["compress"], context.ingredients.get("picked"))
        _link_folder(source, out / BUNDLE)
        # One thread: how several share a sum decides its last digits, and artifacts are compared.
        model = load(source, threads=1)
        golden = open_golden(context.parent("golden") / golden_stage.FILE, model.target)
        summary: dict[str, Any] = {"bundle_id": model.id, "golden_rows": golden.num_rows}
        metrics: dict[str, Any] = {}
        if golden.num_rows:
            outputs = _outputs(model, golden)
            evaluating = evaluator(model.task.kind)
            report = evaluating.report(model.task, outputs, golden.targets, model.target)
            metrics = report["metrics"]
            (out / "golden_report.json").write_text(json.dumps(report), encoding="utf-8")
            worst = evaluating.mistakes(
                model.task, outputs, golden.targets, model.target, WORST_MISTAKES
            )
            _write_mistakes(out / "mistakes.jsonl", golden, worst)
            np.save(out / "golden_outputs.npy", outputs)
        summary |= self._verdict(context, golden, model)
        summary["metrics"] = metrics
        candidates = context.parents["compress"].summary["candidates"]
        mine: dict[str, Any] = next((row for row in candidates if row["name"] == source.name), {})
        validation = mine.get("metrics", {})
        describe_bundle(
            out / BUNDLE,
            metrics={"validation": validation, "golden": metrics},
            gate={key: summary[key] for key in ("verdict", "reason", "reference")},
        )
        (out / "verdict.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        # After what is written: what was measured differs from run to run, an artifact must not.
        summary["speed"] = self._speed(context, golden, source)
        context.progress.say(f"    {summary['verdict']}: {summary['reason']}")
        return summary

    def _speed(
        self, context: Context, golden: GoldenRows | GoldenWindows, source: Path
    ) -> dict[str, Any] | None:
        """The candidate and the champion, timed one after the other on the same golden rows."""
        champion = context.ingredients["question"]["champion"]
        asked = context.ingredients
        same = asked["test_number"] is None and "fewest_rows" not in asked
        if champion is None or same or not golden.num_rows:
            return None
        model = load(source)
        columns = {
            name: golden.values(name, column)[:SPEED_ROWS] for name, column in model.inputs.items()
        }
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        other = context.setting.store.artifact(champion).path / BUNDLE
        return {
            "rows": len(rows),
            "candidate": measure_speed(model, rows),
            "champion": measure_speed(load(other), rows),
        }

    def _verdict(
        self, context: Context, golden: GoldenRows | GoldenWindows, model: Model
    ) -> dict[str, Any]:
        gate = context.spec.gate
        turn, number = (context.ingredients[name] for name in ("champion_turn", "test_number"))
        unspent = {"test_number": None, "level": None, "verdict": "inconclusive"}
        if picked := context.ingredients.get("picked"):
            why = f"a person picked {picked}: nothing was tested"
            return {**unspent, "reference": None, "reason": why}
        if "fewest_rows" in context.ingredients:
            units = _units(evaluator(model.task.kind), golden, model)
            return {
                **unspent,
                **_too_few(len(units), context.ingredients["fewest_rows"], model.task.kind),
            }
        if number is None:
            return {
                **unspent,
                "reference": f"the champion of turn {turn}",
                "reason": f"it is the champion of turn {turn}: there is nothing to compare",
            }
        level = AlphaSpending(gate.alpha).level(number)
        evaluating = evaluator(model.task.kind)
        units = _units(evaluating, golden, model)
        fewest = _fewest_rows(gate, number, getattr(evaluating, "units", None) is not None)
        spent = {"test_number": number, "level": level}
        # This question was asked under another setting of the gate, and has its number already.
        if len(units) < fewest:
            return {**unspent, **spent, **_too_few(len(units), fewest, model.task.kind)}
        champion = context.ingredients["question"]["champion"]
        metric = gate_metric(gate.metric, evaluating, context.spec.train.quantile)
        ours_N = _outputs(model, golden)
        right = model.target.targets(golden.targets)  # type: ignore[attr-defined]
        if champion is not None:
            reference = f"the champion of turn {turn}"
            other = load(context.setting.store.artifact(champion).path / BUNDLE, threads=1)
            theirs_N = _outputs(other, golden)
            # By its own codes: the champion may know other classes.
            other_task, other_right = other.task, other.target.targets(golden.targets)  # type: ignore[attr-defined]
            if translate := getattr(evaluating, "translate", None):
                # Forecasts are scored on the candidate's scale: there is no unit for all series.
                theirs_T = translate(other.task, theirs_N, model.task)
                right = np.where(np.isnan(theirs_T), np.nan, right)
                theirs = evaluating.scores(metric, model.task, theirs_T, right)
            else:
                theirs = evaluating.scores(metric, other_task, theirs_N, other_right)
            changes = evaluating.changes(
                (model.task, ours_N), (other.task, theirs_N), golden.targets
            )
            text = json.dumps(changes, ensure_ascii=False)
            (context.out / "class_changes.json").write_text(text, encoding="utf-8")
        else:
            # Baselines answer with values alone, so they are compared by what those allow.
            if gate.metric not in getattr(evaluating, "by_values", ()):
                metric = evaluating.metrics[0]
            found_by = {
                name: evaluating.baseline_scores(
                    metric, np.load(context.parent("evaluate") / f"baseline_{name}.npy"), right
                )
                for name in context.parents["evaluate"].summary["baselines"]
            }
            best = max(found_by, key=lambda name: float(found_by[name].mean()))
            reference, theirs = f"the best baseline, {best}", found_by[best]
        ours = evaluating.scores(metric, model.task, ours_N, right)
        ours, theirs = unit_scores(ours, units), unit_scores(theirs, units)
        found = judge(ours, theirs, alpha=level, nominal_alpha=gate.alpha)
        mine, other_mean = float(ours.mean()), float(theirs.mean())
        effect = evaluating.describe(metric, mine, other_mean, found)
        words = {"promoted": "better than", "rejected": "worse than"}
        comparison = words.get(found.verdict, "not shown to be better than")
        return {
            **spent,
            "verdict": found.verdict,
            "reference": reference,
            "metric": metric,
            "judgement": found.as_dict(),
            "scores": {"candidate": mine, "reference": other_mean},
            "reason": f"{comparison} {reference}: {effect}, p = {found.p_better:.2g}"
            f" where {level:.2g} is asked for",
        }


def _fewest_rows(gate: GateSpec, number: int, overlapping: bool) -> int:
    """The golden rows below which test `number` cannot end in a promotion.

    Each of the few that are left of overlapping rows stands for many: the spec's ``min_rows``,
    which is about rows of a table, is not asked of them.
    """
    fewest = minimum_rows(AlphaSpending(gate.alpha).level(number))
    return fewest if overlapping else max(gate.min_rows, fewest)


def _too_few(golden_rows: int, fewest: int, task: str) -> dict[str, Any]:
    # Of forecasts, which overlap, those are counted that share no step.
    apart = " that share no step" if task == "forecasting" else ""
    what = "forecasts" if apart else "rows"
    return {
        "reference": None,
        "independent_rows": golden_rows,
        "reason": f"{golden_rows} golden {what}{apart} are too few to judge on "
        f"(at least {fewest}); 'volano promote' ships it all the same",
    }


def chosen_bundle(run: Run, picked: str | None = None) -> Path:
    """The folder of the bundle that compress chose, or of the candidate that a person picked."""
    return run.artifact.path / "candidates" / str(picked or run.summary["chosen"])


def _bundle_id(folder: Path) -> str:
    return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["id"])


def _link_folder(source: Path, target: Path) -> None:
    """A copy that shares the files' bytes where the file system can; artifacts never change."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        # The manifest is written anew, and writing into a link would change the original.
        if path.name == MANIFEST:
            shutil.copy2(path, place)
            continue
        try:
            os.link(path, place)
        except OSError:
            shutil.copy2(path, place)


def _units(judge: Any, golden: GoldenRows | GoldenWindows, model: Model) -> Any:
    """Golden rows that count as independent of each other."""
    return independent_rows(judge, golden.num_rows, model.target, getattr(golden, "times", None))


def _outputs(model: Model, golden: GoldenRows | GoldenWindows) -> NDArray[np.float32]:
    """The bundle's outputs for the golden rows, from their raw values."""
    columns = {name: golden.values(name, column) for name, column in model.inputs.items()}
    parts = []
    for start in range(0, golden.num_rows, OUTPUT_ROWS):
        some = {name: found[start : start + OUTPUT_ROWS] for name, found in columns.items()}
        parts.append(model.outputs(model.encode(some)))
    return np.concatenate(parts)


def _short(value: Any) -> Any:
    return value[:500] if isinstance(value, str) else [round(float(x), 6) for x in value[-5:]]


def _write_mistakes(
    path: Path, golden: GoldenRows | GoldenWindows, worst: Sequence[Mapping[str, Any]]
) -> None:
    """The golden rows that were answered worst, with what they are."""
    columns = {name: golden.column(name) for name in golden.inputs}
    places = golden.places
    with path.open("w", encoding="utf-8") as file:
        for found in worst:
            row = found["row"]
            inputs = {name: _short(values[row]) for name, values in columns.items()}
            line = {"place": places[row], "inputs": inputs, **found}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
