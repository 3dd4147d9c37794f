"""Words in the place of others, as a masked language model fills gaps.

Kobayashi, `Contextual Augmentation <https://arxiv.org/abs/1805.06201>`_, 2018, without its labels:
a word that fits the text need not mean the same, so that nothing of this is done unasked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

__all__ = ["Synonyms"]

# Legend: B rows, T tokens of the longest row, M gaps in all rows, V tokens that may fill them.

LIKELIEST = 5
"""Of so many words that fit best one is drawn, by how well they fit."""

_MASKS = ("[MASK]", "<mask>")


class Synonyms:
    """A masked language model that reads a column's tokens.

    Args:
      folder: Its config and weights, safetensors.
      tokenizer_json: The column's tokenizer, which is the model's.
      used: The id of the token at each place of the cut vocabulary; ascending.
      words: Of these, which are whole words that may fill a gap; bool, (num_places,).
    Raises:
      OSError, ValueError: The weights cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer_json: str,
        used: NDArray[np.int64],
        words: NDArray[np.bool_],
    ) -> None:
        from transformers import AutoModelForMaskedLM

        self._model: Any = AutoModelForMaskedLM.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()
        made = Tokenizer.from_str(tokenizer_json)
        found = (made.token_to_id(token) for token in _MASKS)
        self._mask_id = next(token for token in found if token is not None)
        self._used = used
        self._places_V = np.flatnonzero(words)
        self._ids_V = torch.from_numpy(used[self._places_V])

    @staticmethod
    def known(tokenizer_json: str) -> bool:
        """Whether a tokenizer has a token that stands for a gap."""
        made = Tokenizer.from_str(tokenizer_json)
        return any(made.token_to_id(token) is not None for token in _MASKS)

    @torch.no_grad()
    def fill(
        self,
        ids_BT: NDArray[np.int64],
        there_BT: NDArray[np.bool_],
        gaps_BT: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Another word in each gap; places in the cut vocabulary, (B, T).

        Args:
          ids_BT: The tokens, as places in the cut vocabulary.
          there_BT: Where a token is.
          gaps_BT: Which of them to replace.
          random: Draws among the words that fit.
        """
        if not gaps_BT.any() or len(self._places_V) < 2:
            return ids_BT
        asked_BT = np.where(gaps_BT, self._mask_id, self._used[ids_BT])
        logits_BTN = self._model(
            input_ids=torch.from_numpy(asked_BT),
            attention_mask=torch.from_numpy(there_BT.astype(np.int64)),
        ).logits
        logits_MV = logits_BTN[torch.from_numpy(gaps_BT)][:, self._ids_V]
        own_M = torch.from_numpy(self._used[ids_BT[gaps_BT]])
        logits_MV = logits_MV.masked_fill(self._ids_V == own_M[:, None], -torch.inf)
        best = logits_MV.topk(min(LIKELIEST, len(self._places_V) - 1), dim=1)
        shares = best.values.softmax(1).double().numpy().cumsum(axis=1)
        drawn_M = (random.random((len(shares), 1)) * shares[:, -1:] > shares).sum(axis=1)
        chosen_M = best.indices.numpy()[np.arange(len(shares)), drawn_M]
        found_BT = ids_BT.copy()
        found_BT[gaps_BT] = self._places_V[chosen_M]
        return found_BT
