"""The confusion matrix: as a heat map when it fits, else its worst part and the worst pairs."""

from __future__ import annotations

from collections.abc import Sequence

from volano.wheel.report._axes import chart, text
from volano.wheel.report._format import percent, plural
from volano.wheel.report._markup import Markup, cut, el

__all__ = ["Confusion", "heat_map"]

Counts = Sequence[Sequence[int]]

LABEL = 16
"""Characters of a class's name beside the heat map; the whole name is in the cell's tooltip."""

FITS_A_PHONE = 12
"""Classes up to which the heat map can be read on a phone; a larger one scrolls."""


class Confusion:
    """Counts by right class and predicted class, with the questions that a reader has.

    Args:
      names: The classes.
      counts: ``counts[right][predicted]``, as many rows and columns as names.
    """

    def __init__(self, names: Sequence[str], counts: Counts) -> None:
        self.names, self.counts = names, counts
        self.support = [sum(row) for row in counts]
        self.predicted = [sum(column) for column in zip(*counts, strict=True)]

    @property
    def seen(self) -> list[int]:
        """Classes that occur among the right or the predicted ones."""
        return [
            code for code in range(len(self.names)) if self.support[code] or self.predicted[code]
        ]

    def pairs(self) -> list[tuple[int, int, int]]:
        """(rows, right, predicted) of every kind of mistake, most frequent first."""
        found = [
            (count, right, predicted)
            for right, row in enumerate(self.counts)
            for predicted, count in enumerate(row)
            if count and right != predicted
        ]
        return sorted(found, key=lambda pair: (-pair[0], pair[1], pair[2]))

    def worst(self, limit: int) -> list[int]:
        """The classes that take part in most mistakes, in the order of the names."""
        errors = [
            self.support[code] + self.predicted[code] - 2 * self.counts[code][code]
            for code in range(len(self.names))
        ]
        ranked = sorted(self.seen, key=lambda code: (-errors[code], code))
        return sorted(code for code in ranked[:limit] if errors[code])

    def mistaken_for(self, code: int) -> tuple[int, int] | None:
        """The class that this one's rows were most often given wrongly, and how often."""
        others = [
            (-count, other)
            for other, count in enumerate(self.counts[code])
            if count and other != code
        ]
        return (min(others)[1], -min(others)[0]) if others else None


def heat_map(confusion: Confusion, codes: Sequence[int]) -> Markup:
    """Rows are the right classes, columns the predicted ones; shade is the share of the row."""
    names = [confusion.names[code] for code in codes]
    widest = max(min(len(name), LABEL) for name in names)
    margin = 22.0 + 7.2 * widest
    size = min(54.0, max(19.0, 560.0 / len(codes)))
    top = 12.0 + 7.2 * widest if widest > 4 else 24.0
    side = size * len(codes)
    parts: list[Markup] = []
    for place, code in enumerate(codes):
        y = top + size * place
        middle = y + size / 2 + 4
        parts.append(text(margin - 8, middle, cut(names[place], LABEL), "tick", anchor="end"))
        x = margin + size * place + size / 2
        label = cut(names[place], LABEL)
        if widest > 4:
            parts.append(
                el(
                    "text",
                    label,
                    class_="tick",
                    transform=f"translate({x + 4:.1f} {top - 6:.1f}) rotate(-90)",
                )
            )
        else:
            parts.append(text(x, top - 8, label, "tick", anchor="middle"))
        total = confusion.support[code]
        for across, other in enumerate(codes):
            count = confusion.counts[code][other]
            if not count:
                continue
            share = count / total
            kind = "ours" if code == other else "bad"
            says = (
                f"{plural(count, 'row')} of {confusion.names[code]} "
                f"predicted as {confusion.names[other]} ({percent(share)} of {total})"
            )
            left = margin + size * across
            cell = el(
                "rect",
                class_=f"cell {kind}",
                x=left + 0.5,
                y=y + 0.5,
                width=size - 1,
                height=size - 1,
                fill_opacity=f"{0.1 + 0.9 * share**0.6:.2f}",
            )
            strong = 0.1 + 0.9 * share**0.6 > 0.62
            inside = text(
                left + size / 2, middle, str(count), "over" if strong else "under", anchor="middle"
            )
            parts.append(el("g", el("title", says), cell, inside))
    frame = el("rect", class_="frame", x=margin, y=top, width=side, height=side)
    title = f"Confusion matrix of {len(codes)} classes: rows are right, columns predicted"
    wide = "wide" if len(codes) > FITS_A_PHONE else None
    return chart(margin + side + 2, top + side + 2, title, frame, *parts, class_=wide)
