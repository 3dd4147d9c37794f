"""What was lost of each column on the way into the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.wheel.report._evidence import Evidence, mapping, number
from volano.wheel.report._format import count, percent, plural
from volano.wheel.report._markup import Child, Markup, data_text, el, raw
from volano.wheel.report._tables import Cell, Column, table

__all__ = ["lost"]

# What columns count -> what it means. Tokens have a table of their own.
COUNTS = {
    "missing": "an empty cell, or a word for nothing",
    "unreadable": "not a value of the column's type; counts as missing",
    "unseen": "a name without a place of its own, rare or not among the training rows",
    "outside": "beyond the smallest or the largest of the training rows",
}
TOKENS = frozenset({"tokens", "unknown_tokens", "truncated_rows", "truncated_tokens"})


def lost(evidence: Evidence, found: Mapping[str, Any]) -> Markup | None:
    """Values that were missing, unreadable, unseen or outside, column by column."""
    columns = {str(name): _counts(entry) for name, entry in mapping(found.get("columns")).items()}
    columns = {name: counts for name, counts in columns.items() if counts}
    if not columns:
        return None
    training = mapping(evidence.record.get("training"))
    total = sum(number(training.get(key)) or 0.0 for key in ("rows", "validation_rows"))
    heading = el("h3", "Lost on the way into the model")
    touched = {name: counts for name, counts in columns.items() if any(counts.values())}
    if not touched:
        return raw(heading, el("p", "Every value of every column could be read as it was."))
    kinds = list(dict.fromkeys([*COUNTS, *(kind for each in touched.values() for kind in each)]))
    kinds = [kind for kind in kinds if any(each.get(kind) for each in touched.values())]
    lines: list[Sequence[Cell | Child]] = []
    for name, counts in touched.items():
        line: list[Cell | Child] = [
            [data_text(name, 60), " ", el("span", str(evidence.types.get(name, "")), class_="soft")]
        ]
        line += [_cell(counts.get(kind), total) for kind in kinds]
        lines.append(line)
    heads = [Column("Column"), *(Column(kind.replace("_", " "), "n") for kind in kinds)]
    meanings = "; ".join(f"{kind}: {COUNTS[kind]}" for kind in kinds if kind in COUNTS)
    left = len(columns) - len(touched)
    note = "Values of training and validation rows."
    if meanings:
        note += f" {meanings[:1].upper()}{meanings[1:]}."
    if left:
        note += f" {plural(left, 'column')} that lost nothing: left out."
    drawn = table(heads, lines, caption="Values lost, column by column", tall=len(lines) > 15)
    return raw(heading, drawn, el("p", note, class_="small soft"))


def _counts(entry: object) -> dict[str, float]:
    return {
        str(kind): value
        for kind, item in mapping(entry).items()
        if kind not in TOKENS and (value := number(item)) is not None
    }


def _cell(value: float | None, total: float) -> Cell:
    if value is None:
        return Cell("")
    if not value:
        return Cell(el("span", "0", class_="soft"), 0.0)
    share = f" ({percent(value / total)})" if total and value <= total else ""
    return Cell([count(value), el("span", share, class_="soft")], value)
