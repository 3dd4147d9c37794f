"""Training only the embeddings of tokens that occur.

A batch touches a few hundred of 30,000 embeddings, but a dense optimiser steps them all. Rows that
never occur have no gradient and no decay, so leaving them out changes nothing but the time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["CompactVocabulary"]


class CompactVocabulary:
    """An embedding matrix cut to the tokens that are used, until `restore` puts the rest back.

    Args:
      embedding: The encoder's token embeddings; its weight is replaced.
      used: Ids that occur, in any order; the padding id should be among them.
    """

    def __init__(self, embedding: nn.Embedding, used: NDArray[np.int64]) -> None:
        self._embedding = embedding
        self._used = torch.from_numpy(np.unique(used))
        self._all = embedding.weight.data
        self._padding = embedding.padding_idx
        self._places = np.zeros(len(self._all), np.int64)
        self._places[self._used.numpy()] = np.arange(len(self._used))
        embedding.weight = nn.Parameter(self._all[self._used].clone())
        # The padding row gets no gradient either way: no attention reaches it.
        embedding.padding_idx = None
        embedding.num_embeddings = len(self._used)

    @property
    def used(self) -> NDArray[np.int64]:
        """The id of the token at each place, ascending."""
        return self._used.numpy()

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where tokens stand in the cut matrix."""
        return self._places[ids]

    def restore(self) -> None:
        """Put the full matrix back, with the rows that were trained."""
        self._all[self._used] = self._embedding.weight.data.to(self._all.dtype)
        self._embedding.weight = nn.Parameter(self._all)
        self._embedding.num_embeddings = len(self._all)
        self._embedding.padding_idx = self._padding
