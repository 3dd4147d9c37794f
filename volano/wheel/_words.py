"""What `volano check` and `volano turn` found, as lines for a person; JSON has more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from volano.data import places_by_file
from volano.errors import shorten, shown_size
from volano.evaluation import evaluator

if TYPE_CHECKING:
    from volano.evaluation import Evaluator
    from volano.wheel._wheel import Turn

__all__ = ["check_lines", "next_steps", "quality", "turn_lines"]

SHOWN_NAMES = 10
"""Names of classes that are listed."""

SHOWN_PLACES = 8
SHOWN_METRICS = 4
_WIDTH = 21


def check_lines(found: Mapping[str, Any]) -> list[str]:
    """What `Wheel.check` returned."""
    lines = []
    for name, entry in found["cleaning"]["counts"].items():
        if entry["rows"] == 0:
            continue
        by_file = places_by_file(entry["first"][:SHOWN_PLACES]).items()
        first = "; ".join(
            f"{file} row{'s' if len(rows) > 1 else ''} {', '.join(rows)}" if rows else file
            for file, rows in by_file
        )
        more = f"  ({first}{', ...' if entry['rows'] > SHOWN_PLACES else ''})" if first else ""
        lines.append(f"  {name.replace('_', ' '):<16} {entry['rows']:>9,} {entry['action']}{more}")
    lines += [f"  note: {note}" for note in found["data"]["notes"]]
    for name, rows in found["cleaning"]["rare_classes"].items():
        lines.append(f"  rare class: {shorten(name)} has {rows} row{'s' if rows != 1 else ''}")
    for alike in found["like_labels"]:
        names = ", ".join(f"{_label(name)} {rows:,}" for name, rows in alike["rows"].items())
        lines.append(f"  warning: labels that differ only by case, space or punctuation: {names}")
        lines.append(f"    fix: {alike['fix']}")
    labels = sorted(found["labels"].items(), key=lambda item: -item[1])
    shown = ", ".join(f"{_label(name)} {count:,}" for name, count in labels[:SHOWN_NAMES])
    more = ", ..." if len(labels) > SHOWN_NAMES else ""
    if labels:
        lines.append(f"  {'classes':<16} {len(labels):>9,} ({shown}{more})")
    target = found["target"]
    if "low" in target:
        lines.append(
            f"  {'target':<16} {target['rows']:>9,} numbers from {target['low']:.6g} "
            f"to {target['high']:.6g}, middle {target['middle']:.6g}"
        )
    if "steps" in target:
        mended = ", ".join(
            f"{count:,} {what.replace('_', ' ')}"
            for what, count in target["mended"].items()
            if count
        )
        each = f" of {target['step']}" if target["step"] else ""
        said = f" (mended: {mended})" if mended else ""
        groups = f" in {target['groups']:,} groups" if "groups" in target else ""
        lines.append(f"  {'target':<16} {target['steps']:>9,} steps{each}{groups}{said}")
        lines += [f"  warning: {warning}" for warning in target.get("warnings", ())]
    lines += [f"  warning: {warning}" for warning in found["warnings"]]
    for name, counts in found["columns"].items():
        lost = ", ".join(f"{rows:,} {kind}" for kind, rows in counts.items() if rows)
        if lost:
            lines.append(f"  column {_label(name)}: {lost}")
    return [*lines, "next: volano turn"]


def _label(name: str) -> str:
    return name if len(name) <= 40 and name.isprintable() else shorten(name, 40)


def headline_of(record: Mapping[str, Any]) -> tuple[str, type[Evaluator]]:
    """The metric to show of a turn where there is room for one, and what writes it.

    Turns of before there were several tasks name neither.
    """
    judge = evaluator(record.get("task") or "classification")
    return record.get("headline") or judge.headline, judge


def quality(record: Mapping[str, Any], picked: Mapping[str, Any] | None = None) -> str:
    """A turn's headline, as ``rmse 45123 (44000 to 46200)``; empty without golden rows.

    Args:
      record: The turn's.
      picked: What a person picked of it, whose golden ``metrics`` are others.
    """
    name, judge = headline_of(record)
    found = (picked or record)["metrics"].get(name)
    return f"{name} {judge.show(name, found)}" if found else ""


def _milliseconds(value_ms: float) -> str:
    return f"{value_ms:.1f} ms" if value_ms >= 0.1 else f"{value_ms * 1000:.0f} µs"


def turn_lines(
    turn: Turn, *, champion: int | None, picked: Mapping[str, Any] | None = None
) -> list[str]:
    """A turn, and what to do next.

    Args:
      turn: The turn.
      champion: The turn that serves now.
      picked: Which of its candidates serves, where a person picked another than the turn chose:
        its ``name`` and its golden ``metrics``.
    """
    record = turn.record
    lines = [
        f"nothing has changed since turn {turn.number} ({turn.verdict})"
        if turn.unchanged
        else f"turn {turn.number}: {turn.verdict}",
        f"  {record['reason']}",
    ]
    headline, judge = headline_of(record)
    # Four at the most: the headline, and what comes first after it.
    order = sorted(record["metrics"], key=lambda name: name != headline)
    lines += [
        f"  {name:<{_WIDTH}} {judge.show(name, record['metrics'][name])}, golden rows"
        for name in order[:SHOWN_METRICS]
    ]
    for candidate in record["candidates"]:
        if candidate["chosen"]:
            lines.append(
                f"  ships {candidate['name']}: {shown_size(candidate['size_bytes'])}, "
                f"{_milliseconds(candidate['p50_ms'])} a row"
            )
            if candidate.get("missed"):
                lines.append(
                    f"  misses the goal: {', '.join(candidate['missed'])}{_further(record)}"
                )
    if picked and turn.number == champion:
        reached = quality(record, picked)
        lines.append(
            f"  serves now: {picked['name']}, picked by hand" + (f": {reached}" if reached else "")
        )
    lines += _tried(record)
    lines += candidate_lines(record)
    lines.append(f"  {record['seconds']:.0f} s; report: {turn.report}")
    if record["bundle"] is None:
        return [*lines, "  'volano clean' has removed its bundle"]
    return [*lines, *next_steps(record, champion=champion)]


def _further(record: Mapping[str, Any]) -> str:
    """What else finds something smaller, where it was not asked for."""
    made = record.get("lineage", {}).get("compress", {}).get("ingredients", {}).get("compress")
    if not isinstance(made, Mapping) or made.get("budget"):
        return ""
    return " ('budget: 10m' under compress looks further)"


def _tried(record: Mapping[str, Any]) -> list[str]:
    """How many settings were tried, where a search tried more than the models' own."""
    found = record["training"].get("trials") or []
    if len(found) <= len({item["model"] for item in found}):
        return []
    stopped = sum(item["state"] == "pruned" for item in found)
    more = f", {stopped} of them stopped early" if stopped else ""
    return [f"  {len(found)} settings were tried{more}"]


