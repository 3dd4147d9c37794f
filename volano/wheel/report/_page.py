"""The page: what comes in which order, and how it reaches the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volano.wheel.report._evidence import Evidence, gather
from volano.wheel.report._forecasts import by_series, by_step, forecasts
from volano.wheel.report._format import moment
from volano.wheel.report._learning import candidates, training
from volano.wheel.report._making import history, making
from volano.wheel.report._markup import Markup, data_text, el, raw
from volano.wheel.report._models import models
from volano.wheel.report._numbers import fitted, intervals, residuals
from volano.wheel.report._quality import calibration, classes, confusion, metrics, mistakes
from volano.wheel.report._rows import data
from volano.wheel.report._several import decisions
from volano.wheel.report._smaller import smaller
from volano.wheel.report._style import SCRIPT, SCRIPT_HASH, STYLE
from volano.wheel.report._tables import WORDS, Section
from volano.wheel.report._trials import trials
from volano.wheel.report._verdict import ships, verdict

__all__ = ["write_report"]

_Section = Callable[[Evidence], Section | None]

# In the order in which a person wants to know.
_FIRST: tuple[_Section, ...] = (ships, metrics, data, models, trials, training)
_LAST: tuple[_Section, ...] = (candidates, smaller, mistakes, history, making)
SECTIONS: Mapping[str, tuple[_Section, ...]] = {
    "classification": (*_FIRST, confusion, classes, calibration, *_LAST),
    "forecasting": (*_FIRST, forecasts, by_step, by_series, *_LAST),
    "multilabel": (*_FIRST, classes, decisions, *_LAST),
    "regression": (*_FIRST, fitted, residuals, intervals, *_LAST),
}
"""Task -> the sections of its page; a task that is not here has those that all have."""

POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{SCRIPT_HASH}'; "
    "base-uri 'none'; form-action 'none'"
)


def write_report(
    path: Path,
    record: Mapping[str, Any],
    folders: Mapping[str, Path],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write a turn's report as one HTML file that needs nothing else.

    It is drawn from the record, and from files of the stages' artifacts where there are any; what
    is missing is said to be missing. The same input gives the same bytes. The file appears whole
    or not at all.

    Args:
      path: The file to write; its folder exists.
      record: The turn's record.
      folders: Stage -> the folder of its artifact.
      history: The records of all turns, oldest first, this one included.
    """
    page = _page(gather(record, folders, history))
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(page, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _page(evidence: Evidence) -> str:
    name = str(evidence.record.get("name", "wheel"))
    word = WORDS.get(evidence.verdict, evidence.verdict)
    drawn = (section(evidence) for section in SECTIONS.get(evidence.task, (*_FIRST, *_LAST)))
    sections = [section for section in drawn if section is not None]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"{name}, turn {evidence.turn}: {word.lower()}"),
        el("style", Markup(STYLE)),
    )
    links = [el("li", el("a", section.title, href=f"#{section.id}")) for section in sections]
    body = el(
        "body",
        el(
            "header",
            el(
                "div",
                el("span", el("b", data_text(name, 80))),
                el("span", "predicts ", data_text(evidence.record.get("target", ""), 80)),
                el("span", f"turn {evidence.turn}"),
                el("span", moment(evidence.record.get("at", ""))),
                class_="top",
            ),
        ),
        el(
            "main",
            verdict(evidence),
            el("nav", el("ul", links), aria_label="Sections", class_="inside"),
            [section.drawn() for section in sections],
        ),
        el(
            "footer",
            "Drawn by Volano from this turn's record. One file: nothing in it is fetched from "
            "anywhere, and it can be mailed, printed and kept.",
        ),
        el("script", Markup(SCRIPT)),
    )
    return str(raw(Markup("<!doctype html>\n"), el("html", head, body, lang="en"), "\n"))
