"""Where this turn stands among the others, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.wheel.report._axes import Frame, Scale, chart, nice_ticks, text
from volano.wheel.report._champions import champions
from volano.wheel.report._evidence import (
    Evidence,
    Interval,
    chosen,
    interval,
    mapping,
    number,
    rows,
)
from volano.wheel.report._format import (
    count,
    day,
    megabytes,
    milliseconds,
    seconds,
)
from volano.wheel.report._markup import Child, Markup, data_text, el
from volano.wheel.report._measures import Measure, headline, judged, measure
from volano.wheel.report._tables import (
    Cell,
    Column,
    Section,
    facts,
    figure,
    folded,
    share_bar,
    table,
    verdict_mark,
)

__all__ = ["history", "making"]

SHOWN_TURNS = 15


def history(evidence: Evidence) -> Section:
    """Every turn so far: the headline with its interval, the verdict, and which ones served."""
    records = evidence.history
    served = {record.get("turn") for record in records if record.get("verdict") == "promoted"}
    served |= {mapping(record.get("gate")).get("champion_turn") for record in records} - {None}
    serving = (
        evidence.turn if evidence.verdict == "promoted" else evidence.gate.get("champion_turn")
    )
    name, shown = headline(evidence)
    drawn: list[tuple[int, str, Interval]] = []
    lines: list[Sequence[Cell | Child]] = []
    for record in records:
        turn = int(number(record.get("turn")) or 0)
        found = interval(mapping(record.get("metrics")).get(name))
        if found:
            drawn.append((turn, str(record.get("verdict", "")), found))
        lines.append(_turn_line(evidence, record, turn, found, served, serving))
    lines.reverse()
    heads = [
        Column("Turn"),
        Column("when", "s"),
        Column("verdict", "s"),
        Column(shown.short, "n"),
        Column("effect", "n"),
        Column("size", "n"),
        Column("time", "n"),
        Column("learned", "n"),
        Column("corrected", "n"),
        Column("service", "s"),
    ]
    body: list[Child] = []
    if len(drawn) > 1:
        words = (
            f"{shown.title} on the same golden rows with its 95% interval. The intervals of single "
            "turns may overlap although the paired comparison, row by row, is clear."
        )
        body.append(figure(_turns_chart(drawn, served, shown), words))
    caption = "Turns, newest first"
    body.append(table(heads, lines[:SHOWN_TURNS], caption=caption, stack=True))
    if len(lines) > SHOWN_TURNS:
        older = table(heads, lines[SHOWN_TURNS:], caption="Older turns", stack=True)
        body.append(folded(f"{len(lines) - SHOWN_TURNS} older turns", older))
    body.append(champions(evidence))
    lead = (
        "The wheel so far. Each turn was compared with the champion of its day. Learned: training "
        "rows. Corrected: corrections from people among the rows read."
    )
    return Section("history", "Turn by turn", lead, body)


def _turn_line(
    evidence: Evidence,
    record: Mapping[str, Any],
    turn: int,
    found: Interval | None,
    served: set[Any],
    serving: object,
) -> list[Cell | Child]:
    shipped = chosen(record)
    size, latency = number(shipped.get("size_bytes")), number(shipped.get("p50_ms"))
    gate = mapping(record.get("gate"))
    effect = number(mapping(gate.get("judgement")).get("effect"))
    shown = measure(evidence.headline)
    told = judged(evidence, str(gate["metric"]) if gate.get("metric") else None)
    trained = number(mapping(record.get("training")).get("rows"))
    corrections = number(mapping(record.get("data")).get("feedback_rows"))
    service: Child = "–"
    if turn == serving:
        service = verdict_mark("serves", "serves")
    elif turn in served:
        service = "has served"
    measured: Child = "–"
    if found:
        ends = f" {shown.ends(found.low, found.high)}"
        measured = [shown.write(found.value), el("div", ends, class_="soft")]
    difference: Child = "–"
    if effect is not None:
        reference = number(mapping(gate.get("scores")).get("reference")) or 0.0
        difference = told.write(told.effect(effect, reference))
    return [
        Cell(str(turn), turn),
        day(record.get("at", "")),
        verdict_mark(str(record.get("verdict", "inconclusive"))),
        measured,
        difference,
        megabytes(size) if size else "–",
        milliseconds(latency) if latency is not None else "–",
        count(trained) if trained is not None else "–",
        count(corrections) if corrections is not None else "–",
        service,
    ]


def _turns_chart(
    drawn: Sequence[tuple[int, str, Interval]], served: set[Any], shown: Measure
) -> Markup:
    width, left, right, bottom = 820.0, 72.0, 800.0, 190.0
    low, high = min(item.low for _, _, item in drawn), max(item.high for _, _, item in drawn)
    pad = (high - low) * 0.08 or 0.02
    first, last = drawn[0][0], drawn[-1][0]
    # Few turns stand together at the left, not one at either end.
    frame = Frame(
        Scale(first - 0.5, max(last + 0.5, first + 7.5), left, right),
        Scale(
            max(low - pad, 0.0) if low >= 0 else low - pad,
            min(high + pad, 1.0) if shown.share else high + pad,
            bottom,
            24,
        ),
    )
    every = max(1, -(-len(drawn) // 20))
    parts: list[Child] = [
        frame.grid(
            x_ticks=[float(turn) for turn, _, _ in drawn][::every],
            y_ticks=nice_ticks(frame.y.low, frame.y.high, 4),
            x_label=lambda x: f"{x:.0f}",
            y_label=shown.write,
        ),
        text((left + right) / 2, 230, "turn", "note", anchor="middle"),
        text(
            left,
            12,
            "▲ promoted\u2003◆ not decided\u2003▼ rejected\u2003○ in service, then or now",
            "note",
        ),
    ]
    for turn, verdict, value in drawn:
        x, y = frame.x(turn), frame.y(value.value)
        kind = {"promoted": "ours", "rejected": "bad"}.get(verdict, "theirs")
        shape = {
            "promoted": f"M{x:.1f} {y - 6:.1f}l6 11h-12z",
            "rejected": f"M{x:.1f} {y + 6:.1f}l6 -11h-12z",
        }.get(verdict, f"M{x:.1f} {y - 6.5:.1f}l6.5 6.5-6.5 6.5-6.5-6.5z")
        ends = f"{shown.write(value.low)} to {shown.write(value.high)}"
        says = f"turn {turn}, {verdict}: {shown.write(value.value)} ({ends})"
        parts.append(
            el(
                "g",
                el("title", says),
                el(
                    "path",
                    class_=f"whisker {kind}",
                    d=f"M{x:.1f} {frame.y(value.low):.1f}V{frame.y(value.high):.1f}",
                ),
                el("path", class_=f"dot {kind}", d=shape),
                el("circle", class_="ring", cx=x, cy=y, r=11.0) if turn in served else None,
            )
        )
    return chart(width, 234, f"{shown.title} of every turn on the golden rows", parts)


def making(evidence: Evidence) -> Section:
    """Stages, plan and lineage, for whoever has to repeat or to trust it."""
    record = evidence.record
    total = number(record.get("seconds"))
    code = mapping(mapping(mapping(record.get("lineage")).get("deploy")).get("code"))
    pairs: list[tuple[str, Child]] = []
    if total is not None:
        pairs.append(("The whole turn took", seconds(total)))
    pairs += [(str(name).capitalize(), str(version)) for name, version in code.items()]
    if record.get("bundle_id"):
        pairs.append(("Bundle", el("code", str(record["bundle_id"])[:16])))
    plan = mapping(mapping(record.get("training")).get("plan"))
    body = folded(
        "Stages, plan of training, lineage",
        facts(pairs),
        _stages(rows(record.get("stages"))),
        [el("h3", "Plan of training"), facts([(_words(k), _plain(v)) for k, v in plan.items()])]
        if plan
        else None,
        _lineage(evidence),
    )
    lead = "What anyone needs to repeat it: the same data, spec and code give the same digests."
    return Section("making", "How it was made", lead, [body])


def _stages(stages: Sequence[Mapping[str, Any]]) -> Markup | None:
    longest = max((number(stage.get("seconds")) or 0.0 for stage in stages), default=0.0)
    if not stages:
        return None
    lines: list[Sequence[Cell | Child]] = []
    for stage in stages:
        took = number(stage.get("seconds")) or 0.0
        cached = bool(stage.get("cached"))
        lines.append(
            [
                str(stage.get("name", "")),
                seconds(took),
                share_bar(took / longest, "quiet" if cached else "ours") if longest else "",
                "from cache: nothing had changed" if cached else "run",
            ]
        )
    heads = [Column("Stage"), Column("took", "n"), Column("", "w"), Column("this turn")]
    return table(heads, lines, caption="Stages; a cached one shows what it took when it ran")


def _lineage(evidence: Evidence) -> Markup | None:
    lines: list[Sequence[Cell | Child]] = []
    digests = mapping(evidence.record.get("artifacts"))
    for name, entry in mapping(evidence.record.get("lineage")).items():
        step = mapping(entry)
        parents = ", ".join(map(str, mapping(step.get("parents"))))
        code = " ".join(f"{k} {v}" for k, v in mapping(step.get("code")).items())
        lines.append(
            [
                str(name),
                el("code", str(digests.get(name, ""))[:16]),
                el("code", str(step.get("key", ""))[:16]),
                parents or "–",
                data_text(code or "–"),
            ]
        )
    if not lines:
        return None
    heads = ["Artifact", "digest of its files", "key of what went in", "made from", "by"]
    return table([Column(head) for head in heads], lines, caption="Lineage", stack=True)


def _words(key: object) -> str:
    return str(key).replace("_", " ")


def _plain(value: object) -> Child:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return data_text(value, 60)
