"""The table encoder: all numbers and names of a row -> one vector, by a small MLP.

Numbers come scaled. A missing one counts as its centre and lights a mark of its own. A name gets a
vector that is learned with the rest (Guo, Berkhahn, `Entity Embeddings of Categorical Variables
<https://arxiv.org/abs/1604.06737>`_, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from volano.models._table import TableFeature

__all__ = ["TableEncoder", "table_encoder_from_config"]

# Legend: B rows, P numbers of a row, K waves, D what they are mixed into.

MAX_EMBEDDING = 32
LARGEST_NUMBER = 12.0
"""Scaled numbers beyond this are cut: one outlier must not rule a whole batch's gradient."""

WAVE_FEATURES = 8
"""What the waves of one number are mixed into."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}

WAVE_SPREAD = 0.3
"""Deviation of the first frequencies: numbers come at deviation 1, and most waves should not turn
more than once or twice over all of them."""


class TableEncoder(nn.Module):
    """An MLP above numbers, marks of missing numbers, waves of numbers and embeddings of names.

        x -> relu(A [cos(2 pi c x), sin(2 pi c x)] + b)        for each number its own A, b and c

    Waves let a small network follow what jumps and bends in a number (Gorishniy et al., `On
    Embeddings for Numerical Features <https://arxiv.org/abs/2203.05556>`_, 2022).

    Args:
      features: The columns, in the order of the batch.
      width: Width of all layers.
      depth: Number of layers.
      hidden: Width of each layer, from the bottom, in the place of `width` and `depth`.
      activation: ``gelu``, ``relu``, ``sigmoid`` or ``tanh``.
      waves: Frequencies c of each number; 0 for none.
      dropout: Share of the hidden values that are dropped.
    """

    def __init__(
        self,
        features: Sequence[TableFeature],
        *,
        width: int = 128,
        depth: int = 2,
        waves: int = 0,
        dropout: float = 0.0,
        hidden: Sequence[int] = (),
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.features = tuple(features)
        self.hidden = tuple(hidden) or (width,) * depth
        self.width, self.waves, self.activation = self.hidden[-1], waves, activation
        self.dropout = dropout
        num_numbers = sum(feature.size for feature in features)
        if not num_numbers:
            self.waves = waves = 0
        tables = []
        for feature in features:
            if not feature.size:
                size = min(MAX_EMBEDDING, max(2, round(1.6 * feature.num_codes**0.5)))
                tables.append(nn.Embedding(feature.num_codes, size))
        self.tables = nn.ModuleList(tables)
        num_inputs = 2 * num_numbers + sum(table.embedding_dim for table in tables)
        if waves:
            self.frequencies = nn.Parameter(WAVE_SPREAD * torch.randn(num_numbers, waves))
            bound = (2 * waves) ** -0.5
            self.mixing = nn.Parameter(
                torch.empty(num_numbers, 2 * waves, WAVE_FEATURES).uniform_(-bound, bound)
            )
            self.mixing_bias = nn.Parameter(
                torch.empty(num_numbers, 1, WAVE_FEATURES).uniform_(-bound, bound)
            )
            num_inputs += num_numbers * WAVE_FEATURES
        layers: list[nn.Module] = []
        for before, after in zip((num_inputs, *self.hidden), self.hidden, strict=False):
            layers += [nn.Linear(before, after), _ACTIVATIONS[activation](), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """``COLUMN.values`` (B, size) and ``COLUMN.codes`` (B,) -> (B, width), float32."""
        parts = []
        numbers = [batch[f"{f.column}.values"] for f in self.features if f.size]
        if numbers:
            numbers_BP = torch.cat(numbers, dim=1)
            absent_BP = torch.isnan(numbers_BP)
            filled_BP = torch.where(absent_BP, torch.zeros_like(numbers_BP), numbers_BP)
            filled_BP = filled_BP.clamp(-LARGEST_NUMBER, LARGEST_NUMBER)
            parts += [filled_BP, absent_BP.float()]
            if self.waves:
                parts.append(self._waved(filled_BP))
        named = [f.column for f in self.features if not f.size]
        for column, table in zip(named, self.tables, strict=True):
            parts.append(table(batch[f"{column}.codes"]))
        return self.layers(torch.cat(parts, dim=1))  # type: ignore[no-any-return]

    def _waved(self, filled_BP: Tensor) -> Tensor:
        angle_PBK = 2 * math.pi * filled_BP.T[:, :, None] * self.frequencies[:, None, :]
        waves_PBK = torch.cat([angle_PBK.cos(), angle_PBK.sin()], dim=2)
        mixed_PBD = torch.relu(torch.baddbmm(self.mixing_bias, waves_PBK, self.mixing))
        return mixed_PBD.transpose(0, 1).flatten(1)

    def config(self) -> dict[str, Any]:
        """What `table_encoder_from_config` needs."""
        return {
            "features": [[f.column, f.size, f.num_codes] for f in self.features],
            "hidden": list(self.hidden),
            "activation": self.activation,
            "waves": self.waves,
            "dropout": self.dropout,
        }


def table_encoder_from_config(config: Mapping[str, Any]) -> TableEncoder:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    features = [TableFeature(*item) for item in config["features"]]
    return TableEncoder(
        features,
        hidden=config["hidden"],
        activation=config["activation"],
        waves=config["waves"],
        dropout=config["dropout"],
    )
