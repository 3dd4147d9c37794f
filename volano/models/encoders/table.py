"""The table encoder: all numbers and names of a row -> one vector, by a small MLP.

Numbers come scaled. A missing one counts as its centre and lights a mark of its own. A name gets a
vector that is learned with the rest (Guo, Berkhahn, `Entity Embeddings of Categorical Variables
<https://arxiv.org/abs/1604.06737>`_, 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from volano.models._table import TableFeature

__all__ = ["TableEncoder", "table_encoder_from_config"]

# Legend: B rows, P numbers of a row.

MAX_EMBEDDING = 32
LARGEST_NUMBER = 12.0
"""Scaled numbers beyond this are cut: one outlier must not rule a whole batch's gradient."""


class TableEncoder(nn.Module):
    """Two layers of an MLP above numbers, marks of missing numbers, and embeddings of names.

    Args:
      features: The columns, in the order of the batch.
      width: Width of both layers.
      dropout: Share of the hidden values that are dropped.
    """

    def __init__(
        self, features: Sequence[TableFeature], *, width: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.features = tuple(features)
        self.width = width
        self.dropout = dropout
        num_numbers = sum(feature.size for feature in features)
        tables = []
        for feature in features:
            if not feature.size:
                size = min(MAX_EMBEDDING, max(2, round(1.6 * feature.num_codes**0.5)))
                tables.append(nn.Embedding(feature.num_codes, size))
        self.tables = nn.ModuleList(tables)
        num_inputs = 2 * num_numbers + sum(table.embedding_dim for table in tables)
        self.layers = nn.Sequential(
            nn.Linear(num_inputs, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(dropout),
        )

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """``COLUMN.values`` (B, size) and ``COLUMN.codes`` (B,) -> (B, width), float32."""
        parts = []
        numbers = [batch[f"{f.column}.values"] for f in self.features if f.size]
        if numbers:
            numbers_BP = torch.cat(numbers, dim=1)
            absent_BP = torch.isnan(numbers_BP)
            filled_BP = torch.where(absent_BP, torch.zeros_like(numbers_BP), numbers_BP)
            parts += [filled_BP.clamp(-LARGEST_NUMBER, LARGEST_NUMBER), absent_BP.float()]
        named = [f.column for f in self.features if not f.size]
        for column, table in zip(named, self.tables, strict=True):
            parts.append(table(batch[f"{column}.codes"]))
        return self.layers(torch.cat(parts, dim=1))  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        """What `table_encoder_from_config` needs."""
        return {
            "features": [[f.column, f.size, f.num_codes] for f in self.features],
            "width": self.width,
            "dropout": self.dropout,
        }


def table_encoder_from_config(config: Mapping[str, Any]) -> TableEncoder:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    features = [TableFeature(*item) for item in config["features"]]
    return TableEncoder(features, width=config["width"], dropout=config["dropout"])
