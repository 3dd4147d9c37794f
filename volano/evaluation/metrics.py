"""How good a classifier is, each number with its 95% interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from volano.errors import DataError, nearest, shorten
from volano.evaluation.calibration import checked_labels
from volano.evaluation.ranking import ranking_metrics

__all__ = [
    "ClassRow",
    "ClassificationReport",
    "Estimate",
    "ReliabilityBin",
    "bias_corrected",
    "classification_report",
    "equal_mass_bins",
    "reliability_bins",
    "row_scores",
    "wilson",
]

# A float32 softmax cannot tell a smaller probability from 0. Without the floor one row at exactly
# 0 would make the mean infinite; with float64's floor (36 nats) it would still decide it alone.
PROBABILITY_FLOOR = 1e-7
MAX_BINS = 15
# A bin of 20 rows has a standard error of up to 0.11: fewer rows would measure noise.
MIN_ROWS_PER_BIN = 20
CHUNK_ELEMENTS = 4_000_000  # of resampling weights held at once: 32 MB
Z_95 = NormalDist().inv_cdf(0.975)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The three numbers, JSON-able."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ClassRow:
    """One class: how many rows have it, how many were given it, and how well that went."""

    name: str
    support: int
    predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of like confidence: calibrated when ``confidence`` and ``accuracy`` agree.

    ``low`` and ``high`` are the least and the greatest confidence in the bin.
    """

    low: float
    high: float
    num_rows: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class ClassificationReport:
    """All that :func:`classification_report` measures.

    Attributes:
      metrics: By name, in the order in which to show them.
      per_class: One per name, in the order of the names.
      confusion: Shape (num_classes, num_classes), int64; rows are the truth, columns the answer.
      reliability: Bins of rising confidence.
    """

    num_rows: int
    names: tuple[str, ...]
    metrics: dict[str, Estimate]
    per_class: tuple[ClassRow, ...]
    confusion: Ints
    reliability: tuple[ReliabilityBin, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as lists, dicts, strings and numbers, JSON-able."""
        return {
            "num_rows": self.num_rows,
            "names": list(self.names),
            "metrics": {name: estimate.as_dict() for name, estimate in self.metrics.items()},
            "per_class": [asdict(row) for row in self.per_class],
            "confusion": self.confusion.tolist(),
            "reliability": [asdict(row) for row in self.reliability],
        }


def classification_report(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    names: Sequence[str],
    *,
    seed: int = 0,
    num_resamples: int = 1000,
) -> ClassificationReport:
    """Everything there is to say about a classifier's answers on labelled rows.

    The answer for a row is its most probable class (the first of equals). With TP, FP and FN
    counted per class,

        precision = TP / (TP + FP)    recall = TP / (TP + FN)    F1 = 2 TP / (2 TP + FP + FN)

    and 0/0 counts as 0. Macro averages run over the classes that occur in the truth or among the
    answers, so that a class that these rows say nothing about neither helps nor harms. In
    single-label classification micro precision, recall and F1 are one number: accuracy.

    Intervals are of two kinds. A proportion (accuracy, and precision, recall and F1 of one class)
    gets Wilson's score interval: a bootstrap would call 20 right rows of 20 certain, [1, 1], and
    Wilson says [0.84, 1]. Macro averages and log loss get a bias-corrected percentile bootstrap
    over rows. Calibration error gets the pivotal bootstrap, cut at 0: noise only ever adds to it,
    in the rows and once more in their resamples, so that percentiles would lie above the truth.
    Its lower end is 0 when a perfectly calibrated model could well show as much by chance.
    The value itself stays the plain one, which is above 0 for a perfectly calibrated model too.

    Calibration error (ECE) and the reliability diagram use equal-mass bins: with equal widths, a
    good model puts most rows in the last bin and a noisy few in each other one. There are at most
    15 bins, and never so many that one would hold under 20 rows; equal confidences share a bin.

    Args:
      probabilities: Shape (num_rows, num_classes), each row sums to 1 (to within 0.001).
      labels: Shape (num_rows,), int class codes.
      names: The classes' names, by code.
      seed: The same seed gives the same intervals.
      num_resamples: Of the bootstrap; at least 100.
    Returns:
      The report; metrics ``accuracy``, ``f1_macro``, ``precision_macro``, ``recall_macro``,
      ``precision_micro``, ``recall_micro``, ``f1_micro``, ``log_loss`` (nats, probabilities
      floored at 1e-7) and ``calibration_error``; of two classes that both occur also ``roc_auc``
      and ``average_precision``, the mean over both; of more than 3 or 5 classes ``top_3`` and
      ``top_5``, the share of rows whose label is among the most probable 3 or 5.
    Raises:
      DataError: Shapes that do not fit, no rows, numbers that are not probabilities, a label out
        of range, fewer than 100 resamples.
    Example:
      >>> report = classification_report([[0.9, 0.1], [0.2, 0.8]], [0, 0], ["no", "yes"])
      >>> report.metrics["accuracy"].value, report.confusion.tolist()
      (0.5, [[1, 1], [0, 0]])

    References:
      Wilson, `Probable Inference, the Law of Succession, and Statistical Inference
      <https://doi.org/10.1080/01621459.1927.10502953>`_, 1927. Efron, `Nonparametric standard
      errors and confidence intervals <https://doi.org/10.2307/3314608>`_, 1981 (the correction).
      Bröcker, Smith, `Increasing the Reliability of Reliability Diagrams
      <https://doi.org/10.1175/WAF993.1>`_, 2007 (what a calibrated model shows by chance).
      Roelofs et al., `Mitigating Bias in Calibration Error Estimation
      <https://arxiv.org/abs/2012.08668>`_, 2022 (equal-mass bins).
    """
    names = tuple(names)
    probabilities_NC = _checked_probabilities(probabilities, num_classes=len(names))
    num_rows, num_classes = probabilities_NC.shape
    labels_N = checked_labels(labels, num_rows=num_rows, num_classes=num_classes)
    if num_resamples < 100:
        raise DataError(
            405,
            f"num_resamples is {num_resamples}",
            where="classification_report",
            expected="at least 100, or the ends of a 95% interval cannot be told",
            fix="num_resamples=1000",
        )
    answers_N = probabilities_NC.argmax(axis=1)
    confusion_CC = np.bincount(
        labels_N * num_classes + answers_N, minlength=num_classes * num_classes
    ).reshape(num_classes, num_classes)
    right_N = (answers_N == labels_N).astype(np.float64)
    confidence_N = probabilities_NC.max(axis=1)
    bin_N = equal_mass_bins(confidence_N)
    log_loss_N = -row_scores(probabilities_NC, labels_N, "log_loss")

    rng = np.random.default_rng(seed)
    accuracy = wilson(int(right_N.sum()), num_rows)
    log_loss, calibration_error = _row_estimates(
        log_loss_N, confidence_N, right_N, bin_N, rng, num_resamples
    )
    return ClassificationReport(
        num_rows=num_rows,
        names=names,
        metrics={
            "accuracy": accuracy,
            **_macro_estimates(confusion_CC, rng, num_resamples),
            "precision_micro": accuracy,
            "recall_micro": accuracy,
            "f1_micro": accuracy,
            "log_loss": log_loss,
            "calibration_error": calibration_error,
            **_ranking(probabilities_NC, labels_N, seed, num_resamples),
        },
        per_class=_class_rows(confusion_CC, names),
        confusion=confusion_CC,
        reliability=reliability_bins(confidence_N, right_N, bin_N),
    )


def row_scores(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, metric: str = "accuracy"
) -> Floats:
    """A score for each row, higher is better: what the gate's paired tests compare.

    Args:
      probabilities: Shape (num_rows, num_classes), each row sums to 1.
      labels: Shape (num_rows,), int class codes.
      metric: ``accuracy``: 1 when the most probable class is the label, else 0. ``log_loss``: the
        log of the label's probability, floored at 1e-7 (so from -16.1 to 0; the *loss* is its
        negative).
    Returns:
      Shape (num_rows,), float64.
    Raises:
      DataError: An unknown metric; the conditions of :func:`classification_report`.
    Example:
      >>> row_scores([[0.9, 0.1], [0.2, 0.8]], [0, 0], "accuracy").tolist()
      [1.0, 0.0]
    """
    known = ("accuracy", "log_loss")
    if metric not in known:
        raise DataError(
            404,
            f"the metric is {shorten(metric)}",
            where="row_scores",
            expected=f"one of {', '.join(known)}",
            nearest=nearest(metric, known),
            fix='metric="accuracy"',
        )
    probabilities_NC = _checked_probabilities(probabilities)
    num_rows, num_classes = probabilities_NC.shape
    labels_N = checked_labels(labels, num_rows=num_rows, num_classes=num_classes)
    if metric == "accuracy":
        right_N: Floats = (probabilities_NC.argmax(axis=1) == labels_N).astype(np.float64)
        return right_N
    true_N = probabilities_NC[np.arange(num_rows), labels_N]
    return np.asarray(np.log(np.clip(true_N, PROBABILITY_FLOOR, 1.0)), dtype=np.float64)


def _checked_probabilities(
    probabilities: npt.ArrayLike, *, num_classes: int | None = None
) -> Floats:
    probabilities_NC = np.asarray(probabilities, dtype=np.float64)
    if (
        probabilities_NC.ndim != 2
        or 0 in probabilities_NC.shape
        or num_classes not in (None, probabilities_NC.shape[1])
    ):
        columns = "num_classes" if num_classes is None else str(num_classes)
        raise DataError(
            400,
            f"the probabilities have shape {probabilities_NC.shape}",
            where="probabilities",
            expected=f"shape (num_rows, {columns}), with at least one row and one class",
            fix="pass one row per labelled row and one column per name",
        )
    # NaN compares false, so it is caught here too.
    fine_N = (probabilities_NC >= 0).all(axis=1)
    fine_N &= np.abs(probabilities_NC.sum(axis=1) - 1.0) <= 1e-3
    if not fine_N.all():
        row = int(np.flatnonzero(~fine_N)[0])
        raise DataError(
            403,
            f"the row is {shorten(probabilities_NC[row].tolist())}",
            where=f"probabilities, row {row}",
            expected="numbers of at least 0 that sum to 1",
            fix="pass logits through volano.evaluation.softmax first",
        )
    return probabilities_NC


def wilson(num_hits: int, num_trials: int) -> Estimate:
    """Wilson's 95% interval of a proportion; of nothing at all, the value 0 and all of [0, 1]."""
    if num_trials == 0:
        return Estimate(0.0, 0.0, 1.0)
    value = num_hits / num_trials
    # centre = (p + z^2/2n) / (1 + z^2/n),  half = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n)
    spread = Z_95 * Z_95 / num_trials
    centre = (value + spread / 2) / (1 + spread)
    half = Z_95 * math.sqrt(value * (1 - value) / num_trials + spread / (4 * num_trials))
    half /= 1 + spread
    # At 0 and at 1 the ends equal the value, but for rounding.
    low = 0.0 if num_hits == 0 else centre - half
    high = 1.0 if num_hits == num_trials else centre + half
    return Estimate(value, low, high)


