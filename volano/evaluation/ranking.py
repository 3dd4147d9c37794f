"""How well scores put rows in order: ROC AUC, average precision; and top-k accuracy.

    AUC = chance that a row of the class scores higher than one of the others (a tie counts half)
    AP  = sum over thresholds of (recall_i - recall_(i-1)) precision_i

Fawcett, `An Introduction to ROC Analysis <https://doi.org/10.1016/j.patrec.2005.10.010>`_, 2006.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["average_precision", "average_precisions", "ranking_metrics", "roc_auc"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CHUNK_ELEMENTS = 4_000_000  # of resampling weights held at once: 32 MB
TOP = (3, 5)
"""The k of top-k accuracy, where there are more classes than that."""


def _ordered(scores_N: Floats) -> tuple[Ints, Ints]:
    """Rows from the highest score to the lowest, and where each run of equal scores begins."""
    order = np.argsort(-scores_N, kind="stable")
    ordered = scores_N[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return order, first


def _both(
    order_N: Ints, first_G: Ints, positive_N: npt.NDArray[np.bool_], times_BN: npt.NDArray[Any]
) -> tuple[Floats, Floats]:
    """AUC and average precision, each row counted so many times; shapes (B,), NaN without both."""
    times_BN = times_BN[:, order_N].astype(np.float64)
    hits_BN = times_BN * positive_N[order_N]
    hits_BG = np.add.reduceat(hits_BN, first_G, axis=1)
    misses_BG = np.add.reduceat(times_BN, first_G, axis=1) - hits_BG
    above_BG = np.cumsum(hits_BG, axis=1)
    hits_B, misses_B = above_BG[:, -1], misses_BG.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A miss is beaten by all hits above it, and half by those it ties with.
        auc_B = (misses_BG * (above_BG - hits_BG / 2)).sum(axis=1) / (hits_B * misses_B)
        named_BG = above_BG + np.cumsum(misses_BG, axis=1)
        precision_BG = np.where(named_BG > 0, above_BG / np.maximum(named_BG, 1), 0)
        ap_B = (hits_BG * precision_BG).sum(axis=1) / hits_B
    return auc_B, ap_B


def roc_auc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Area under the ROC curve.

    Args:
      scores: Shape (num_rows,), higher for rows that look like the class.
      positive: Whether each row is of the class.
    Returns:
      0 to 1; NaN unless there are rows of both kinds.
    Example:
      >>> roc_auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
      0.75
    """
    return _one(scores, positive)[0]


def average_precision(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Area under the curve of precision over recall, in steps; as `roc_auc`.

    Example:
      >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [False, False, True, True]), 4)
      0.8333
    """
    return _one(scores, positive)[1]


def average_precisions(scores_N: Floats, positive_N: Any, times_BN: npt.NDArray[Any]) -> Floats:
    """`average_precision`, each row counted so many times; shape (B,), NaN without positives."""
    return _both(*_ordered(scores_N), np.asarray(positive_N, np.bool_), times_BN)[1]


def _one(scores: npt.ArrayLike, positive: npt.ArrayLike) -> tuple[float, float]:
    scores_N, positive_N = np.asarray(scores, np.float64), np.asarray(positive, np.bool_)
    if not len(scores_N):
        return float("nan"), float("nan")
    auc_B, ap_B = _both(*_ordered(scores_N), positive_N, np.ones((1, len(scores_N))))
    return float(auc_B[0]), float(ap_B[0])


def ranking_metrics(
    probabilities_NC: Floats, labels_N: Ints, rng: np.random.Generator, num_resamples: int
) -> dict[str, tuple[float, Floats]]:
    """Metrics of order with their bootstrap resamples.

    Args:
      probabilities_NC: Rows sum to 1.
      labels_N: Class codes.
      rng: Draws the resamples.
      num_resamples: How many.
    Returns:
      Name -> value and resamples, of proportions none: ``roc_auc`` and ``average_precision``, the
      mean over both classes, where there are two and both occur; ``top_3`` and ``top_5`` accuracy
      where there are more classes than that.
    """
    num_rows, num_classes = probabilities_NC.shape
    found: dict[str, tuple[float, Floats]] = {}
    if num_classes == 2 and len(np.unique(labels_N)) == 2:
        both = [(_ordered(probabilities_NC[:, code]), labels_N == code) for code in (1, 0)]

        def measured(times_BN: npt.NDArray[Any]) -> Floats:
            first, second = (_both(*ordered, mine, times_BN) for ordered, mine in both)
            return np.stack([first[0], (first[1] + second[1]) / 2])

        values = measured(np.ones((1, num_rows)))
        parts = []
        chunk = max(1, CHUNK_ELEMENTS // num_rows)
        for start in range(0, num_resamples, chunk):
            size = min(chunk, num_resamples - start)
            drawn = rng.integers(0, num_rows, size=(size, num_rows))
            drawn += np.arange(size)[:, None] * num_rows
            times_BN = np.bincount(drawn.ravel(), minlength=size * num_rows)
            parts.append(measured(times_BN.reshape(size, num_rows)))
        resampled = np.concatenate(parts, axis=1)
        for place, name in enumerate(("roc_auc", "average_precision")):
            # A resample without one of the classes has no order to speak of.
            fine = resampled[place][np.isfinite(resampled[place])]
            found[name] = (float(values[place, 0]), fine)
    right_N = probabilities_NC[np.arange(num_rows), labels_N]
    # Of equals the first counts as higher, as everywhere here.
    ahead_NC = probabilities_NC > right_N[:, None]
    equal_NC = probabilities_NC == right_N[:, None]
    before_NC = np.arange(num_classes) < labels_N[:, None]
    place_N = (ahead_NC | (equal_NC & before_NC)).sum(axis=1)
    for top in TOP:
        if num_classes > top:
            # A proportion, whose interval needs no resamples.
            found[f"top_{top}"] = (float((place_N < top).mean()), np.zeros(0))
    return found
