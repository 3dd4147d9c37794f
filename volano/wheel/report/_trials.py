"""Every setting that was tried: what it reached, what it took, and which were stopped early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from volano.wheel.report._charts import Line, lines
from volano.wheel.report._evidence import Evidence, held_out, mapping, number, rows
from volano.wheel.report._format import plural, seconds
from volano.wheel.report._markup import Child, data_text, el
from volano.wheel.report._measures import Judged, measure, selected_by
from volano.wheel.report._tables import Cell, Column, Section, figure, table

__all__ = ["trials"]


def trials(evidence: Evidence) -> Section | None:
    """All trials in order; None where no more was tried than one setting of each model."""
    found = rows(mapping(evidence.record.get("training")).get("trials"))
    models = {str(item.get("model")) for item in found}
    if len(found) <= len(models):
        return None
    told = selected_by(evidence)
    whole = [item for item in found if number(item.get("loss")) is not None]
    best = min(whole, key=lambda item: number(item.get("loss")) or 0.0, default=None)
    body: list[Child] = []
    curve = _best_so_far(found, told)
    if len(curve) > 1:
        drawing = lines(
            "Best score so far, trial by trial",
            [Line("best so far", "ours", curve)],
            write=measure(told.metric).write,
            x_name="trials, in the order in which they were tried",
        )
        body.append(figure(drawing, "What the best of all trials until then reached."))
    body.append(_table(found, told, best))
    counts = {
        state: sum(item.get("state") == state for item in found) for state in ("pruned", "failed")
    }
    stopped = "; ".join(
        text
        for text in (
            f"{plural(counts['pruned'], 'trial')} stopped early" if counts["pruned"] else "",
            f"{counts['failed']} failed" if counts["failed"] else "",
        )
        if text
    )
    lead = (
        f"{plural(len(found), 'trial')}{', ' + stopped if stopped else ''}: good defaults first, "
        "then what the search proposed. A trial is stopped when it lies behind the median of the "
        "others at the same point. The score is that of "
        f"{held_out(evidence)}, which it did not learn from, with its "
        "standard error; the best of many trials flatters a little, and the golden rows do not."
    )
    return Section("trials", "What was tried", lead, body)


def _best_so_far(found: Sequence[Mapping[str, Any]], told: Judged) -> list[tuple[float, float]]:
    best = math.inf
    spots = []
    for place, item in enumerate(found):
        loss = number(item.get("loss"))
        if loss is not None and loss < best:
            best = loss
        if math.isfinite(best):
            spots.append((float(place + 1), told.level(-best)))
    return spots


def _table(
    found: Sequence[Mapping[str, Any]], told: Judged, best: Mapping[str, Any] | None
) -> Child:
    metric = measure(told.metric)
    lines_of: list[Sequence[Cell | Child]] = []
    for item in found:
        loss, took = number(item.get("loss")), number(item.get("seconds"))
        outcome: Child = "finished"
        if item is best:
            outcome = el("b", "the best", class_="t-ours")
        elif item.get("state") == "pruned":
            outcome = "stopped early"
        elif item.get("state") == "failed":
            outcome = [el("b", "failed: ", class_="t-bad"), data_text(item.get("error", ""), 200)]
        score: Cell | Child = "–"
        if loss is not None:
            text = metric.write(told.level(-loss))
            spread = _spread(told, loss, number(item.get("spread")))
            score = Cell(f"{text} ± {metric.write(spread)}" if spread is not None else text, loss)
        place = number(item.get("number"))
        lines_of.append(
            [
                f"{place:.0f}" if place is not None else "–",
                data_text(item.get("model", ""), 40),
                _settings(mapping(item.get("settings"))),
                score,
                Cell(seconds(took), took) if took is not None else "–",
                outcome,
            ]
        )
    heads = [
        Column("Trial", "n"),
        Column("model"),
        Column("settings", "text"),
        Column(f"{metric.short}, validation", "n"),
        Column("took", "n"),
        Column("outcome", "text"),
    ]
    return table(heads, lines_of, caption="Trials", sortable=True, stack=True, tall=True)


def _spread(told: Judged, loss: float, spread: float | None) -> float | None:
    """A standard error of the mean loss, in the unit in which the loss is shown."""
    if spread is None or not math.isfinite(spread):
        return None
    ends = told.level(-(loss + spread)), told.level(-max(0.0, loss - spread))
    return float(f"{abs(ends[0] - ends[1]) / 2:.2g}")


def _settings(found: Mapping[str, Any]) -> Child:
    if not found:
        return "its defaults"
    parts = []
    for name, value in found.items():
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return data_text(", ".join(parts), 300)
