"""From the vectors of a row's tokens to one of the row."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["pooled"]

# Legend: B rows, T tokens, H width.


def pooled(hidden_BTH: Tensor, mask_BT: Tensor | None, way: str) -> Tensor:
    """One vector of length sqrt(H) for each row; float32, (B, H).

    Its length is fixed so that a linear head sees directions: pretrained lengths differ from model
    to model, and vary with a text's length.

    Args:
      hidden_BTH: Vectors of tokens, of any float type.
      mask_BT: 1 where a token is; None: everywhere.
      way: ``average`` over the tokens that are there, their ``max``, or the first one (``cls``).
    """
    hidden_BTH = hidden_BTH.float()
    if way == "cls":
        found_BH = hidden_BTH[:, 0]
    elif way == "max":
        if mask_BT is not None:
            absent_BT1 = (mask_BT == 0).unsqueeze(-1)
            hidden_BTH = hidden_BTH.masked_fill(absent_BT1, torch.finfo(torch.float32).min)
        found_BH = hidden_BTH.amax(1)
    elif mask_BT is None:
        found_BH = hidden_BTH.mean(1)
    else:
        mask_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
        found_BH = (hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1.0)
    return F.normalize(found_BH, dim=-1) * math.sqrt(hidden_BTH.shape[-1])
