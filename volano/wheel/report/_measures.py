"""How each metric is written, whatever the task; and what the gate compared, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volano.evaluation import evaluator
from volano.wheel.report._evidence import Evidence, Interval, mapping
from volano.wheel.report._format import THIN, count, figures, percent, plural, points, signed

__all__ = [
    "ABOUT",
    "Judged",
    "Measure",
    "compared_by",
    "headline",
    "judged",
    "measure",
    "measures_of",
    "selected_by",
]

Write = Callable[[float], str]


@dataclass(frozen=True)
class Measure:
    """A metric of a report.

    Attributes:
      title: Its name.
      meaning: What it is, in a few words.
      write: A value as a person reads it.
      short: Its name in the head of a table's column.
      card: Its name on the card at the top, where it is the headline.
      top: The end of a bar, from the values that are drawn and the number of classes; None where a
        bar says nothing.
      ends: The two ends of an interval after the value, briefly.
      share: Whether it is a share, whose differences are percentage points.
    """

    title: str
    meaning: str
    write: Write
    short: str
    card: str
    top: Callable[[Sequence[float], int], float] | None
    ends: Callable[[float, float], str]
    share: bool = False

    def difference(self, ours: float, theirs: float) -> str:
        """How much more or less than another value."""
        if self.share:
            return points(ours - theirs)
        return signed((ours / theirs - 1) * 100, 1) + f"{THIN}%" if theirs else "–"


def _whole(values: Sequence[float], classes: int) -> float:
    del values, classes
    return 1.0


def _largest(values: Sequence[float], classes: int) -> float:
    del classes
    return max((abs(value) for value in values), default=1.0) * 1.04 or 1.0


def _guess(values: Sequence[float], classes: int) -> float:
    # What a guess without looking costs: the natural end of the scale.
    return max(math.log(max(classes, 2)), *values)


def _share(title: str, meaning: str, *, card: str | None = None, short: str = "") -> Measure:
    return Measure(
        title,
        meaning,
        percent,
        short or title.lower(),
        card or title,
        _whole,
        lambda low, high: f"{100 * low:.1f} to {100 * high:.1f}",
        share=True,
    )


def _number(
    title: str,
    meaning: str,
    write: Write = figures,
    *,
    short: str = "",
    card: str | None = None,
    top: Callable[[Sequence[float], int], float] | None = _largest,
) -> Measure:
    return Measure(
        title,
        meaning,
        write,
        short or title.lower(),
        card or title,
        top,
        lambda low, high: f"{write(low)} to {write(high)}",
    )


def _three(value: float) -> str:
    return signed(value, 3).removeprefix("+")


MEASURES: Mapping[str, Measure] = {
    "accuracy": _share("Accuracy", "share of the rows answered rightly", card="Right answers"),
    "jaccard": _share(
        "Jaccard index",
        "of the labels given or right, the share that are both; mean over the rows",
        card="Right labels (Jaccard index)",
    ),
    "f1_micro": _share(
        "F1, over all decisions", "precision and recall in one; each label of a row"
    ),
    "subset_accuracy": _share(
        "Exactly right", "share of the rows whose labels are all right, with none too many"
    ),
    "hamming_loss": Measure(
        "Hamming loss",
        "share of all decisions, one for each label and row, that are wrong",
        lambda value: percent(value, 2),
        "Hamming loss",
        "Wrong decisions",
        _largest,
        lambda low, high: f"{100 * low:.2f} to {100 * high:.2f}",
        share=True,
    ),
    "mean_average_precision": _number(
        "Mean average precision",
        "precision over all thresholds, mean over the labels; 1 is perfect",
        _three,
        top=_whole,
    ),
    "roc_auc": _number(
        "ROC AUC",
        "chance that a row of a class is ranked above one that is not of it; 0.5 is a coin",
        _three,
        short="ROC AUC",
        top=_whole,
    ),
    "average_precision": _number(
        "Average precision", "precision over all thresholds; 1 is perfect", _three, top=_whole
    ),
    "f1_macro": _share("F1, mean of the classes", "precision and recall in one; each counts alike"),
    "precision_macro": _share(
        "Precision, mean of the classes", "of the rows given a class, the share that have it"
    ),
    "recall_macro": _share(
        "Recall, mean of the classes", "of the rows that have a class, the share that got it"
    ),
    "log_loss": _number(
        "Log loss", "0 is perfect; punishes sure mistakes most", lambda v: f"{v:.3f}", top=_guess
    ),
    "calibration_error": Measure(
        "Calibration error",
        "0 is perfect; gap between how sure and how often right",
        percent,
        "calibration error",
        "Calibration error",
        lambda values, classes: max(0.2, *values),
        lambda low, high: f"{100 * low:.1f} to {100 * high:.1f}",
        share=True,
    ),
    "mse": _number(
        "Mean squared error",
        "on the fitted scale, where 1 is the variance of a series over the training rows",
        short="MSE",
    ),
    "rmse": _number(
        "RMSE",
        "root of the mean squared error: the size of an error, large ones weighing most",
        short="RMSE",
        card="Typical error (RMSE)",
    ),
    "mae": _number(
        "Mean absolute error", "how far off an answer is on average", card="Mean absolute error"
    ),
    "median_absolute_error": _number(
        "Median absolute error", "half of the answers are nearer than this"
    ),
    "r2": _number(
        "R²",
        "share of the target's variance that is explained; 0 is the mean's, 1 is perfect",
        _three,
        short="R²",
        top=None,
    ),
    "mape": Measure(
        "Mean error in per cent",
        "how far off an answer is on average, as a share of the right one (MAPE)",
        percent,
        "MAPE",
        "Mean error in per cent",
        _largest,
        lambda low, high: f"{100 * low:.1f} to {100 * high:.1f}",
        share=True,
    ),
    "smape": Measure(
        "Symmetric error in per cent",
        "the error as a share of the mean of both numbers (sMAPE)",
        percent,
        "sMAPE",
        "Symmetric error in per cent",
        _largest,
        lambda low, high: f"{100 * low:.1f} to {100 * high:.1f}",
        share=True,
    ),
    "mase": _number(
        "MASE", "error in units of what repeating the last season errs; under 1 beats it"
    ),
    "pinball": _number(
        "Pinball loss", "what the two ends of the intervals cost; narrow ones that hold cost least"
    ),
    "bias": _number("Bias", "mean of prediction minus truth; 0 is none", top=None),
    "interval_coverage": _share(
        "Intervals that hold the truth", "90 % is what they are meant to hold"
    ),
}
"""Metric -> how it is shown. One that is not here is shown by its name, as a plain number."""


ABOUT = {
    "classification": "Bars run from 0 to 100 %; for log loss to that of a guess without looking, "
    "for calibration error to 20 %. With one answer per row, precision, recall and F1 over all "
    "rows together (“micro”) equal accuracy.",
    "forecasting": "Mean squared and absolute errors are on the fitted scale, so that all series "
    "weigh the same; each bar runs from 0 to the largest value in its line. Intervals are of "
    "blocks as long as the horizon, since forecasts that overlap err together.",
    "multilabel": "A label that only golden rows have counts as never found. Bars run from 0 to "
    "100 %, of losses to the largest value in the line.",
    "regression": "Errors are in the target's own unit; each bar runs from 0 to the largest value "
    "in its line.",
}
"""Task -> what to know of the bars."""


def measure(name: str) -> Measure:
    """How a metric is shown."""
    title = name.replace("_", " ")
    return MEASURES.get(name) or _number(title[:1].upper() + title[1:], "", short=title)


NOT_SHOWN = ("precision_micro", "recall_micro", "f1_micro")
"""With one answer per row these equal accuracy, as the page says."""


def measures_of(*found: Mapping[str, Any]) -> list[str]:
    """The names of all metrics in some reports, in the order in which to show them."""
    every = {name for metrics in found for name in metrics}
    left_out = NOT_SHOWN if "accuracy" in every else ()
    names = {name: None for metrics in found for name in metrics if name not in left_out}
    return [*(name for name in MEASURES if name in names), *(n for n in names if n not in MEASURES)]


def headline(evidence: Evidence) -> tuple[str, Measure]:
    """The metric that is shown where there is room for one."""
    return evidence.headline, measure(evidence.headline)


@dataclass(frozen=True)
class Judged:
    """What the gate compared row by row.

    Attributes:
      metric: The metric of reports that says the same of one bundle.
      what: What an effect is, in a sentence's beginning.
      level: A mean score as a value of `metric`.
      effect: A difference of mean scores and the reference's mean score -> what is shown.
      write: An effect, briefly.
      full: An effect, with its unit.
      loss: What a smaller graph loses, as a share or in the metric's own unit.
      sentence: What came out, from evidence, both levels written, and rows better and worse.
      words: What the metric is called in a sentence.
    """

    metric: str
    words: str
    what: str
    level: Callable[[float], float]
    effect: Callable[[float, float], float]
    write: Write
    full: Write
    loss: Write
    sentence: Callable[[str, str, str, int, int, int], str]

    def score(self, mean: float) -> str:
        """A mean score in words."""
        value = measure(self.metric).write(self.level(mean))
        return value if measure(self.metric).share else f"{measure(self.metric).short} {value}"

    def shown(self, effect: Interval, reference: float) -> Interval:
        """An effect and its ends as they are shown."""
        value, low, high = effect
        if self.effect is not _own and reference and math.isfinite(high) and high >= -reference:
            # An error cannot be more than gone, and the interval of a difference does not know
            # that: on the scale of the ratio, where it is symmetric as well, it ends before.
            left = max(1 + value / reference, 1e-9)
            high = -reference * (1 - left * math.exp((value - high) / -reference / left))
        return Interval(*(self.effect(end, reference) for end in (value, low, high)))


def _own(difference: float, reference: float) -> float:
    del reference
    return difference


def _of_error(difference: float, reference: float) -> float:
    """How much smaller the mean error is, as a share of the reference's; both scores are minus."""
    if math.isinf(difference) or not reference:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / -reference


