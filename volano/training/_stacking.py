"""Stacking: a linear or logistic regression on what the models of a turn answer.

    numbers:  b + sum over members of w y
    classes:  b + sum over members of w log softmax(z / T)

One weight for each member, whatever the number of classes, and one bias for each output: few
enough to be fitted on few rows. The weights are drawn to equal ones, as by a normal prior, so that
members that answer much alike share theirs.

Wolpert, `Stacked Generalization <https://doi.org/10.1016/S0893-6080(05)80023-1>`_, 1992; Breiman,
`Stacked Regressions <https://doi.org/10.1007/BF00117832>`_, 1996.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.models.ensemble import LEAST_LOG
from volano.spec import TrainSpec
from volano.training._descent import smooth_loss
from volano.training._ensemble import PARTS, Judge
from volano.training.boosted import huber_width

__all__ = ["Stack", "stack"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEIGHT_VARIANCE, BIAS_VARIANCE = 0.1, 1.0
"""Of the prior: how far a weight lies from an equal share, and a bias from 0."""

FEW_ROWS = 40
"""Rows under which nothing is fitted to them."""


@dataclass(frozen=True)
class Stack:
    """A fitted combination.

    Attributes:
      weights: One per member.
      temperatures: One per member.
      bias: One per output.
      expected: What is to be expected of it on each row, from weights that were fitted without the
        row; float32, shape (num_rows, num_outputs).
    """

    weights: Floats
    temperatures: tuple[float, ...]
    bias: Floats
    expected: NDArray[np.float32]


def stack(
    judge: Judge, targets: NDArray[Any], outputs: Sequence[NDArray[Any]], spec: TrainSpec
) -> Stack | None:
    """Fit the combination of some models.

    Args:
      judge: Rows that none of the models was fitted on.
      targets: Class codes, or numbers; shape (num_rows,).
      outputs: What each model answers to them, shape (num_rows, num_outputs).
      spec: Names the loss of numbers, and the seed that divides the rows.
    Returns:
      None with fewer than two models, or with too few rows.
    """
    if len(outputs) < 2 or len(judge.known) < FEW_ROWS:
        return None
    temperatures = tuple(judge.temperature(output) for output in outputs)
    values = np.stack(
        [
            _logs(np.asarray(output, np.float64) / temperature)
            if judge.classes
            else np.asarray(output, np.float64)
            for output, temperature in zip(outputs, temperatures, strict=True)
        ]
    )
    known = judge.known
    weights, bias = _fit(values[:, known], targets[known], spec, classes=judge.classes)
    expected = np.tensordot(weights, values, axes=1) + bias
    part = np.random.default_rng(spec.seed).permutation(len(known)) % PARTS
    for fold in range(PARTS):
        others, mine = known[part != fold], known[part == fold]
        w, b = _fit(values[:, others], targets[others], spec, classes=judge.classes)
        expected[mine] = np.tensordot(w, values[:, mine], axes=1) + b
    return Stack(weights, temperatures, bias, expected.astype(np.float32))


def _logs(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(np.maximum(logs, LEAST_LOG), np.float64)


def _fit(
    values_MNK: Floats, targets_N: NDArray[Any], spec: TrainSpec, *, classes: bool
) -> tuple[Floats, Floats]:
    """Weights, shape (M,), and biases, shape (K,)."""
    from scipy.optimize import minimize

    num_members, num_rows, num_outputs = values_MNK.shape
    mean_NK = values_MNK.mean(axis=0)
    unit, noise = 1.0, 1.0
    if classes:
        loss = smooth_loss("cross_entropy")
        wanted = targets_N
        base_NK = mean_NK
    else:
        # What the mean of the members leaves over, in the target's own deviations.
        unit = float(targets_N.std()) or 1.0
        wanted = (targets_N - mean_NK[:, 0]) / unit
        base_NK = np.zeros_like(mean_NK)
        name = spec.loss if spec.loss != "auto" else "squared"
        width = huber_width(targets_N) / unit if name == "huber" else 1.0
        loss = smooth_loss(name, quantile=spec.quantile, width=width)
        noise = float(wanted.var()) or 1.0
    # Logarithms need not sum to one share: together they say how sure to be.
    apart_MNK = values_MNK if classes else (values_MNK - mean_NK) / unit
    tight = noise / (num_rows * WEIGHT_VARIANCE), noise / (num_rows * BIAS_VARIANCE)

    def cost(flat: Floats) -> tuple[float, Floats]:
        a_M, b_K = flat[:num_members], flat[num_members:]
        # The equal share of the members is in the base.
        scores_NK = base_NK + np.tensordot(a_M, apart_MNK, axes=1) + b_K
        losses_N, slopes_NK = loss(scores_NK, wanted)
        slope_M = np.tensordot(apart_MNK, slopes_NK, axes=([1, 2], [0, 1])) / num_rows
        value = losses_N.mean() + 0.5 * (tight[0] * a_M @ a_M + tight[1] * b_K @ b_K)
        slope = np.concatenate([slope_M + tight[0] * a_M, slopes_NK.mean(axis=0) + tight[1] * b_K])
        return float(value), slope

    start = np.zeros(num_members + num_outputs)
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    a_M, b_K = found[:num_members], found[num_members:] * unit
    return 1 / num_members + (a_M if classes else a_M - a_M.mean()), b_K
