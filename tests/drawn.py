"""A turn's record and artifacts as stages leave them, and its report, checked."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from volano.evaluation import class_changes, classification_report, judge
from volano.wheel.report import write_report

VOID = {"meta", "br", "wbr", "link", "col"}
SCRIPT = "<script>alert('x')</script>"


class Page(html.parser.HTMLParser):
    """Checks that tags are balanced, and collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.scripts = 0
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.levels: list[int] = []
        self.unnamed_drawings = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert not [name for name in found if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        if "id" in found:
            self.ids.append(found["id"] or "")
        if tag == "a":
            self.links.append(found.get("href") or "")
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "svg" and not (found.get("aria-label") or found.get("aria-hidden")):
            self.unnamed_drawings += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def metric(value: float, reach: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


def record(turn: int = 1, **changes: Any) -> dict[str, Any]:
    """A turn's record, as `volano.wheel._record` makes it."""
    counts = {"read": 800, "broken": 2, "empty": 0, "golden_repeats": 3, "duplicates": 4}
    whole: dict[str, Any] = {
        "name": "reviews",
        "target": "mood",
        "turn": turn,
        "at": f"2026-11-{turn:02d}T00:08:15+00:00",
        "verdict": "promoted",
        "reason": "better than the best baseline, tfidf_svm",
        "bundle_id": "0" * 64,
        "metrics": {
            "accuracy": metric(0.888),
            "f1_macro": metric(0.87),
            "log_loss": metric(0.417),
            "calibration_error": {"value": 0.038, "low": 0.0, "high": 0.05},
        },
        "gate": {
            "reference": "the best baseline, tfidf_svm",
            "metric": "accuracy",
            "judgement": judge([1] * 40, [1] * 20 + [0] * 20, alpha=0.0038).as_dict(),
            "scores": {"candidate": 0.888, "reference": 0.788},
            "test_number": turn,
            "level": 0.0038,
            "alpha": 0.05,
            "champion_turn": None,
            "golden_rows": 500,
        },
        "candidates": [
            {
                "name": "fp32",
                "size_bytes": 90744678,
                "p50_ms": 14.1,
                "p99_ms": 22.6,
                "rows_per_s": 54.3,
                "rows_per_s_spread": [43.0, 66.9],
                "passed": True,
                "loss": 0.0,
                "score": 0.92,
                "chosen": False,
            },
            {
                "name": "int8",
                "size_bytes": 23947405,
                "p50_ms": 5.9,
                "p99_ms": 11.6,
                "rows_per_s": 130.1,
                "rows_per_s_spread": [74.1, 169.0],
                "passed": True,
                "shown": True,
                "loss": 0.001,
                "upper": 0.004,
                "score": 0.919,
                "chosen": True,
            },
            {
                "name": "int4",
                "size_bytes": 0,
                "refused": f"failed: no such node {SCRIPT}",
                "passed": False,
                "chosen": False,
            },
        ],
        "data": {
            "rows": 800,
            "dropped": 9,
            "dropped_because": {"broken": 2, "golden_repeats": 3, "duplicates": 4},
            "repaired": 0,
            "truncated": 1,
            "feedback_rows": 0,
            "files": [{"name": f"{SCRIPT}.csv", "format": "csv", "num_rows": 800, "notes": ["a"]}],
            "notes": [],
            "cleaning": {
                "counts": {
                    kind: {"rows": rows, "action": "dropped", "first": ["train.csv row 558"][:rows]}
                    for kind, rows in counts.items()
                },
                "rare_classes": {},
            },
            "columns": {
                f"text{SCRIPT}": {
                    "encoder": "minilm",
                    "truncated_rows": 1,
                    "truncated_tokens": 7,
                    "tokens": 10548,
                    "unknown_tokens": 3,
                }
            },
            "golden_rows": 500,
        },
        "training": {
            "head_start": 0.87,
            "epochs": [
                {"epoch": e, "train_loss": 1 / e, "validation_loss": 1.1 / e} for e in (1, 2, 3)
            ],
            "best_epoch": 2,
            "plan": {"epochs": 3, "learning_rate": 0.0001, "balanced": False},
            "num_weights": 22567686,
            "rows": 715,
            "validation_rows": 76,
            "classes": 3,
        },
        "baselines": {"majority": {"accuracy": 0.188}, "tfidf_svm": {"accuracy": 0.788}},
        "temperature": 1.1,
        "validation": {"accuracy": metric(0.923)},
        "stages": [
            {"name": "data", "seconds": 0.05, "cached": True},
            {"name": "train", "seconds": 113.61, "cached": False},
        ],
        "artifacts": {"data": "d" * 64, "prepare": "e" * 64},
        "lineage": {"deploy": {"key": "a" * 64, "parents": {}, "code": {"volano": "0.1.0"}}},
        "seconds": 157.74,
    }
    whole["training"]["epochs"][0]["validation_accuracy"] = 0.9
    return whole | changes


def artifacts(
    folder: Path, num_classes: int = 3, num_rows: int = 300, *, names: list[str] | None = None
) -> dict[str, Path]:
    """Folders as the stages leave them, of a model that errs on every seventh row or so."""
    names = names or [f"class {code}" for code in range(num_classes)]
    labels = np.arange(num_rows) % num_classes
    wrong = np.random.default_rng(0).random(num_rows) < 0.15
    answers = np.where(wrong, (labels + 1) % num_classes, labels)
    sure = 0.5 + 0.49 * (np.arange(num_rows) % 11) / 10
    probabilities = np.repeat(((1 - sure) / max(num_classes - 1, 1))[:, None], num_classes, axis=1)
    probabilities[np.arange(num_rows), answers] = sure if num_classes > 1 else 1.0
    report = classification_report(probabilities, labels, names, num_resamples=100).as_dict()
    mistake = {
        "row": 7,
        "place": "train.csv row 558",
        "inputs": {f"text{SCRIPT}": SCRIPT},
        "right": names[0],
        "probability": 0.9,
    }
    targets = [names[code] for code in labels]
    before = np.where(np.random.default_rng(1).random(num_rows) < 0.7, targets, names[0]).tolist()
    changes = class_changes([names[code] for code in answers], before, targets)
    texts = {
        "deploy/golden_report.json": json.dumps(report),
        "deploy/class_changes.json": json.dumps([change.as_dict() for change in changes]),
        "deploy/mistakes.jsonl": "\n".join([json.dumps(mistake | {"predicted": names[-1]})] * 40),
        "data/labels.json": json.dumps([{"label": name, "rows": 9} for name in names]),
        "data/findings.jsonl": json.dumps(
            {"kind": "broken", "file": "a.csv", "row": 9, "detail": f"3 fields {SCRIPT}"}
        ),
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {"deploy": folder / "deploy", "data": folder / "data"}


def drawn(
    tmp_path: Path,
    turn: dict[str, Any] | None = None,
    folders: dict[str, Path] | None = None,
    history: list[dict[str, Any]] | None = None,
) -> tuple[str, Page]:
    """The report, checked for what holds of every report."""
    turn = turn or record()
    path = tmp_path / "report.html"
    write_report(path, turn, folders or {}, history or [turn])
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.scripts == 1
    assert page.unnamed_drawings == 0
    assert page.levels[0] == 1
    assert page.levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(page.levels))
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.search(r"\b(nan|inf)\b", text.split("<main")[1])
    assert "None" not in page.text
    assert not re.search(r"(https?:|src=|url\(|@import)", text.replace("default-src", ""))
    assert [item.name for item in tmp_path.iterdir() if item.name.endswith(".tmp")] == []
    return text, page
