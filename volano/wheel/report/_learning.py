"""Training: the learning curves, and the candidates that came out of compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.wheel.report._charts import Line, Loss, Point, lines, losses, scatter
from volano.wheel.report._evidence import Evidence, held_out, mapping, number, rows
from volano.wheel.report._format import brief, count, megabytes, milliseconds, percent, plural
from volano.wheel.report._markup import Child, Markup, data_text, el
from volano.wheel.report._measures import Judged, compared_by, selected_by
from volano.wheel.report._tables import Cell, Column, Section, facts, figure, table

__all__ = ["candidates", "training"]

MOST_NAMES = 8
"""Candidates that are all named in the drawing."""

MOST_COLUMNS = 30
"""Columns whose time to encode is shown by itself."""


def training(evidence: Evidence) -> Section:
    """How the best model became what it is: by epoch, by tree, or by penalty."""
    found = mapping(evidence.record.get("training"))
    epochs = rows(found.get("epochs"))
    drawings = [*_by_epoch(found, epochs), *_by_tree(found), *_by_penalty(evidence, found)]
    body: list[Child] = [el("div", drawings, class_="two")] if drawings else []
    body.append(_facts(found, len(epochs), number(found.get("best_epoch"))))
    if not number(found.get("validation_rows")):
        body.append(el("p", "There were no validation rows, so nothing could be held against it."))
    lead: list[Child] = [
        f"How the best model learned. What did best on {held_out(evidence)} is kept."
    ]
    if found.get("best") and len(rows(found.get("models"))) > 1:
        lead.append([" Here: ", data_text(found["best"]), "."])
    return Section("training", "How it learned", lead, body)


def _by_epoch(found: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> list[Child]:
    """Loss and accuracy of a network, the head start, and which epoch was kept."""
    best, head_start = number(found.get("best_epoch")), number(found.get("head_start"))
    loss = [
        line
        for name, kind, key in (
            ("training", "theirs", "train_loss"),
            ("validation", "ours", "validation_loss"),
        )
        if (line := _line(name, kind, key, epochs))
    ]
    what, key = "Accuracy", "validation_accuracy"
    if any("validation_jaccard" in entry for entry in epochs):
        what, key = "Jaccard index", "validation_jaccard"
    accuracy = _line("validation", "ours", key, epochs)
    drawings: list[Child] = []
    if loss:
        drawing = lines(
            "Loss per epoch", loss, write=lambda y: f"{y:.2f}", best=best, from_zero=True
        )
        drawings.append(figure(drawing, "Loss: how wrong, counting how sure. Lower is better."))
    if accuracy:
        level = ("head start", head_start) if head_start is not None else None
        drawing = lines(
            f"{what} on validation rows, per epoch",
            [accuracy],
            write=lambda y: percent(y, 1),
            best=best,
            level=level,
        )
        words = f"{what} on validation rows."
        if head_start is not None:
            words += (
                " The head start is what the last layer alone reaches on the pretrained encoder, "
                "before anything else is trained."
            )
        drawings.append(figure(drawing, words))
    return drawings


def _by_tree(found: Mapping[str, Any]) -> list[Child]:
    """The validation loss of boosted trees, tree by tree."""
    losses_found, kept = found.get("losses"), number(found.get("rounds"))
    every = int(number(found.get("losses_every")) or 1)
    if not isinstance(losses_found, list):
        return []
    spots = [
        (float(1 + place * every), y)
        for place, item in enumerate(losses_found)
        if (y := number(item)) is not None
    ]
    if len(spots) < 2:
        return []
    drawing = lines(
        "Validation loss per tree",
        [Line("validation", "ours", spots)],
        write=brief,
        best=kept,
        x_name="trees (one after the other)",
        from_zero=True,
    )
    words = "Loss on validation rows as trees are added. What comes after the kept one is cut off."
    return [figure(drawing, words)]


def _by_penalty(evidence: Evidence, found: Mapping[str, Any]) -> list[Child]:
    """The validation loss of a linear model for each penalty on its weights."""
    kept = number(found.get("penalty"))
    tried = [
        (penalty, loss)
        for item in rows(found.get("penalties"))
        if (penalty := number(item.get("penalty"))) is not None
        and (loss := number(item.get("validation_loss"))) is not None
    ]
    if len(tried) < 2:
        return []
    told = selected_by(evidence)
    table_lines: list[Sequence[Cell | Child]] = [
        [
            f"{penalty:g}",
            Cell(told.score(-loss), loss),
            el("b", "kept", class_="t-ours") if penalty == kept else "",
        ]
        for penalty, loss in tried
    ]
    heads = [Column("Penalty on large weights", "n"), Column("validation loss", "n"), Column("")]
    return [table(heads, table_lines, caption="Penalties that were tried")]


def _line(name: str, kind: str, key: str, epochs: Sequence[Mapping[str, Any]]) -> Line | None:
    spots = [
        (x, y)
        for entry in epochs
        if (x := number(entry.get("epoch"))) is not None
        and (y := number(entry.get(key))) is not None
    ]
    return Line(name, kind, spots) if spots else None


def _facts(found: Mapping[str, Any], num_epochs: int, best: float | None) -> Markup:
    pairs: list[tuple[str, Child]] = []
    if num_epochs:
        pairs.append(("Epochs", str(num_epochs)))
        if best is not None:
            pairs.append(("Kept epoch", f"{best:.0f}"))
    for name, key in (
        ("Training rows", "rows"),
        ("Validation rows", "validation_rows"),
        ("Classes", "classes"),
        ("Trees", "trees"),
        ("Weights", "num_weights"),
        ("Steps", "num_steps"),
        ("Rows a second", "rows_per_s"),
    ):
        value = number(found.get(key))
        if value is not None and not (key == "classes" and not value):
            pairs.append((name, count(value)))
    if found.get("precision"):
        pairs.append(("Arithmetic", str(found["precision"])))
    return facts(pairs)


def candidates(evidence: Evidence) -> Section:
    """Size against latency against quality, and why one of them ships."""
    title = "Candidates"
    found = evidence.candidates
    if not found:
        return Section("candidates", title, None, [el("p", "There was nothing to choose from.")])
    points = []
    told = compared_by(evidence)
    for item in found:
        size, latency = (number(item.get(k)) for k in ("size_bytes", "p50_ms"))
        score = _mean_score(item)
        if not size or latency is None:
            continue
        kind = "ours" if item.get("chosen") else "bad" if item.get("refused") else "theirs"
        parts = [] if score is None else [told.score(score)]
        parts += ["ships"] if item.get("chosen") else ["refused"] if item.get("refused") else []
        # Of many only those are named that nothing beats: names would lie upon each other.
        named = len(found) <= MOST_NAMES or item is found[0] or item.get("chosen")
        name = str(item.get("name", "")) if named or item.get("front") else ""
        points.append(Point(name, ", ".join(parts), size / 1e6, latency, kind))
    body: list[Child] = []
    if points:
        drawing = scatter(
            points,
            x_name="size on disk, MB",
            y_name="median time per answer, ms",
            write_x=lambda x: f"{x:g}",
            write_y=lambda y: f"{y:g}",
        )
        words = (
            "Nearer to the lower left is smaller and faster. A circle can ship, the blue one does; "
            f"a cross was refused. Beside each, its quality on {held_out(evidence)}."
        )
        body.append(el("div", figure(drawing, words), _losses(evidence, found), class_="two"))
    body.append(_candidate_table(found, told))
    checked = number(evidence.record.get("compared_rows"))
    if checked is None:  # a turn of before it was kept
        checked = number(mapping(evidence.record.get("training")).get("validation_rows")) or 0.0
    lead = (
        "The best model, the others, and what each became when it was made smaller. The smallest "
        f"one that loses no more than the margin ships. Compared on "
        f"{plural(int(checked), held_out(evidence).removesuffix('s'))}; the golden rows have no "
        "say here."
    )
    body += _encoding(evidence)
    return Section("candidates", title, lead, body)


def _encoding(evidence: Evidence) -> list[Child]:
    """What making arrays of a row's values costs in the runtime, column by column."""
    found = {
        str(name): value
        for name, item in mapping(evidence.record.get("encoding_ms")).items()
        if (value := number(item)) is not None
    }
    if not found:
        return []
    kinds = mapping(
        mapping(
            mapping(mapping(evidence.record.get("lineage")).get("data")).get("ingredients")
        ).get("inputs")
    )
    order = sorted(found, key=lambda name: -found[name])
    table_lines: list[Sequence[Cell | Child]] = [
        [data_text(name, 60), str(kinds.get(name) or "–"), Cell(_fine(found[name]), found[name])]
        for name in order[:MOST_COLUMNS]
    ]
    rest = order[MOST_COLUMNS:]
    if rest:
        table_lines.append(
            [f"{count(len(rest))} more", "", Cell(_fine(sum(found[name] for name in rest)))]
        )
    table_lines.append(["all columns", "", Cell(_fine(sum(found.values())))])
    heads = [Column("Column", "name"), Column("type"), Column("median of a row", "n")]
    words = (
        "Before the graph can answer, the runtime makes arrays of a row's values: texts become "
        "tokens, photos pixels, numbers are scaled. Part of the times above, one row at a time."
    )
    return [
        el("h3", "Encoding a row"),
        el("p", words),
        table(heads, table_lines, caption="Time to encode one row, by column"),
    ]


