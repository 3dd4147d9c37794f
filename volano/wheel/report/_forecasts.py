"""Forecasts: some of them beside what came, errors by step, and series by series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from volano.wheel.report._charts import Line, lines
from volano.wheel.report._evidence import Evidence, mapping, number, rows
from volano.wheel.report._format import figures, percent, plural
from volano.wheel.report._markup import Child, data_text, el
from volano.wheel.report._tables import Cell, Column, Section, figure, table

__all__ = ["by_series", "by_step", "forecasts"]

NO_GOLDEN = "There are no golden rows, so there is nothing to show here."


def _curve(name: str, kind: str, values: Any) -> Line:
    found = [number(value) for value in values] if isinstance(values, list) else []
    return Line(name, kind, [(at + 1.0, y) for at, y in enumerate(found) if y is not None])


def forecasts(evidence: Evidence) -> Section:
    """A few golden forecasts of the first series, with their intervals and what came."""
    title = "Forecasts and what came"
    drawings: list[Child] = []
    for found in rows(evidence.golden.get("forecasts")):
        curves = [
            _curve("forecast", "ours", found.get("predicted")),
            _curve("came", "theirs", found.get("right")),
            _curve("low", "quiet", found.get("low")),
            _curve("high", "quiet", found.get("high")),
        ]
        shown = [curve for curve in curves if curve.points]
        if not shown:
            continue
        name = str(found.get("series", ""))[:60]
        drawing = lines(f"Forecast of {name}", shown, write=figures, x_name="steps ahead")
        row = int(number(found.get("row")) or 0) + 1
        drawings.append(figure(drawing, f"{name}, golden forecast {row}."))
    if not drawings:
        return Section("forecasts", title, None, [el("p", NO_GOLDEN)])
    lead = (
        "Answered by the very bundle that would serve, at even distances in time. Between low and "
        "high, 90 of 100 values are meant to lie."
    )
    pairs = [drawings[at : at + 2] for at in range(0, len(drawings), 2)]
    body = [el("div", pair, class_="two" if len(pair) > 1 else "one") for pair in pairs]
    return Section("forecasts", title, lead, body)


def by_step(evidence: Evidence) -> Section | None:
    """How errors grow, and whether intervals hold, with the distance."""
    steps = mapping(evidence.golden.get("steps"))
    error = _curve("mean absolute error", "ours", steps.get("mae"))
    if len(error.points) < 2:
        return None
    drawings: list[Child] = [
        figure(
            lines("Error by step", [error], write=figures, from_zero=True, x_name="steps ahead"),
            "On the fitted scale: 1 is the deviation of a series over the training rows.",
        )
    ]
    held = _curve("hold the truth", "ours", steps.get("interval_coverage"))
    if held.points:
        drawing = lines(
            "Intervals by step",
            [held],
            write=percent,
            level=("meant to", 0.9),
            x_name="steps ahead",
        )
        drawings.append(figure(drawing, "Share of the intervals that hold what came."))
    blocks = int(number(evidence.golden.get("blocks")) or 0)
    windows = int(number(evidence.golden.get("num_windows")) or 0)
    lead = (
        f"Of {plural(windows, 'golden forecast')}, which overlap: they weigh as much as "
        f"{plural(blocks, 'forecast')} that share no step, and those the gate compares."
    )
    body = [el("div", drawings, class_="two" if len(drawings) > 1 else "one")]
    return Section("steps", "Step by step", lead, body)


def by_series(evidence: Evidence) -> Section | None:
    """Errors of each series by itself; nothing to say of one."""
    found = rows(evidence.golden.get("series"))
    if len(found) < 2:
        return None
    drawn: list[Sequence[Cell | Child]] = []
    for item in found:
        mse, mae = number(item.get("mse")), number(item.get("mae"))
        if mse is not None and mae is not None:
            drawn.append(
                [
                    data_text(item.get("name", ""), 60),
                    Cell(figures(mse), mse),
                    Cell(figures(mae), mae),
                ]
            )
    heads = [
        Column("Series", "name"),
        Column("mean squared error, scaled", "n"),
        Column("mean absolute error, own unit", "n"),
    ]
    body: list[Child] = [
        table(heads, drawn, caption=plural(len(drawn), "series", "series"), sortable=True)
    ]
    return Section("series", "Series by series", None, body)
