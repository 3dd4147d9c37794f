"""Which tokens of a vocabulary begin a word, and which stand for no text at all."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

__all__ = ["word_marks"]

MARKS = ("\u2581", "\u0120")
"""What tokens that begin a word begin with: the metaspace, and a space among bytes."""


def word_marks(tokenizer_json: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two marks for each token, by its id; bool, (num_tokens,).

    A tokenizer that marks no words has a word in every token.

    Returns:
      Whether it begins a word, and whether it is a special one, which stands for no text.
    """
    made = Tokenizer.from_str(tokenizer_json)
    whole = json.loads(tokenizer_json)
    vocabulary = made.get_vocab(with_added_tokens=True)
    num_tokens = 1 + max(vocabulary.values(), default=-1)
    tokens = [""] * num_tokens
    for token, place in vocabulary.items():
        tokens[place] = token
    unknown = whole["model"].get("unk_token")
    special = np.zeros(num_tokens, bool)
    for token in whole.get("added_tokens") or []:
        # What is unknown stands for text too.
        if token["special"] and token["content"] != unknown:
            special[token["id"]] = True
    continues = whole["model"].get("continuing_subword_prefix")
    if continues:
        starts = [not token.startswith(continues) for token in tokens]
    else:
        mark = next((m for m in MARKS if any(token.startswith(m) for token in tokens)), "")
        starts = [token.startswith(mark) for token in tokens]
    return np.array(starts, bool) & ~special, special
