"""Vectors of tokens that do not depend on the text around them, and what a convolution finds there.

    h_t = max(0, b + C (e_t, ..., e_(t+k-1))),   max over t

for k = 3, 4 and 5 tokens, side by side. Kim, `Convolutional Neural Networks for Sentence
Classification <https://arxiv.org/abs/1408.5882>`_, 2014. Where we differ: a text is as long after a
convolution as before, with zeros around it, so that one of a single token has an answer too.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["WordsEncoder"]

# Legend: B rows, T tokens of the longest row, E width of a token, H features of a convolution.

SPANS = (3, 4, 5)
"""Tokens that a convolution sees at a time."""

DROPPED = 0.2
"""Share of a row's tokens that each step leaves out: no row may hang on one word."""


class WordsEncoder(nn.Module):
    """Convolutions over vectors of tokens; without any, the sum over the root of their number.

    Args:
      num_tokens: Of the vocabulary.
      vector: Numbers of a token.
      filters: Features that each convolution finds; 0 for none.
    """

    kind: ClassVar[str] = "text"
    keys: ClassVar[tuple[str, ...]] = ("ids", "mask")
    recipe: ClassVar[str] = "words"
    small: ClassVar[bool] = True

    def __init__(self, num_tokens: int, *, vector: int, filters: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(num_tokens, vector)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(vector, filters, span) for span in SPANS if filters
        )
        self.filters = filters
        self.width = filters * len(SPANS) if filters else vector

    def forward(self, ids_BT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Token ids (B, T) and mask (1 where a token is; None without padding) -> (B, width)."""
        x_BTE: Tensor = self.embeddings(ids_BT)
        mask_BT1 = (torch.ones_like(ids_BT) if mask_BT is None else mask_BT).unsqueeze(2)
        mask_BT1 = mask_BT1.to(x_BTE.dtype)
        x_BTE = x_BTE * mask_BT1
        if self.training:
            x_BTE = x_BTE * (torch.rand(x_BTE.shape[:2]) >= DROPPED).unsqueeze(2) / (1 - DROPPED)
        if not self.filters:
            root_B1 = mask_BT1.sum(1).clamp(min=1).sqrt()
            return x_BTE.sum(1).div(root_B1).float()
        found = []
        for span, convolution in zip(SPANS, self.convolutions, strict=True):
            padded_BET = F.pad(x_BTE.transpose(1, 2), ((span - 1) // 2, span // 2))
            # Nothing is below zero, and what is beyond the end is not seen.
            h_BHT = torch.relu(convolution(padded_BET)) * mask_BT1.transpose(1, 2)
            found.append(h_BHT.amax(2))
        return torch.cat(found, dim=1).float()

    def token_embedding(self) -> nn.Embedding:
        """One vector for each token."""
        return self.embeddings

    def set_token_embedding(self, table: nn.Embedding) -> None:
        """Put others in their place."""
        self.embeddings = table

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        num_tokens, vector = self.embeddings.weight.shape
        return {"num_tokens": num_tokens, "vector": vector, "filters": self.filters}