def _of_root(difference: float, reference: float) -> float:
    """How much smaller the root of the mean squared error is: 1 - sqrt(1 - d / mse)."""
    share = _of_error(difference, reference)
    return share if math.isinf(share) else 1 - math.sqrt(max(0.0, 1 - share))


def _less(share: float) -> str:
    text = signed(share * 100, 1)
    return text if math.isinf(share) else f"{text}{THIN}%"


def _rightly(ours: str, theirs: str, other: str, rows: int, better: int, worse: int) -> str:
    return (
        f"Of {count(rows)} golden rows, which no turn ever trained on, it answers {ours} rightly; "
        f"{other} {theirs}. They disagree on who is right on {plural(better + worse, 'row')}: "
        f"{count(better)} for this model, {count(worse)} against it."
    )


def _overlap(ours: str, theirs: str, other: str, rows: int, better: int, worse: int) -> str:
    return (
        f"On {count(rows)} golden rows, which no turn ever trained on, {ours} of the labels given "
        f"or right are both, as a mean over the rows; {theirs} for {other}. It is nearer to the "
        f"right labels on {plural(better, 'row')}, and farther from them on {count(worse)}."
    )


def _log_loss(ours: str, theirs: str, other: str, rows: int, better: int, worse: int) -> str:
    del better, worse
    return (
        f"On {count(rows)} golden rows, which no turn ever trained on, its log loss is {ours} "
        f"(lower is better); that of {other} is {theirs}."
    )


