"""The verdict, and what would ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.evaluation import AlphaSpending
from volano.wheel.report._axes import range_bar
from volano.wheel.report._charts import effect_plot
from volano.wheel.report._evidence import Evidence, Interval, chosen, interval, mapping, number
from volano.wheel.report._format import (
    count,
    megabytes,
    milliseconds,
    moment,
    percent,
    plural,
    probability,
    relative,
)
from volano.wheel.report._markup import Child, Markup, data_text, el, raw
from volano.wheel.report._measures import Judged, Measure, headline, judged, measure
from volano.wheel.report._tables import Section, facts, figure, share_bar, verdict_mark

__all__ = ["ships", "verdict"]

BASELINES = {
    "commonest": "always answering the commonest labels",
    "majority": "always answering the most frequent class",
    "tfidf_svm": "a simple word-count model",
    "mean": "always answering the mean",
    "small_tree": "a tree of three questions",
}


def verdict(evidence: Evidence) -> Markup:
    """The answer, what it means, and what to do now."""
    head, meaning, todo, command, more = _words(evidence)
    effect = _effect(evidence)
    plot: list[Child] = []
    if effect:
        told = judged(evidence)
        drawing = effect_plot(effect, told.write, "this turn", _short_reference(evidence))
        plot = [
            figure(drawing, [told.what, ", with its 95% interval."]),
            _numbers(evidence, effect),
        ]
    return el(
        "section",
        verdict_mark(evidence.verdict),
        el("h1", head, id="verdict-title"),
        el(
            "div",
            el(
                "div",
                [el("p", part) for part in meaning],
                el("h2", "What to do now", class_="minor"),
                el("p", todo),
                el("pre", el("code", command)),
                el("p", more, class_="small soft") if more else None,
            ),
            el("div", plot) if plot else None,
            class_="two" if plot else None,
        ),
        _footnote(evidence) if effect else None,
        id="verdict",
        class_="verdict",
        aria_labelledby="verdict-title",
    )


def _words(evidence: Evidence) -> tuple[Child, list[Child], Child, str, Child]:
    """Headline, meaning, what to do, the command, and what else there is to do."""
    turn, gate = evidence.turn, evidence.gate
    champion = gate.get("champion_turn")
    reference = _reference(evidence)
    golden = int(number(gate.get("golden_rows")) or 0)
    # Of forecasts those count that share no step.
    units = golden
    what = "forecasts that share no step" if evidence.task == "forecasting" else "rows"
    if evidence.task == "forecasting" and gate.get("independent_rows") is not None:
        units = int(number(gate.get("independent_rows")) or 0)
    by_hand = raw(
        "To put this turn into service all the same: ", el("code", f"volano promote {turn}"), "."
    )
    if not evidence.judgement:
        head: Child = (
            f"There are too few golden {what} to judge on: {count(units)}"
            if golden
            else "There are no golden rows to judge on"
        )
        todo: Child = (
            "Nothing was put into service by itself."
            if champion is None
            else f"The champion of turn {champion} keeps serving."
        )
        meaning: list[Child] = [
            "A fair comparison needs labelled rows that no model has learned from. Without them "
            "nobody can say whether this model is good, so none is promoted.",
            el("span", str(evidence.record.get("reason", "")), class_="soft small"),
        ]
        return (
            head,
            meaning,
            [todo, " To put this turn into service:"],
            f"volano promote {turn}",
            None,
        )
    meaning = _meaning(evidence)
    if evidence.verdict == "promoted":
        head = ["This model is better than ", reference]
        undo = (
            raw("To go back to the champion before: ", el("code", "volano rollback"), ".")
            if champion is not None
            else None
        )
        return head, meaning, "It is the champion now. To serve it:", "volano serve", undo
    stays = (
        f"The champion of turn {champion} keeps serving."
        if champion is not None
        else "Nothing was put into service."
    )
    more_data = f"{stays} Teach the next turn with more rows or corrections:"
    commands = "volano feedback import corrections.csv\nvolano turn"
    if evidence.verdict == "rejected":
        return ["This model is worse than ", reference], meaning, more_data, commands, by_hand
    meaning.append(
        "That is not a failure: the data cannot tell the two apart yet. The interval shows which "
        "gains and losses are still possible."
    )
    head = ["This model is not shown to be better than ", reference]
    return head, meaning, more_data, commands, by_hand


def _meaning(evidence: Evidence) -> list[Child]:
    judgement, gate = evidence.judgement, evidence.gate
    scores = mapping(gate.get("scores"))
    ours, theirs = number(scores.get("candidate")), number(scores.get("reference"))
    rows = int(number(judgement.get("num_rows")) or 0)
    better = int(number(judgement.get("num_better")) or 0)
    worse = int(number(judgement.get("num_worse")) or 0)
    parts: list[Child] = []
    if ours is not None and theirs is not None:
        told = judged(evidence)
        write = measure(told.metric).write
        mine, other = write(told.level(ours)), write(told.level(theirs))
        parts.append(told.sentence(mine, other, _the_other(evidence), rows, better, worse))
    return parts


def _effect(evidence: Evidence) -> Interval | None:
    """The effect as it is shown."""
    effect = evidence.effect
    if effect is None:
        return None
    reference = number(mapping(evidence.gate.get("scores")).get("reference"))
    return judged(evidence).shown(effect, reference or 0.0)


def _ends(told: Judged, effect: Interval) -> str:
    # Briefly where that is the same figure without its unit, as with percentage points.
    write = told.write if measure(told.metric).share else told.full
    return f"{write(effect.low)} to {write(effect.high)}"


def _numbers(evidence: Evidence, effect: Interval) -> Markup:
    judgement, gate = evidence.judgement, evidence.gate
    told = judged(evidence)
    level = number(gate.get("level")) or number(judgement.get("alpha"))
    p = number(judgement.get("p_better"))
    pairs: list[tuple[str, Child]] = [
        ("Effect", told.full(effect.value)),
        ("95% interval", _ends(told, effect)),
    ]
    if p is not None:
        pairs.append(("p-value¹", probability(p)))
    if level is not None:
        pairs.append(("has to reach²", f"≤ {probability(level)}"))
    if evidence.verdict == "rejected":
        found = number(judgement.get("p_worse"))
        if found is not None:
            pairs.append(("p-value of “worse”", probability(found)))
    return facts(pairs)


def _footnote(evidence: Evidence) -> Markup:
    gate, judgement = evidence.gate, evidence.judgement
    alpha = number(gate.get("alpha")) or number(judgement.get("nominal_alpha"))
    test = int(number(gate.get("test_number")) or 0)
    level = number(gate.get("level"))
    spent = None
    if alpha is not None and level is not None and test:
        total = AlphaSpending(alpha).spent(test) if 0 < alpha < 0.5 else None
        spent = raw(
            f" ² Every turn asks the same golden rows again, and every question is one more chance "
            f"to be fooled by luck. Over all turns together that chance stays under "
            f"{percent(alpha, 0)}. This was question {test}; its part is {percent(level, 2)}",
            f", and {percent(total, 2)} are spent so far." if total else ".",
        )
    return el(
        "p",
        "¹ How often luck alone would make this model look this much better if it were not better "
        f"at all ({judgement.get('test', 'paired')} test, row by row).",
        spent,
        class_="small soft note-end",
    )


def _reference(evidence: Evidence) -> Child:
    champion = evidence.gate.get("champion_turn")
    if champion is not None:
        return f"the champion of turn {champion}"
    name = str(evidence.gate.get("reference") or "the reference")
    baseline = name.removeprefix("the best baseline, ")
    if baseline != name:
        return ["the best simple baseline, ", data_text(baseline)]
    return data_text(name)


def _the_other(evidence: Evidence) -> str:
    if evidence.gate.get("champion_turn") is not None:
        return "the champion"
    baseline = str(evidence.gate.get("reference") or "").removeprefix("the best baseline, ")
    return BASELINES.get(baseline, "the baseline")


def _short_reference(evidence: Evidence) -> str:
    return "champion" if evidence.gate.get("champion_turn") is not None else "baseline"


# What ships --------------------------------------------------------------------------------------


def ships(evidence: Evidence) -> Section:
    """Size, latency and quality, each beside the champion's."""
    promoted = evidence.verdict == "promoted"
    shipped = evidence.shipped
    other = chosen(evidence.champion)
    label = f"turn {evidence.champion.get('turn')}"
    lead: Child = [
        "The very bundle that was judged, measured on this machine through the runtime that "
        "serves it. "
    ]
    if not other:
        # On a first turn the best model, uncompressed, is what there is to compare with.
        first = next(iter(evidence.candidates), {})
        other, label = (first if first is not shipped else {}), _first_name(evidence, first)
    elif not promoted:
        lead = [lead, "It does not serve. "]
    speed = evidence.speed
    fast, fast_other, timed_label = shipped, other, label
    if speed:
        fast, fast_other = mapping(speed["candidate"]), mapping(speed["champion"])
        timed_label = f"turn {evidence.gate.get('champion_turn')}"
        timed = plural(int(number(speed.get("rows")) or 0), "golden row")
        lead = [lead, f"Both were timed in this turn, one after the other, on {timed}."]
    elif evidence.champion:
        when = moment(evidence.champion.get("at", ""))
        lead = [lead, f"The champion's speed was measured in its own turn, {when}."]
    body = el(
        "div",
        _size(shipped, other, label),
        _latency(fast, fast_other, timed_label),
        _quality(evidence),
        class_="cards",
    )
    kind = str(shipped.get("name", ""))
    note = None
    if len(evidence.candidates) > 1 and shipped is evidence.candidates[0]:
        note = el(
            "p",
            "No smaller one was good enough, so the best model ships as it was trained: see ",
            el("a", "Candidates", href="#candidates"),
            ".",
            class_="small soft",
        )
    elif kind:
        note = el("p", "The graph: ", data_text(kind), ".", class_="small soft")
    return Section("ships", "What ships" if promoted else "What would ship", lead, [body, note])


