"""What the report is drawn from, gathered; each part may be missing, and says so as empty."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from volano.evaluation import evaluator
from volano.runtime import MANIFEST

__all__ = ["Evidence", "Interval", "gather", "held_out", "interval", "mapping", "number", "rows"]

FIRST_FINDINGS = 20


class Interval(NamedTuple):
    """A number and its 95% interval, whose ends may be infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """A turn's record, and what its artifacts add.

    Attributes:
      record: The turn's record.
      history: All records, oldest first; the last is this turn's.
      folders: Stage -> the folder of its artifact.
      golden: What the task's evaluator reports of the golden rows; empty without them.
      validation: The same on validation rows.
      answering: The state of the shipped bundle's task, as its manifest has it.
      mistakes: The worst answers first.
      changes: Recall of each class beside the champion's, the largest change first.
      labels: Classes as read, with their rows.
      findings: The first rows that were broken, empty or repaired, with what was wrong.
    """

    record: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    folders: Mapping[str, Path]
    golden: Mapping[str, Any]
    validation: Mapping[str, Any]
    answering: Mapping[str, Any]
    mistakes: Sequence[Mapping[str, Any]]
    changes: Sequence[Mapping[str, Any]]
    labels: Sequence[Mapping[str, Any]]
    findings: Sequence[Mapping[str, Any]]

    @property
    def turn(self) -> int:
        """The turn's number."""
        return int(number(self.record.get("turn")) or 0)

    @property
    def gate(self) -> Mapping[str, Any]:
        """What the gate found."""
        return mapping(self.record.get("gate"))

    @property
    def judgement(self) -> Mapping[str, Any]:
        """The paired comparison; empty when there was none."""
        return mapping(self.gate.get("judgement"))

    @property
    def task(self) -> str:
        """What is predicted; turns of before there were several tasks predict names."""
        return str(self.record.get("task") or "classification")

    @property
    def headline(self) -> str:
        """The metric that is shown where there is room for one."""
        return str(self.record.get("headline") or "accuracy")

    @property
    def judged_by(self) -> str:
        """The metric that the gate compares rows by."""
        found = self.gate.get("metric")
        return str(found) if found else _first_metric(self.task)

    @property
    def types(self) -> Mapping[str, Any]:
        """Input column -> its type, as far as the record has them."""
        step = mapping(mapping(self.record.get("lineage")).get("data"))
        return mapping(mapping(step.get("ingredients")).get("inputs"))

    @property
    def effect(self) -> Interval | None:
        """Candidate minus reference, on the golden rows."""
        found = self.judgement
        value = number(found.get("effect"))
        if value is None:
            return None
        low, high = number(found.get("low")), number(found.get("high"))
        return Interval(
            value, -math.inf if low is None else low, math.inf if high is None else high
        )

    @property
    def verdict(self) -> str:
        """``promoted``, ``rejected`` or ``inconclusive``."""
        return str(self.record.get("verdict", "inconclusive"))

    @property
    def candidates(self) -> list[Mapping[str, Any]]:
        """Bundles that could have shipped."""
        return rows(self.record.get("candidates"))

    @property
    def shipped(self) -> Mapping[str, Any]:
        """The candidate that was chosen."""
        return chosen(self.record)

    @cached_property
    def champion(self) -> Mapping[str, Any]:
        """The record of the champion that this turn was compared with; empty on a first turn."""
        wanted = self.gate.get("champion_turn")
        for record in self.history:
            if wanted is not None and record.get("turn") == wanted:
                picked = mapping(self.record.get("picked_champion"))
                return _as_picked(record, picked) if picked else record
        return {}

    @cached_property
    def champions(self) -> list[Mapping[str, Any]]:
        """Every champion until now, oldest first: `turn`, `at`, `why`; this turn when promoted.

        Records of old turns do not have it; then it is what their verdicts say.
        """
        found = rows(self.record.get("champions"))
        if not found:
            for record in self.history[:-1]:
                turn = mapping(record.get("gate")).get("champion_turn")
                if turn is not None and (not found or found[-1].get("turn") != turn):
                    found.append({"turn": turn})
                if record.get("verdict") == "promoted":
                    found.append({"turn": record.get("turn"), "at": record.get("at")})
            turn = self.gate.get("champion_turn")
            if turn is not None and (not found or found[-1].get("turn") != turn):
                found.append({"turn": turn})
        if self.verdict == "promoted":
            own = {"turn": self.turn, "at": self.record.get("at"), "why": "the gate promoted it"}
            found = [*found, own]
        return found

    @property
    def speed(self) -> Mapping[str, Any]:
        """What this turn and the champion took side by side; empty when that was not measured."""
        found = mapping(self.record.get("speed"))
        both = (number(mapping(found.get(who)).get("p50_ms")) for who in ("candidate", "champion"))
        return found if all(both) else {}

    def metric(self, name: str) -> Interval | None:
        """A metric on golden rows."""
        return interval(mapping(self.record.get("metrics")).get(name))


