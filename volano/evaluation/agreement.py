"""How far two models answer alike, row by row, whatever is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.evaluation.multilabel import jaccard

__all__ = ["agreement"]


def agreement(answers: NDArray[Any], others: NDArray[Any]) -> float:
    """1 where all rows are answered alike.

    Args:
      answers: Codes of names, int, (num_rows,): the share of rows with the same. Sets of names,
        bool, (num_rows, num_names): the mean Jaccard index. Numbers, float, (num_rows, ...): the
        part of the others' variance that differences leave, 1 - mean((a - b)^2) / var(b), at least
        0; what is NaN in either is left out.
      others: The other model's answers to the same rows, or what is right.

    Example:
      >>> agreement(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]))
      0.75
    """
    if not len(answers):
        return 1.0
    if answers.dtype.kind == "b":
        return float(jaccard(answers, np.asarray(others, bool)).mean())
    if answers.dtype.kind in "iu":
        return float((answers == others).mean())
    a, b = np.asarray(answers, np.float64), np.asarray(others, np.float64).reshape(answers.shape)
    known = ~(np.isnan(a) | np.isnan(b))
    if not known.any():
        return 1.0
    differences = float(np.square(a[known] - b[known]).mean())
    spread = float(b[known].var())
    if spread <= 0:
        return float(differences <= 0)
    return max(0.0, 1 - differences / spread)
