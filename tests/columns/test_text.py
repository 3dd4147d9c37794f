"""Text: what is cut, what is unknown, and scripts of all kinds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volano.columns import Ragged, column_kind
from volano.columns.text import FittedText, TextColumn, train_tokenizer
from volano.errors import RequestError

WORDS = ["good tea", "bad phone", "a lovely chair", "不错的茶", "手机坏了"] * 5


@pytest.fixture(scope="module")
def text() -> FittedText:
    return FittedText("text", train_tokenizer(WORDS, 300), 12)


def ids(text: FittedText, value: str) -> list[int]:
    ragged = text.encode([value]).arrays["ids"]
    assert isinstance(ragged, Ragged)
    return [int(item) for item in ragged.flat]


def test_what_is_cut_is_counted(text: FittedText) -> None:
    encoded = text.encode(["good", "z " * 100, ""])
    assert encoded.counts["truncated_rows"] == 1
    assert encoded.notes == {
        1: f"text: the last {encoded.counts['truncated_tokens']} tokens were cut",
        2: "text: there is no text",
    }
    whole = FittedText("text", text.tokenizer_json, 1000).encode(["good", "z " * 100, ""])
    assert encoded.counts["tokens"] == whole.counts["tokens"]
    kept = encoded.arrays["ids"]
    assert isinstance(kept, Ragged)
    assert kept.lengths.max() == 12
    assert len(kept.flat) + encoded.counts["truncated_tokens"] == encoded.counts["tokens"]


def test_a_text_that_just_fits_is_not_cut() -> None:
    tokenizer = train_tokenizer(WORDS, 300)
    length = len(ids(FittedText("text", tokenizer, 100), "good tea good tea"))
    assert FittedText("text", tokenizer, length).encode(["good tea good tea"]).notes == {}
    assert FittedText("text", tokenizer, length - 1).encode(["good tea good tea"]).notes != {}


def test_unknown_characters_are_counted(text: FittedText) -> None:
    assert text.encode(["good tea"]).counts["unknown_tokens"] == 0
    assert text.encode(["😀"]).counts["unknown_tokens"] >= 1


@pytest.mark.parametrize(
    "value", ["", " ", "\n\t", "\0", "\u200b", "مرحبا", "👩‍👩‍👧", "é" * 300, "茶" * 300]
)
def test_any_text_has_tokens(text: FittedText, value: str) -> None:
    found = ids(text, text.check(value))
    assert 2 <= len(found) <= 12
    assert max(found) < text.num_tokens


def test_a_megabyte_in_one_cell(text: FittedText) -> None:
    encoded = text.encode(["不错的茶" * 90_000])
    assert encoded.counts["truncated_rows"] == 1
    assert len(encoded.arrays["ids"].flat) == 12  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [None, 5, 1.5, ["a"], b"a", {"a": 1}, "half \ud800"])
def test_what_is_not_text_is_refused(text: FittedText, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        text.check(value)
    assert caught.value.code == "REQUEST-010"
    assert caught.value.status == 422


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40), max_size=5)
)
def test_a_row_is_encoded_the_same_wherever_it_stands(values: list[str]) -> None:
    text = FittedText("text", _TOKENIZER, 12)
    encoded = text.encode(values)
    ragged = encoded.arrays["ids"]
    assert isinstance(ragged, Ragged)
    for row, value in enumerate(values):
        assert ragged.flat[ragged.offsets[row] : ragged.offsets[row + 1]].tolist() == ids(
            text, value
        )


_TOKENIZER = train_tokenizer(WORDS, 300)


def test_words_of_scripts_without_spaces_are_learned() -> None:
    text = FittedText("text", train_tokenizer(["手机坏了", "手机很好", "茶很好"] * 9, 300), 64)
    assert len(ids(text, "手机很好")) - 2 < 4


@pytest.mark.parametrize("texts", [[], [""], ["😀"], ["a"], ["\0"], ["x" * 100_000]])
def test_a_tokenizer_can_be_made_of_almost_nothing(texts: list[str]) -> None:
    assert ids(FittedText("text", train_tokenizer(texts, 300), 8), "hello")


def test_more_characters_than_the_vocabulary_holds_are_all_kept() -> None:
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 1000)]
    text = FittedText("text", train_tokenizer(characters, 300), 16)
    assert text.encode(characters).counts["unknown_tokens"] == 0


def test_the_usual_length_leaves_room() -> None:
    options = TextColumn.Options().model_dump(mode="json")
    fitted = TextColumn.fit("text", WORDS, {**options, "vocabulary": 300})
    assert fitted.max_tokens == 16
    longest = TextColumn.fit("text", ["z " * 5000], {**options, "vocabulary": 300, "longest": 64})
    assert longest.max_tokens == 64


def test_padding() -> None:
    text = FittedText("text", _TOKENIZER, 12)
    batch = text.collate(text.encode(["good", "good tea good tea"]), np.array([1, 0]))
    assert batch["text.ids"].shape == batch["text.mask"].shape
    assert batch["text.mask"][0].all()
    assert batch["text.ids"][1][batch["text.mask"][1] == 0].tolist() == [text.pad_id] * int(
        (batch["text.mask"][1] == 0).sum()
    )


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["a long sentence about tea", "and another one of phones"], "text"),
        (["good", "bad", "good", "bad", "good", "bad"], "category"),
        (["1.5", "2.5", "3.25"], None),
        (["", None], None),
    ],
)
def test_the_type_of_a_column_is_guessed(values: list[str | None], wanted: str | None) -> None:
    scores = {kind: column_kind(kind).infer(values).score for kind in ("text", "category")}
    best = max(scores, key=lambda kind: scores[kind])
    assert (best if scores[best] > 0.2 else None) == wanted
