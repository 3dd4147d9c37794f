"""What every encoder does, and the table of those there are."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from torch import Tensor, nn

from volano.columns import FittedColumn
from volano.errors import SpecError

__all__ = [
    "Encoder",
    "EncoderKind",
    "build_encoder",
    "encoder_from_config",
    "encoder_kind",
    "has_encoder",
]

_KINDS = {
    "audio": "volano.models.encoders.audio",
    "image": "volano.models.encoders.image",
    "series": "volano.models.encoders.series",
    "sparse": "volano.models.encoders.sparse",
    "text": "volano.models.encoders.text",
}
"""Column type -> module that is an `EncoderKind`. Columns of tables share one encoder instead:
`encoders.table`."""

_GROUP = "volano.encoders"
"""Entry points of this group add encoders: ``column type = "package.module"``, or a class there."""


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


class EncoderKind(Protocol):
    """What makes the encoder of one column type: a module, or a class with static methods."""

    def build_encoder(
        self, column: Any, details: Mapping[str, Any], root: Path, num_rows: int
    ) -> Any:
        """An `Encoder` ready to train; see `build_encoder`."""

    def encoder_from_config(self, config: Mapping[str, Any]) -> Any:
        """The `Encoder` that its own `config` describes, with weights to be loaded afterwards."""


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=_GROUP)}


def has_encoder(column: FittedColumn) -> bool:
    """Whether a column has an encoder of its own, and no part in that of the table."""
    return column.kind in _KINDS or column.kind in _entry_points()


def encoder_kind(kind: str) -> EncoderKind:
    """What makes the encoders of a column type.

    Raises:
      SpecError: The type has none, and cannot be an input of a network (SPEC-047).
    """
    if kind in _KINDS:
        return cast("EncoderKind", importlib.import_module(_KINDS[kind]))
    if kind in _entry_points():
        return cast("EncoderKind", _entry_points()[kind].load())
    raise SpecError(
        47,
        f"nothing encodes columns of the type {kind!r} for a network",
        expected="one of " + ", ".join(sorted({*_KINDS, *_entry_points()})),
        fix=f"an entry point {kind!r} of the group {_GROUP} in the package that brings the type",
    )


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
    return encoder_kind(column.kind).build_encoder(column, details, root, num_rows)  # type: ignore[no-any-return]


def encoder_from_config(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    return encoder_kind(kind).encoder_from_config(config)  # type: ignore[no-any-return]
