"""A sum over hashed words and parts of words: the smallest encoder of text that is any good."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PiecesEncoder"]

# Legend: B rows, P pieces of the row that has most, H width.

DROPPED = 0.3
"""Share of a row's pieces that each step leaves out: no row may hang on one word."""


class PiecesEncoder(nn.Module):
    """The sum of the vectors of a row's pieces, weighted by the column's shares.

    Vectors start at zero, and a bucket that no training row has stays there: a text of unknown
    words adds nothing to what its known parts say.

    Joulin et al., `Bag of Tricks for Efficient Text Classification
    <https://arxiv.org/abs/1607.01759>`_, 2016.

    Args:
      num_buckets: Buckets that pieces fall into.
      width: Numbers of a vector.
    """

    kind: ClassVar[str] = "text"
    keys: ClassVar[tuple[str, ...]] = ("pieces", "shares")
    recipe: ClassVar[str] = "pieces"
    samples_per_cell: ClassVar[int] = 64

    def __init__(self, num_buckets: int, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.embeddings = nn.Parameter(torch.zeros(num_buckets, width))

    def forward(self, pieces_BP: Tensor, shares_BP: Tensor) -> Tensor:
        """Buckets (int64) and shares, zero where there is padding, to (B, H)."""
        shares_BP = shares_BP.to(self.embeddings.dtype)
        if self.training:
            kept_BP = torch.rand(shares_BP.shape) >= DROPPED
            shares_BP = shares_BP * kept_BP / (1 - DROPPED)
        return F.embedding_bag(
            pieces_BP, self.embeddings, per_sample_weights=shares_BP, mode="sum"
        ).float()

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        return {"num_buckets": len(self.embeddings), "width": self.width}
