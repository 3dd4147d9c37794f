"""How good the answers are: metrics, confusion, classes, calibration, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from volano.data import places_by_file
from volano.evaluation import evaluator
from volano.wheel.report._axes import range_bar
from volano.wheel.report._changes import changes
from volano.wheel.report._charts import Bin, agreement, reliability
from volano.wheel.report._evidence import Evidence, Interval, interval, mapping, number, rows
from volano.wheel.report._format import count, figures, percent, plural, points
from volano.wheel.report._markup import Child, Markup, data_text, el, raw
from volano.wheel.report._matrix import Confusion, heat_map
from volano.wheel.report._measures import ABOUT, Measure, judged, measure, measures_of
from volano.wheel.report._tables import Cell, Column, Section, figure, folded, share_bar, table

__all__ = ["calibration", "classes", "confusion", "metrics", "mistakes"]

WHOLE_MATRIX = 30
WORST_CLASSES = 25
BESIDE = 8
"""Classes whose heat map leaves room for the pairs beside it."""

MOST_BESIDE = 8
MOST_PAIRS = 20
MOST_CLASSES = 300
SHOWN_MISTAKES = 12
FEW_INPUTS = 3
"""Inputs that have a line each in the list of mistakes."""

NO_GOLDEN = "There are no golden rows, so there is nothing to show here."


def metrics(evidence: Evidence) -> Section:
    """Each metric with its interval, drawn; beside it the champion and the validation rows."""
    champion = mapping(evidence.champion.get("metrics"))
    validation = mapping(evidence.record.get("validation"))
    names = len(evidence.golden.get("names") or ()) or 2
    lines: list[Sequence[Cell | Child]] = []
    drawn = False
    for name in measures_of(mapping(evidence.record.get("metrics")), validation):
        shown = measure(name)
        ours = evidence.metric(name)
        other, held_out = interval(champion.get(name)), interval(validation.get(name))
        first = ours or held_out
        if first is None:
            continue
        ends = [value.high for value in (ours, other, held_out) if value]
        drawn = drawn or shown.top is not None
        line: list[Cell | Child] = [
            [shown.title, " ", el("span", shown.meaning, class_="soft")],
            _value(ours, shown),
            f"{shown.write(ours.low)} to {shown.write(ours.high)}" if ours else "–",
            range_bar(
                *first,
                top=shown.top(ends, names),
                kind="ours" if ours else "theirs",
                mark=other.value if other else None,
            )
            if shown.top
            else "",
        ]
        if champion:
            line.append(_value(other, shown))
        lines.append([*line, _value(held_out, shown)])
    heads = [Column("Metric"), Column("value", "n"), Column("95% interval", "n"), Column("", "w")]
    if champion:
        heads.append(Column(f"champion, turn {evidence.champion.get('turn')}", "n"))
    heads.append(Column("validation", "n"))
    golden = int(number(evidence.gate.get("golden_rows")) or 0)
    what = "golden forecast" if evidence.task == "forecasting" else "golden row"
    lead = (
        f"On {plural(golden, what)}. The interval is where the truth lies 95 times of 100; "
        "fewer rows make it wider. Validation rows steered the training, which makes their "
        "numbers kinder; golden rows that Volano chose itself leave out rows whose labels "
        "conflict, which does the same to theirs."
        if golden
        else "There are no golden rows: only validation rows, which steered training, say anything."
    )
    notes: list[Child] = [
        ABOUT.get(evidence.task),
        " The fine tick is the champion." if champion and drawn else None,
    ]
    body: list[Child] = [
        table(heads, lines, caption="Metrics", stack=True) if lines else el("p", NO_GOLDEN),
        el("p", notes, class_="small soft") if lines else None,
        _baselines(evidence),
    ]
    return Section("metrics", "How good it is", lead, body)


def _baselines(evidence: Evidence) -> Markup | None:
    parts: list[str] = []
    metric = ""
    best: tuple[float, str, float] | None = None
    for name, entry in mapping(evidence.record.get("baselines")).items():
        for score_of, score in mapping(entry).items():
            told = judged(evidence, str(score_of))
            value = number(score)
            if value is not None:
                ours = evidence.metric(told.metric)
                if ours and (best is None or value > best[0]):
                    best = value, str(name), ours.value
                metric = measure(told.metric).title
                parts.append(f"{name} {measure(told.metric).write(told.level(value))}")
    if not parts:
        return None
    said = metric[:1].lower() + metric[1:] if metric[1:].islower() else metric
    words = f"For comparison, {said} of the simple baselines on the golden rows: "
    said = el("p", words, "; ".join(parts), ".", class_="small soft")
    if best is None or not _no_better(evidence, best[0], best[2]):
        return said
    plain = (
        f"This model does not beat {best[1].replace('_', ' ')} on the golden rows: what is that "
        "simple does as well here, without a model."
    )
    return raw(said, el("p", el("strong", plain)))


def _no_better(evidence: Evidence, score: float, ours: float) -> bool:
    """Whether a baseline, by its mean score, is at least as good as the model."""
    told = judged(evidence, evaluator(evidence.task).metrics[0])
    # Scores are the larger the better; of errors the level is the smaller.
    return ours >= told.level(score) if told.level(-1.0) > 0 else ours <= told.level(score)


def _value(value: Interval | None, shown: Measure) -> Cell:
    if value is None:
        return Cell(el("span", "–", class_="soft"))
    return Cell(shown.write(value.value), value.value)


def _confusion(evidence: Evidence) -> Confusion | None:
    names, counts = evidence.golden.get("names"), evidence.golden.get("confusion")
    if not isinstance(names, list) or not isinstance(counts, list) or not names:
        return None
    square = [row for row in counts if isinstance(row, list) and len(row) == len(names)]
    if not len(square) == len(counts) == len(names):
        return None
    return Confusion([str(name) for name in names], square)


def confusion(evidence: Evidence) -> Section:
    """What is taken for what."""
    found = _confusion(evidence)
    lead = (
        "Blue: right answers. Orange: mistakes. The darker, the larger the share of the rows of "
        "that class."
    )
    if found is None:
        return Section("confusion", "What is taken for what", None, [el("p", NO_GOLDEN)])
    seen, pairs = found.seen, found.pairs()
    if not pairs:
        text = "No golden row was answered wrongly: nothing was taken for anything else."
        return Section("confusion", "What is taken for what", None, [el("p", text)])
    body: list[Child] = []
    if len(seen) <= WHOLE_MATRIX:
        drawing = _heat(found, seen, None)
        beside = len(seen) <= BESIDE
        body.append(
            el("div", drawing, _pairs(found, pairs, MOST_BESIDE), class_="two")
            if beside
            else [drawing, _pairs(found, pairs, MOST_PAIRS)]
        )
        absent = len(found.names) - len(seen)
        if absent:
            left = plural(absent, "class", "classes")
            say = f"{left} without golden rows, never predicted: left out."
            body.append(el("p", say, class_="small soft"))
    else:
        body.append(_pairs(found, pairs, MOST_PAIRS))
        worst = found.worst(WORST_CLASSES)
        words = (
            f"The {len(worst)} of {len(seen)} classes with most mistakes. Rows and columns of the "
            "others are left out, so a row need not add up to its class."
        )
        body.append(_heat(found, worst, words))
    return Section("confusion", "What is taken for what", lead, body)


def _heat(found: Confusion, codes: Sequence[int], words: str | None) -> Markup:
    drawing = el(
        "div",
        heat_map(found, codes),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Confusion matrix",
    )
    return figure(drawing, ["Rows: the right class. Columns: the predicted one. ", words])


def _pairs(found: Confusion, pairs: Sequence[tuple[int, int, int]], limit: int) -> Markup:
    most = pairs[0][0]
    lines: list[Sequence[Cell | Child]] = [
        [
            data_text(found.names[right], 60),
            data_text(found.names[predicted], 60),
            Cell(f"{count(rows_wrong)} of {count(found.support[right])}", rows_wrong),
            share_bar(rows_wrong / most, "bad"),
        ]
        for rows_wrong, right, predicted in pairs[:limit]
    ]
    wrong = sum(pair[0] for pair in pairs)
    covered = sum(pair[0] for pair in pairs[:limit])
    caption = (
        f"The {min(limit, len(pairs))} most confused pairs: {count(covered)} of "
        f"{plural(wrong, 'mistake')}."
    )
    heads = [
        Column("Right", "name"),
        Column("taken for", "name"),
        Column("rows", "n"),
        Column("", "w"),
    ]
    return table(heads, lines, caption=caption, named=True)


def classes(evidence: Evidence) -> Section:
    """Every class, the worst first."""
    found = rows(evidence.golden.get("per_class"))
    matrix = _confusion(evidence)
    if not found:
        return Section("classes", "Class by class", None, [el("p", NO_GOLDEN)])

    def f1(row: Mapping[str, Any]) -> float:
        value = number(mapping(row.get("f1")).get("value"))
        return value if value is not None else 0.0

    order = sorted(
        range(len(found)), key=lambda code: (not found[code].get("support"), f1(found[code]), code)
    )
    lines: list[Sequence[Cell | Child]] = []
    for code in order[:MOST_CLASSES]:
        row = found[code]
        support = int(number(row.get("support")) or 0)
        recall, precision, both = (interval(row.get(key)) for key in ("recall", "precision", "f1"))
        other = matrix.mistaken_for(code) if matrix and len(matrix.names) == len(found) else None
        lines.append(
            [
                data_text(row.get("name", ""), 60),
                Cell(count(support), support),
                _of_any(recall, support),
                _of_any(precision, int(number(row.get("predicted")) or 0)),
                _of_any(both, support),
                range_bar(*both) if both and support else "",
                [data_text(matrix.names[other[0]], 40), f" ({count(other[1])})"]
                if matrix and other
                else "",
            ]
        )
    columns = [
        Column("Class", "name"),
        Column("golden rows", "n"),
        Column("recall", "n"),
        Column("precision", "n"),
        Column("F1", "n"),
        Column("F1, 95% interval", "w", sortable=False),
        Column("most often taken for", "name", sortable=False),
    ]
    lead = (
        "Worst first. Recall: of the rows of a class, the share found. Precision: of the rows "
        "given a class, the share that have it. F1 is high only when both are. With few rows, the "
        "interval is what counts."
    )
    caption = f"{count(len(lines))} of {plural(len(found), 'class', 'classes')}"
    if len(found) > len(lines):
        caption += ", the worst; the others are in golden_report.json"
    drawn = table(
        columns, lines, caption=caption, sortable=True, tall=len(lines) > 15, named=len(lines) > 15
    )
    return Section("classes", "Class by class", lead, [drawn, changes(evidence)])


def _of_any(value: Interval | None, rows_behind: int) -> Cell:
    """A proportion; a dash when there is no row to take it of."""
    if value is None or not rows_behind:
        return Cell(el("span", "–", class_="soft"), -1.0)
    return Cell(percent(value.value), value.value)


def calibration(evidence: Evidence) -> Section:
    """Whether the model is as often right as it says."""
    bins = []
    for item in rows(evidence.golden.get("reliability")):
        sure, right = number(item.get("confidence")), interval(item.get("accuracy"))
        size = int(number(item.get("num_rows")) or 0)
        if sure is not None and right is not None and size:
            bins.append(Bin(size, sure, right))
    title = "Whether it knows how sure it is"
    if not bins:
        return Section("reliability", title, None, [el("p", NO_GOLDEN)])
    temperature = number(evidence.record.get("temperature"))
    notes: list[Child] = []
    if temperature is not None:
        notes.append(
            "Its certainty was set on validation rows (temperature "
            f"{temperature:.2f}; above 1 makes it more modest). "
        )
    error = evidence.metric("calibration_error")
    if error:
        words = (
            "could be luck: a perfectly honest model would often show as much"
            if error.low <= 0
            else "is more than luck would explain"
        )
        notes.append(f"The calibration error of {percent(error.value)} {words}. ")
    total = sum(item.num_rows for item in bins)
    gap = sum(item.num_rows * (item.sure - item.right.value) for item in bins) / total
    notes.append(
        f"On the whole it is {points(abs(gap)).lstrip('+')} too {'sure' if gap > 0 else 'modest'}."
        if abs(gap) >= 0.0005
        else "On the whole it is neither too sure nor too modest."
    )
    lead = (
        "The golden rows in groups of like certainty, with the 95% interval of how often each was "
        "right. On the dashed line, being 80 % sure means being right on 80 of 100 rows; below it, "
        "the model is too sure of itself."
    )
    drawings = el("div", figure(reliability(bins)), figure(agreement(bins)), class_="two")
    return Section("reliability", title, lead, [drawings, el("p", notes) if notes else None])


@dataclass(frozen=True)
class _Wrong:
    """How the worst answers of a task are told."""

    key: str
    head: str
    write: Callable[[float], str]
    caption: str
    lead: str
    none: str


_LABEL = (
    "Often it is the label that is wrong: such rows are worth a second look, in the row of the "
    "file that is named. To steer training by them would be to learn the golden rows."
)
_WRONG = {
    "classification": _Wrong(
        "probability",
        "How sure",
        percent,
        "The most confident wrong answers",
        "Wrong answers given with most certainty. " + _LABEL,
        "No golden row was answered wrongly.",
    ),
    "multilabel": _Wrong(
        "jaccard",
        "Jaccard index",
        percent,
        "The answers that have least in common with the right labels",
        "Answers that have least in common with the right labels, the surest first. " + _LABEL,
        "Every golden row got exactly its labels.",
    ),
    "regression": _Wrong(
        "error",
        "Error",
        lambda error: ("+" if error > 0 else "") + figures(error),
        "The answers that are farthest from the truth",
        "Answers that are farthest from the truth; the error is prediction minus truth. " + _LABEL,
        "No golden row was answered.",
    ),
    "forecasting": _Wrong(
        "error",
        "Mean squared error",
        figures,
        "The forecasts that are farthest from what came",
        "Golden forecasts, no two of which share a step, by their mean squared error over all "
        "series, scaled. The row is the last one that was looked at; shown are its last values and "
        "the first steps of the first series.",
        "There is no golden forecast.",
    ),
}
"""Task -> how its worst answers are told."""


def mistakes(evidence: Evidence) -> Section:
    """The worst answers."""
    title = "Worst mistakes"
    told = _WRONG.get(evidence.task, _WRONG["classification"])
    if not evidence.mistakes:
        text = told.none if evidence.golden else NO_GOLDEN
        return Section("mistakes", title, None, [el("p", text)])
    lines: list[Sequence[Cell | Child]] = []
    for item in evidence.mistakes:
        size = number(item.get(told.key)) or 0.0
        lines.append(
            [
                Cell(el("span", _where(item), class_="soft"), number(item.get("row"))),
                _inputs(mapping(item.get("inputs"))),
                data_text(item.get("right", ""), 80),
                el("span", data_text(item.get("predicted", ""), 80), class_="t-bad"),
                Cell(told.write(size), size),
            ]
        )
    heads = [
        Column("Where"),
        Column("Inputs", "text"),
        Column("Right", "name"),
        Column("Predicted", "name"),
        Column(told.head, "n"),
    ]
    body: list[Child] = [table(heads, lines[:SHOWN_MISTAKES], caption=told.caption, stack=True)]
    if len(lines) > SHOWN_MISTAKES:
        rest = table(heads, lines[SHOWN_MISTAKES:], caption="More of them", stack=True)
        body.append(folded(f"{len(lines) - SHOWN_MISTAKES} more", rest))
    return Section("mistakes", title, told.lead, body)


def _inputs(inputs: Mapping[str, Any]) -> list[Child]:
    """The values of a row; a line for each while they are few."""
    tag = "div" if len(inputs) <= FEW_INPUTS else "span"
    shown: list[Child] = []
    for name, value in inputs.items():
        if shown and tag == "span":
            shown.append(" · ")
        label = el("span", data_text(name, 40), ": ", class_="soft") if len(inputs) > 1 else None
        text = el("span", str(value), dir="auto", class_="value")
        shown.append(el(tag, label, text))
    return shown


def _where(mistake: Mapping[str, Any]) -> Child:
    """Where the row came from; old turns only know its place among the golden rows."""
    place = mistake.get("place")
    if place is None:
        return f"golden row {mistake.get('row', '')}"
    ((file, numbers),) = places_by_file([str(place)]).items()
    where: list[Child] = [data_text(file, 60)]
    return [*where, " row\u00a0", ", ".join(numbers)] if numbers else where
