"""How good predicted numbers are, each measure with its 95% interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from volano.errors import DataError
from volano.evaluation.metrics import Estimate

__all__ = ["conformal_half_width", "regression_report"]

CHUNK_ELEMENTS = 4_000_000
SHOWN_ROWS = 1000
"""Rows of the residual plot at the most."""

Floats = npt.NDArray[np.float64]


def regression_report(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    half_width: float | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
) -> dict[str, Any]:
    """Everything there is to say about predicted numbers.

        rmse = sqrt(mean e^2)    mae = mean |e|    r2 = 1 - sum e^2 / sum (y - mean y)^2

    with e = prediction - y. Intervals are percentile bootstraps over rows.

    Args:
      predictions: Shape (num_rows,), finite.
      targets: The right values, the same shape.
      half_width: Half the width of the intervals that go with the predictions, to be judged too.
      seed: The same seed gives the same intervals.
      num_resamples: Of the bootstrap.
    Returns:
      ``metrics``: ``rmse``, ``mae``, ``r2``, ``median_absolute_error``, ``mape`` (where no target
      is 0), ``bias``, and ``interval_coverage`` with a half width; and ``residuals``: prediction,
      target of up to 1,000 rows at even distances in the order of the predictions. JSON-able.
    Raises:
      DataError: No rows, shapes that differ, or values that are not finite.
    Example:
      >>> found = regression_report([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])
      >>> round(found["metrics"]["mae"]["value"], 4), found["metrics"]["r2"]["value"]
      (0.3333, 0.5)
    """
    predicted_N = np.asarray(predictions, np.float64)
    target_N = np.asarray(targets, np.float64)
    if predicted_N.shape != target_N.shape or predicted_N.ndim != 1 or not len(target_N):
        raise DataError(
            440,
            f"there are predictions of shape {predicted_N.shape} and targets of "
            f"shape {target_N.shape}",
            where="regression_report",
            expected="one finite prediction and one target per row, and at least one row",
        )
    if not (np.isfinite(predicted_N).all() and np.isfinite(target_N).all()):
        raise DataError(
            441,
            "a prediction or a target is not finite",
            where="regression_report",
            expected="finite numbers",
        )
    error_N = predicted_N - target_N
    # Without the mean: the squares of 1e9 and 1e9 + 1 do not differ in float64.
    centred_N = target_N - target_N.mean()
    parts = {
        "square": error_N**2,
        "absolute": np.abs(error_N),
        "error": error_N,
        "target": centred_N,
        "target_square": centred_N**2,
    }
    if (target_N != 0).all():
        parts["relative"] = np.abs(error_N / target_N)
    if half_width is not None:
        parts["covered"] = (np.abs(error_N) <= half_width).astype(np.float64)
    names = list(parts)
    table_NK = np.stack(list(parts.values()), axis=1)

    def measures(mean_BK: Floats) -> dict[str, Floats]:
        mean = dict(zip(names, mean_BK.T, strict=True))
        spread = mean["target_square"] - mean["target"] ** 2
        found = {
            "rmse": np.sqrt(mean["square"]),
            "mae": mean["absolute"],
            "r2": 1 - mean["square"] / np.where(spread > 0, spread, np.nan),
        }
        if "relative" in mean:
            found["mape"] = mean["relative"]
        found["bias"] = mean["error"]
        if "covered" in mean:
            found["interval_coverage"] = mean["covered"]
        return found

    num_rows = len(target_N)
    rng = np.random.default_rng(seed)
    resampled: list[Floats] = []
    medians: list[Floats] = []
    chunk = max(1, CHUNK_ELEMENTS // num_rows)
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        drawn = rng.integers(0, num_rows, size=(size, num_rows))
        times = np.apply_along_axis(np.bincount, 1, drawn, minlength=num_rows)
        resampled.append(times @ table_NK / num_rows)
        medians.append(np.median(parts["absolute"][drawn], axis=1))
    values = measures(table_NK.mean(axis=0)[None])
    spread_of = measures(np.concatenate(resampled))
    values["median_absolute_error"] = np.median(parts["absolute"])[None]
    spread_of["median_absolute_error"] = np.concatenate(medians)
    metrics = {}
    for name, value in values.items():
        if np.isnan(value[0]):
            continue  # every target is the same: there is nothing to explain
        low, high = np.nanquantile(spread_of[name], [0.025, 0.975])
        metrics[name] = Estimate(
            float(value[0]), float(min(low, value[0])), float(max(high, value[0]))
        ).as_dict()
    order = np.argsort(predicted_N, kind="stable")
    shown = order[np.unique(np.linspace(0, num_rows - 1, min(SHOWN_ROWS, num_rows)).astype(int))]
    return {
        "num_rows": num_rows,
        "metrics": metrics,
        "residuals": {
            "predicted": _digits(predicted_N[shown]),
            "target": _digits(target_N[shown]),
        },
    }


def _digits(values: Floats) -> Sequence[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def conformal_half_width(errors: npt.ArrayLike, coverage: float) -> float | None:
    """Half the width of an interval that holds the right value of a new row with this chance.

    The k-th smallest absolute error with k = ceil((n + 1) coverage), which is right for rows that
    are exchangeable with these, whatever the model and the distribution.

    Args:
      errors: Of rows that the model was not fitted on, shape (num_rows,).
      coverage: 0 to 1.
    Returns:
      The width, or None when there are too few rows for that coverage.
    Example:
      >>> conformal_half_width([1, -2, 3, -4, 5, 6, 7, 8, 9], 0.9)
      9.0
    """
    sizes = np.sort(np.abs(np.asarray(errors, np.float64)))
    # Rounded, since 0.9 times a multiple of ten may come out a little above a whole number.
    place = int(np.ceil(round((len(sizes) + 1) * coverage, 9)))
    return float(sizes[place - 1]) if 0 < place <= len(sizes) else None
