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


def test_a_row_is_counted_without_the_header_whatever_its_lines(tmp_path: Path, run: Any) -> None:
    rows = '"one\nover\nlines",good\ntwo,bad\nthree\ntwo,bad\nfour,\n'
    done = run("check", cwd=_wheel(tmp_path, rows))
    assert "(reviews.csv row 3)" in done.out  # broken: line 6 of the file
    assert "(reviews.csv row 4)" in done.out  # a duplicate
    counts = run("check", "--json", cwd=tmp_path).json["cleaning"]["counts"]
    assert counts["broken"]["first"] == ["reviews.csv row 3"]
    assert counts["duplicates"]["first"] == ["reviews.csv row 4"]
    assert counts["empty"]["first"] == ["reviews.csv row 5"]


def test_rows_of_one_file_are_listed_together(tmp_path: Path, run: Any) -> None:
    rows = "".join(f"text {place},{'good' if place % 2 else 'bad'}\n" for place in range(4))
    done = run("check", cwd=_wheel(tmp_path, rows * 2))
    assert "4 dropped  (reviews.csv rows 5, 6, 7, 8)" in done.out
