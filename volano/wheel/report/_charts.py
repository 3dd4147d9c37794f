"""The report's charts, each a function from numbers to one SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from volano.wheel.report._axes import Frame, Scale, chart, nice_ticks, text
from volano.wheel.report._evidence import Interval
from volano.wheel.report._format import percent
from volano.wheel.report._markup import Markup, cut, el

__all__ = [
    "Bin",
    "Line",
    "Loss",
    "Point",
    "agreement",
    "effect_plot",
    "lines",
    "losses",
    "reliability",
    "scatter",
]

WIDTH = 440.0
MARGIN_TOP = 34.0
"""Where the first label of a chart may stand."""

MOST_DOTS = 40
"""Points of a curve that have a dot each."""

T = TypeVar("T")


def effect_plot(effect: Interval, write: Callable[[float], str], ours: str, theirs: str) -> Markup:
    """One interval against zero: which side is it on, and does it touch?"""
    ends = [end for end in effect if math.isfinite(end)]
    reach = max(*(abs(end) for end in ends), 1e-6) * 1.2
    low = -reach if min(ends) < 0 else -reach * 0.35
    high = reach if max(ends) > 0 else reach * 0.35
    x = Scale(low, high, 14, WIDTH - 14)
    zero, middle = x(0.0), 58.0
    left, right = x(effect.low), x(effect.high)
    parts: list[Markup | None] = []
    for value in nice_ticks(low, high, 5):
        parts.append(el("path", class_="grid", d=f"M{x(value):.1f} 88v5"))
        parts.append(text(x(value), 107, write(value), "tick", anchor="middle"))
    side = "left" if effect.high < 0 else "right" if effect.low > 0 else "both"
    kind = {"left": "bad", "right": "ours", "both": "theirs"}[side]
    parts += [
        el("path", class_="axis", d=f"M14 88H{WIDTH - 14:.0f}"),
        el("path", class_="zero", d=f"M{zero:.1f} 22V93"),
        text(zero - 8, 32, f"← {theirs} better", "note", anchor="end") if low <= -reach else None,
        text(zero + 8, 32, f"{ours} better →", "note") if high >= reach else None,
        el("rect", class_=f"reach {kind}", x=left, y=middle - 7, width=right - left, height=14.0),
        el(
            "path",
            class_=f"whisker {kind}",
            d=f"M{left:.1f} {middle - 11:.0f}v22M{right:.1f} {middle - 11:.0f}v22",
        ),
        el("circle", class_=f"dot {kind}", cx=x(effect.value), cy=middle, r=6.5),
    ]
    ends_in_words = f"from {write(effect.low)} to {write(effect.high)}"
    words = f"Difference {write(effect.value)}, 95% interval {ends_in_words}"
    return chart(WIDTH, 114, words, *parts)


@dataclass(frozen=True)
class Line:
    """A named curve; `kind` is its colour's class."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


