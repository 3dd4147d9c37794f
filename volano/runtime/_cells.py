"""Cells of a table as columns take them: what a request must not hold, a table may."""

from __future__ import annotations

from volano.columns import FittedColumn
from volano.errors import RequestError

__all__ = ["read_cell"]


def read_cell(column: FittedColumn, value: str | None) -> object:
    """A cell as `predict` takes it.

    One that cannot be read counts as missing where the column knows missing values, as it does in
    training: a slip in one row must not cost a whole table its answers.

    Raises:
      RequestError: The column knows no missing values.
    """
    try:
        return column.check(value or "")
    except RequestError:
        return column.check(None)
