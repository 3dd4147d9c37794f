"""Linear models by stochastic gradient descent: any loss, L1 and L2, dense or sparse.

    w <- prox(w - rate (g_B(w) - g_B(s) + g(s)))      for batches B of the rows; s: w of last epoch
    prox(w) = sign(w) max(|w| - rate l1, 0)

The two last terms take the noise of a batch out of its step, so that the steps need not get
smaller and the weights come as near to the optimum as arithmetic allows.

Johnson and Zhang, `Accelerating Stochastic Gradient Descent using Predictive Variance Reduction
<https://papers.nips.cc/paper/4937>`_, 2013; Xiao and Zhang, `A Proximal Stochastic Gradient Method
with Progressive Variance Reduction <https://arxiv.org/abs/1403.4699>`_, 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Smooth", "descend", "smooth_loss"]

Floats = NDArray[np.float64]

Smooth = Callable[[Floats, NDArray[Any]], tuple[Floats, Floats]]
"""Outputs (N, K) and targets (N,), of names (N, K) -> the loss of each row (N,), its gradient by
the outputs."""

MAX_EPOCHS = 200
TOLERANCE = 1e-9
"""Largest change of a weight in an epoch, as a share of the largest weight, that ends the descent:
far below the 1e-7 that the float32 of a bundle can hold."""

LEAST_GAIN = 1e-15
"""Share of the loss by which an epoch must make it less, or the descent ends."""

MAX_BATCHES = 32
"""Of an epoch: more and smaller steps cost more in calls than they gain."""

DENSE_ELEMENTS = 20_000_000
BEND = 0.01
"""Half the width, in deviations of the target, over which absolute and quantile loss are rounded:
their tip has no gradient."""


def smooth_loss(
    name: str, *, quantile: float = 0.5, width: float = 1.0, positive: Floats | None = None
) -> Smooth:
    """A loss by its name.

    Args:
      name: ``squared`` (half the square), ``absolute``, ``huber``, ``quantile`` of numbers;
        ``cross_entropy`` or ``focal`` of class codes; ``binary`` cross-entropy of names that apply
        or not, 1 or 0 for each, summed over the names.
      quantile: The level of that loss.
      width: Where Huber's loss turns from squared to absolute.
      positive: Of the binary loss: what a name that applies counts.
    Example:
      >>> loss, gradient = smooth_loss("huber")(np.array([[3.0]]), np.array([0.0]))
      >>> loss.tolist(), gradient.tolist()
      ([2.5], [[1.0]])
    """

    def squared(outputs: Floats, targets: NDArray[Any]) -> tuple[Floats, Floats]:
        error = outputs[:, 0] - targets
        return error**2 / 2, error[:, None]

    def bent(outputs: Floats, targets: NDArray[Any]) -> tuple[Floats, Floats]:
        # Slopes -level and 1 - level, with a parabola of curvature 1 / (2 half) between them.
        error = outputs[:, 0] - targets
        half, level, size = BEND, 0.5, 2.0
        if name == "huber":
            half = width
            size = 2.0 * width
        elif name == "quantile":
            level, size = quantile, 1.0
        low, high = -2 * level * half, 2 * (1 - level) * half
        inside = np.clip(error, low, high)
        slope = inside / (2 * half)
        loss = inside * slope / 2 + (error - inside) * slope
        return size * loss, size * slope[:, None]

    def crossed(outputs: Floats, targets: NDArray[Any]) -> tuple[Floats, Floats]:
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        shares = np.exp(shifted)
        shares /= shares.sum(axis=1, keepdims=True)
        rows = np.arange(len(targets))
        right = np.maximum(shares[rows, targets], 1e-300)
        ours = np.zeros_like(shares)
        ours[rows, targets] = 1
        if name != "focal":
            return -np.log(right), shares - ours
        # -(1 - p)^2 log p; Lin et al., Focal Loss, 2017, with its gamma of 2.
        slope = 2 * (1 - right) * np.log(right) * right - (1 - right) ** 2
        return -((1 - right) ** 2) * np.log(right), slope[:, None] * (ours - shares)

    def decided(outputs: Floats, targets: NDArray[Any]) -> tuple[Floats, Floats]:
        counts = 1.0 if positive is None else np.where(targets > 0, positive, 1.0)
        losses = np.logaddexp(0.0, np.where(targets > 0, -outputs, outputs)) * counts
        chances = 1 / (1 + np.exp(-np.clip(outputs, -500, 500)))
        return losses.sum(axis=1), (chances - targets) * counts

    if name == "squared":
        return squared
    if name == "binary":
        return decided
    return crossed if name in ("cross_entropy", "focal") else bent


def descend(
    design_ND: Any,
    targets_N: NDArray[Any],
    loss: Smooth,
    num_outputs: int,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    row_weights: Floats | None = None,
    seed: int = 0,
    start: Floats | None = None,
) -> Floats:
    """The weights that make mean loss + l1 sum |w| + l2/2 sum w^2 least; a bias is not penalised.

    Args:
      design_ND: Shape (num_rows, num_columns), numpy or scipy CSR.
      targets_N: What `loss` takes.
      loss: See `smooth_loss`.
      num_outputs: K.
      l1: Of the weights.
      l2: Of the weights.
      row_weights: Weight of each row.
      seed: Decides the order of the rows.
      start: Weights to begin at; None: zeros.
    Returns:
      Weights, shape (num_columns + 1, num_outputs); the last row is the bias.
    """
    num_rows, num_columns = design_ND.shape
    if hasattr(design_ND, "toarray") and num_rows * num_columns <= DENSE_ELEMENTS:
        design_ND = design_ND.toarray()
    weight_N = np.ones(num_rows) if row_weights is None else np.asarray(row_weights, np.float64)
    penalised = np.ones((num_columns + 1, 1))
    penalised[-1] = 0
    size = max(1, -(-num_rows // MAX_BATCHES))
    rng = np.random.default_rng(seed)
    squares = design_ND.power(2) if hasattr(design_ND, "power") else design_ND**2
    norms = np.asarray(squares.sum(axis=1)).ravel() + 1
    # A batch bends as much as its rows do on average; a row alone as much as the largest.
    bend = float(norms.mean() + (norms.max() - norms.mean()) / size) + l2
    rate = 0.5 / bend

    def outputs(w: Floats, rows: Any) -> Floats:
        return np.asarray(design_ND[rows] @ w[:-1] + w[-1])

    def gradient(w: Floats, rows: Any) -> tuple[float, Floats]:
        values, slopes = loss(outputs(w, rows), targets_N[rows])
        slopes = slopes * weight_N[rows][:, None]
        count = len(values)
        part = np.asarray(design_ND[rows].T @ slopes) / count
        whole = np.concatenate([part, slopes.sum(axis=0)[None] / count])
        value = float((values * weight_N[rows]).mean())
        return value, whole + l2 * penalised * w

    def worth(value: float, w: Floats) -> float:
        inner = w[:-1]
        return value + l2 / 2 * float((inner**2).sum()) + l1 * float(np.abs(inner).sum())

    w = np.zeros((num_columns + 1, num_outputs)) if start is None else start.copy()
    everything = slice(None)
    value, full = gradient(w, everything)
    best = worth(value, w)
    for _ in range(MAX_EPOCHS):
        snapshot, mean = w.copy(), full
        order = rng.permutation(num_rows)
        for first in range(0, num_rows, size):
            rows = np.sort(order[first : first + size])
            step = gradient(w, rows)[1] - gradient(snapshot, rows)[1] + mean
            w = w - rate * step
            if l1:
                cut = np.sign(w) * np.maximum(np.abs(w) - rate * l1, 0)
                w = np.where(penalised > 0, cut, w)
        value, full = gradient(w, everything)
        found = worth(value, w)
        if not np.isfinite(found) or found > best + 1e-9 * abs(best):
            # Too long a step: back to where the epoch began, and on with half of it.
            w = snapshot
            value, full = gradient(w, everything)
            rate /= 2
            if rate * bend < 1e-6:
                break
            continue
        gain, best = best - found, min(best, found)
        if 0 <= gain < LEAST_GAIN * abs(best):
            break
        if np.abs(w - snapshot).max() <= TOLERANCE * max(1e-12, float(np.abs(w).max())):
            break
    return w
