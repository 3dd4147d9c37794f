"""Tables and the other repeated shapes of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from volano.wheel.report._axes import tick
from volano.wheel.report._markup import Child, Markup, el

__all__ = [
    "Cell",
    "Column",
    "Section",
    "facts",
    "figure",
    "folded",
    "share_bar",
    "table",
    "verdict_mark",
]

_SHAPES = {
    "promoted": "M6 1L11.5 11H.5Z",
    "rejected": "M.5 1h11L6 11Z",
    "inconclusive": "M6 .5L11.5 6 6 11.5.5 6Z",
    "serves": "M6 1a5 5 0 1 1 0 10a5 5 0 1 1 0-10Z",
}
WORDS = {"promoted": "Promoted", "rejected": "Rejected", "inconclusive": "Not decided"}


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, what it is about, and its content."""

    id: str
    title: str
    lead: Child
    body: Sequence[Child]

    def drawn(self) -> Markup:
        """The section as HTML."""
        heading = el("h2", self.title, id=f"{self.id}-title")
        lead = el("p", self.lead, class_="lead") if self.lead else None
        return el(
            "section",
            el("div", heading, lead),
            el("div", self.body),
            id=self.id,
            aria_labelledby=f"{self.id}-title",
        )


@dataclass(frozen=True)
class Column:
    """A table's column: its heading and kind (`n`umber, `s`hort, `w`ide drawing, name, text)."""

    name: str
    kind: str = ""
    sortable: bool = True


@dataclass(frozen=True)
class Cell:
    """A table's cell; `value` is what it is sorted by."""

    content: Child
    value: float | None = field(default=None)


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell | Child]],
    *,
    caption: str,
    sortable: bool = False,
    stack: bool = False,
    tall: bool = False,
    named: bool = False,
) -> Markup:
    """A table whose first cells are its rows' headings.

    Args:
      caption: What the table holds, for those who have it read out.
      sortable: Whether a click on a heading sorts the rows.
      stack: Whether each row becomes a block of lines on a phone.
      tall: Whether it scrolls inside a window of its own.
      named: Whether the caption is shown: where it says more than the heading above.
    """
    heads = [
        el("th", c.name, scope="col", class_=c.kind or None, data_fixed=not c.sortable)
        for c in columns
    ]
    body = []
    for row in rows:
        cells = []
        for place, (column, item) in enumerate(zip(columns, row, strict=True)):
            cell = item if isinstance(item, Cell) else Cell(item)
            value = None if cell.value is None else f"{cell.value:.6g}"
            first = place == 0
            cells.append(
                el(
                    "th" if first else "td",
                    cell.content,
                    scope="row" if first else None,
                    class_=column.kind or None,
                    data_v=value,
                    data_name=(stack and (not first or value is not None) and column.name) or None,
                )
            )
        body.append(el("tr", cells))
    classes = [name for name, on in (("sortable", sortable), ("stack", stack)) if on]
    return el(
        "div",
        el(
            "table",
            el("caption", caption, class_=None if named else "unseen"),
            el("thead", el("tr", heads)),
            el("tbody", body),
            class_=" ".join(classes) or None,
        ),
        class_="scroll tall" if tall else "scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def figure(drawing: Markup, caption: Child = None) -> Markup:
    """A chart and what to see in it."""
    return el("figure", drawing, el("figcaption", caption) if caption else None)


def facts(pairs: Sequence[tuple[str, Child]]) -> Markup:
    """Names and values in a small grid."""
    return el("dl", [el("div", el("dt", n), el("dd", v)) for n, v in pairs], class_="facts")


def folded(summary: str, *content: Child) -> Markup:
    """Content that is there for those who ask."""
    return el("details", el("summary", summary), content)


def share_bar(share: float, kind: str, *, start: float = 0.0, mark: float | None = None) -> Markup:
    """A part of a whole, from `start` on, both as shares; `mark` is a tick to compare with."""
    return el(
        "svg",
        el("path", class_="track", d="M0 5.5h100v1H0z"),
        el(
            "rect",
            class_=f"fillbar {kind}",
            x=100 * start,
            width=max(100 * share, 0.4),
            y=1.0,
            height=10.0,
        )
        if share
        else None,
        tick(100 * mark) if mark is not None else None,
        viewBox="0 0 100 12",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def verdict_mark(verdict: str, words: str | None = None) -> Markup:
    """A shape, a colour and a word that all say the same."""
    known = verdict if verdict in _SHAPES else "inconclusive"
    shape = el(
        "svg", el("path", class_="fill", d=_SHAPES[known]), viewBox="0 0 12 12", aria_hidden="true"
    )
    return el("span", shape, words or WORDS.get(verdict, verdict), class_=f"mark {known}")
