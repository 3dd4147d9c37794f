"""More rows to ask a teacher about: texts with words left out, cells that come from other rows.

What a row so made is called, the teacher says, so that it need not mean what it meant. Jiao et
al., `TinyBERT <https://arxiv.org/abs/1909.10351>`_, 2020, exchange words for others of like
meaning; Fakoor et al., `Fast, Accurate, and Simple Models for Tabular Data via Augmented
Distillation <https://arxiv.org/abs/2006.14284>`_, 2020, make tables larger.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["exchanged", "varied"]

DROPPED = 0.2
"""Share of the words that are left out."""

EXCHANGED = 0.1
"""Share of a column's cells that come from another row."""


def varied(texts: Sequence[str], seed: int) -> list[str]:
    """One variant of each text, the same for the same seed.

    In turn: words dropped, two neighbours swapped and words dropped, a stretch of the text, or its
    first half with the second half of another text.
    """
    random = np.random.default_rng([seed, 0xD15])
    ways = random.integers(0, 4, len(texts))
    others = random.permutation(len(texts))
    return [
        _varied(text, int(way), texts[other], random)
        for text, way, other in zip(texts, ways.tolist(), others.tolist(), strict=True)
    ]


def exchanged(values: Sequence[Any], seed: int, column: str) -> list[Any]:
    """A column with some of its cells from other rows; the same for the same seed and name."""
    random = np.random.default_rng([seed, 0x5B6E, zlib.crc32(column.encode())])
    places = np.arange(len(values))
    moved = random.random(len(values)) < EXCHANGED
    places[moved] = random.integers(0, max(1, len(values)), int(moved.sum()))
    return [values[place] for place in places.tolist()]


def _varied(text: str, way: int, other: str, random: np.random.Generator) -> str:
    # Scripts without spaces are cut between characters.
    space = " " if " " in text.strip() else ""
    words = text.split() if space else list(text)
    if len(words) < 3:
        return text
    if way == 2:
        length = int(random.integers(max(2, len(words) // 2), len(words)))
        start = int(random.integers(0, len(words) - length + 1))
        return space.join(words[start : start + length])
    if way == 3:
        tail = other.split() if space else list(other)
        words = words[: -(-len(words) // 2)] + tail[len(tail) // 2 :]
        return space.join(words)
    if way == 1:
        place = int(random.integers(0, len(words) - 1))
        words[place], words[place + 1] = words[place + 1], words[place]
    kept = random.random(len(words)) >= DROPPED
    if not kept.any():
        return text
    return space.join(word for word, keep in zip(words, kept.tolist(), strict=True) if keep)
