"""Texts for training: some words left out, some moved behind the next one, some replaced.

Wei and Zou, `EDA <https://arxiv.org/abs/1901.11196>`_, 2019. Where we differ: words change places
with their neighbours only. A word is a run of tokens; special tokens stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.text import FittedText
from volano.training._synonyms import Synonyms
from volano.training._vocabulary import CompactVocabulary

__all__ = ["NAMES", "Words", "change", "defaults", "facts_of"]

# Legend: B rows, T tokens of the longest row, W words of the row that has most, and one.

NAMES = ("word_dropout", "word_swap", "word_synonym")

DROPPED, SWAPPED, REPLACED = 0.1, 0.1, 0.1
"""Share of the words."""


@dataclass(frozen=True)
class Words:
    """What tokens are, by their places in the cut vocabulary.

    Attributes:
      starts: Whether a token begins a word; bool, (num_places,).
      special: Whether it stands for no text; bool, (num_places,).
      padding: The place of the token that fills up short rows.
      synonyms: Fills gaps; None where no model is at hand that does.
    """

    starts: NDArray[np.bool_]
    special: NDArray[np.bool_]
    padding: int
    synonyms: Synonyms | None = None


def defaults(column: object) -> tuple[str, ...]:
    """What is done without being asked for: nothing, since few texts keep their sense."""
    del column
    return ()


def facts_of(
    column: FittedColumn,
    vocabulary: CompactVocabulary | None,
    names: tuple[str, ...] = (),
    masked: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Words | None:
    """What `change` must know of a column; None when its texts are not in tokens.

    Args:
      column: The fitted column.
      vocabulary: Its cut vocabulary, where tokens come as places in one.
      names: What is to be done.
      masked: A folder with a masked language model under the column's tokenizer.
      say: Told why a name is left out.
    """
    if not isinstance(column, FittedText):
        return None
    starts, special = column.word_marks()
    used = np.arange(len(starts)) if vocabulary is None else vocabulary.used
    padding = column.pad_id
    if vocabulary is not None:
        padding = int(vocabulary.places(np.array([padding]))[0])
    starts, special = starts[used], special[used]
    synonyms = None
    if "word_synonym" in names:
        if masked is None or not Synonyms.known(column.tokenizer_json):
            say(f"    {column.name}: its encoder is no masked language model: no word_synonym")
        else:
            words = starts & ~special & (used != column.unknown_id)
            synonyms = Synonyms(masked, column.tokenizer_json, used, words)
    return Words(starts, special, padding, synonyms)


def change(
    arrays: dict[str, NDArray[Any]],
    names: tuple[str, ...],
    random: np.random.Generator,
    facts: Words,
) -> None:
    """Change ``ids``, int64, (B, T), and ``mask``, 1 where a token is; it may be missing."""
    ids_BT = arrays.get("ids")
    if ids_BT is None or ids_BT.dtype.kind == "f":
        return  # the answers of an encoder, or of its lower layers, that do not learn
    there_BT = arrays["mask"] != 0 if "mask" in arrays else np.ones(ids_BT.shape, bool)
    fixed_BT = facts.special[ids_BT] | ~there_BT
    starts_BT = facts.starts[ids_BT]
    starts_BT[:, 0] = True
    starts_BT[:, 1:] |= fixed_BT[:, :-1]
    starts_BT &= ~fixed_BT
    word_BT = np.where(fixed_BT, 0, starts_BT.cumsum(1))
    num_words = 1 + int(word_BT.max(initial=0))
    # Drawn whether they are used or not: turning one off leaves the other as it was.
    swap_BW = random.random((len(ids_BT), num_words))
    drop_BW = random.random((len(ids_BT), num_words))
    if "word_synonym" in names and facts.synonyms is not None:
        whole_BT = starts_BT & ~fixed_BT & (ids_BT != facts.padding)
        whole_BT[:, :-1] &= starts_BT[:, 1:] | fixed_BT[:, 1:]  # words of one token
        gaps_BT = whole_BT & (random.random(ids_BT.shape) < REPLACED)
        ids_BT = facts.synonyms.fill(ids_BT, there_BT, gaps_BT, random)
    if "word_swap" in names:
        ids_BT, word_BT = _swapped(ids_BT, word_BT, fixed_BT, swap_BW < SWAPPED)
    if "word_dropout" in names:
        # A row keeps its luckiest word at least.
        has_BW = np.arange(num_words) <= word_BT.max(1, keepdims=True)
        has_BW[:, 0] = False
        luckiest_B = np.where(has_BW, drop_BW, -1.0).argmax(1)
        drop_BW[np.arange(len(ids_BT)), luckiest_B] = 1.0
        dropped_BT = np.take_along_axis(drop_BW < DROPPED, word_BT, axis=1) & ~fixed_BT
        ids_BT, there_BT = _packed(ids_BT, there_BT & ~dropped_BT, facts.padding)
    arrays["ids"] = ids_BT
    if "mask" in arrays or not there_BT.all():
        arrays["mask"] = there_BT.astype(np.int64)


def _swapped(
    ids_BT: NDArray[np.int64],
    word_BT: NDArray[np.int64],
    fixed_BT: NDArray[np.bool_],
    moved_BW: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chosen words behind the next one, and all that is fixed where it was; ids and words."""
    key_BT = word_BT + 1.5 * np.take_along_axis(moved_BW, word_BT, axis=1)
    key_BT[fixed_BT] = np.inf
    from_BT = key_BT.argsort(axis=1, kind="stable")
    to_BT = fixed_BT.argsort(axis=1, kind="stable")
    ids, words = np.empty_like(ids_BT), np.empty_like(word_BT)
    np.put_along_axis(ids, to_BT, np.take_along_axis(ids_BT, from_BT, axis=1), axis=1)
    np.put_along_axis(words, to_BT, np.take_along_axis(word_BT, from_BT, axis=1), axis=1)
    return ids, words


def _packed(
    ids_BT: NDArray[np.int64], kept_BT: NDArray[np.bool_], padding: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The tokens that are kept, one after the other, as wide as the longest row now is."""
    order_BT = (~kept_BT).argsort(axis=1, kind="stable")
    length_B = kept_BT.sum(1)
    longest = max(1, int(length_B.max(initial=0)))
    inside_BT = np.arange(longest) < length_B[:, None]
    found_BT = np.take_along_axis(ids_BT, order_BT[:, :longest], axis=1)
    return np.where(inside_BT, found_BT, padding), inside_BT
