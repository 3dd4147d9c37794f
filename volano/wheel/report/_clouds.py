"""Charts of predicted numbers: points, a line through them, and a band around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from volano.wheel.report._axes import Frame, Scale, chart, nice_ticks, text
from volano.wheel.report._format import brief, figures
from volano.wheel.report._markup import Child, Markup, el

__all__ = ["Points", "cloud", "extent", "histogram"]

WIDTH = 440.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 426.0, 30.0, 300.0

Points = Sequence[tuple[float, float]]


def extent(values: Sequence[float], *more: float) -> tuple[float, float]:
    """The smallest and the largest, with room at both ends."""
    low, high = min((*values, *more)), max((*values, *more))
    pad = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - pad, high + pad


def cloud(
    title: str,
    points: Points,
    *,
    x_name: str,
    y_name: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    behind: Points = (),
    line: Points = (),
    band: tuple[Points, Points] | None = None,
    level: Points = (),
    write: Callable[[float], str] = brief,
) -> Markup:
    """Points on a plane.

    Args:
      points: Drawn in front.
      behind: Drawn pale, behind all else.
      line: A curve.
      band: Lower and upper edge of a band.
      level: A dashed line to compare with: where all points would be if all were right.
    """
    frame = Frame(Scale(*x_range, LEFT, RIGHT), Scale(*y_range, BOTTOM, TOP))
    parts: list[Child] = [
        *frame.grid(
            x_ticks=nice_ticks(*x_range, 4),
            y_ticks=nice_ticks(*y_range, 5),
            x_label=write,
            y_label=write,
        ),
        text((LEFT + RIGHT) / 2, BOTTOM + 40, x_name, "note", anchor="middle"),
        text(LEFT, TOP - 12, f"↑ {y_name}", "note"),
    ]
    if band and band[0]:
        edge = [*band[0], *reversed(band[1])]
        parts.append(el("path", class_="reach ours faint", d=_path(frame, edge) + "Z"))
    # One path for all: thousands of elements would make the page slow.
    if behind:
        parts.append(el("path", class_="dots theirs", d=_dots(frame, behind)))
    if points:
        parts.append(el("path", class_="dots ours", d=_dots(frame, points)))
    if level:
        parts.append(el("path", class_="level strong", d=_path(frame, level)))
    if line:
        parts.append(el("path", class_="curve bad", d=_path(frame, line)))
    return chart(WIDTH, BOTTOM + 48, title, parts)


def histogram(
    title: str, values: Sequence[float], *, x_name: str, bars: int = 30, marks: Sequence[float] = ()
) -> Markup:
    """How many values lie where; dashed lines at `marks`."""
    low, high = extent(values, 0.0, *marks)
    step = (high - low) / bars
    sizes = [0] * bars
    for value in values:
        sizes[min(bars - 1, int((value - low) / step))] += 1
    frame = Frame(Scale(low, high, LEFT, RIGHT), Scale(0.0, max(sizes) * 1.05, 200.0, TOP))
    parts: list[Child] = [
        *frame.grid(
            x_ticks=nice_ticks(low, high, 4),
            y_ticks=nice_ticks(0.0, max(sizes), 4),
            x_label=brief,
            y_label=lambda y: f"{y:.0f}",
        ),
        text((LEFT + RIGHT) / 2, 240, x_name, "note", anchor="middle"),
        text(LEFT, TOP - 12, "↑ golden rows", "note"),
    ]
    for place, size in enumerate(sizes):
        if size:
            x, y = frame.x(low + place * step), frame.y(size)
            wide = frame.x(low + (place + 1) * step) - x
            says = (
                f"{size} rows from {figures(low + place * step)} "
                f"to {figures(low + (place + 1) * step)}"
            )
            bar = el(
                "rect", class_="fillbar ours", x=x + 0.5, y=y, width=wide - 1, height=200.0 - y
            )
            parts.append(el("g", el("title", says), bar))
    parts.append(el("path", class_="zero", d=f"M{frame.x(0.0):.1f} {TOP}V200"))
    for mark in marks:
        parts.append(el("path", class_="level strong", d=f"M{frame.x(mark):.1f} {TOP}V200"))
    return chart(WIDTH, 248, title, parts)


def _path(frame: Frame, points: Points) -> str:
    return "M" + "L".join(f"{frame.x(a):.1f} {frame.y(b):.1f}" for a, b in points)


def _dots(frame: Frame, points: Points) -> str:
    # A line of no length with round ends is a dot.
    return "".join(f"M{frame.x(a):.1f} {frame.y(b):.1f}h0" for a, b in points)
