"""Low-rank adaptation: a pretrained matrix stays, and a small product learns beside it.

    y = W x + b + (alpha / r) B A x          A: (r, in), random;  B: (out, r), zero at first

When all is learned the product is added to W, so that what ships is the same net as before.

Hu et al., `LoRA <https://arxiv.org/abs/2106.09685>`_, 2021. Where we differ: every linear layer of
the encoder gets a pair, not those of the attention alone (Dettmers et al., `QLoRA
<https://arxiv.org/abs/2305.14314>`_, 2023, section 4).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LoraLinear", "adapt", "merge"]


class LoraLinear(nn.Module):
    """A linear layer that stays, and two thin ones that learn.

    Args:
      linear: The layer.
      rank: Inner width of the pair, r.
      alpha: What the pair weighs, times r.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + F.linear(F.linear(x, self.down), self.up) * self.scale  # type: ignore[no-any-return]

    def merged(self) -> nn.Linear:
        """The layer, with what was learned beside it put into its weights."""
        with torch.no_grad():
            self.linear.weight += (self.scale * self.up @ self.down).to(self.linear.weight.dtype)
        return self.linear


def adapt(encoder: nn.Module, rank: int, alpha: float) -> int:
    """Let nothing of an encoder learn but pairs beside its linear layers; returns their number."""
    encoder.requires_grad_(False)
    found = [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    for parent, name, child in found:
        setattr(parent, name, LoraLinear(child, rank, alpha))
    return len(found)


def merge(encoder: nn.Module) -> None:
    """Put every pair into its layer, and the layers back into their places."""
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                setattr(parent, name, child.merged())
    encoder.requires_grad_(True)
