"""Linear forecasts in closed form: ridge from window to horizon, by the normal equation.

Nothing but products of windows with themselves and with what came is kept, so that memory does
not grow with the rows, and every penalty costs one small product more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit
from volano.columns.series import FittedSeries
from volano.models import ForecastContext, LinearForecast, stacked_windows
from volano.training._learner import Fit, Job

__all__ = ["Products", "fit_linear_forecast", "window_products"]

# Legend: N windows, K series, D = W + 1 + Z steps looked back at, the bias, and what else is known,
# H steps to come.

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the mean diagonal of the Gram matrix."""

POWERS = (2, 0)
"""Windows are weighted by this power of their deviation: 2 is the error as it is measured, 0 that
of the normalised window, under which quiet times count as much as wild ones."""

CHUNK_WINDOWS = 1024

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Products:
    """What ridge regression needs to know of windows, for each series.

    Attributes:
      gram: X' V X / N, shape (K, D, D), V the weights of the windows.
      cross: X' V Y / N, shape (K, D, H).
      square: sum of V Y^2 / N, shape (K,).
    """

    gram: Floats
    cross: Floats
    square: Floats

    def loss(self, weights_KDH: Floats) -> float:
        """Mean weighted squared error over series and steps.

        sum of V (Y - X W)^2 = square - 2 <W, cross> + <W, gram W>
        """
        inner = np.matmul(self.gram, weights_KDH) - 2 * self.cross
        total = self.square.sum() + float((weights_KDH * inner).sum())
        return float(total / (self.cross.shape[0] * self.cross.shape[2]))


def window_products(
    split: EncodedSplit,
    columns: tuple[str, ...],
    powers: tuple[int, ...] = POWERS,
    context: ForecastContext | None = None,
) -> dict[int, Products]:
    """Products of the normalised windows of a split, for each power of their deviation.

        x = [(w - m) / s, 1, z],   y = (f - m) / s,   weight s^power

    with w the window, m and s its mean and deviation, f what came, z what is known beside.
    Windows of which something that came is unknown are left out.
    """
    num_series = len(columns)
    assert split.num_rows
    width = stacked_windows(split, columns, slice(0, 1)).shape[2] + 1
    width += context.size if context else 0
    horizon = split.target[:1].shape[1]
    gram = {power: np.zeros((num_series, width, width)) for power in powers}
    cross = {power: np.zeros((num_series, width, horizon)) for power in powers}
    square = {power: np.zeros(num_series) for power in powers}
    count = np.zeros(num_series)
    for start in range(0, split.num_rows, CHUNK_WINDOWS):
        part = slice(start, start + CHUNK_WINDOWS)
        windows = stacked_windows(split, columns, part).astype(np.float64)
        came = np.asarray(split.target[part], np.float64)
        beside = context.array(split, part) if context else np.zeros((len(came), 0), np.float32)
        for place in range(num_series):
            known = ~np.isnan(came[:, :, place]).any(axis=1)
            w, y = windows[known, place], came[known, :, place]
            mean = w.mean(axis=1, keepdims=True)
            spread = w.std(axis=1, keepdims=True)
            # A window that never changes has no shape to learn from.
            moving = spread[:, 0] > 1e-6
            w, y, mean, spread = w[moving], y[moving], mean[moving], spread[moving]
            z = beside[known][moving]
            x = np.concatenate([(w - mean) / spread, np.ones_like(mean), z], axis=1)
            y = (y - mean) / spread
            count[place] += len(x)
            for power in powers:
                root = spread ** (power / 2)
                scaled, right = x * root, y * root
                gram[power][place] += scaled.T @ scaled
                cross[power][place] += scaled.T @ right
                square[power][place] += float((right**2).sum())
    count = np.maximum(count, 1)
    return {
        power: Products(
            gram[power] / count[:, None, None],
            cross[power] / count[:, None, None],
            square[power] / count,
        )
        for power in powers
    }


def ridge_maps(gram_DD: Floats, cross_DH: Floats, penalties: tuple[float, ...]) -> list[Floats]:
    """W = inv(G + a t I) C for several a, from one decomposition; t is the mean of G's diagonal."""
    values_D, vectors_DD = np.linalg.eigh(gram_DD)
    values_D = np.maximum(values_D, 0)
    scale = float(values_D.mean()) or 1.0
    rotated = vectors_DD.T @ cross_DH
    return [vectors_DD @ (rotated / (values_D + a * scale)[:, None]) for a in penalties]


def _maps(found: Products) -> dict[str, list[Floats]]:
    """One map for all series, and of several series one for each; for every penalty."""
    shared = ridge_maps(found.gram.mean(axis=0), found.cross.mean(axis=0), PENALTIES)
    maps = {"shared": [weights[None] for weights in shared]}
    if len(found.gram) > 1:
        own = [
            ridge_maps(gram, cross, PENALTIES)
            for gram, cross in zip(found.gram, found.cross, strict=True)
        ]
        maps["own"] = [np.stack(weights) for weights in zip(*own, strict=True)]
    return maps


def fit_linear_forecast(job: Job) -> Fit:
    """One map that all series share, and one for each: validation windows choose."""
    target = job.prepared.target
    assert isinstance(target, FittedSeries)
    train, validation = job.prepared.split("train"), job.prepared.split("validation")
    columns = target.columns
    context = ForecastContext.of(job.prepared.inputs, target)
    products = window_products(train, columns, context=context)
    job.step("linear forecast", 1, 3)
    judged = window_products(validation, columns, (2,), context)[2] if validation.num_rows else None
    job.step("linear forecast", 2, 3)
    best: tuple[float, Floats, dict[str, object]] | None = None
    tried = []
    plain = target.window + 1
    # With what is known beside the series, and without: it may say nothing, and only add noise.
    for size in dict.fromkeys((plain, plain + context.size)):
        for power, whole in products.items():
            found = Products(whole.gram[:, :size, :size], whole.cross[:, :size], whole.square)
            for kind, several in _maps(found).items():
                for penalty, weights in zip(PENALTIES, several, strict=True):
                    full = np.zeros((len(weights), plain + context.size, weights.shape[2]))
                    full[:, :size] = weights
                    everywhere = np.broadcast_to(full, (len(columns), *full.shape[1:]))
                    loss = judged.loss(everywhere) if judged else penalty
                    facts: dict[str, object] = {"map": kind, "power": power, "penalty": penalty}
                    if context.size:
                        facts["beside"] = size > plain
                    tried.append({**facts, "validation_loss": loss})
                    if best is None or loss < best[0]:
                        best = (loss, full, facts)
    assert best is not None
    chosen: NDArray[np.float32] = best[1].astype(np.float32)
    model = LinearForecast(
        columns, chosen[:, : plain - 1], chosen[:, plain - 1], chosen[:, plain:], context
    )
    job.step("linear forecast", 3, 3)
    outputs = model.outputs(validation)
    return Fit(model, outputs, {**best[2], "penalties": tried})
