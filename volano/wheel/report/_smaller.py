"""What was tried to make the model smaller, what it cost, and what nothing else beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.wheel.report._evidence import Evidence, number, rows
from volano.wheel.report._format import megabytes, milliseconds, seconds
from volano.wheel.report._markup import Child, data_text, el
from volano.wheel.report._tables import Cell, Column, Section, table

__all__ = ["smaller"]


def smaller(evidence: Evidence) -> Section | None:
    """Every step of the search; None where no pass was tried."""
    found = [item for item in evidence.candidates if item.get("steps")]
    if not found:
        return None
    first = evidence.candidates[0]
    largest = number(first.get("size_bytes"))
    lines = [_line(item, largest) for item in (first, *found)]
    heads = [
        Column("Candidate", "name"),
        Column("made by", "text"),
        Column("size", "n"),
        Column("start", "n"),
        Column("memory", "n"),
        Column("took", "n"),
        Column("", "text"),
    ]
    lead = (
        "The best model as it was trained, and every chain of passes that was tried on it. What "
        "no other candidate beats in quality, bytes and speed alike is kept, and can be shipped "
        "by name without training again."
    )
    body: list[Child] = [
        table(heads, lines, caption="What was tried, in order", stack=True),
        el(
            "p",
            "Start: from a new process to its first answer. Memory: the most that this process "
            "held. Took: what the last pass of the chain cost in this turn.",
            class_="soft",
        ),
    ]
    return Section("smaller", "Made smaller", lead, body)


def _line(item: Mapping[str, Any], largest: float | None) -> list[Cell | Child]:
    size, start, peak, took = (
        number(item.get(key)) for key in ("size_bytes", "start_s", "peak_mb", "seconds")
    )
    share = ""
    if size and largest and size < largest:
        share = f" (1/{largest / size:.1f})"
    outcome: Child = "beaten by another"
    if item.get("chosen"):
        outcome = el("b", "ships", class_="t-ours")
    elif not size:
        outcome = data_text(item.get("refused", ""), 300)
    elif item.get("front"):
        outcome = "nothing beats it"
    missed = [str(what) for what in item.get("missed") or ()]
    if missed and size:
        outcome = [outcome, el("div", "goal: " + "; ".join(missed), class_="soft")]
    return [
        data_text(item.get("name", ""), 60),
        _steps(item),
        [megabytes(size), share] if size else "–",
        milliseconds(start * 1000) if start is not None else "–",
        f"{peak:,.0f} MB" if peak is not None else "–",
        seconds(took) if took is not None else "–",
        outcome,
    ]


def _steps(item: Mapping[str, Any]) -> Child:
    said: Sequence[str] = [
        " ".join(
            [
                str(step.get("pass", "")),
                *(f"{key} {value}" for key, value in step.items() if key != "pass"),
            ]
        )
        for step in rows(item.get("steps"))
    ]
    return data_text(", then ".join(said), 300) if said else "as it was trained"
