"""Training: the learning curves, and the candidates that came out of compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.wheel.report._charts import Line, Loss, Point, lines, losses, scatter
from volano.wheel.report._evidence import Evidence, mapping, number, rows
from volano.wheel.report._format import count, megabytes, milliseconds, percent, plural
from volano.wheel.report._markup import Child, Markup, data_text, el
from volano.wheel.report._tables import Cell, Column, Section, facts, figure, table

__all__ = ["candidates", "training"]


def training(evidence: Evidence) -> Section:
    """Loss and accuracy per epoch, the head start, and which epoch was kept."""
    found = mapping(evidence.record.get("training"))
    epochs = rows(found.get("epochs"))
    best, head_start = number(found.get("best_epoch")), number(found.get("head_start"))
    loss = [
        line
        for name, kind, key in (
            ("training", "theirs", "train_loss"),
            ("validation", "ours", "validation_loss"),
        )
        if (line := _line(name, kind, key, epochs))
    ]
    accuracy = _line("validation", "ours", "validation_accuracy", epochs)
    drawings: list[Child] = []
    if loss:
        drawing = lines(
            "Loss per epoch", loss, write=lambda y: f"{y:.2f}", best=best, from_zero=True
        )
        drawings.append(figure(drawing, "Loss: how wrong, counting how sure. Lower is better."))
    if accuracy:
        level = ("head start", head_start) if head_start is not None else None
        drawing = lines(
            "Validation accuracy per epoch",
            [accuracy],
            write=lambda y: percent(y, 1),
            best=best,
            level=level,
        )
        words = "Accuracy on validation rows."
        if head_start is not None:
            words += (
                " The head start is what the last layer alone reaches on the pretrained encoder, "
                "before anything else is trained."
            )
        drawings.append(figure(drawing, words))
    body: list[Child] = [el("div", drawings, class_="two")] if drawings else []
    body.append(_facts(found, len(epochs), best))
    if not number(found.get("validation_rows")):
        body.append(el("p", "There were no validation rows, so nothing could be held against it."))
    lead = "How the network learned. The epoch with the best validation result is the one kept."
    return Section("training", "How it learned", lead, body)


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
        ("Weights", "num_weights"),
        ("Steps", "num_steps"),
        ("Rows a second", "rows_per_s"),
    ):
        value = number(found.get(key))
        if value is not None and not (key == "classes" and not value):  # numbers have none
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
    for item in found:
        size, latency, score = (number(item.get(k)) for k in ("size_bytes", "p50_ms", "score"))
        if not size or latency is None:
            continue
        kind = "ours" if item.get("chosen") else "bad" if item.get("refused") else "theirs"
        parts = [] if score is None else [_score(score)]
        parts += ["ships"] if item.get("chosen") else ["refused"] if item.get("refused") else []
        points.append(Point(str(item.get("name", "")), ", ".join(parts), size / 1e6, latency, kind))
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
            "a cross was refused. Beside each, its quality on validation rows."
        )
        body.append(el("div", figure(drawing, words), _losses(evidence, found), class_="two"))
    body.append(_candidate_table(found, _shares(found)))
    checked = int(number(mapping(evidence.record.get("training")).get("validation_rows")) or 0)
    lead = (
        "The same network in smaller forms. The smallest one that loses no more than the margin "
        f"ships. Compared on {plural(checked, 'validation row')}; the golden rows have no say here."
    )
    return Section("candidates", title, lead, body)


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
        "What is lost against the uncompressed graph, and the upper end that the rows cannot rule "
        "out. A loss beyond the margin is refused; so is a smaller one that is proven to be a loss "
        "and may lie beyond it."
    )
    return figure(
        losses(
            shown,
            number(setting.get("margin")),
            (lambda y: percent(y, 2)) if _shares(found) else (lambda y: f"{y:.4f}"),
        ),
        words,
    )


def _candidate_table(found: Sequence[Mapping[str, Any]], shares: bool) -> Markup:
    lines: list[Sequence[Cell | Child]] = []
    for item in found:
        size, fast, slow = (number(item.get(k)) for k in ("size_bytes", "p50_ms", "p99_ms"))
        rate, score, loss = (number(item.get(k)) for k in ("rows_per_s", "score", "loss"))
        upper = number(item.get("upper"))
        outcome: Child = "good enough, but not the smallest"
        if item.get("chosen"):
            outcome = el("b", "ships", class_="t-ours")
        elif item.get("refused"):
            outcome = [el("b", "refused: ", class_="t-bad"), data_text(item["refused"])]
        elif not item.get("passed"):
            outcome = el("b", "not good enough", class_="t-bad")
        lost: Child = "–"
        if loss is not None and upper is not None:
            lost = [
                _loss(loss, shares),
                el("span", f" (at most {_loss(upper, shares)})", class_="soft"),
            ]
        lines.append(
            [
                data_text(item.get("name", ""), 40),
                megabytes(size) if size else "–",
                milliseconds(fast) if fast is not None else "–",
                milliseconds(slow) if slow is not None else "–",
                count(rate) if rate is not None else "–",
                _score(score) if score is not None else "–",
                lost,
                outcome,
            ]
        )
    heads = [
        Column("Graph"),
        Column("size", "n"),
        Column("median", "n"),
        Column("99 of 100", "n"),
        Column("rows/s", "n"),
        Column("quality", "n"),
        Column("loss", "n"),
        Column("outcome", "text"),
    ]
    return table(heads, lines, caption="Measured on this machine", stack=True)


def _score(score: float) -> str:
    """A mean score in words: accuracy, or the log loss that a log likelihood is."""
    return f"log loss {-score:.3f}" if score < 0 else percent(score)


def _loss(loss: float, shares: bool) -> str:
    return percent(loss, 2) if shares else f"{loss:.4f}"


def _shares(found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether scores are shares of right answers; log likelihoods are below 0."""
    return all((number(item.get("score")) or 0.0) >= 0 for item in found)
