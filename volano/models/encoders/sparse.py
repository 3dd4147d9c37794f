"""The encoder of sparse columns: a learned vector for each place, added up by its weights.

    x -> gelu(sum over the places that are not zero of weight E[place] + b)

Only the places of a row are looked up, so that its cost does not know how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from volano.columns import FittedColumn

__all__ = ["SparseEncoder", "build_encoder", "encoder_from_config"]

WIDTH = 64


class SparseEncoder(nn.Module):
    """A layer whose input is given by its places.

    Args:
      num_places: The place after the last is padding.
      width: Of the vector.
    """

    kind: ClassVar[str] = "sparse"
    keys: ClassVar[tuple[str, ...]] = ("places", "weights")

    def __init__(self, num_places: int, width: int = WIDTH) -> None:
        super().__init__()
        self.num_places, self.width = num_places, width
        self.table = nn.Embedding(max(2, num_places + 1), width)
        nn.init.normal_(self.table.weight, std=0.1)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, places_BL: Tensor, weights_BL: Tensor) -> Tensor:
        """(B, L) int64 and float32, padded with weight 0 -> (B, width)."""
        each_BLW = self.table(places_BL) * weights_BL[..., None].to(self.table.weight.dtype)
        return F.gelu(each_BLW.sum(1) + self.bias)

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        return {"num_places": self.num_places, "width": self.width}


def build_encoder(
    column: FittedColumn, details: Mapping[str, Any], root: Path, num_rows: int
) -> SparseEncoder:
    """An encoder ready to train."""
    del details, root, num_rows
    return SparseEncoder(column.num_places)  # type: ignore[attr-defined]


def encoder_from_config(config: Mapping[str, Any]) -> SparseEncoder:
    """The encoder that a config describes."""
    return SparseEncoder(config["num_places"], config["width"])
