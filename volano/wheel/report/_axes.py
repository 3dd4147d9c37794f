"""Scales, ticks and the pieces of SVG that every chart shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from volano.wheel.report._markup import Child, Markup, el

__all__ = ["Frame", "Scale", "change_bar", "chart", "nice_ticks", "range_bar", "text", "tick"]


@dataclass(frozen=True)
class Scale:
    """A straight map from values to places: ``start + (value - low) / (high - low) * length``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        inside = min(max(value, min(self.low, self.high)), max(self.low, self.high))
        spread = (self.high - self.low) or 1.0
        return self.start + (inside - self.low) / spread * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """The plot area of a chart, with its scales; y grows upwards."""

    x: Scale
    y: Scale

    def grid(
        self,
        *,
        x_ticks: Sequence[float] = (),
        y_ticks: Sequence[float] = (),
        x_label: Callable[[float], str] = str,
        y_label: Callable[[float], str] = str,
    ) -> list[Markup]:
        """Fine lines and their numbers."""
        parts = []
        for value in y_ticks:
            y = self.y(value)
            parts.append(
                el("path", class_="grid", d=f"M{_n(self.x.start)} {_n(y)}H{_n(self.x.end)}")
            )
            parts.append(text(self.x.start - 6, y + 4, y_label(value), "tick", anchor="end"))
        bottom = self.y.start
        for value in x_ticks:
            x = self.x(value)
            parts.append(el("path", class_="grid", d=f"M{_n(x)} {_n(bottom)}v4"))
            parts.append(text(x, bottom + 17, x_label(value), "tick", anchor="middle"))
        return parts


def chart(
    width: float, height: float, title: str, *children: Child, class_: str | None = None
) -> Markup:
    """A drawing that grows and shrinks with its column, and says in words what it shows."""
    return el(
        "svg",
        el("title", title),
        *children,
        viewBox=f"0 0 {_n(width)} {_n(height)}",
        role="img",
        aria_label=title,
        class_=class_,
        style=f"max-width:{_n(width * 1.12)}px",
    )


def text(x: float, y: float, words: str, class_: str = "", *, anchor: str | None = None) -> Markup:
    """Words in a drawing."""
    return el("text", words, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def range_bar(
    value: float,
    low: float,
    high: float,
    *,
    top: float = 1.0,
    kind: str = "ours",
    mark: float | None = None,
) -> Markup:
    """A value on a track from 0 to `top`, with its interval; numbers stand beside it.

    `mark` is another value to compare with, as a tick.
    """
    scale = Scale(0.0, top, 0.0, 100.0)
    left, right = scale(low), scale(high)
    return el(
        "svg",
        el("path", class_="track", d="M0 5.5h100v1H0z"),
        el("rect", class_=f"reach {kind}", x=left, width=max(right - left, 0.6), y=3.0, height=6.0),
        el("rect", class_=f"dot {kind}", x=min(scale(value), 98.6), width=1.4, y=0.0, height=12.0),
        tick(scale(mark)) if mark is not None else None,
        viewBox="0 0 100 12",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def change_bar(value: float, low: float, high: float, *, reach: float, kind: str) -> Markup:
    """A change and its interval on a track from -`reach` to `reach`, with a tick at no change."""
    scale = Scale(-reach, reach, 0.0, 100.0)
    left, right = scale(low), scale(high)
    middle = min(max(scale(value) - 0.7, 0.0), 98.6)
    return el(
        "svg",
        el("path", class_="track", d="M0 5.5h100v1H0z"),
        el("rect", class_=f"reach {kind}", x=left, width=max(right - left, 0.6), y=3.0, height=6.0),
        el("rect", class_=f"dot {kind}", x=middle, width=1.4, y=0.0, height=12.0),
        tick(50.0),
        viewBox="0 0 100 12",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def tick(x: float) -> Markup:
    """A fine upright line in a bar of 100 by 12."""
    d = f"M{min(max(x, 0.6), 99.4):.1f} 0V12"
    return el("path", class_="zero", d=d, vector_effect="non-scaling-stroke")


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers within [low, high], about as many as wanted.

    Example:
      >>> nice_ticks(0, 0.93)
      [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    spread = high - low
    if not spread > 0 or not math.isfinite(spread):
        return [low]
    power = 10.0 ** math.floor(math.log10(spread / wanted))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if spread / (m * power) <= wanted + 0.5)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
