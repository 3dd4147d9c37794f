"""What was trained in this turn, which of it ships, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.wheel.report._evidence import Evidence, held_out, mapping, number, rows
from volano.wheel.report._format import count, milliseconds, percent, seconds
from volano.wheel.report._markup import Child, Markup, data_text, el
from volano.wheel.report._measures import Judged, measure, selected_by
from volano.wheel.report._tables import Cell, Column, Section, table

__all__ = ["models"]


def models(evidence: Evidence) -> Section | None:
    """All models of the turn, the best first; None where there was only one to train."""
    training = mapping(evidence.record.get("training"))
    found = rows(training.get("models"))
    if len(found) < 2:
        return None
    best = str(training.get("best", ""))
    shipped = str(evidence.shipped.get("model") or "")
    order = sorted(found, key=lambda item: _rank(item, best))
    told = selected_by(evidence)
    lines: list[Sequence[Cell | Child]] = [
        _line(evidence, item, best, shipped, told) for item in order
    ]
    heads = [
        Column("Model", "name"),
        Column("family"),
        Column(f"{measure(told.metric).short}, validation", "n"),
        Column("weights", "n"),
        Column("trained in", "n"),
        Column("outcome", "text"),
    ]
    lead = (
        f"Every model that this turn trained, the best on {held_out(evidence)} first. The best one "
        "is what the others are held against; a smaller one ships instead when it is as good."
    )
    body = [
        table(heads, lines, caption="Models", stack=True),
        el("p", _why(evidence, best, shipped), id="why"),
        *(_members(item) for item in order if _member_weights(item)),
    ]
    return Section("models", "What was trained", lead, body)


def _member_weights(item: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The members of an ensemble with their weights, the heaviest first; none of other models."""
    members = item.get("members")
    found = [
        (str(pair[0]), weight)
        for pair in (members if isinstance(members, list) else [])
        if isinstance(pair, list) and len(pair) == 2 and (weight := number(pair[1])) is not None
    ]
    return sorted(found, key=lambda pair: -abs(pair[1]))


def _members(item: Mapping[str, Any]) -> Markup:
    """What an ensemble is made of."""
    lines: list[Sequence[Cell | Child]] = [
        [data_text(name, 60), Cell(f"{weight:.3f}", weight)]
        for name, weight in _member_weights(item)
    ]
    heads = [Column("Member (model and trial)", "name"), Column("weight", "n")]
    name = str(item.get("name", "ensemble"))
    return table(heads, lines, caption=f"What the {name} is made of", named=True)


def _rank(item: Mapping[str, Any], best: str) -> tuple[bool, bool, float]:
    loss = number(item.get("loss"))
    refused = bool(item.get("refused"))
    return refused, item.get("name") != best, loss if loss is not None else float("inf")


def _line(
    evidence: Evidence, item: Mapping[str, Any], best: str, shipped: str, told: Judged
) -> list[Cell | Child]:
    name = str(item.get("name", ""))
    value, weights, took = (number(item.get(key)) for key in ("loss", "num_weights", "seconds"))
    write = measure(told.metric).write
    outcome: Child = ""
    if item.get("refused"):
        outcome = [el("b", "left out: ", class_="t-bad"), data_text(item["refused"], 300)]
    elif name == shipped:
        best_too = f"; the best on {held_out(evidence)}" if name == best else ""
        outcome = [el("b", "ships", class_="t-ours"), best_too]
    elif name == best:
        outcome = f"the best on {held_out(evidence)}"
    else:
        outcome = _not_shipped(evidence, name)
    return [
        data_text(name, 60),
        str(item.get("family") or "–"),
        Cell(write(told.level(-value)), value) if value is not None else Cell("–"),
        count(weights) if weights is not None else "–",
        seconds(took) if took is not None else "–",
        outcome,
    ]


def _not_shipped(evidence: Evidence, name: str) -> Child:
    """Why another model than the shipped one does not ship."""
    own = [item for item in evidence.candidates if item.get("model") == name]
    refused = next((item for item in own if item.get("refused")), None)
    if refused:
        return data_text(refused["refused"], 300)
    if own:
        return "good enough, but larger than what ships"
    return "not made into a bundle"


def _why(evidence: Evidence, best: str, shipped: str) -> Child:
    """Why a simpler model did or did not ship, in a sentence."""
    if not best or not shipped:
        return "Nothing says which of them ships."
    held = held_out(evidence)
    if shipped == best:
        others = {
            str(item.get("model")) for item in evidence.candidates if item.get("model") != best
        }
        passed = [item for item in evidence.candidates if item.get("passed")]
        as_good = {str(item.get("model")) for item in passed} - {best}
        if as_good:
            names = ", ".join(sorted(as_good))
            return [
                data_text(best),
                f" ships: it is the best on {held}, and the smallest of those that are "
                "good enough (as good was ",
                data_text(names),
                ").",
                _cost(evidence, shipped),
            ]
        return [
            data_text(best),
            f" ships: none of the others is as good on {held}, within the margin."
            if others
            else f" ships: it is the best on {held}, and nothing else was compared.",
            _cost(evidence, shipped),
        ]
    mine = next((item for item in evidence.candidates if item.get("chosen")), {})
    lost = number(mine.get("loss"))
    size = [
        number(item.get("size_bytes"))
        for item in (mine, *(x for x in evidence.candidates if x.get("model") == best))
    ]
    smaller = ""
    if len(size) > 1 and size[0] and size[1]:
        smaller = f", in {percent(size[0] / size[1], 0)} of its size"
    twice = ", twice the usual one since an ensemble has to be worth its time,"
    twice = twice if _mixed(evidence, best) else ""
    how = f" (it loses {percent(max(lost, 0.0), 2)} of it)" if lost is not None else ""
    return [
        data_text(shipped),
        " ships although ",
        data_text(best),
        f" did better on {held}: the difference{how} is within the margin{twice} and not shown "
        f"to be more than luck{smaller}. The simpler model is the one to explain and to keep.",
    ]


def _mixed(evidence: Evidence, name: str) -> bool:
    found = rows(mapping(evidence.record.get("training")).get("models"))
    return any(item.get("name") == name and item.get("family") == "ensemble" for item in found)


def _cost(evidence: Evidence, shipped: str) -> Child:
    """What an ensemble that ships costs in every answer, beside the best of the single models."""
    found = rows(mapping(evidence.record.get("training")).get("models"))
    mixed = {str(item.get("name")) for item in found if item.get("family") == "ensemble"}
    if shipped not in mixed:
        return ""
    single = [
        item
        for item in found
        if str(item.get("name")) not in mixed and number(item.get("loss")) is not None
    ]
    times = {
        str(item.get("model")): number(item.get("p50_ms"))
        for item in reversed(evidence.candidates)
        if number(item.get("p50_ms")) is not None
    }
    best = min(single, key=lambda item: number(item.get("loss")) or 0.0, default=None)
    name = str(best.get("name")) if best else ""
    ours, theirs = times.get(shipped), times.get(name)
    if ours is None or theirs is None:
        return ""
    return [
        f" It takes {milliseconds(ours)} a row, where ",
        data_text(name),
        f" alone, the best single model, takes {milliseconds(theirs)}: what it is better by is "
        "beyond the margin, and worth the time.",
    ]
