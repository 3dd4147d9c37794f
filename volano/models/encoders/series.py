"""The series encoder: the values of a cell along time, by convolutions or a recurrent net."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from volano.columns import FittedColumn
from volano.columns.series import FittedSeries
from volano.models.encoders._temporal import Recurrent, ResidualSeries

__all__ = ["SeriesEncoder", "build_encoder", "encoder_from_config"]

# Legend: B rows, C series, W steps.

MANY_ROWS = 5000


class SeriesEncoder(nn.Module):
    """Values on their scale -> one vector.

    The mean and the deviation of each series over the window go in beside what is read along time:
    how high a curve lies often says more than its form.

    Args:
      num_series: C.
      window: W.
      reader: ``conv``, ``gru``, ``lstm`` or ``rnn``.
      size: Of the hidden layers.
    """

    kind: ClassVar[str] = "series"
    keys: ClassVar[tuple[str, ...]] = ("values",)
    small: ClassVar[bool] = True
    """Several cores would rather wait for each other."""

    def __init__(self, num_series: int, window: int, reader: str, size: int) -> None:
        super().__init__()
        self.num_series, self.window, self.reader, self.size = num_series, window, reader, size
        self.net: nn.Module
        if reader == "conv":
            self.net = ResidualSeries(num_series, (size, 2 * size, 2 * size))
            inner = 4 * size
        else:
            self.net = Recurrent(num_series, window, 2 * size, reader)
            inner = 4 * size
        self.width = inner + 2 * num_series

    def forward(self, values: Tensor) -> Tensor:
        """Vectors, (B, width)."""
        x_BCW = values.clamp(-1e4, 1e4).reshape(-1, self.num_series, self.window)
        mean_BC = x_BCW.mean(2)
        centred = x_BCW - mean_BC[:, :, None]
        spread_BC = ((centred * centred).mean(2) + 1e-6).sqrt()
        found = self.net(x_BCW)
        if self.reader != "conv":
            # What it knows at the end, and on the way.
            found = torch.cat([found[:, -1], found.mean(1)], dim=1)
        return torch.cat([found, mean_BC, spread_BC], dim=1)

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        return {
            "num_series": self.num_series,
            "window": self.window,
            "reader": self.reader,
            "size": self.size,
        }


def build_encoder(
    column: FittedColumn, details: Mapping[str, Any], root: Path, num_rows: int
) -> SeriesEncoder:
    """An encoder from scratch; more training rows carry a wider one."""
    del details, root
    assert isinstance(column, FittedSeries)
    reader = "conv" if column.encoder == "auto" else column.encoder
    size = 32 if num_rows >= MANY_ROWS else 16
    return SeriesEncoder(len(column.columns), column.window, reader, size)


def encoder_from_config(config: Mapping[str, Any]) -> SeriesEncoder:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    return SeriesEncoder(config["num_series"], config["window"], config["reader"], config["size"])