def gather(
    record: Mapping[str, Any],
    folders: Mapping[str, Path],
    history: Sequence[Mapping[str, Any]],
) -> Evidence:
    """Read what the stages left; a file that is missing or damaged counts as empty."""

    def read(stage: str, name: str) -> str:
        folder = folders.get(stage)
        try:
            return (folder / name).read_text(encoding="utf-8") if folder else ""
        except (OSError, UnicodeDecodeError):
            return ""

    record = _stated(record)
    others = [_stated(other) for other in history if other.get("turn") != record.get("turn")]
    return Evidence(
        record,
        [*others, record],
        folders,
        mapping(_json(read("deploy", "golden_report.json"))),
        mapping(_json(read("evaluate", "validation.json"))),
        mapping(
            mapping(mapping(_json(read("deploy", f"bundle/{MANIFEST}"))).get("task")).get("state")
        ),
        rows([_json(line) for line in read("deploy", "mistakes.jsonl").split("\n")]),
        rows(_json(read("deploy", "class_changes.json"))),
        rows(_json(read("data", "labels.json"))),
        _first_lines(folders.get("data"), "findings.jsonl"),
    )


def _first_metric(task: str) -> str:
    try:
        return evaluator(task).metrics[0]
    except KeyError:
        return "accuracy"


def _first_lines(folder: Path | None, name: str) -> list[Mapping[str, Any]]:
    """The first lines of a file that may be as long as the data."""
    try:
        if folder is None:
            return []
        with (folder / name).open(encoding="utf-8") as file:
            return rows([_json(line) for line in itertools.islice(file, FIRST_FINDINGS)])
    except (OSError, UnicodeDecodeError):
        return []


def _stated(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what it leaves open."""
    return {name: value for name, value in record.items() if value is not None}


def _as_picked(record: Mapping[str, Any], picked: Mapping[str, Any]) -> Mapping[str, Any]:
    """A turn's record as if it had chosen the candidate that a person picked afterwards."""
    name = picked.get("name")
    candidates = [
        {**item, "chosen": item.get("name") == name} for item in rows(record.get("candidates"))
    ]
    return {**record, "candidates": candidates, "metrics": mapping(picked.get("metrics"))}


def chosen(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The candidate that a record says was chosen."""
    found = [item for item in rows(record.get("candidates")) if item.get("chosen")]
    return found[0] if found else {}


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def rows(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list; of anything else, none."""
    if not isinstance(value, list | tuple):
        return []
    return [item for item in value if isinstance(item, Mapping) and item]


def held_out(evidence: Evidence) -> str:
    """What the rows are called that models are compared on."""
    found = rows(mapping(evidence.record.get("training")).get("models"))
    crossed = evidence.record.get("cross_fitted") or any(item.get("cross_fitted") for item in found)
    return "cross-fitted rows" if crossed else "validation rows"


def number(value: object) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(value: object) -> Interval | None:
    """An estimate from its dict; a missing end is the value itself."""
    found = mapping(value)
    middle = number(found.get("value"))
    if middle is None:
        return None
    low, high = number(found.get("low")), number(found.get("high"))
    return Interval(middle, middle if low is None else low, middle if high is None else high)


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return None