def _error(name: str) -> Callable[[str, str, str, int, int, int], str]:
    def sentence(ours: str, theirs: str, other: str, rows: int, better: int, worse: int) -> str:
        return (
            f"On {count(rows)} golden rows, which no turn ever trained on, its {name} is {ours} "
            f"(lower is better); that of {other} is {theirs}. It is nearer to the truth on "
            f"{plural(better, 'row')}, and farther from it on {count(worse)}."
        )

    return sentence


def _mean_of(metric: str, what: str) -> Judged:
    """A loss of each row, of which less is better; two bundles are compared by its mean."""
    return Judged(
        metric,
        what,
        f"How much smaller this turn's mean {what} on the golden rows is, in per cent of the "
        "other's",
        lambda score: -score,
        _of_error,
        _less,
        _less,
        lambda value: percent(value, 2),
        _error(f"mean {what}"),
    )


JUDGED: Mapping[str, Judged] = {
    "accuracy": Judged(
        "accuracy",
        "accuracy",
        "Share of the golden rows answered rightly, this turn minus the other, in percentage "
        "points",
        lambda score: score,
        _own,
        lambda value: points(value, unit=False),
        points,
        lambda value: percent(value, 2),
        _rightly,
    ),
    "jaccard": Judged(
        "jaccard",
        "the Jaccard index",
        "Mean Jaccard index of the golden rows, this turn minus the other, in percentage points",
        lambda score: score,
        _own,
        lambda value: points(value, unit=False),
        points,
        lambda value: percent(value, 2),
        _overlap,
    ),
    "subset_accuracy": Judged(
        "subset_accuracy",
        "rows that are exactly right",
        "Share of the golden rows whose labels are all right, this turn minus the other, in "
        "percentage points",
        lambda score: score,
        _own,
        lambda value: points(value, unit=False),
        points,
        lambda value: percent(value, 2),
        _rightly,
    ),
    "log_loss": Judged(
        "log_loss",
        "log loss",
        "Log likelihood per golden row, this turn minus the other, in nats",
        lambda score: -score,
        _own,
        lambda value: signed(value, 3),
        lambda value: signed(value, 4),
        lambda value: f"{value:.4f}",
        _log_loss,
    ),
    "squared_error": Judged(
        "rmse",
        "squared error",
        "How much smaller this turn's RMSE on the golden rows is, in per cent of the other's",
        lambda score: math.sqrt(max(0.0, -score)),
        _of_root,
        _less,
        _less,
        lambda value: percent(value, 2),
        _error("RMSE"),
    ),
    "absolute_error": _mean_of("mae", "absolute error"),
    "pinball": _mean_of("pinball", "pinball loss"),
}
"""The gate's metric -> how a comparison by it is told."""


