"""Texts as buckets of hashed pieces: the same everywhere, and of their own row alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volano.columns import Ragged
from volano.columns._pieces import hash_pieces, pieces_of_text
from volano.columns.text import FittedPieces, FittedText, TextColumn
from volano.errors import BundleError, RequestError

COLUMN = FittedPieces("text", 1 << 12, 300)


def buckets(text: str, num_buckets: int = 1 << 30) -> set[int]:
    return set(hash_pieces([pieces_of_text(text)], num_buckets)[0].tolist())


def pieces(text: str) -> set[tuple[str, ...]]:
    """What is to be hashed, spelled out: words, pairs of words, runs of 2 to 5 characters."""
    words = pieces_of_text(text).split()
    found = {("word", word) for word in words} | {
        ("pair", *pair) for pair in itertools.pairwise(words)
    }
    for word in words:
        whole = f" {word} "
        found |= {
            ("run", whole[start : start + length])
            for length in range(2, 6)
            for start in range(len(whole) - length + 1)
        }
    return found


@given(st.text(alphabet="ab c,é中", max_size=30))
def test_each_piece_has_a_bucket_and_nothing_else_has(text: str) -> None:
    assert len(buckets(text)) == len(pieces(text))


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_a_row_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    together = COLUMN.encode(texts).arrays["pieces"]
    assert isinstance(together, Ragged)
    for row, text in enumerate(texts):
        alone = COLUMN.encode([text]).arrays["pieces"]
        assert isinstance(alone, Ragged)
        place = slice(together.offsets[row], together.offsets[row + 1])
        assert together.flat[place].tolist() == alone.flat.tolist()


def test_case_width_and_spaces_say_nothing() -> None:
    assert buckets("Where is  my PARCEL?") == buckets("where is my parcel ?")
    assert buckets("ＡＢＣ") == buckets("abc")
    assert buckets("my parcel") != buckets("parcel my")


def test_a_typo_keeps_most_of_a_word() -> None:
    one, other = buckets("transaction"), buckets("transacton")
    assert len(one & other) > len(one) / 2


def test_hashes_are_the_same_in_every_process() -> None:
    # Written down once: a bundle is read by other machines than the one that trained it.
    assert sorted(buckets("hi", 1 << 12)) == [384, 834, 973, 1813, 2780, 3924, 4026]


def test_shares_have_length_one_and_padding_none() -> None:
    batch = COLUMN.collate(COLUMN.encode(["a cat", "a", ""]), np.arange(3))
    shares = batch["text.shares"]
    np.testing.assert_allclose((shares**2).sum(axis=1), [1, 1, 0], atol=1e-6)
    assert batch["text.pieces"].dtype == np.int64
    assert shares.dtype == np.float32


def test_long_texts_are_cut_and_counted() -> None:
    found = COLUMN.encode(["word " * 100, "word", " "])
    assert found.counts["truncated_rows"] == 1
    assert found.counts["truncated_characters"] == 200
    assert found.notes[0] == "text: the last 200 characters were cut"
    assert found.notes[2] == "text: there is no text"


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    COLUMN.save(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert FittedText.load("text", files) == COLUMN
    with pytest.raises(BundleError, match="BUNDLE-020"):
        FittedPieces.load("text", {"pieces.json": b"{}"})


def test_only_text_is_taken() -> None:
    assert COLUMN.check("fine") == "fine"
    with pytest.raises(RequestError, match="text is 3"):
        COLUMN.check(3)
    with pytest.raises(RequestError, match="surrogate"):
        COLUMN.check("\ud800")


def test_the_spec_asks_for_it_by_name() -> None:
    options = TextColumn.Options(encoder="pieces", buckets=512).model_dump()
    fitted = TextColumn.fit("text", ["short"] * 5, options)
    assert fitted == FittedPieces("text", 512, 256)