def _first_name(evidence: Evidence, first: Mapping[str, Any]) -> str:
    """What the best model as it was trained is called beside what ships."""
    several = first.get("model") != evidence.shipped.get("model")
    return str(first.get("model")) if several else "uncompressed"


def _size(shipped: Mapping[str, Any], other: Mapping[str, Any], label: str) -> Markup:
    ours, theirs = number(shipped.get("size_bytes")), number(other.get("size_bytes"))
    if not ours:
        return _card("Size", "–", None, [])
    top = max(ours, theirs or 0)
    lines: list[Child] = []
    delta = None
    if theirs:
        lines += [el("span", "this", class_="own"), share_bar(ours / top, "ours"), megabytes(ours)]
        lines += [label, share_bar(theirs / top, "theirs"), megabytes(theirs)]
        delta = _delta(ours, theirs, label, "smaller", "larger")
    return _card("Size on disk", megabytes(ours), delta, lines, "An exact count of bytes.")


def _latency(shipped: Mapping[str, Any], other: Mapping[str, Any], label: str) -> Markup:
    ours, slow = number(shipped.get("p50_ms")), number(shipped.get("p99_ms"))
    if not ours:
        return _card("Time per answer", "–", None, [], "It was not measured.")
    slow = slow or ours
    theirs, their_slow = number(other.get("p50_ms")), number(other.get("p99_ms"))
    top = max(slow, their_slow or 0, theirs or 0) * 1.04
    lines: list[Child] = [
        el("span", "this", class_="own"),
        range_bar(ours, ours, slow, top=top),
        milliseconds(ours),
    ]
    delta = None
    if theirs:
        lines += [
            label,
            range_bar(theirs, theirs, their_slow or theirs, top=top, kind="theirs"),
            milliseconds(theirs),
        ]
        delta = _delta(ours, theirs, label, "faster", "slower")
    rate, spread = number(shipped.get("rows_per_s")), shipped.get("rows_per_s_spread")
    note = f"Median; 99 of 100 answers take under {milliseconds(slow)}."
    if rate:
        note += f" In batches {count(rate)} rows a second"
        if isinstance(spread, list) and len(spread) == 2:
            note += f" ({count(spread[0])} to {count(spread[1])} over the runs)"
        note += "."
    return _card("Time per answer", milliseconds(ours), delta, lines, note)


