"""Answers of any two bundles on the same rows, compared by name: their classes may differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["align_names", "scores_by_name"]

SMALLEST_PROBABILITY = 1e-7
"""A class that a bundle does not know has probability 0; its logarithm must stay finite."""


def align_names(
    probabilities: NDArray[np.float64], names: Sequence[str], targets: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64], tuple[str, ...]]:
    """Probabilities and labels over the names of the model and of the rows together.

    Args:
      probabilities: Of `names`, shape (num_rows, num_names).
      names: The model's classes.
      targets: The right name of each row; may be one that the model never saw.
    Returns:
      Probabilities over all names (0 for those the model lacks), label codes, and the names.
    """
    unseen = sorted(set(targets) - set(names))
    everything = (*names, *unseen)
    padded = np.pad(probabilities, ((0, 0), (0, len(unseen))))
    codes = {name: code for code, name in enumerate(everything)}
    labels = np.array([codes[target] for target in targets], np.int64)
    return padded, labels, everything


def scores_by_name(
    metric: str,
    probabilities: NDArray[np.float64],
    names: Sequence[str],
    targets: Sequence[str],
) -> NDArray[np.float64]:
    """One score per row, higher is better; shape (num_rows,).

    Args:
      metric: ``accuracy`` (1 where the most probable name is right) or ``log_loss`` (the logarithm
        of the right name's probability).
    """
    padded, labels, _ = align_names(probabilities, names, targets)
    if metric == "accuracy":
        result: NDArray[Any] = padded.argmax(axis=1) == labels
        return result.astype(np.float64)
    right = padded[np.arange(len(labels)), labels]
    return np.asarray(np.log(np.maximum(right, SMALLEST_PROBABILITY)))
