"""How good sets of names are, each measure with its 95% interval; and what decides a name.

    Jaccard index   |A and T| / |A or T|     of a row's answer A and truth T; 1 where both are empty
    F1              2 TP / (2 TP + FP + FN)  over all decisions (micro), or the mean over names that
                                             occur or are given (macro)
    Hamming loss    share of all decisions that are wrong

Tsoumakas and Katakis, `Multi-Label Classification: An Overview
<https://doi.org/10.4018/jdwm.2007070101>`_, 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from volano.evaluation.changes import ClassChange, holm
from volano.evaluation.gate import judge
from volano.evaluation.metrics import (
    CHUNK_ELEMENTS,
    PROBABILITY_FLOOR,
    ClassRow,
    Estimate,
    bias_corrected,
    equal_mass_bins,
    reliability_bins,
    wilson,
)
from volano.evaluation.ranking import average_precision, average_precisions

__all__ = [
    "choose_thresholds",
    "fit_label_temperature",
    "jaccard",
    "label_changes",
    "label_log_likelihood",
    "multilabel_report",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_SHOWN = 0.05
"""Probability from which a decision is drawn: nearly all names of nearly all rows are out of the
question, and would be all there is to see."""

PRIOR_POSITIVES = 10
"""Rows that have a name until which its own threshold counts less than the one of all names."""

GRID = np.round(np.arange(0.05, 0.951, 0.025), 3)
GRID_ELEMENTS = 4_000_000
PRECISION_RESAMPLES = 200


def jaccard(decisions_NK: Bools, truth_NK: Bools) -> Floats:
    """The Jaccard index of each row, shape (num_rows,).

    Example:
      >>> a = np.array([[True, True], [False, False]])
      >>> jaccard(a, np.array([[True, False], [False, False]])).tolist()
      [0.5, 1.0]
    """
    both_N = (decisions_NK & truth_NK).sum(axis=1)
    any_N = (decisions_NK | truth_NK).sum(axis=1)
    return np.asarray(np.where(any_N > 0, both_N / np.maximum(any_N, 1), 1.0), np.float64)


def label_log_likelihood(probabilities_NK: Floats, truth_NK: Bools) -> Floats:
    """Log likelihood of each row's whole set, names taken as independent; shape (num_rows,)."""
    right_NK = np.where(truth_NK, probabilities_NK, 1 - probabilities_NK)
    return np.asarray(np.log(np.maximum(right_NK, PROBABILITY_FLOOR)).sum(axis=1), np.float64)


def fit_label_temperature(logits_NK: npt.NDArray[Any], truth_NK: Bools) -> float:
    """The one temperature under which decisions are most likely, 0.05 to 20; see `fit_temperature`.

    The mean loss log(1 + exp(-s z / T)), with s = 1 for a name that applies and else -1, is convex
    in 1 / T, so that narrowing a bracket finds its least.
    """
    margins = np.where(truth_NK, 1.0, -1.0) * np.asarray(logits_NK, np.float64)
    if not margins.any() or truth_NK.all() or not truth_NK.any():
        return 1.0

    def loss(log_t: float) -> float:
        return float(np.logaddexp(0.0, -margins / np.exp(log_t)).mean())

    low, high = np.log(0.05), np.log(20.0)
    ratio = (5**0.5 - 1) / 2
    for _ in range(40):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        if loss(first) < loss(second):
            high = second
        else:
            low = first
    return float(np.exp((low + high) / 2))