def _fine(value_ms: float) -> str:
    return milliseconds(value_ms) if value_ms >= 0.1 else f"{value_ms * 1000:.1f} µs"


def _losses(evidence: Evidence, found: Sequence[Mapping[str, Any]]) -> Markup | None:
    """What each smaller graph loses, against the margin."""
    shown = []
    for item in found:
        loss, upper = number(item.get("loss")), number(item.get("upper"))
        if loss is not None and upper is not None:
            kind = "ours" if item.get("chosen") else "bad" if item.get("refused") else "theirs"
            shown.append(Loss(str(item.get("name", "")), loss, upper, kind))
    if not shown:
        return None
    step = mapping(mapping(evidence.record.get("lineage")).get("compress"))
    setting = mapping(mapping(step.get("ingredients")).get("compress"))
    words = (
        "What is lost against the best model, and the upper end that the rows cannot rule "
        "out. A loss beyond the margin is refused; so is a smaller one that is proven to be a loss "
        "and may lie beyond it."
    )
    return figure(
        losses(
            shown,
            number(setting.get("margin")),
            compared_by(evidence).loss,
        ),
        words,
    )


def _candidate_table(found: Sequence[Mapping[str, Any]], told: Judged) -> Markup:
    lines: list[Sequence[Cell | Child]] = []
    for item in found:
        size, fast, slow = (number(item.get(k)) for k in ("size_bytes", "p50_ms", "p99_ms"))
        rate, loss = (number(item.get(k)) for k in ("rows_per_s", "loss"))
        score = _mean_score(item)
        upper, agreed = number(item.get("upper")), number(item.get("agreement"))
        outcome: Child = "good enough, but not the smallest"
        if item.get("chosen"):
            outcome = el("b", "ships", class_="t-ours")
        elif item.get("refused") and not size:
            outcome = data_text(item["refused"])  # it does not apply, or there was no time
        elif item.get("refused"):
            outcome = [el("b", "refused: ", class_="t-bad"), data_text(item["refused"])]
        elif not item.get("passed"):
            outcome = el("b", "not good enough", class_="t-bad")
        notes = [el("div", data_text(note, 300), class_="soft") for note in _notes(item)]
        lost: Child = "–"
        if loss is not None and upper is not None:
            lost = [
                told.loss(loss),
                el("div", f" (at most {told.loss(upper)})", class_="soft"),
            ]
        lines.append(
            [
                data_text(item.get("name", ""), 40),
                megabytes(size) if size else "–",
                _times(fast, slow),
                count(rate) if rate is not None else "–",
                told.score(score) if score is not None else "–",
                lost,
                f"{agreed:.1%}" if agreed is not None else "–",
                [outcome, *notes],
            ]
        )
    heads = [
        Column("Graph"),
        Column("size", "n"),
        Column("median, 99 of 100", "n"),
        Column("rows/s", "n"),
        Column("quality", "n"),
        Column("loss", "n"),
        Column("agrees", "n"),
        Column("outcome", "text"),
    ]
    return table(heads, lines, caption="Measured on this machine", stack=True)


def _times(fast: float | None, slow: float | None) -> Child:
    if fast is None or slow is None:
        return "–"
    return [milliseconds(fast), el("div", milliseconds(slow), class_="soft")]


def _notes(item: Mapping[str, Any]) -> list[str]:
    """What the pass that made a candidate found."""
    found = item.get("notes")
    return [str(note) for note in found] if isinstance(found, list) else []


def _mean_score(item: Mapping[str, Any]) -> float | None:
    """The mean score of a candidate; `score` alone may be in parts of the first one's."""
    mean = number(item.get("mean_score"))
    return mean if mean is not None else number(item.get("score"))
