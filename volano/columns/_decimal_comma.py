"""Numbers with a comma before their decimals, ``1.101,79``, as most of Europe writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["SIGNS", "has_decimal_commas", "with_point"]

SIGNS = re.compile(r"^([-+]?)\s*[$€£¥]\s*|\s*[%€]$")
_COMMA = re.compile(
    r"[-+]?(?:\d{1,3}(?:[.\u0020\u00a0\u202f]\d{3})+|\d*)(?:,\d+)?(?:[eE][-+]?\d+)?"
)
_GROUPS = re.compile(r"[.\u0020\u00a0\u202f]")


def with_point(cell: str) -> str:
    """A number with a decimal comma as all else reads numbers; other cells as they are.

    Example:
      >>> with_point("1.101,79"), with_point("3,5 €"), with_point("12.5"), with_point("none")
      ('1101.79', '3.5', '12.5', 'none')
    """
    text = SIGNS.sub(r"\1", cell.strip())
    if not any(map(str.isdigit, text)) or not _COMMA.fullmatch(text):
        return cell
    return _GROUPS.sub("", text).replace(",", ".")


def has_decimal_commas(present: Sequence[str], unreadable: Sequence[bool]) -> bool:
    """Whether most of the values that have a comma or a point are numbers by a comma alone.

    Args:
      present: Raw values, none of them missing.
      unreadable: Which of them are no numbers with a point before their decimals.
    """
    marked = sum("," in value or "." in value for value in present)
    only = sum(
        lost and with_point(value) != value for value, lost in zip(present, unreadable, strict=True)
    )
    return only > marked / 2
