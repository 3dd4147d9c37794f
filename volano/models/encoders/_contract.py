"""What every encoder does, and the table of those there are."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from volano.columns import FittedColumn

__all__ = ["Encoder", "build_encoder", "encoder_from_config", "has_encoder"]

_KINDS = {
    "audio": "volano.models.encoders.audio",
    "image": "volano.models.encoders.image",
    "series": "volano.models.encoders.series",
    "sparse": "volano.models.encoders.sparse",
    "text": "volano.models.encoders.text",
}
"""Column type -> module with ``build_encoder(column, details, root, num_rows)`` and
``encoder_from_config(config)``. Columns of tables share one encoder instead: `encoders.table`."""


class Encoder(Protocol):
    """A torch module: what a column's `collate` gives -> one vector per row.

    Attributes:
      kind: The column type.
      keys: What it takes of the batch, each ``COLUMN.KEY``; one that is missing arrives as None.
      width: Numbers of its vector.
    """

    kind: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    width: int

    def __call__(self, *arrays: Tensor | None) -> Tensor:
        """Vectors, (B, width), float32."""

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs, JSON-able."""


def has_encoder(column: FittedColumn) -> bool:
    """Whether a column has an encoder of its own, and no part in that of the table."""
    return column.kind in _KINDS


def _module(kind: str) -> ModuleType:
    return importlib.import_module(_KINDS[kind])


def build_encoder(
    column: FittedColumn, details: Mapping[str, Any], root: Path, num_rows: int
) -> nn.Module:
    """An encoder ready to train.

    Args:
      column: The fitted column.
      details: What `choose_encoder` chose for it.
      root: The wheel's folder.
      num_rows: Training rows.
    """
    return _module(column.kind).build_encoder(column, details, root, num_rows)  # type: ignore[no-any-return]


def encoder_from_config(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    return _module(kind).encoder_from_config(config)  # type: ignore[no-any-return]