def candidate_lines(record: Mapping[str, Any]) -> list[str]:
    """Candidates that no other one beats in quality, bytes and speed alike; the smallest last."""
    front = [row for row in record["candidates"] if row.get("front") and row["size_bytes"]]
    if len(front) < 2:
        return []
    rows = "cross-fitted rows" if record.get("cross_fitted") else "validation rows"
    score = "mean_score" if all("mean_score" in row for row in front) else "score"
    lines = ["  candidates (volano promote TURN --candidate NAME):"]
    for row in sorted(front, key=lambda row: -row["size_bytes"]):
        quality = row.get(score)
        shown = ""
        if quality is not None and 0 <= quality <= 1:
            shown = f", {quality:.4g} on {rows}"
        elif row.get("loss"):
            # Minus a square of what is predicted says nothing to anyone.
            shown = f", {row['loss']:+.1%} error on {rows}"
        mark = "  <- ships" if row["chosen"] else "" if row["passed"] else "  (refused)"
        lines.append(
            f"    {row['name']:<26} {shown_size(row['size_bytes']):>9}, "
            f"{_milliseconds(row['p50_ms'])} a row, {row['rows_per_s']:,.0f} rows/s{shown}{mark}"
        )
    return lines


def next_steps(record: Mapping[str, Any], *, champion: int | None) -> list[str]:
    """The next command after a turn, and the others that there are.

    Args:
      record: The turn's record.
      champion: The turn that serves now; None when none does.
    """
    number = record["turn"]
    if record["verdict"] == "promoted" or number == champion:
        return ["next: volano serve"]
    gate = record["gate"]
    scores = gate["scores"] or {}
    hand = f"volano promote {number}   (ships it all the same)"
    more = "volano turn   (after more rows under data:, or volano feedback import FILE)"
    if gate["champion_turn"] is not None and gate["test_number"] is None and gate["reference"]:
        return [f"next: {more}"]  # the champion's own bundle once more: nothing to promote
    if scores and scores["candidate"] < scores["reference"]:
        better = "volano check   (what is wrong with the rows there are)"
        return [f"next: {more}", f"  or: {better}", f"  or: {hand}"]
    steps = [f"next: {hand}", f"  or: {more}"]
    if not gate["judgement"]:
        frozen = "volano init DATA -C ANOTHER_FOLDER   (golden rows are frozen: a larger split."
        steps.append(f"  or: {frozen}golden, or a test: table, needs a new wheel)")
    return steps
