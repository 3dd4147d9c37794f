"""Hashes by which rows are found to be the same, or the same but for case and punctuation.

The exact hash is over the inputs as they are. The folded one is over what is left of them after
Unicode NFKC, case folding, and leaving out white space, punctuation, control characters and the
symbols of ASCII. Letters, digits and marks of any script stay (a vowel sign in Hindi is a mark),
and so do emoji and other symbols beyond ASCII, since one of them can turn a review's meaning
round. A row of which nothing is left is hashed as it is.

Both are BLAKE2b cut to 128 bits: with 10**9 rows the chance of any false match is about 10**-21.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

__all__ = ["KEY_DTYPE", "Hashes", "exact_hashes", "fold", "folded_hashes", "hash_inputs"]

Hashes = npt.NDArray[np.uint64]

# Packed and little-endian, so that the file is the same on every machine.
KEY_DTYPE = np.dtype(
    [
        ("exact_hi", "<u8"),
        ("exact_lo", "<u8"),
        ("folded_hi", "<u8"),
        ("folded_lo", "<u8"),
        ("label", "<i4"),
    ]
)

_LOWER = bytes(range(256)).lower()
_DROPPED = bytes(b for b in range(128) if chr(b) not in string.ascii_letters + string.digits)
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


class _Fold(dict[int, str | None]):
    """For str.translate: which characters stay, looked up once each."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        dropped = category[0] in "PZC" or category == "Sk" or code in _VARIATION_SELECTORS
        if code < 128:
            dropped = not character.isalnum()
        self[code] = None if dropped else character
        return self[code]


_FOLD = _Fold()


def fold(text: str) -> str:
    """What is left of a text when case, space and punctuation do not count.

    Example:
      >>> fold("Where's my CARD?!") == fold("wheres my card")
      True
    """
    if text.isascii():
        return text.encode().translate(_LOWER, _DROPPED).decode()
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = unicodedata.normalize("NFKC", folded).translate(_FOLD)
    # What was left out may have kept a letter and its mark apart.
    return unicodedata.normalize("NFC", bare)


def hash_inputs(
    columns: Sequence[Sequence[str]], folds: Sequence[bool] | None = None
) -> tuple[Hashes, Hashes]:
    """Exact and folded hashes of rows.

    Args:
      columns: One sequence of texts per input; no text holds a NUL, which is what joins them.
      folds: Which of them are folded; None for all. The others count as they are.
    Returns:
      Two arrays, shape (num_rows, 2), uint64: the high and the low half of each hash.
    """
    exact: list[bytes] = []
    folded: list[bytes] = []
    if folds is None:
        folds = [True] * len(columns)
    if len(columns) == 1 and folds[0]:
        for text in columns[0]:
            raw = text.encode()
            bare = raw.translate(_LOWER, _DROPPED) if text.isascii() else fold(text).encode()
            exact.append(blake2b(raw, digest_size=16).digest())
            folded.append(blake2b(bare or raw, digest_size=16).digest())
    else:
        for row in zip(*columns, strict=True):
            raw = "\0".join(row).encode()
            parts = [
                fold(text) if folded_too else text
                for text, folded_too in zip(row, folds, strict=True)
            ]
            bare = "\0".join(parts).encode() if any(parts) else raw
            exact.append(blake2b(raw, digest_size=16).digest())
            folded.append(blake2b(bare, digest_size=16).digest())
    return _pairs(exact), _pairs(folded)


def _pairs(digests: list[bytes]) -> Hashes:
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def exact_hashes(keys: npt.NDArray[np.void]) -> Hashes:
    """The exact hashes of keys, shape (num_rows, 2)."""
    return np.stack([keys["exact_hi"], keys["exact_lo"]], axis=1)


def folded_hashes(keys: npt.NDArray[np.void]) -> Hashes:
    """The folded hashes of keys, shape (num_rows, 2)."""
    return np.stack([keys["folded_hi"], keys["folded_lo"]], axis=1)
