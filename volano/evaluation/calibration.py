"""Temperature scaling: one number that makes a classifier's confidence mean what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volano.errors import DataError, shorten

__all__ = ["MAX_TEMPERATURE", "MIN_TEMPERATURE", "fit_temperature", "softmax"]

MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities from logits: ``softmax(logits / temperature)``, row by row.

    Args:
      logits: Shape (num_rows, num_classes), finite.
      temperature: Above 0. Above 1 softens, below 1 sharpens; the order of classes never changes.
    Returns:
      Shape (num_rows, num_classes), float64; each row sums to 1.
    Raises:
      DataError: Logits of another shape or not finite; a temperature that is not above 0.
    Example:
      >>> softmax([[0.0, 0.0]]).tolist()
      [[0.5, 0.5]]
    """
    logits_NC = _checked_logits(logits)
    if not (np.isfinite(temperature) and temperature > 0):
        raise DataError(
            422,
            f"the temperature is {shorten(temperature)}",
            where="softmax",
            expected="a finite number above 0",
            fix="use the number that fit_temperature returns, or 1.0",
        )
    scaled_NC = (logits_NC - logits_NC.max(axis=1, keepdims=True)) / temperature
    exp_NC = np.exp(scaled_NC)
    return np.asarray(exp_NC / exp_NC.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature under which held-out rows are most likely.

    With b = 1/T the mean negative log likelihood is

        L(b)  = mean_n( log sum_c exp(b z_nc) - b z_ny )            (convex in b)
        L'(b) = mean_n( E_p[z_n] - z_ny )                           (so L' never decreases)
        L''(b) = mean_n( Var_p[z_n] )

    and the minimum is found by Newton's method on L' inside a shrinking bracket: a step that would
    leave the bracket is replaced by bisection, so that it cannot diverge.

    When every row is right with room to spare, no temperature is too sharp and L' stays negative:
    the answer is then the bound, 0.05. Likewise 20 when the logits say nothing of the labels. Use
    rows that the model was not trained on; with a handful of wrong rows the number is loose.

    Args:
      logits: Shape (num_rows, num_classes), finite, num_rows >= 1.
      labels: Shape (num_rows,), int class codes. Classes that never occur are fine.
    Returns:
      A temperature from 0.05 to 20; 1.0 when the logits are flat, so that nothing can be learnt.
    Raises:
      DataError: Shapes that do not fit, no rows, logits that are not finite, a label out of range.
    Example:
      >>> round(fit_temperature([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]], [0, 0, 1]), 3)  # 2 / log 2
      2.885

    References:
      Guo, Pleiss, Sun, Weinberger, `On Calibration of Modern Neural Networks
      <https://arxiv.org/abs/1706.04599>`_, 2017. They use L-BFGS; one dimension needs none.
    """
    logits_NC = _checked_logits(logits)
    num_rows, num_classes = logits_NC.shape
    labels_N = checked_labels(labels, num_rows=num_rows, num_classes=num_classes)
    # Shifting a row by a constant changes neither L nor L'; it keeps exp() in range.
    logits_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    true_N = logits_NC[np.arange(num_rows), labels_N]
    if not np.any(logits_NC):
        return 1.0

    def slope_and_curvature(b: float) -> tuple[float, float]:
        exp_NC = np.exp(b * logits_NC)
        p_NC = exp_NC / exp_NC.sum(axis=1, keepdims=True)
        mean_N = (p_NC * logits_NC).sum(axis=1)
        variance_N = (p_NC * (logits_NC - mean_N[:, None]) ** 2).sum(axis=1)
        return float((mean_N - true_N).mean()), float(variance_N.mean())

    low, high = 1.0 / MAX_TEMPERATURE, 1.0 / MIN_TEMPERATURE
    # First the sharp end: where huge logits are all right, the slope is 0 at both.
    if slope_and_curvature(high)[0] <= 0:
        return MIN_TEMPERATURE
    if slope_and_curvature(low)[0] >= 0:
        return MAX_TEMPERATURE
    b = 1.0
    for _ in range(100):
        slope, curvature = slope_and_curvature(b)
        if slope < 0:
            low = b
        else:
            high = b
        step = b - slope / curvature if curvature > 0 else low
        # Bisect in log b: the bracket spans two and a half decades.
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - b) <= 1e-12 * b:
            break
        b = following
    return float(np.clip(1.0 / b, MIN_TEMPERATURE, MAX_TEMPERATURE))


def _checked_logits(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    logits_NC = np.asarray(logits, dtype=np.float64)
    if logits_NC.ndim != 2 or 0 in logits_NC.shape:
        raise DataError(
            420,
            f"the logits have shape {logits_NC.shape}",
            where="logits",
            expected="shape (num_rows, num_classes), with at least one row and one class",
            fix="pass one row of logits per row of data",
        )
    if not np.isfinite(logits_NC).all():
        row = int(np.flatnonzero(~np.isfinite(logits_NC).all(axis=1))[0])
        raise DataError(
            421,
            "the logits are not finite",
            where=f"logits, row {row}",
            expected="finite numbers",
            fix="train again with a lower learning rate, or in float32",
        )
    return logits_NC


def checked_labels(
    labels: npt.ArrayLike, *, num_rows: int, num_classes: int
) -> npt.NDArray[np.int64]:
    """Labels as int64 class codes of shape (num_rows,), or a DataError that says which are not."""
    labels_N: npt.NDArray[Any] = np.asarray(labels)
    if labels_N.shape != (num_rows,) or labels_N.dtype.kind not in "iu":
        raise DataError(
            401,
            f"the labels have shape {labels_N.shape} and type {labels_N.dtype}",
            where="labels",
            expected=f"shape ({num_rows},), one int class code per row",
            fix="encode the names as their positions in the list of names",
        )
    wrong_N = (labels_N < 0) | (labels_N >= num_classes)
    if wrong_N.any():
        row = int(np.flatnonzero(wrong_N)[0])
        raise DataError(
            402,
            f"the label is {labels_N[row]}",
            where=f"labels, row {row}",
            expected=f"a class code from 0 to {num_classes - 1}",
            fix="leave out rows whose class the model does not know, and count them",
        )
    return labels_N.astype(np.int64)
