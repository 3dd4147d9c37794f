"""Texts as sets of hashed pieces: words, pairs of words, and runs of characters inside words.

A piece is known by its bucket alone, so there is no list of pieces to keep and no piece that cannot
be looked up: a word that was never seen shares its runs of characters with words that were.

Joulin et al., `Bag of Tricks for Efficient Text Classification
<https://arxiv.org/abs/1607.01759>`_, 2016; Weinberger et al., `Feature Hashing for Large Scale
Multitask Learning <https://arxiv.org/abs/0902.2206>`_, 2009.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["hash_pieces", "pieces_of_text"]

SHORTEST, LONGEST = 2, 5
"""Characters of a run, the spaces around a word among them."""

_PIECE = re.compile(r"\w+|[^\w\s]")
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_PAIR = np.uint64(0x94D049BB133111EB)
_MOST_LETTERS = 64
_POWERS = np.cumprod(np.full(_MOST_LETTERS, _BASE, np.uint64), dtype=np.uint64)
_SPACE = ord(" ")

Hashes = NDArray[np.uint64]


def pieces_of_text(text: str) -> str:
    """Words and signs in lower case with one space before, between and after them."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return f" {' '.join(_PIECE.findall(plain))} "


def hash_pieces(
    texts: Sequence[str], num_buckets: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The buckets of each text's pieces, each bucket once, sorted.

    Args:
      texts: As `pieces_of_text` returns them.
      num_buckets: Buckets, a power of two or not.
    Returns:
      All buckets, row after row, and how many each row has, shape (len(texts),).
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    row_of_code = np.repeat(
        np.arange(len(texts)), np.fromiter(map(len, texts), np.int64, len(texts))
    )
    space = codes == _SPACE
    wide = codes.astype(np.uint64)
    with np.errstate(over="ignore"):
        found = [*_runs(wide, space), *_words(wide, space, row_of_code)]
        places = np.concatenate([place for place, _ in found])
        hashes = np.concatenate([value for _, value in found])
        hashes ^= hashes >> np.uint64(31)
        hashes *= _MIX
        hashes ^= hashes >> np.uint64(29)
    buckets = (hashes % np.uint64(num_buckets)).astype(np.int64)
    keys = np.unique(row_of_code[places] * num_buckets + buckets)
    lengths = np.bincount(keys // num_buckets, minlength=len(texts))
    return (keys % num_buckets).astype(np.int32), lengths.astype(np.int64)


def _runs(codes: Hashes, space: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], Hashes]]:
    """Place and hash of every run of characters that has no space but at its ends."""
    found = []
    spaces = np.cumsum(space)
    hashes = codes
    for length in range(2, LONGEST + 1):
        last = len(codes) - length + 1
        if last <= 0:
            break
        hashes = hashes[:last] * _BASE + codes[length - 1 :]
        if length < SHORTEST:
            continue
        inside: NDArray[np.int64] = spaces[length - 2 : length - 2 + last] - spaces[:last]
        good = (inside == 0) & ~(space[:last] & space[length - 1 :] & (length == 2))
        places = np.flatnonzero(good)
        found.append((places, hashes[places] + np.uint64(length)))
    return found


def _words(
    codes: Hashes, space: NDArray[np.bool_], row_of_code: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], Hashes]]:
    """Place and hash of every word, and of every two that follow each other in a row."""
    starts = np.flatnonzero(space[:-1] & ~space[1:]) + 1
    if not len(starts):
        return []
    letters = np.flatnonzero(~space)
    word_of_letter = np.searchsorted(starts, letters, side="right") - 1
    place = np.minimum(letters - starts[word_of_letter], _MOST_LETTERS - 1)
    first = np.searchsorted(letters, starts)
    words = np.add.reduceat(codes[letters] * _POWERS[place], first)
    pairs = np.flatnonzero(row_of_code[starts[1:]] == row_of_code[starts[:-1]])
    joined = (words[pairs] ^ (words[pairs] >> np.uint64(27))) * _PAIR + words[pairs + 1]
    return [(starts, words * _MIX), (starts[pairs], joined)]