def choose_thresholds(probabilities_NK: Floats, truth_NK: Bools) -> Floats:
    """The probability from which each name is in an answer, shape (num_names,).

    First the one for all names under which the mean Jaccard index is highest. Each name then has
    the threshold of its own best F1, drawn towards the common one where few rows have the name;
    unless that makes the index worse: then the common one stays.

    Args:
      probabilities_NK: Of rows that no model was fitted on; may be none, then 0.5.
      truth_NK: Which names apply.
    """
    num_rows, num_names = probabilities_NK.shape
    if not num_rows:
        return np.full(num_names, 0.5)
    every = max(1, -(-num_rows * num_names // GRID_ELEMENTS))
    some_NK, true_NK = probabilities_NK[::every], truth_NK[::every]
    worth = [float(jaccard(some_NK >= at, true_NK).mean()) for at in GRID]
    # Of equals the one nearest to a half: it asks for the least faith in the calibration.
    best = np.flatnonzero(np.array(worth) >= max(worth) - 1e-12)
    common = float(GRID[best[np.argmin(np.abs(GRID[best] - 0.5))]])
    own = np.full(num_names, common)
    for name in np.flatnonzero(truth_NK.any(axis=0)).tolist():
        found = _best_f1(probabilities_NK[:, name], truth_NK[:, name])
        weight = int(truth_NK[:, name].sum())
        own[name] = (weight * found + PRIOR_POSITIVES * common) / (weight + PRIOR_POSITIVES)
    better = jaccard(some_NK >= own, true_NK).mean() >= max(worth)
    return own if better else np.full(num_names, common)


def _best_f1(probability_N: Floats, truth_N: Bools) -> float:
    order = np.argsort(-probability_N, kind="stable")
    hits = np.cumsum(truth_N[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    ordered = probability_N[order]
    # Equal probabilities are on one side of any threshold.
    last = np.append(ordered[1:] != ordered[:-1], True)
    place = int(np.argmax(np.where(last, f1, -1.0)))
    below = ordered[place + 1] if place + 1 < len(ordered) else 0.0
    return float(np.clip((ordered[place] + below) / 2, 0.02, 0.98))


def multilabel_report(
    probabilities_NK: Floats,
    decisions_NK: Bools,
    truth_NK: Bools,
    names: Sequence[str],
    *,
    seed: int = 0,
    num_resamples: int = 1000,
) -> dict[str, Any]:
    """Everything there is to say about sets of names.

    Args:
      probabilities_NK: Of each name by itself.
      decisions_NK: Which names were given.
      truth_NK: Which apply.
      names: All of them; one that the model does not know has probability 0.
      seed: The same seed gives the same intervals.
      num_resamples: Of the bootstrap over rows.
    Returns:
      ``metrics``: ``jaccard``, ``f1_micro``, ``f1_macro``, ``subset_accuracy``, ``hamming_loss``,
      ``mean_average_precision`` (over names that some row has), ``log_loss`` (nats for the whole
      set of a row); ``per_class``; ``reliability``, of decisions of at least 5%. JSON-able.
    Example:
      >>> p = np.array([[0.9, 0.2], [0.4, 0.8]])
      >>> found = multilabel_report(p, p > 0.5, np.array([[1, 0], [1, 1]], bool), ["a", "b"])
      >>> found["metrics"]["jaccard"]["value"], round(found["metrics"]["f1_micro"]["value"], 3)
      (0.75, 0.8)
    """
    num_rows, num_names = truth_NK.shape
    rng = np.random.default_rng(seed)
    hit_NK = decisions_NK & truth_NK
    index_N = jaccard(decisions_NK, truth_NK)
    wrong_N = (decisions_NK != truth_NK).mean(axis=1) if num_names else np.zeros(num_rows)
    loss_N = -label_log_likelihood(probabilities_NK, truth_NK)
    parts_N3 = np.stack([index_N, wrong_N, loss_N], axis=1)
    counts_N3K = np.concatenate([hit_NK, decisions_NK, truth_NK], axis=1).astype(np.float32)

    def measured(times_BN: npt.NDArray[Any]) -> Floats:
        means_B3 = times_BN @ parts_N3 / num_rows
        sums = (times_BN.astype(np.float32) @ counts_N3K).astype(np.float64)
        hit_BK, given_BK, true_BK = np.split(sums, 3, axis=1)
        both_BK = given_BK + true_BK
        micro_B = 2 * hit_BK.sum(axis=1) / np.maximum(both_BK.sum(axis=1), 1)
        f1_BK = 2 * hit_BK / np.maximum(both_BK, 1)
        macro_B = f1_BK.sum(axis=1) / np.maximum((both_BK > 0).sum(axis=1), 1)
        return np.column_stack([means_B3, micro_B, macro_B])

    values = measured(np.ones((1, num_rows)))[0]
    chunk = max(1, CHUNK_ELEMENTS // max(num_rows, 3 * num_names))
    resampled = np.concatenate(
        [
            measured(_times(rng, min(chunk, num_resamples - done), num_rows))
            for done in range(0, num_resamples, chunk)
        ]
    )
    found = {
        name: bias_corrected(float(values[place]), resampled[:, place])
        for place, name in enumerate(("jaccard", "hamming_loss", "log_loss", "micro", "macro"))
    }
    metrics: dict[str, Estimate] = {
        "jaccard": found["jaccard"],
        "f1_micro": found["micro"],
        "f1_macro": found["macro"],
        "subset_accuracy": wilson(int((index_N == 1).sum()), num_rows),
        "hamming_loss": found["hamming_loss"],
    }
    ranked = _mean_average_precision(probabilities_NK, truth_NK, rng)
    if ranked:
        metrics["mean_average_precision"] = ranked
    metrics["log_loss"] = found["log_loss"]
    return {
        "num_rows": num_rows,
        "names": list(names),
        "metrics": {name: estimate.as_dict() for name, estimate in metrics.items()},
        "per_class": [
            asdict(_class_row(name, hit_NK[:, at], decisions_NK[:, at], truth_NK[:, at]))
            for at, name in enumerate(names)
        ],
        "reliability": _reliability(probabilities_NK, truth_NK),
        "labels_per_row": {
            "right": float(truth_NK.sum(axis=1).mean()),
            "given": float(decisions_NK.sum(axis=1).mean()),
            "none_right": int((~truth_NK.any(axis=1)).sum()),
            "none_given": int((~decisions_NK.any(axis=1)).sum()),
        },
    }


def _times(rng: np.random.Generator, size: int, num_rows: int) -> npt.NDArray[Any]:
    """How often each row is drawn in each of `size` resamples."""
    drawn = rng.integers(0, num_rows, size=(size, num_rows))
    drawn += np.arange(size)[:, None] * num_rows
    counted = np.bincount(drawn.ravel(), minlength=size * num_rows)
    return counted.reshape(size, num_rows).astype(np.float64)


def _mean_average_precision(
    probabilities_NK: Floats, truth_NK: Bools, rng: np.random.Generator
) -> Estimate | None:
    occur = np.flatnonzero(truth_NK.any(axis=0)).tolist()
    if not occur:
        return None
    value = float(
        np.mean([average_precision(probabilities_NK[:, at], truth_NK[:, at]) for at in occur])
    )
    # Each name needs its own order of the rows: fewer resamples than elsewhere.
    size = max(100, min(PRECISION_RESAMPLES, 20_000 // len(occur)))
    size = max(1, min(size, 8 * CHUNK_ELEMENTS // len(truth_NK)))
    times_BN = _times(rng, size, len(truth_NK))
    total_B, some_B = np.zeros(size), np.zeros(size)
    for at in occur:
        found_B = average_precisions(probabilities_NK[:, at], truth_NK[:, at], times_BN)
        # A resample without the name says nothing of it.
        there_B = np.isfinite(found_B)
        total_B += np.where(there_B, found_B, 0)
        some_B += there_B
    return bias_corrected(value, total_B[some_B > 0] / some_B[some_B > 0])


def _class_row(name: str, hit_N: Bools, given_N: Bools, truth_N: Bools) -> ClassRow:
    hits, given, support = int(hit_N.sum()), int(given_N.sum()), int(truth_N.sum())
    # F1 = 2J / (1 + J) rises with J = TP / (TP + FP + FN): so Wilson's interval of J carries over.
    both = wilson(hits, support + given - hits)
    f1 = Estimate(*(2 * end / (1 + end) for end in (both.value, both.low, both.high)))
    return ClassRow(name, support, given, wilson(hits, given), wilson(hits, support), f1)


def _reliability(probabilities_NK: Floats, truth_NK: Bools) -> list[dict[str, Any]]:
    shown = probabilities_NK >= LEAST_SHOWN
    if not shown.any():
        return []
    sure, right = probabilities_NK[shown], truth_NK[shown].astype(np.float64)
    return [asdict(item) for item in reliability_bins(sure, right, equal_mass_bins(sure))]


def label_changes(
    answers: Sequence[frozenset[str]],
    reference: Sequence[frozenset[str]],
    targets: Sequence[frozenset[str]],
) -> list[ClassChange]:
    """Recall of every name, candidate against reference, as `class_changes` gives it.

    Args:
      answers: Names that the candidate gives, row by row.
      reference: Those of the reference.
      targets: Those that apply.
    """
    found = []
    for name in sorted(frozenset().union(*targets)):
        right = [place for place, names in enumerate(targets) if name in names]
        mine = np.array([name in answers[place] for place in right], np.float64)
        theirs = np.array([name in reference[place] for place in right], np.float64)
        judged = judge(mine, theirs, alpha=0.05)
        found.append(
            ClassChange(
                name=name,
                support=len(right),
                before=float(theirs.mean()),
                after=float(mine.mean()),
                effect=judged.effect,
                low=judged.low,
                high=judged.high,
                num_better=judged.num_better,
                num_worse=judged.num_worse,
                given_before=sum(name in names for names in reference),
                given=sum(name in names for names in answers),
                p=min(1.0, 2 * min(judged.p_better, judged.p_worse)),
                adjusted_p=1.0,
            )
        )
    return sorted(holm(found), key=lambda change: (-abs(change.effect), -change.support))
