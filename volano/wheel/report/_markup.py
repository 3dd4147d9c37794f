"""HTML and SVG as values: what is not marked up already is escaped, always."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Child", "Markup", "data_text", "el", "raw"]

# Browsers refuse or hide these: C0 but for tab and newline, C1, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"br", "col", "link", "meta", "wbr"})
_JOINT = re.compile(r"(?<=[_/])(?=\w)")


class Markup(str):
    """Text that is HTML already. Only :func:`el` and :func:`raw` make it."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Sequence[Child] | None"


def el(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. Underscores in attributes become hyphens, and a last one is dropped.

    Args:
      tag: Its name.
      children: Strings are escaped unless they are `Markup`; sequences are flattened; None is left
        out.
      attributes: None and False are left out, True stands alone.
    Example:
      >>> el("p", "a < b", el("b", "!"), class_="note", hidden=False)
      '<p class="note">a &lt; b<b>!</b></p>'
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{_escape(_plain(value))}"')
    opened = f"<{' '.join(words)}>"
    return Markup(opened if tag in _VOID else f"{opened}{_inside(children)}</{tag}>")


def raw(*children: Child) -> Markup:
    """Several pieces in a row, without an element around them."""
    return Markup(_inside(children))


def data_text(text: object, limit: int | None = None) -> Markup:
    """A value from the data: kept apart from the page's writing direction, and cut when long.

    Example:
      >>> data_text("<script>")
      '<bdi>&lt;script&gt;</bdi>'
    """
    words = cut(str(text), limit) if limit else str(text)
    pieces = _JOINT.split(words)
    # snake_case and paths may be broken at their joints before they are broken anywhere.
    return el("bdi", [[el("wbr") if place else None, piece] for place, piece in enumerate(pieces)])


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis.

    Example:
      >>> cut("card_arrival", 8)
      'card_ar…'
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _inside(children: Sequence[Child]) -> str:
    return "".join(_child(child) for child in children)


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return str(child)
    if isinstance(child, str | int | float):
        return _escape(_plain(child))
    return _inside(child)


def _plain(value: str | float) -> str:
    if isinstance(value, float):
        # Coordinates: a tenth of a unit is finer than a screen, and keeps the file small.
        return f"{value:.1f}".removesuffix(".0").replace("-0", "0", value > -0.05)
    return str(value)


def _escape(text: str) -> str:
    return html.escape(_UNPRINTABLE.sub("\ufffd", text), quote=True)
