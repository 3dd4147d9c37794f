"""How good forecasts are, and the simple ones that a model must beat.

Windows overlap: two forecasts that start an hour apart share all but one of their steps, and are
wrong together. So intervals are block bootstraps (Kunsch 1989), of blocks as long as the horizon,
and the gate compares forecasts that share no step. docs/decisions/0008-windows-are-not-rows.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.evaluation.metrics import Estimate
from volano.evaluation.smoothing import exponential_smoothing, fit_smoothing

__all__ = [
    "FORECAST_BASELINES",
    "block_bootstrap",
    "forecast_report",
    "seasonal_naive",
    "step_half_widths",
    "window_errors",
]

# Legend: N windows, W steps looked back at, H steps to come, K series.

Floats = NDArray[np.float64]

TRIED_WINDOWS = 200
"""Windows that the constants of exponential smoothing are fitted on."""

CHUNK_WINDOWS = 2048
SHOWN_FORECASTS = 4


def seasonal_naive(history_NWK: NDArray[Any], horizon: int, season: int) -> Floats:
    """What was one season ago; with a season of 1 the last value, for ever.

    Returns:
      Shape (N, horizon, K).
    Example:
      >>> seasonal_naive(np.array([[[1.0], [2.0], [3.0]]]), 4, 2)[0, :, 0].tolist()
      [2.0, 3.0, 2.0, 3.0]
    """
    season = min(season, history_NWK.shape[1])
    places = history_NWK.shape[1] - season + np.arange(horizon) % season
    return np.asarray(history_NWK[:, places], np.float64)


def _naive(train: Any, history: NDArray[Any], horizon: int, season: int) -> Floats:
    del train
    return seasonal_naive(history, horizon, season)


def _smoothed(train: Any, history: NDArray[Any], horizon: int, season: int) -> Floats:
    """Exponential smoothing, its constants fitted for each series on training windows."""
    past, right = train
    return exponential_smoothing(history, horizon, season, **fit_smoothing(past, right, season))


FORECAST_BASELINES: Mapping[str, Callable[[Any, NDArray[Any], int, int], Floats]] = {
    "seasonal_naive": _naive,
    "exponential_smoothing": _smoothed,
}
"""Each takes training windows (what is looked back at, what came), windows, horizon, season."""


def window_errors(predicted: NDArray[Any], right: NDArray[Any], power: int) -> Floats:
    """Mean error of each window over its measured steps and series, shape (N,).

    Args:
      predicted: Shape (N, H, K).
      right: The same shape, NaN where nothing was measured; at least one value for each window.
      power: 1 for absolute errors, 2 for squared ones.
    """
    parts = []
    for start in range(0, len(right), CHUNK_WINDOWS):
        part = slice(start, start + CHUNK_WINDOWS)
        error = np.abs(np.asarray(predicted[part], np.float64) - right[part]) ** power
        parts.append(np.nanmean(error.reshape(len(error), -1), axis=1))
    return np.concatenate(parts) if parts else np.zeros(0)


def step_half_widths(
    predicted: NDArray[Any], right: NDArray[Any], share: float
) -> list[list[float]] | None:
    """Half the width of the interval of each step of each series.

    Split conformal prediction step by step: the ceil((n + 1) share)-th smallest absolute error of
    n held-out windows. It holds for rows that are exchangeable; windows that overlap are not, and
    what `interval_coverage` says on golden windows is what to believe.

    Returns:
      By step, then by series; None with fewer windows than the level needs.
    """
    if len(right) == 0:
        return None
    widths = np.empty(right.shape[1:])
    for step in range(right.shape[1]):
        errors = np.abs(np.asarray(predicted[:, step], np.float64) - right[:, step])
        for place in range(errors.shape[1]):
            known = np.sort(errors[:, place][~np.isnan(errors[:, place])])
            rank = int(np.ceil((len(known) + 1) * share))
            if rank > len(known):
                return None
            widths[step, place] = known[rank - 1]
    rounded = [float(f"{width:.7g}") for width in widths.ravel().tolist()]
    found: list[list[float]] = np.array(rounded).reshape(widths.shape).tolist()
    return found


def block_bootstrap(
    table_NM: Floats, block: int, *, num_resamples: int = 1000, seed: int = 0
) -> Floats:
    """Means of resamples that keep windows together that overlap.

    Blocks of consecutive rows are drawn with replacement, going round at the end.

    Args:
      table_NM: What is averaged, one row per window, in order of time.
      block: Rows of a block.
      num_resamples: How many.
      seed: Of the draws.
    Returns:
      Shape (num_resamples, M).
    References:
      Kunsch, `The Jackknife and the Bootstrap for General Stationary Observations
      <https://doi.org/10.1214/aos/1176347265>`_, 1989; Politis, Romano, the circular form, 1992.
    """
    num_rows = len(table_NM)
    block = max(1, min(block, num_rows))
    round_NM = np.concatenate([table_NM, table_NM[: block - 1]])
    sums = np.concatenate([np.zeros((1, table_NM.shape[1])), np.cumsum(round_NM, axis=0)])
    blocks = sums[block:] - sums[:-block]
    drawn = np.random.default_rng(seed).integers(
        0, num_rows, (num_resamples, max(1, round(num_rows / block)))
    )
    means: Floats = blocks[drawn].mean(axis=1) / block
    return means


def forecast_report(
    predicted: NDArray[Any],
    right: NDArray[Any],
    *,
    series: tuple[str, ...],
    centres: NDArray[Any],
    spreads: NDArray[Any],
    naive_errors: NDArray[Any],
    half_widths: NDArray[Any] | None,
    times: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Everything there is to say about forecasts.

        mse, mae    on the fitted scale, over steps and series alike
        smape       mean of 2 |e| / (|y| + |p|), in the series' own units
        mase        mean over series of mean |e| / mean |y(t) - y(t - season)| of training rows
        pinball     mean over both ends of the interval of max(q e, (q - 1) e), e = y - end

    Args:
      predicted: On the fitted scale, (N, H, K), in order of time.
      right: The same, NaN where nothing was measured.
      series: Names of the K series.
      centres: Their scale.
      spreads: Their scale.
      naive_errors: What MASE is measured in, in the series' own units.
      half_widths: Of the 90% intervals, (H, K); None without any.
      times: The step at which each window begins, ascending; windows of several groups share one.
    Returns:
      ``metrics``, each with its 95% interval by blocks of one horizon; ``series``, errors of each
      by itself; ``steps``, errors by step; ``forecasts``, some of them in full; ``blocks``.
    References:
      Hyndman, Koehler, `Another look at measures of forecast accuracy
      <https://doi.org/10.1016/j.ijforecast.2006.03.001>`_, 2006.
    """
    num_windows, horizon, _ = right.shape
    tables: list[Floats] = []
    by_step = np.zeros((4, horizon))
    known_steps = np.zeros(horizon)
    by_series = np.zeros((2, len(series)))
    known_series = np.zeros(len(series))
    names = ["mse", "mae", "smape", "mase"]
    if half_widths is not None:
        names += ["pinball", "interval_coverage"]
    for start in range(0, num_windows, CHUNK_WINDOWS):
        part = slice(start, start + CHUNK_WINDOWS)
        p, y = np.asarray(predicted[part], np.float64), np.asarray(right[part], np.float64)
        error = p - y
        square, absolute = error**2, np.abs(error)
        own_p, own_y = p * spreads + centres, y * spreads + centres
        size = np.abs(own_p) + np.abs(own_y)
        smape = 2 * np.abs(own_p - own_y) / np.where(size > 0, size, 1.0)
        measured = [square, absolute, smape, absolute * spreads / naive_errors]
        if half_widths is not None:
            low, high = y - (p - half_widths), y - (p + half_widths)
            pinball = np.maximum(0.05 * low, -0.95 * low) + np.maximum(0.95 * high, -0.05 * high)
            covered = np.where(np.isnan(y), np.nan, absolute <= half_widths)
            measured += [pinball / 2, covered]
        tables.append(
            np.stack([np.nanmean(m.reshape(len(m), -1), axis=1) for m in measured], axis=1)
        )
        known = ~np.isnan(y)
        known_steps += known.sum(axis=(0, 2))
        known_series += known.sum(axis=(0, 1))
        by_step[0] += np.nansum(square, axis=(0, 2))
        by_step[1] += np.nansum(absolute, axis=(0, 2))
        if half_widths is not None:
            by_step[2] += np.nansum(measured[5], axis=(0, 2))
        by_series[0] += np.nansum(square, axis=(0, 1))
        by_series[1] += np.nansum(absolute, axis=(0, 1))
    table_NM = np.concatenate(tables)
    # A block holds the windows of all groups over one horizon.
    num_times = num_windows if times is None else len(np.unique(times))
    block = max(1, round(horizon * num_windows / num_times))
    resampled = block_bootstrap(table_NM, block)
    means = table_NM.mean(axis=0)
    metrics = {}
    for place, name in enumerate(names):
        low_end, high_end = np.quantile(resampled[:, place], (0.025, 0.975))
        metrics[name] = Estimate(float(means[place]), float(low_end), float(high_end)).as_dict()
    steps = {
        "mse": _rounded(by_step[0] / known_steps),
        "mae": _rounded(by_step[1] / known_steps),
    }
    if half_widths is not None:
        steps["interval_coverage"] = _rounded(by_step[2] / known_steps)
    return {
        "metrics": metrics,
        "num_windows": num_windows,
        "blocks": -(-num_times // horizon),
        "steps": steps,
        "series": [
            {
                "name": name,
                "mse": float(by_series[0, place] / known_series[place]),
                "mae": float(by_series[1, place] / known_series[place] * spreads[place]),
            }
            for place, name in enumerate(series)
        ],
        "forecasts": _some(predicted, right, series, centres, spreads, half_widths),
    }


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]


def _some(
    predicted: NDArray[Any],
    right: NDArray[Any],
    series: tuple[str, ...],
    centres: NDArray[Any],
    spreads: NDArray[Any],
    half_widths: NDArray[Any] | None,
) -> list[dict[str, Any]]:
    """A few forecasts of the first series in full, at even distances."""
    found = []
    last = len(right) - 1
    half = None if half_widths is None else half_widths[:, 0] * spreads[0]
    for row in np.unique(np.linspace(0, last, SHOWN_FORECASTS).astype(np.int64)).tolist():
        value = np.asarray(predicted[row, :, 0], np.float64) * spreads[0] + centres[0]
        came = np.asarray(right[row, :, 0], np.float64) * spreads[0] + centres[0]
        one: dict[str, Any] = {
            "row": row,
            "series": series[0],
            "predicted": _rounded(value),
            "right": [None if np.isnan(x) else float(f"{x:.5g}") for x in came.tolist()],
        }
        if half is not None:
            one |= {"low": _rounded(value - half), "high": _rounded(value + half)}
        found.append(one)
    return found
