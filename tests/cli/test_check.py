"""`volano check`: what it warns of, and how it names a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPEC = """\
name: reviews
data: reviews.csv
inputs: {text: {type: text, encoder: scratch}}
target: {mood: category}
"""


def _wheel(folder: Path, rows: str) -> Path:
    (folder / "reviews.csv").write_text(f"text,mood\n{rows}", encoding="utf-8")
    (folder / "volano.yaml").write_text(SPEC, encoding="utf-8")
    return folder


def test_labels_in_several_spellings_are_warned_of_and_not_merged(tmp_path: Path, run: Any) -> None:
    rows = "good one,Positive\nfine one,positive\nnice one,positive \nbad one,negative\n"
    _wheel(tmp_path, rows)
    done = run("check", cwd=tmp_path)
    assert done.status == 0
    assert (
        "warning: labels that differ only by case, space or punctuation: positive 2, Positive 1\n"
        "    fix: if they are one class, write 'positive' for all of them"
    ) in done.out
    found = run("check", "--json", cwd=tmp_path).json
    assert found["labels"] == {"Positive": 1, "negative": 1, "positive": 2}
    assert [group["rows"] for group in found["like_labels"]] == [{"positive": 2, "Positive": 1}]


def test_nothing_is_warned_of_without_reason(tmp_path: Path, run: Any) -> None:
    done = run("check", cwd=_wheel(tmp_path, "good one,positive\nbad one,negative\n"))
    assert "warning" not in done.out
