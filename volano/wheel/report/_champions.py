"""Who has served so far."""

from __future__ import annotations

from collections.abc import Sequence

from volano.wheel.report._evidence import Evidence, interval, mapping
from volano.wheel.report._format import moment
from volano.wheel.report._markup import Child, Markup, data_text, el, raw
from volano.wheel.report._measures import judged, measure
from volano.wheel.report._tables import Cell, Column, folded, table, verdict_mark

__all__ = ["champions"]

SHOWN = 10


def champions(evidence: Evidence) -> Markup:
    """Every champion, the serving one first: turn, since when, metric with interval, bundle."""
    heading = el("h3", "Champions")
    found = evidence.champions
    if not found:
        return raw(heading, el("p", "No turn has served yet."))
    records = {record.get("turn"): record for record in evidence.history}
    # The wheel's own metric, of all of them, or none could be compared.
    metric = judged(evidence).metric
    shown = measure(metric)
    lines: list[Sequence[Cell | Child]] = []
    for place, item in enumerate(reversed(found)):
        record = records.get(item.get("turn"), {})
        value = interval(mapping(record.get("metrics")).get(metric))
        measured: Child = "–"
        if value:
            ends = f" {shown.ends(value.low, value.high)}"
            measured = [shown.write(value.value), el("span", ends, class_="soft")]
        bundle = record.get("bundle_id")
        why: Child = data_text(item.get("why") or "–", 120)
        lines.append(
            [
                f"{item.get('turn', '')}",
                moment(item["at"]) if item.get("at") else "–",
                measured,
                el("code", str(bundle)[:16]) if bundle else "–",
                [verdict_mark("serves", "serves"), " ", why] if place == 0 else why,
            ]
        )
    heads = [
        Column("Turn"),
        Column("serves since", "s"),
        Column(shown.short, "n"),
        Column("bundle", "s"),
        Column("why", "text"),
    ]
    rest = None
    if len(lines) > SHOWN:
        older = table(heads, lines[SHOWN:], caption="Earlier champions", stack=True)
        rest = folded(f"{len(lines) - SHOWN} earlier champions", older)
    say = "As of this turn, with the metric on golden rows and the first figures of the bundle's id"
    note = f"{say}; volano history has what came after."
    return raw(
        heading,
        table(heads, lines[:SHOWN], caption="Champions, the last one first", stack=True),
        rest,
        el("p", note, class_="small soft"),
    )
