"""Rows without a label: what is kept of them, and what is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from volano.data import TableForm, resolve, rows_of, unlabelled
from volano.data._keys import hash_inputs
from volano.errors import DataError

TEXTS = TableForm.of(["text"], "mood", {"text": "text", "mood": "category"})


def folded(*texts: str) -> set[tuple[int, int]]:
    _, hashes = hash_inputs([texts])
    return {(int(high), int(low)) for high, low in hashes}


def test_rows_that_say_nothing_new_are_left_out() -> None:
    rows = [
        {"text": "The tea is good"},
        {"text": "the TEA is good!"},
        {"text": "Golden, as it stands"},
        {"text": "  "},
        {"text": None},
        None,
        {"text": "A lamp", "more": "x"},
    ]
    found = unlabelled(rows, TEXTS, folded("golden as it stands"), plain={}, most=10)
    assert found.columns == {"text": ["The tea is good", "A lamp"]}
    assert found.counts == {"read": 7, "broken": 1, "empty": 2, "known": 2, "kept": 2}


def test_there_is_an_end_to_them() -> None:
    rows = ({"text": f"row {place}"} for place in range(20_000))
    found = unlabelled(rows, TEXTS, set(), plain={}, most=5000)
    assert found.counts["kept"] == len(found.columns["text"]) == 5000
    assert found.counts["read"] < 10_000, "what is too much is not read either"


def test_cells_become_what_later_steps_read() -> None:
    form = TableForm.of(["price"], "mood", {"price": "number", "mood": "category"})
    made = unlabelled(
        [{"price": "1,5"}, {"price": "2,5"}, {"price": "1,5"}],
        form,
        set(),
        plain={"price": lambda cell: cell.replace(",", ".")},
        most=9,
    )
    assert made.columns == {"price": ["1.5", "2.5"]}


def test_tables_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,other\none,1\ntwo,2\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\nno json\n', encoding="utf-8")
    files = resolve(["a.csv", "b.jsonl"], root=tmp_path)
    texts = [row and row.get("text") for row in rows_of(files, ["text"])]
    assert texts == ["one", "two", "three", None]
    with pytest.raises(DataError, match=r"(?s)a.csv: there is no column .texts.*DATA-008"):
        list(rows_of(files, ["texts"]))


def test_one_number_written_in_two_ways_is_one_row() -> None:
    """The prediction log keeps values: a golden 24 comes back as 24.0, and must be left out."""
    form = TableForm.of(["age"], "mood", {"age": "number", "mood": "category"})
    same = {"age": lambda cell: str(float(cell))}
    _, hashes = hash_inputs([["24.0"]], form.folds)
    known = {(int(high), int(low)) for high, low in hashes}
    rows = [{"age": "24"}, {"age": "24.00"}, {"age": "25"}, {"age": "25.0"}]
    found = unlabelled(rows, form, known, plain={}, same=same, most=9)
    assert found.columns == {"age": ["25"]}
    assert found.counts["known"] == 3
