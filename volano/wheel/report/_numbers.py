"""Predicted numbers: against the truth, what is left over, and how often intervals hold."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from volano.columns.number import parse_numbers
from volano.errors import VolanoError
from volano.wheel.report._clouds import Points, cloud, extent, histogram
from volano.wheel.report._evidence import Evidence, held_out, interval, mapping, number
from volano.wheel.report._format import figures, percent, plural
from volano.wheel.report._markup import Child, Markup, el
from volano.wheel.report._tables import Section, facts, figure

__all__ = ["fitted", "intervals", "residuals"]

NO_GOLDEN = "There are no golden rows, so there is nothing to show here."
CURVE_STEPS = 200
SHOWN_POINTS = 1000


def _pairs(evidence: Evidence) -> Points:
    """Prediction and truth of golden rows, in the order of the predictions."""
    found = mapping(evidence.golden.get("residuals"))
    predicted, truth = found.get("predicted"), found.get("target")
    if not isinstance(predicted, list) or not isinstance(truth, list):
        return []
    pairs = [(number(a), number(b)) for a, b in zip(predicted, truth, strict=False)]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _half_width(evidence: Evidence) -> float | None:
    return number(evidence.answering.get("half_width"))


def fitted(evidence: Evidence) -> Section:
    """Prediction against truth; with one number in, the line through the rows."""
    title = "Prediction and truth"
    pairs = _pairs(evidence)
    if not pairs:
        return Section("fit", title, None, [el("p", NO_GOLDEN)])
    span = extent([value for pair in pairs for value in pair])
    drawing = cloud(
        "Predicted numbers against the right ones, golden rows",
        pairs,
        x_name="predicted",
        y_name="right",
        x_range=span,
        y_range=span,
        level=[(span[0], span[0]), (span[1], span[1])],
    )
    words = _of_all(evidence, pairs) + " On the dashed line, prediction and truth agree."
    drawings = [_curve(evidence), figure(drawing, words)]
    shown = [item for item in drawings if item]
    lead = "Each dot is a golden row, answered by the very bundle that would serve."
    return Section(
        "fit",
        title,
        lead,
        [el("div", shown, class_="two" if len(shown) > 1 else "one")],
    )


def _of_all(evidence: Evidence, pairs: Points) -> str:
    rows = int(number(evidence.golden.get("num_rows")) or len(pairs))
    if rows <= len(pairs):
        return f"All {plural(rows, 'golden row')}."
    return f"{plural(len(pairs), 'golden row')} of {rows}, at even distances."


def residuals(evidence: Evidence) -> Section:
    """What is left over: prediction minus truth, against the prediction and by size."""
    title = "What is left over"
    pairs = _pairs(evidence)
    if not pairs:
        return Section("residuals", title, None, [el("p", NO_GOLDEN)])
    left = [(a, a - b) for a, b in pairs]
    errors = [error for _, error in left]
    x_range = extent([a for a, _ in left])
    plot = cloud(
        "Prediction minus truth, against the prediction",
        left,
        x_name="predicted",
        y_name="prediction minus truth",
        x_range=x_range,
        y_range=extent(errors, 0.0),
        level=[(x_range[0], 0.0), (x_range[1], 0.0)],
    )
    counts = histogram(
        "How many golden rows have which error", errors, x_name="prediction minus truth"
    )
    ranked = sorted(errors)
    pairs_of_facts: list[tuple[str, Child]] = [
        ("Middle error", figures(statistics.median(errors))),
        (
            "Half of the errors lie between",
            f"{figures(_quantile(ranked, 0.25))} and {figures(_quantile(ranked, 0.75))}",
        ),
        (
            "Nine of ten lie between",
            f"{figures(_quantile(ranked, 0.05))} and {figures(_quantile(ranked, 0.95))}",
        ),
    ]
    lead = (
        "Errors of a good model look like noise around 0: no slope, no bow, and as wide at the "
        "left as at the right. A funnel says that large numbers are harder; a bow that something "
        "is missing among the inputs."
    )
    body = [el("div", figure(plot), figure(counts), class_="two"), facts(pairs_of_facts)]
    return Section("residuals", title, lead, body)


def _quantile(ranked: Sequence[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def intervals(evidence: Evidence) -> Section:
    """Whether the interval that goes with each answer holds the truth as often as it says."""
    title = "Whether its intervals hold"
    covered = interval(mapping(evidence.record.get("metrics")).get("interval_coverage"))
    half = _half_width(evidence)
    if covered is None:
        text = (
            "Its answers come without an interval: there were too few validation rows to say how "
            "wide one has to be."
            if evidence.golden
            else NO_GOLDEN
        )
        return Section("intervals", title, None, [el("p", text)])
    inside = covered.low <= 0.9 <= covered.high
    pairs: list[tuple[str, Child]] = [
        ("Meant to hold", percent(0.9, 0)),
        ("Held, on golden rows", percent(covered.value)),
        ("95% interval", f"{percent(covered.low)} to {percent(covered.high)}"),
    ]
    if half is not None:
        pairs.insert(0, ("Each answer ±", figures(half)))
    words = (
        "As often as promised, as far as these rows can tell."
        if inside
        else "Less often than promised: rows like the golden ones are harder than the validation "
        "rows that the width was taken from."
        if covered.high < 0.9
        else "More often than promised: the intervals could be narrower."
    )
    lead = (
        "Each answer comes with a low and a high end. Their width was taken from the errors on "
        f"{held_out(evidence)} (split conformal prediction), and is the same for all answers."
    )
    drawing = None
    errors = [a - b for a, b in _pairs(evidence)]
    if half is not None and errors:
        drawing = figure(
            histogram(
                "Errors of golden rows and the width of the interval",
                errors,
                x_name="prediction minus truth",
                marks=(-half, half),
            ),
            "Between the dashed lines, the interval holds the truth.",
        )
    body: list[Child] = [
        el("div", drawing, el("div", facts(pairs), el("p", words)), class_="two")
        if drawing
        else [facts(pairs), el("p", words)]
    ]
    return Section("intervals", title, lead, body)


# One number in, one number out --------------------------------------------------------------------


def _curve(evidence: Evidence) -> Markup | None:
    """Rows, the fitted line and its band; None unless there is exactly one input, a number."""
    if list(evidence.types.values()) != ["number"]:
        return None
    (name,) = evidence.types
    target = str(evidence.record.get("target", ""))
    try:
        found = _observations(evidence, name, target)
    # Artifacts that `clean` removed, or of another version: the page does without.
    except (VolanoError, OSError, KeyError, ValueError, ImportError):
        return None
    golden, trained, line, half = found
    if not golden or not line:
        return None
    every = [*golden, *trained]
    band = None
    if half is not None:
        band = ([(a, b - half) for a, b in line], [(a, b + half) for a, b in line])
    y_values = [y for _, y in (*every, *line)]
    drawing = cloud(
        f"{target} against {name}, with the fitted line",
        golden,
        behind=trained,
        line=line,
        band=band,
        x_name=name,
        y_name=target,
        x_range=extent([x for x, _ in every]),
        y_range=extent(y_values),
    )
    words: list[Child] = [
        "Orange: what the model answers. Blue: golden rows. Grey: training rows.",
        " The band is meant to hold nine of ten." if band else None,
    ]
    return figure(drawing, words)


def _observations(
    evidence: Evidence, name: str, target: str
) -> tuple[Points, Points, Points, float | None]:
    """Golden rows, training rows, the bundle's answers over the range of both."""
    import numpy as np

    from volano.data import GoldenRows, Snapshot
    from volano.runtime import load

    def points(xs: Sequence[str], ys: Sequence[str]) -> Points:
        pairs = np.stack([parse_numbers(xs)[0], parse_numbers(ys)[0]], axis=1)
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        return [(float(a), float(b)) for a, b in pairs.tolist()]

    rows = GoldenRows.open(evidence.folders["golden"] / "golden.arrow")
    golden = points(rows.column(name)[:SHOWN_POINTS], rows.targets[:SHOWN_POINTS])
    snapshot = Snapshot.open(evidence.folders["data"])
    chosen = np.load(evidence.folders["prepare"] / "train" / "rows.npy")
    chosen = chosen[:: max(1, -(-len(chosen) // SHOWN_POINTS))]
    trained = points(snapshot.column(name, chosen), snapshot.column(target, chosen))
    every = [x for x, _ in (*golden, *trained)]
    model = load(evidence.folders["deploy"] / "bundle", threads=1)
    steps = np.linspace(min(every), max(every), CURVE_STEPS).tolist()
    answers = model.answers(model.encode({name: steps}))
    line = [(x, float(answer.value)) for x, answer in zip(steps, answers, strict=True)]
    return golden, trained, line, number(getattr(model.task, "half_width", None))