def lines(
    title: str,
    curves: Sequence[Line],
    *,
    write: Callable[[float], str],
    best: float | None = None,
    level: tuple[str, float] | None = None,
    from_zero: bool = False,
    x_name: str = "epoch (one pass over the training rows)",
) -> Markup:
    """Curves over epochs, or over trees, named at their ends.

    Args:
      best: The epoch to mark.
      level: A named horizontal line.
      from_zero: Whether the y axis has to begin at 0.
      x_name: What the x axis counts.
    """
    values = [y for curve in curves for _, y in curve.points] + ([level[1]] if level else [])
    last = max(x for curve in curves for x, _ in curve.points)
    low, high = (0.0 if from_zero else min(values)), max(values)
    pad = (high - low) * 0.12 or abs(high) * 0.05 or 0.05
    y = Scale(low if from_zero else low - pad, high + pad, 210, 14)
    frame = Frame(Scale(0.0, max(last, 1.0), 58, WIDTH - 104), y)
    epochs = [0.0, *sorted({x for curve in curves for x, _ in curve.points} - {0.0})]
    many = len(epochs) > MOST_DOTS
    if many:
        epochs = nice_ticks(0.0, last, 6)
    step = max(1, -(-len(epochs) // 9))
    y_ticks = nice_ticks(y.low, y.high, 4)
    parts: list[Markup | None] = [
        *frame.grid(
            x_ticks=epochs[::step], y_ticks=y_ticks, x_label=lambda x: f"{x:.0f}", y_label=write
        ),
        text(
            (58 + WIDTH - 104) / 2,
            244,
            x_name,
            "note",
            anchor="middle",
        ),
    ]
    if best is not None:
        parts.append(el("path", class_="best", d=f"M{frame.x(best):.1f} 14V210"))
        parts.append(text(frame.x(best) - 5, 22, "kept", "note", anchor="end"))
    labels: list[tuple[float, str, str]] = []
    if level:
        at = y(level[1])
        parts.append(el("path", class_="level", d=f"M58 {at:.1f}H{WIDTH - 104:.0f}"))
        parts.append(el("circle", class_="hollow", cx=58.0, cy=at, r=3.6))
        labels.append((at, level[0], "note"))
    for curve in curves:
        spots = [(frame.x(a), y(b)) for a, b in curve.points]
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)
        if len(spots) > 1:
            parts.append(el("path", class_=f"curve {curve.kind}", d=path))
        for (a, b), (epoch, value) in zip(spots, curve.points, strict=True):
            if many:
                break
            says = el("title", f"epoch {epoch:.0f}: {curve.name} {write(value)}")
            parts.append(el("circle", says, class_=f"dot {curve.kind}", cx=a, cy=b, r=3.2))
        labels.append((spots[-1][1], curve.name, f"name {curve.kind}"))
    for at, name, class_ in _apart(labels, 15):
        parts.append(text(WIDTH - 96, at + 4, name, class_))
    return chart(WIDTH, 252, title, *parts)


@dataclass(frozen=True)
class Bin:
    """Answers of like confidence: how sure they were, and how often they were right."""

    num_rows: int
    sure: float
    right: Interval


def reliability(bins: Sequence[Bin]) -> Markup:
    """How often answers were right against how sure they were; the diagonal is honest."""
    frame = Frame(Scale(0, 1, 52, 402), Scale(0, 1, 300, 14))
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    total = sum(item.num_rows for item in bins)
    parts: list[Markup] = [
        *frame.grid(x_ticks=ticks, y_ticks=ticks, x_label=_whole, y_label=_whole),
        el(
            "path",
            class_="level",
            d=f"M{frame.x(0):.0f} {frame.y(0):.0f}L{frame.x(1):.0f} {frame.y(1):.0f}",
        ),
        text(228, 340, "how sure the model said it was", "note", anchor="middle"),
        text(62, 24, "how often it was right ↑", "note"),
    ]
    for item in bins:
        x = frame.x(item.sure)
        parts.append(
            el(
                "path",
                class_="whisker ours",
                d=f"M{x:.1f} {frame.y(item.right.low):.1f}V{frame.y(item.right.high):.1f}",
            )
        )
    for item in bins:
        says = (
            f"{item.num_rows} rows: {percent(item.sure)} sure, {percent(item.right.value)} right "
            f"({percent(item.right.low)} to {percent(item.right.high)})"
        )
        radius = 3.0 + 5.0 * math.sqrt(item.num_rows / total)
        parts.append(
            el(
                "circle",
                el("title", says),
                class_="spot ours",
                cx=frame.x(item.sure),
                cy=frame.y(item.right.value),
                r=radius,
            )
        )
    title = f"Reliability diagram of {total} golden rows in {len(bins)} groups"
    return chart(WIDTH, 348, title, *parts)


def agreement(bins: Sequence[Bin]) -> Markup:
    """The same groups one under the other: said and found, side by side."""
    lowest = min(min(item.sure, item.right.low) for item in bins)
    start = math.floor(lowest * 10) / 10
    x = Scale(start, 1, 60, WIDTH - 14)
    step, top = 19.0, 40.0
    bottom = top + step * len(bins) - 6
    parts: list[Markup] = [
        text(52, 26, "rows", "note", anchor="end"),
        el("circle", class_="hollow", cx=96.0, cy=21.5, r=4.2),
        text(105, 26, "how sure it said", "note"),
        el("circle", class_="dot ours", cx=226.0, cy=21.5, r=4.2),
        text(235, 26, "how often it was right", "note"),
    ]
    for value in nice_ticks(start, 1, 5):
        parts.append(el("path", class_="grid", d=f"M{x(value):.1f} {top - 4:.0f}V{bottom:.1f}"))
        parts.append(text(x(value), bottom + 17, percent(value, 0), "tick", anchor="middle"))
    for place, item in enumerate(bins):
        y = top + step * place + 5
        says = f"{item.num_rows} rows: {percent(item.sure)} sure, {percent(item.right.value)} right"
        parts.append(text(52, y + 4, str(item.num_rows), "tick", anchor="end"))
        parts.append(
            el(
                "g",
                el("title", says),
                el(
                    "rect",
                    class_="reach ours",
                    x=x(item.right.low),
                    width=x(item.right.high) - x(item.right.low),
                    y=y - 3.5,
                    height=7.0,
                ),
                el("circle", class_="dot ours", cx=x(item.right.value), cy=y, r=4.2),
                el("circle", class_="hollow", cx=x(item.sure), cy=y, r=4.2),
            )
        )
    return chart(WIDTH, bottom + 26, "How sure and how often right, group by group", *parts)


@dataclass(frozen=True)
class Point:
    """A candidate in the plane of size and latency."""

    name: str
    note: str
    x: float
    y: float
    kind: str


def scatter(
    points: Sequence[Point],
    *,
    x_name: str,
    y_name: str,
    write_x: Callable[[float], str],
    write_y: Callable[[float], str],
) -> Markup:
    """Points with their names, where they have one: nearer to the corner at the lower left is
    better.
    """
    right, high = max(p.x for p in points) * 1.3, max(p.y for p in points) * 1.25
    frame = Frame(Scale(0, right, 62, WIDTH - 14), Scale(0, high, 240, 14))
    parts: list[Markup] = [
        *frame.grid(
            x_ticks=nice_ticks(0, right, 5),
            y_ticks=nice_ticks(0, high, 5),
            x_label=write_x,
            y_label=write_y,
        ),
        text((62 + WIDTH - 14) / 2, 276, x_name, "note", anchor="middle"),
        text(68, 22, f"{y_name} ↑", "note"),
    ]
    marks, labels = [], []
    for point in points:
        x, y = frame.x(point.x), frame.y(point.y)
        if point.kind == "bad":
            marks.append(
                el("path", class_="cross bad", d=f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10")
            )
        else:
            marks.append(el("circle", class_=f"spot {point.kind}", cx=x, cy=y, r=7.0))
        if point.name:
            labels.append((y, (x, point)))
    left = [label for label in labels if label[1][0] <= 0.68 * WIDTH]
    right_side = [label for label in labels if label[1][0] > 0.68 * WIDTH]
    for at, (x, point) in [*_fitted(left, 30, 240), *_fitted(right_side, 30, 240)]:
        end = x > 0.68 * WIDTH
        spot = frame.y(point.y)
        if abs(at - spot) > 12:
            # A label that had to give way is tied to its mark.
            parts.append(
                el(
                    "path",
                    class_="grid",
                    d=f"M{x:.1f} {spot:.1f}L{x - 11 if end else x + 11:.1f} {at:.1f}",
                )
            )
        parts.append(
            text(
                x - 13 if end else x + 13,
                at - 1,
                cut(point.name, 24),
                "name",
                anchor="end" if end else None,
            )
        )
        parts.append(
            text(
                x - 13 if end else x + 13,
                at + 13,
                point.note,
                "note",
                anchor="end" if end else None,
            )
        )
    return chart(WIDTH, 284, f"{y_name} against {x_name}", *parts, *marks)


@dataclass(frozen=True)
class Loss:
    """What a smaller graph loses, and the upper end of what it may lose."""

    name: str
    loss: float
    upper: float
    kind: str


def losses(items: Sequence[Loss], margin: float | None, write: Callable[[float], str]) -> Markup:
    """Each loss with its upper end, against the margin."""
    low = min(0.0, *(item.loss for item in items))
    high = max(margin or 0.0, *(item.upper for item in items), 0.001) * 1.1
    x = Scale(low * 1.1, high, 14, WIDTH - 14)
    step, top = 46.0, 34.0
    bottom = top + step * len(items)
    parts: list[Markup] = []
    for value in nice_ticks(x.low, x.high, 4):
        parts.append(el("path", class_="grid", d=f"M{x(value):.1f} {bottom:.0f}v5"))
        parts.append(text(x(value), bottom + 19, write(value), "tick", anchor="middle"))
    parts.append(el("path", class_="axis", d=f"M14 {bottom:.0f}H{WIDTH - 14:.0f}"))
    parts.append(el("path", class_="zero", d=f"M{x(0.0):.1f} {top - 8:.0f}V{bottom:.0f}"))
    if margin is not None:
        end = x(margin) > WIDTH * 0.7
        parts.append(el("path", class_="level", d=f"M{x(margin):.1f} 12V{bottom:.0f}"))
        side = "end" if end else None
        label = f"margin {write(margin)}"
        parts.append(text(x(margin) + (-6 if end else 6), 20, label, "note", anchor=side))
    for place, item in enumerate(items):
        y = top + step * place + 32
        left, right = x(item.loss), x(item.upper)
        says = f"{item.name}: loses {write(item.loss)}, at most {write(item.upper)}"
        kind = item.kind
        wide = max(right - left, 1.0)
        parts += [
            text(max(x(0.0), left) + 10, y - 13, cut(item.name, 30), "name"),
            el("title", says),
            el("rect", class_=f"reach {kind}", x=left, width=wide, y=y - 5, height=10.0),
            el("path", class_=f"whisker {kind}", d=f"M{right:.1f} {y - 8:.1f}v16"),
            el("circle", class_=f"dot {kind}", cx=left, cy=y, r=5.0),
        ]
        parts[-4:] = [el("g", parts[-4:])]
    return chart(WIDTH, bottom + 26, "Loss of each smaller graph against the margin", *parts)


def _whole(share: float) -> str:
    return percent(share, 0)


def _apart(labels: Sequence[tuple[float, str, str]], gap: float) -> list[tuple[float, str, str]]:
    return [(at, *rest) for at, rest in _spread([(at, (a, b)) for at, a, b in labels], gap)]


def _fitted(labels: Sequence[tuple[float, T]], gap: float, bottom: float) -> list[tuple[float, T]]:
    """Labels spread as by `_spread`, moved up again where they would leave the chart."""
    placed = _spread(labels, gap)
    limit = bottom
    found: list[tuple[float, T]] = []
    for at, what in reversed(placed):
        found.append((min(at, limit), what))
        limit = found[-1][0] - gap
    # More than there is room for: closer together, which is better than outside.
    if found and found[-1][0] < MARGIN_TOP and len(found) > 1:
        step = (found[0][0] - MARGIN_TOP) / (len(found) - 1)
        found = [(found[0][0] - place * step, what) for place, (_, what) in enumerate(found)]
    return found[::-1]


def _spread(labels: Sequence[tuple[float, T]], gap: float) -> list[tuple[float, T]]:
    """Labels moved down as far as needed for none to lie on another."""
    placed: list[tuple[float, T]] = []
    for at, what in sorted(labels, key=lambda label: label[0]):
        placed.append((max(at, placed[-1][0] + gap) if placed else at, what))
    return placed
