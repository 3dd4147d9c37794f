"""Texts of a megabyte: quickly cut, and what is left is what a patient tokenizer gives."""

from __future__ import annotations

import time

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from volano.columns import Ragged
from volano.columns.text import FittedText, train_tokenizer

TOKENIZER = train_tokenizer(["good tea and bad phones", "不错的茶", "手机坏了"] * 5, 300)


def words() -> str:
    vocabulary = {"[UNK]": 0, "good": 1, "tea": 2}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return str(made.to_str())


def ids(text: FittedText, value: str) -> list[int]:
    ragged = text.encode([value]).arrays["ids"]
    assert isinstance(ragged, Ragged)
    return [int(item) for item in ragged.flat]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, words()], ids=["scratch", "wordpiece"])
@pytest.mark.parametrize("piece", ["a", "good tea ", "不错的茶", " ", "!", "\n", "é"])
def test_a_megabyte_is_cut_before_it_is_tokenised(tokenizer: str, piece: str) -> None:
    text = FittedText("text", tokenizer, 256)
    value = piece * (1_000_000 // len(piece.encode()))
    started = time.process_time()
    encoded = text.encode([value])
    assert time.process_time() - started < 2
    assert encoded.counts["truncated_rows"] == 1
    assert encoded.counts["truncated_tokens"] > 0
    assert encoded.notes[0].startswith("text: about the last ")
    assert encoded.notes[0].endswith(" characters were cut")


@pytest.mark.parametrize("piece", ["good tea and bad phones. ", "不错的茶", "good 手机坏了, "])
@pytest.mark.parametrize("max_tokens", [8, 300])
def test_the_cut_does_not_change_the_tokens_that_are_kept(piece: str, max_tokens: int) -> None:
    plain = Tokenizer.from_str(TOKENIZER)
    text = FittedText("text", TOKENIZER, max_tokens)
    value = piece * (60_000 // len(piece))
    whole = plain.encode(value).ids
    assert ids(text, value) == [*whole[: max_tokens - 1], whole[-1]]
    encoded = text.encode([value])
    assert encoded.counts["tokens"] == pytest.approx(len(whole), rel=0.05)


def test_up_to_the_bound_all_is_read() -> None:
    """64 characters per token and 1,024 more: there is nothing to estimate."""
    text = FittedText("text", TOKENIZER, 12)
    longest = 12 * 64 + 1024
    value = ("good " * longest)[:longest]
    encoded = text.encode([value, value + "!"])
    assert encoded.notes[0].endswith("tokens were cut")
    assert "about the last" in encoded.notes[1]
    assert encoded.counts["truncated_rows"] == 2
    whole = len(Tokenizer.from_str(TOKENIZER).encode(value).ids)
    alone = text.encode([value])
    assert alone.counts["tokens"] == whole
    kept = encoded.arrays["ids"]
    assert isinstance(kept, Ragged)
    assert np.array_equal(kept.flat[:12], kept.flat[12:])
