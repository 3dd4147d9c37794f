"""Which tokens a column's texts use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn, Ragged
from volano.columns.text import FittedText

__all__ = ["token_counts"]


def token_counts(column: FittedColumn, texts: Sequence[str]) -> NDArray[np.int64]:
    """How often each token of a text column occurs in some texts, int64, (num_tokens,)."""
    assert isinstance(column, FittedText)
    ids = column.encode(texts).arrays["ids"]
    assert isinstance(ids, Ragged)
    return np.bincount(ids.flat, minlength=column.num_tokens)
