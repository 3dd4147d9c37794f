"""More texts to ask a teacher about: training texts with words left out, moved or exchanged.

What a text so made is called, the teacher says, so that it need not mean what it meant. Jiao et
al., `TinyBERT <https://arxiv.org/abs/1909.10351>`_, 2020, do the same with words of like meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["varied"]

DROPPED = 0.2
"""Share of the words that are left out."""


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
