"""From the vectors of a row's columns to one of the row, where laying them side by side is not all.

    h_i = tanh(W_i x_i + b_i),    g = softmax(V [x_1, x_2, ...] + c),    h = sum_i g_i h_i

The gates g say, row by row, which column to listen to. Arevalo et al., `Gated Multimodal Units
<https://arxiv.org/abs/1702.01992>`_, 2017. Where we differ: the gates of a row add up to one, and
are multiplied by the number of columns, so that h is as large at first as each of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["GatedFusion"]

LARGEST_WIDTH = 256


class GatedFusion(nn.Module):
    """Gates between columns.

    Args:
      widths: Numbers of each column's vector.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.width = min(LARGEST_WIDTH, max(widths))
        self.parts = nn.ModuleList(nn.Linear(width, self.width) for width in widths)
        self.gate = nn.Linear(sum(widths), len(widths))

    def gates(self, vectors: Sequence[Tensor]) -> Tensor:
        """What each column counts for each row; (B, columns), each row adds up to one."""
        return self.gate(torch.cat(list(vectors), dim=-1)).softmax(-1)  # type: ignore[no-any-return]

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """One vector of each column, (B, width of the column) -> (B, width)."""
        gates_BK = self.gates(vectors) * len(vectors)
        parts = [part(vector).tanh() for part, vector in zip(self.parts, vectors, strict=True)]
        return (torch.stack(parts, dim=1) * gates_BK.unsqueeze(-1)).sum(1)
