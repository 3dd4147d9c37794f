"""Exponential smoothing, the forecast that any model must beat, with constants that are fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["exponential_smoothing", "fit_smoothing"]

# Legend: N windows, W steps looked back at, H steps to come, K series.

Floats = NDArray[np.float64]
Constant = float | Floats

DAMPING = 0.98

SMOOTHINGS = (0.05, 0.2, 0.5, 0.9)
TRENDS = (0.0, 0.05)
SEASONALS = (0.0, 0.1, 0.4)

LIMITS = {
    "level": (0.001, 1.0),
    "trend": (0.0, 1.0),
    "seasonal": (0.0, 1.0),
    "damping": (0.8, 1.0),
}
STEPS = (0.1, 0.05, 0.02, 0.01)
"""How far a constant is moved, up and down, as long as that helps; then the next, finer step."""

MOST_ROUNDS = 6
"""Of each step."""


def exponential_smoothing(
    history_NWK: NDArray[Any],
    horizon: int,
    season: int,
    *,
    level: Constant,
    trend: Constant = 0.0,
    seasonal: Constant = 0.0,
    damping: Constant = DAMPING,
) -> Floats:
    """Holt and Winters' additive method with a damped trend: ETS(A, Ad, A), or (A, N, N) and so on.

        l' = a (y - s) + (1 - a) (l + d b)
        b' = B (l' - l) + (1 - B) d b
        s' = g (y - l') + (1 - g) s
        y(h) = l + (d + ... + d^h) b + s(h)

    The first season of the window starts it: its mean is the level, its deviations the season.

    Args:
      history_NWK: Windows.
      horizon: Steps to forecast.
      season: Steps of a season; seasonal parts are left out where two do not fit into a window.
      level: a, above 0 and up to 1; like the others one number, or one for each series.
      trend: B; 0 leaves the trend out.
      seasonal: g; 0 leaves the season out.
      damping: d.
    Returns:
      Shape (N, horizon, K).
    References:
      Hyndman, Athanasopoulos, `Forecasting: Principles and Practice
      <https://otexts.com/fpp3/holt-winters.html>`_, 2021.
    """
    values = np.asarray(history_NWK, np.float64)
    width = values.shape[1]
    a_K, b_K, g_K, d_K = (
        np.broadcast_to(np.asarray(item, np.float64), values.shape[2:])
        for item in (level, trend, seasonal, damping)
    )
    # Most is forgotten anyway: with a level of 0.05 a value weighs 0.6% a hundred steps later.
    width = min(width, max(100, 6 * season))
    values = values[:, -width:]
    cyclic = bool((g_K > 0).any()) and 1 < season <= width // 2
    begin = season if cyclic else 1
    # A series without a season has none to start with either.
    own = np.where(g_K > 0, 1.0, 0.0)
    first = values[:, :begin].mean(axis=1)
    l_NK = np.where(own > 0, first, values[:, begin - 1]) if cyclic else first
    seasons = [(values[:, at] - l_NK) * own for at in range(begin)] if cyclic else [0.0 * l_NK]
    b_NK = np.zeros_like(l_NK)
    for at in range(begin, width):
        y, s = values[:, at], seasons[at % begin]
        before = l_NK
        l_NK = a_K * (y - s) + (1 - a_K) * (before + d_K * b_NK)
        b_NK = np.where(b_K > 0, b_K * (l_NK - before) + (1 - b_K) * d_K * b_NK, 0.0)
        if cyclic:
            seasons[at % begin] = g_K * (y - l_NK) + (1 - g_K) * s
    grown_HK = np.cumsum(d_K ** np.arange(1, horizon + 1)[:, None], axis=0)
    found = l_NK[:, None] + grown_HK * b_NK[:, None]
    found += np.stack([seasons[(width + at) % begin] for at in range(horizon)], axis=1)
    return np.asarray(found)


def fit_smoothing(past: NDArray[Any], right: NDArray[Any], season: int) -> dict[str, Floats]:
    """The constants of each series under which its forecasts of some windows err least.

    The best of a coarse grid first; from there each constant is moved up and down by steps that
    become finer (a pattern search, Hooke and Jeeves 1961). All series move at once, each its own
    way. The error is that of the whole horizon, which is what the forecasts are judged by.

    Args:
      past: What is looked back at, (N, W, K).
      right: What came, (N, H, K); NaN where nothing was measured.
      season: Steps of a season.
    Returns:
      ``level``, ``trend``, ``seasonal`` and ``damping``, each of shape (K,).
    """
    num = past.shape[2]
    horizon = right.shape[1]

    def error(constants: dict[str, Floats]) -> Floats:
        made = exponential_smoothing(past, horizon, season, **constants)
        found: Floats = np.nanmean((made - right) ** 2, axis=(0, 1))
        return found

    best = np.full(num, np.inf)
    chosen = {name: np.zeros(num) for name in LIMITS}
    for level in SMOOTHINGS:
        for trend in TRENDS:
            for seasonal in SEASONALS if season > 1 else (0.0,):
                tried = dict(zip(LIMITS, (level, trend, seasonal, DAMPING), strict=True))
                best = _keep(chosen, {k: np.full(num, v) for k, v in tried.items()}, best, error)
    for step in STEPS:
        for _ in range(MOST_ROUNDS):
            before = best
            for name, (low, high) in LIMITS.items():
                if name == "seasonal" and season == 1:
                    continue
                for by in (step, -step):
                    moved = np.clip(chosen[name] + by, low, high)
                    best = _keep(chosen, {**chosen, name: moved}, best, error)
            if not (best < before * (1 - 1e-4)).any():
                break
    return chosen


def _keep(chosen: dict[str, Floats], tried: dict[str, Floats], best: Floats, error: Any) -> Floats:
    """Take what was tried where it is better, series by series; returns the errors by now."""
    found = error(tried)
    better = found < best
    for name, values in tried.items():
        chosen[name] = np.where(better, values, chosen[name])
    return np.where(better, found, best)
