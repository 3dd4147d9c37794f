"""The record of a turn: what `volano turn --json` prints and the report is drawn from."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from volano.data import like_labels
from volano.spec import Spec, digest
from volano.store import Champion, Run

__all__ = ["turn_record", "turn_state"]


def turn_state(spec: Spec, runs: Mapping[str, Run]) -> str:
    """What a turn would be asked to judge, and how: the same again is not worth another turn."""
    return digest({"compress": runs["compress"].artifact.digest, "gate": spec.gate.model_dump()})


def turn_record(
    spec: Spec,
    runs: Mapping[str, Run],
    champion_turn: int | None,
    seconds: float,
    *,
    champions: Sequence[Champion] = (),
    picked: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """All that a turn found, as plain values.

    Args:
      spec: The wheel's spec.
      runs: Stage -> its run.
      champion_turn: The champion that the candidate was compared with.
      seconds: What the whole turn took.
      champions: All until now, newest first.
      picked: What the champion is, where a person picked another candidate than the turn's own.
      notes: What else a person should know.
    """
    deploy, prepare = runs["deploy"].summary, runs["prepare"].summary
    return {
        "name": spec.name,
        "target": spec.target_name,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "verdict": deploy["verdict"],
        "reason": deploy["reason"],
        "bundle_id": deploy["bundle_id"],
        "metrics": deploy["metrics"],
        "gate": {
            **{key: deploy.get(key) for key in ("reference", "metric", "judgement", "scores")},
            "test_number": deploy["test_number"],
            "level": deploy["level"],
            "alpha": spec.gate.alpha,
            "champion_turn": champion_turn,
            "golden_rows": deploy["golden_rows"],
            "independent_rows": deploy.get("independent_rows"),
        },
        "champions": [_champion(item) for item in reversed(champions)],
        "picked_champion": dict(picked) if picked else None,
        "candidates": runs["compress"].summary["candidates"],
        **{
            key: runs["compress"].summary[key]
            for key in ("encoding_ms", "compared_rows", "cross_fitted")
            if key in runs["compress"].summary
        },
        "speed": deploy.get("speed"),
        "data": _data(runs),
        "training": {
            **runs["train"].summary,
            "rows": prepare["train_rows"],
            "validation_rows": prepare["validation_rows"],
            "classes": prepare["classes"],
        },
        "task": runs["evaluate"].summary["task"],
        "headline": runs["evaluate"].summary["headline"],
        "baselines": runs["evaluate"].summary["baselines"],
        "temperature": runs["evaluate"].summary["temperature"],
        "validation": runs["evaluate"].summary["metrics"],
        "stages": [
            {"name": name, "seconds": round(run.seconds, 2), "cached": run.cached}
            for name, run in runs.items()
        ],
        "artifacts": {name: run.artifact.digest for name, run in runs.items()},
        "notes": list(notes),
        "state": turn_state(spec, runs),
        "lineage": {name: {"key": run.key, **dict(run.lineage)} for name, run in runs.items()},
        "seconds": round(seconds, 2),
    }


def _champion(champion: Champion) -> dict[str, Any]:
    at = datetime.datetime.fromtimestamp(champion.at, datetime.UTC).isoformat(timespec="seconds")
    return {"turn": champion.turn, "at": at, "why": champion.why}


def _data(runs: Mapping[str, Run]) -> dict[str, Any]:
    """Rows read, dropped, repaired and truncated, with what is behind each number."""
    prepare, data = runs["prepare"].summary, runs["data"].summary
    counts = prepare["cleaning"]["counts"]
    dropped = {
        name: entry["rows"]
        for name, entry in counts.items()
        if entry["action"] == "dropped" and entry["rows"]
    }
    columns = prepare["columns"]
    return {
        "rows": counts["read"]["rows"],
        "dropped": sum(dropped.values()),
        "dropped_because": dropped,
        "repaired": counts["repaired"]["rows"],
        "truncated": sum(column.get("truncated_rows", 0) for column in columns.values()),
        "feedback_rows": data["num_feedback_rows"],
        "files": data["files"],
        "notes": data["notes"],
        "like_labels": _like_labels(runs["data"]),
        "cleaning": prepare["cleaning"],
        "columns": columns,
        "golden_rows": prepare["golden_rows"],
    }


def _like_labels(data: Run) -> list[dict[str, Any]]:
    """Labels that may be one class; from the artifact, since no label is in the summary."""
    text = (data.artifact.path / "labels.json").read_text(encoding="utf-8")
    counts = {item["label"]: item["rows"] for item in json.loads(text)}
    return [found.as_dict() for found in like_labels(counts)]