def _class_rows(confusion_CC: Ints, names: tuple[str, ...]) -> tuple[ClassRow, ...]:
    rows = []
    for code, name in enumerate(names):
        hits = int(confusion_CC[code, code])
        support, predicted = int(confusion_CC[code].sum()), int(confusion_CC[:, code].sum())
        # F1 = 2J / (1 + J) rises with J = TP / (TP + FP + FN), a proportion of the rows that
        # concern the class at all: so Wilson's interval of J carries over.
        jaccard = wilson(hits, support + predicted - hits)
        f1 = Estimate(*(2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high)))
        precision, recall = wilson(hits, predicted), wilson(hits, support)
        rows.append(ClassRow(name, support, predicted, precision, recall, f1))
    return tuple(rows)


def _macro_estimates(
    confusion_CC: Ints, rng: np.random.Generator, num_resamples: int
) -> dict[str, Estimate]:
    """Macro precision, recall and F1 with bootstrap intervals.

    They depend on the rows through the confusion matrix only, and resampling rows with
    replacement makes its cells multinomial: so the cells are drawn, not the rows.
    """
    num_rows, num_classes = int(confusion_CC.sum()), len(confusion_CC)
    truth_K, answer_K = np.nonzero(confusion_CC)
    count_K = confusion_CC[truth_K, answer_K]
    num_cells = len(count_K)

    def macros(cells_BK: npt.NDArray[Any]) -> Floats:
        hit_BC = np.zeros((len(cells_BK), num_classes))
        truth_BC, answer_BC = hit_BC.copy(), hit_BC.copy()
        for k in range(num_cells):
            truth_BC[:, truth_K[k]] += cells_BK[:, k]
            answer_BC[:, answer_K[k]] += cells_BK[:, k]
            if truth_K[k] == answer_K[k]:
                hit_BC[:, truth_K[k]] += cells_BK[:, k]
        num_occurring_B = np.maximum(((truth_BC + answer_BC) > 0).sum(axis=1), 1)
        # Where the denominator is 0 so is the numerator: 0/1 is the 0 that 0/0 counts as.
        parts = (
            hit_BC / np.maximum(answer_BC, 1),
            hit_BC / np.maximum(truth_BC, 1),
            2 * hit_BC / np.maximum(truth_BC + answer_BC, 1),
        )
        return np.stack([part.sum(axis=1) / num_occurring_B for part in parts], axis=1)

    values = macros(count_K[None, :])[0]
    chunk = max(1, CHUNK_ELEMENTS // max(num_cells, num_classes))
    resampled_B3 = np.concatenate(
        [
            macros(
                rng.multinomial(num_rows, count_K / num_rows, size=min(chunk, num_resamples - n))
            )
            for n in range(0, num_resamples, chunk)
        ]
    )
    estimates = {}
    for column, name in enumerate(("precision_macro", "recall_macro", "f1_macro")):
        estimate = bias_corrected(float(values[column]), resampled_B3[:, column])
        if np.array_equal(truth_K, answer_K):
            # No row is wrong, so no resample can be: [1, 1]. Wilson knows how little that is.
            estimate = wilson(num_rows, num_rows)
        estimates[name] = estimate
    return {name: estimates[name] for name in ("f1_macro", "precision_macro", "recall_macro")}


def _ranking(
    probabilities_NC: Floats, labels_N: Ints, seed: int, num_resamples: int
) -> dict[str, Estimate]:
    """Metrics of order. From a generator of their own: the other intervals stay as they were."""
    rng = np.random.default_rng([seed, 1])
    found = {}
    for name, (value, resampled_B) in ranking_metrics(
        probabilities_NC, labels_N, rng, num_resamples
    ).items():
        if name.startswith("top_"):
            num_rows = len(labels_N)
            found[name] = wilson(round(value * num_rows), num_rows)
        elif len(resampled_B):
            found[name] = bias_corrected(value, resampled_B)
    return found


def _row_estimates(
    log_loss_N: Floats,
    confidence_N: Floats,
    right_N: Floats,
    bin_N: Ints,
    rng: np.random.Generator,
    num_resamples: int,
) -> tuple[Estimate, Estimate]:
    """Mean log loss, and ECE = sum over bins of |sum of (confidence - right)| / num_rows."""
    num_rows, num_bins = len(log_loss_N), int(bin_N.max()) + 1
    parts_NK = np.zeros((num_rows, 1 + num_bins))
    parts_NK[:, 0] = log_loss_N
    parts_NK[np.arange(num_rows), 1 + bin_N] = confidence_N - right_N
    in_bin_NK = np.eye(num_bins)[bin_N]

    def both(sums_BK: Floats) -> Floats:
        ece_B = np.abs(sums_BK[:, 1:]).sum(axis=1)
        return np.stack([sums_BK[:, 0], ece_B], axis=1) / num_rows

    values = both(parts_NK.sum(axis=0, keepdims=True))[0]
    chunk = max(1, CHUNK_ELEMENTS // num_rows)
    resampled, calibrated = [], []
    for n in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - n)
        # How often each row is drawn: integers counted are faster than a multinomial over rows.
        drawn = rng.integers(0, num_rows, size=(size, num_rows))
        drawn += np.arange(size)[:, None] * num_rows
        times_BN = np.bincount(drawn.ravel(), minlength=size * num_rows).reshape(size, num_rows)
        resampled.append(both(times_BN @ parts_NK))
        # The same confidences, right exactly as often as they say.
        lucky_BN = rng.random((size, num_rows)) < confidence_N
        gaps_BK = (confidence_N - lucky_BN) @ in_bin_NK
        calibrated.append(np.abs(gaps_BK).sum(axis=1) / num_rows)
    resampled_B2 = np.concatenate(resampled)
    error = _pivotal(float(values[1]), resampled_B2[:, 1])
    if error.value <= np.quantile(np.concatenate(calibrated), 0.975):
        error = Estimate(error.value, 0.0, error.high)
    return (
        bias_corrected(float(values[0]), resampled_B2[:, 0]),
        error,
    )


def bias_corrected(value: float, resampled_B: Floats) -> Estimate:
    """Efron's bias-corrected percentile interval: BCa with no acceleration.

    z0 = Phi^-1(share of resamples below the value),  ends at Phi(2 z0 -+ 1.96)
    """
    num_resamples = len(resampled_B)
    below = float((resampled_B < value).sum() + 0.5 * (resampled_B == value).sum())
    # Kept off 0 and 1, where z0 would be infinite.
    share = min(max(below, 0.5), num_resamples - 0.5) / num_resamples
    normal = NormalDist()
    z0 = normal.inv_cdf(share)
    levels = [normal.cdf(2 * z0 - Z_95), normal.cdf(2 * z0 + Z_95)]
    low, high = (float(end) for end in np.quantile(resampled_B, levels))
    # With rare classes a macro average can lie beyond all of its resamples.
    return Estimate(value, min(low, value), max(high, value))


def _pivotal(value: float, resampled_B: Floats) -> Estimate:
    """The pivotal (or basic) interval of a number in [0, 1]: [2v - q97.5, 2v - q2.5].

    It takes the resamples' distance from the value for the value's distance from the truth, bias
    included.
    """
    near, far = (float(end) for end in np.quantile(resampled_B, [0.025, 0.975]))
    low, high = max(0.0, 2 * value - far), min(1.0, 2 * value - near)
    return Estimate(value, min(low, value), max(high, value))


def equal_mass_bins(confidence_N: Floats) -> Ints:
    """The bin of each row, 0, 1, ... without gaps, in the order of confidence."""
    num_bins = min(MAX_BINS, max(1, len(confidence_N) // MIN_ROWS_PER_BIN))
    # Only the inner edges; equal confidences stay together, so equal edges make one bin.
    edges = np.unique(np.quantile(confidence_N, np.arange(1, num_bins) / num_bins))
    raw_N = np.searchsorted(edges, confidence_N, side="right")
    return np.unique(raw_N, return_inverse=True)[1].astype(np.int64)


def reliability_bins(
    confidence_N: Floats, right_N: Floats, bin_N: Ints
) -> tuple[ReliabilityBin, ...]:
    bins = []
    for code in range(int(bin_N.max()) + 1):
        inside_N = bin_N == code
        confidence_M = confidence_N[inside_N]
        bins.append(
            ReliabilityBin(
                low=float(confidence_M.min()),
                high=float(confidence_M.max()),
                num_rows=len(confidence_M),
                confidence=float(confidence_M.mean()),
                accuracy=wilson(int(right_N[inside_N].sum()), len(confidence_M)),
            )
        )
    return tuple(bins)