def _forecast_error(name: str) -> Callable[[str, str, str, int, int, int], str]:
    def sentence(ours: str, theirs: str, other: str, rows: int, better: int, worse: int) -> str:
        return (
            f"On {plural(rows, 'golden forecast')} of which no two share a step, and which no turn "
            f"ever trained on, its {name} is {ours} (lower is better); that of {other} is "
            f"{theirs}. It is nearer to what came on {count(better)}, and farther on "
            f"{count(worse)}."
        )

    return sentence


_FORECASTS: Mapping[str, Judged] = {
    name: Judged(
        metric,
        words,
        f"How much smaller this turn's mean {words} over golden forecasts is, in per cent of the "
        "other's",
        lambda score: -score,
        _of_error,
        _less,
        _less,
        lambda value: percent(value, 2),
        _forecast_error(f"mean {words}"),
    )
    for name, metric, words in (
        ("squared_error", "mse", "squared error"),
        ("absolute_error", "mae", "absolute error"),
    )
}
"""The same of forecasts, whose errors are on the fitted scale."""


def judged(evidence: Evidence, metric: str | None = None) -> Judged:
    """How the gate's comparison is told; of one that is not known, as plain numbers.

    Args:
      evidence: The turn.
      metric: Another of the gate's metrics; None for the one of this turn.
    """
    name = metric or evidence.judged_by
    if evidence.task == "forecasting" and name in _FORECASTS:
        return _FORECASTS[name]
    # A pinball loss has its quantile behind its name.
    return JUDGED.get(name.partition(" ")[0]) or Judged(
        name,
        name.replace("_", " "),
        f"Mean {name.replace('_', ' ')} per golden row, this turn minus the other",
        lambda score: score,
        _own,
        lambda value: signed(value, 3),
        lambda value: signed(value, 4),
        figures,
        _log_loss,
    )


def compared_by(evidence: Evidence) -> Judged:
    """How the candidates of this turn were compared: by the metric of the spec."""
    step = mapping(mapping(evidence.record.get("lineage")).get("compress"))
    metric = mapping(step.get("ingredients")).get("metric")
    known = isinstance(metric, str) and metric in JUDGED
    return judged(evidence, str(metric) if known else None)


def selected_by(evidence: Evidence) -> Judged:
    """What the trained models of a turn are chosen by; a loss is minus the mean score."""
    try:
        return judged(evidence, evaluator(evidence.task).selection)
    except KeyError:
        return judged(evidence)