def _quality(evidence: Evidence) -> Markup:
    name, shown = headline(evidence)
    ours = evidence.metric(name)
    if ours is None:
        found = interval(mapping(evidence.record.get("validation")).get(name))
        if found is None:
            return _card("Quality", "–", None, [], "There are neither golden nor validation rows.")
        lines = _quality_line("this", found, "ours", shown, [found.high])
        note = "On validation rows, which steered the training: there are no golden rows."
        return _card(shown.card, shown.write(found.value), None, lines, note)
    champion = interval(mapping(evidence.champion.get("metrics")).get(name))
    told = judged(evidence)
    level = number(mapping(evidence.gate.get("scores")).get("reference"))
    ends = [ours.high, champion.high if champion else 0.0]
    baseline = None
    if not champion and evidence.judgement and told.metric == name and level is not None:
        baseline = told.level(level)
        ends.append(baseline)
    lines = _quality_line("this", ours, "ours", shown, ends)
    if champion:
        turn = f"turn {evidence.champion.get('turn')}"
        lines += _quality_line(turn, champion, "theirs", shown, ends)
    elif baseline is not None:
        flat = Interval(baseline, baseline, baseline)
        lines += _quality_line("baseline", flat, "theirs", shown, ends)
    effect = _effect(evidence)
    delta = None
    if effect and told.metric == name:
        kind = "ours" if effect.low > 0 else "bad" if effect.high < 0 else ""
        delta = el(
            "p",
            f"{told.full(effect.value)} "
            if shown.share
            else f"{told.full(abs(effect.value)).lstrip('+')} "
            f"{'smaller' if effect.value >= 0 else 'larger'} than the "
            f"{_short_reference(evidence)}’s ",
            el("small", f"({told.write(effect.low)} to {told.write(effect.high)})"),
            class_=f"delta {kind}".strip(),
        )
    elif champion:
        words = f"{shown.difference(ours.value, champion.value)} (judged by {told.words})"
        delta = el("p", words, class_="delta")
    what = shown.title if shown.title != shown.card else "Golden rows"
    note = f"{what}; 95% interval {shown.write(ours.low)} to {shown.write(ours.high)}."
    return _card(f"{shown.card} on golden rows", shown.write(ours.value), delta, lines, note)


def _quality_line(
    name: str, value: Interval, kind: str, shown: Measure, ends: Sequence[float]
) -> list[Child]:
    top = shown.top(ends, 2) if shown.top else 1.0
    return [
        el("span", name, class_="own" if kind == "ours" else None),
        range_bar(value.value, value.low, value.high, kind=kind, top=top),
        shown.write(value.value),
    ]


def _delta(ours: float, theirs: float, label: str, less: str, more: str) -> Markup:
    change = ours / theirs - 1
    if abs(change) < 0.005:
        return el("p", f"the same as {label}", class_="delta")
    words = f"{relative(ours, theirs)}: {less if change < 0 else more} than {label}"
    # A tenth up or down is how far two timings of the same graph lie apart on a busy machine.
    kind = "" if abs(change) < 0.1 else "ours" if change < 0 else "bad"
    return el("p", words, class_=f"delta {kind}".strip())


def _card(name: str, big: str, delta: Child, lines: list[Child], note: str | None = None) -> Markup:
    return el(
        "div",
        el("h3", name),
        el("p", big, class_="big"),
        delta,
        el("div", [el("div", line) for line in lines], class_="versus") if lines else None,
        el("p", note, class_="small soft") if note else None,
        class_="card",
    )
