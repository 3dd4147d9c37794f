"""Nets along time: steps gathered to segments, and what reads the segments one after the other.

A recurrent net over 336 hours takes 336 steps that cannot be done side by side, and forgets most of
them. Read in segments of a few hours it takes 48, and is no worse (Lin et al., `SegRNN
<https://arxiv.org/abs/2308.11200>`_, 2023). A series of at most 48 steps is read step by step.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CELLS", "MOST_SEGMENTS", "CausalConv", "Recurrent", "ResidualSeries", "Segments"]

# Legend: B rows, C series, W steps, S segments, D hidden.

MOST_SEGMENTS = 48

CELLS: dict[str, Any] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class Segments(nn.Module):
    """Steps -> vectors of segments, all of one length.

    Args:
      num_series: C.
      window: W; where it is no whole number of segments, the first step is repeated before it.
      width: D.
    """

    def __init__(self, num_series: int, window: int, width: int) -> None:
        super().__init__()
        self.num_series = num_series
        self.length = -(-window // MOST_SEGMENTS)
        self.num = -(-window // self.length)
        self.missing = self.num * self.length - window
        self.inner = nn.Linear(num_series * self.length, width)

    def forward(self, x_BCW: Tensor) -> Tensor:
        """Shape (B, S, D)."""
        if self.missing:
            first = x_BCW[:, :, :1].expand(-1, -1, self.missing)
            x_BCW = torch.cat([first, x_BCW], dim=2)
        x_BCSL = x_BCW.reshape(-1, self.num_series, self.num, self.length)
        return self.inner(x_BCSL.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """A simple recurrent net, an LSTM or a GRU over segments.

        simple  h' = tanh(A x + B h + b)
        GRU     Cho et al., `<https://arxiv.org/abs/1406.1078>`_, 2014
        LSTM    Hochreiter and Schmidhuber, Long Short-Term Memory, 1997

    Args:
      num_series: C.
      window: W.
      width: D.
      cell: ``rnn``, ``gru`` or ``lstm``.
    """

    def __init__(self, num_series: int, window: int, width: int, cell: str) -> None:
        super().__init__()
        self.segments = Segments(num_series, window, width)
        self.cells = CELLS[cell](width, width, batch_first=True)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x_BCW: Tensor) -> Tensor:
        """Of each segment what is remembered there, (B, S, D)."""
        found_BSD, _ = self.cells(torch.relu(self.segments(x_BCW)))
        return self.dropout(found_BSD)  # type: ignore[no-any-return]


class _CausalBlock(nn.Module):
    """y = x + C(gelu(C(gelu(x)))), of which no place looks at a later one."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = 2 * dilation
        self.first = nn.Conv1d(width, width, 3, dilation=dilation)
        self.second = nn.Conv1d(width, width, 3, dilation=dilation)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x_BDS: Tensor) -> Tensor:
        inner = self.first(F.pad(F.gelu(x_BDS), (self.reach, 0)))
        inner = self.second(F.pad(F.gelu(self.dropout(inner)), (self.reach, 0)))
        return x_BDS + inner  # type: ignore[no-any-return]


class CausalConv(nn.Module):
    """A temporal convolutional net: residual blocks whose dilations double until all is seen.

    Bai et al., `An Empirical Evaluation of Generic Convolutional and Recurrent Networks
    <https://arxiv.org/abs/1803.01271>`_, 2018. Where we differ: no weight norm, and GELU.

    Args:
      num_series: C.
      window: W.
      width: D.
    """

    def __init__(self, num_series: int, window: int, width: int) -> None:
        super().__init__()
        self.segments = Segments(num_series, window, width)
        blocks: list[nn.Module] = []
        seen, dilation = 1, 1
        while seen < self.segments.num or not blocks:
            blocks.append(_CausalBlock(width, dilation))
            seen, dilation = seen + 4 * dilation, 2 * dilation
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x_BCW: Tensor) -> Tensor:
        """Of each segment what was seen up to there, (B, S, D)."""
        found_BDS = self.blocks(self.segments(x_BCW).transpose(1, 2))
        return F.gelu(found_BDS).transpose(1, 2)


class _Block(nn.Module):
    """y = relu(T(x) + N(C(relu(N(C(x)))))), T a 1x1 convolution where the size changes."""

    def __init__(self, num_in: int, num_out: int, size: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(num_in, num_out, size, stride, size // 2, bias=False)
        self.first_norm = nn.GroupNorm(4, num_out)
        self.second = nn.Conv1d(num_out, num_out, 3, 1, 1, bias=False)
        self.second_norm = nn.GroupNorm(4, num_out)
        same = num_in == num_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv1d(num_in, num_out, 1, stride)

    def forward(self, x_BCW: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(x_BCW)))
        return torch.relu(self.second_norm(self.second(inner)) + self.shortcut(x_BCW))


class ResidualSeries(nn.Module):
    """A residual net of convolutions along time; each block halves the steps.

    Wang et al., `Time Series Classification from Scratch
    <https://arxiv.org/abs/1611.06455>`_, 2016.
    Where we differ: norms over groups of channels, which know no batch and so answer a row by
    itself as in training, and a shortcut without a norm, which keeps how large the values are.

    Args:
      num_series: C.
      widths: Channels of each block, each a multiple of 4.
    """

    def __init__(self, num_series: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        inner = [num_series, *widths]
        self.blocks = nn.Sequential(
            *(
                _Block(before, after, 7 if place == 0 else 5, 2)
                for place, (before, after) in enumerate(itertools.pairwise(inner))
            )
        )

    def forward(self, x_BCW: Tensor) -> Tensor:
        """Mean and largest value of each channel over the steps, (B, 2 x channels)."""
        found_BDS = self.blocks(x_BCW)
        return torch.cat([found_BDS.mean(2), found_BDS.amax(2)], dim=1)
