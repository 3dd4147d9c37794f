"""Columns that number the rows are no text to learn from."""

from __future__ import annotations

import pytest

from volano.columns.text import FittedText, TextColumn, train_tokenizer


@pytest.mark.parametrize("pattern", ["T{:05d}", "{}", "#{}", "user_{}", "A-{}-B"])
def test_keys_are_no_text(pattern):
    found = TextColumn.infer([pattern.format(number) for number in range(500)])
    assert found.score == 0.0
    assert "keys such as" in found.reason


@pytest.mark.parametrize(
    "values",
    [
        ["where is my parcel 17", "card 4 is lost", "I want 2 refunds"] * 30,
        ["很快，好吃", "没有送水没有送水", "味道足，量大"] * 30,
        [f"order {number} arrived broken" for number in range(90)],
    ],
)
def test_texts_with_numbers_are_text(values):
    assert TextColumn.infer(values).score > 0
    assert "keys" not in TextColumn.infer(values).reason


def test_a_row_without_text_says_so():
    column = FittedText("message", train_tokenizer(["good tea", "bad tea"] * 30, 300), 16)
    notes = column.encode(["", "good tea", "  \n"]).notes
    assert notes == {0: "message: there is no text", 2: "message: there is no text"}
