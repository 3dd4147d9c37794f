"""What `volano check` and `volano turn` found, as lines for a person; JSON has more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from volano.data import places_by_file
from volano.errors import shorten

if TYPE_CHECKING:
    from volano.wheel._wheel import Turn

__all__ = ["check_lines", "next_steps", "turn_lines"]

SHOWN_NAMES = 10
"""Names of classes that are listed."""

SHOWN_PLACES = 8


def check_lines(found: Mapping[str, Any]) -> list[str]:
    """What `Wheel.check` returned."""
    lines = []
    for name, entry in found["cleaning"]["counts"].items():
        if entry["rows"] == 0:
            continue
        by_file = places_by_file(entry["first"][:SHOWN_PLACES]).items()
        first = "; ".join(
            f"{file} row{'s' if len(rows) > 1 else ''} {', '.join(rows)}" for file, rows in by_file
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
    if labels:  # a target of numbers has no classes
        lines.append(f"  classes          {len(labels):>9,} ({shown}{more})")
    return [*lines, "next: volano turn"]


def _label(name: str) -> str:
    return name if len(name) <= 40 and name.isprintable() else shorten(name, 40)


def turn_lines(turn: Turn, *, champion: int | None) -> list[str]:
    """A turn, and what to do next.

    Args:
      turn: The turn.
      champion: The turn that serves now.
    """
    record = turn.record
    lines = [
        f"nothing has changed since turn {turn.number} ({turn.verdict})"
        if turn.unchanged
        else f"turn {turn.number}: {turn.verdict}",
        f"  {record['reason']}",
    ]
    for name in ("accuracy", "f1_macro", "log_loss", "calibration_error"):
        if name in record["metrics"]:
            found = record["metrics"][name]
            lines.append(
                f"  {name:<18} {found['value']:.4f}  "
                f"({found['low']:.4f} to {found['high']:.4f}, golden rows)"
            )
    for candidate in record["candidates"]:
        if candidate["chosen"]:
            lines.append(
                f"  ships {candidate['name']}: {candidate['size_bytes'] / 1e6:.1f} MB, "
                f"{candidate['p50_ms']:.1f} ms a row"
            )
    lines.append(f"  {record['seconds']:.0f} s; report: {turn.report}")
    if record["bundle"] is None:
        return [*lines, "  'volano clean' has removed its bundle"]
    return [*lines, *next_steps(record, champion=champion)]


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
