"""One network for any row: an encoder for each input column, their fusion, and the task's head."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from volano.columns import FittedColumn
from volano.models._table import is_table, table_features
from volano.models.encoders._contract import build_encoder, encoder_from_config, has_encoder
from volano.models.encoders.table import TableEncoder, table_encoder_from_config
from volano.models.fusion import GatedFusion

__all__ = ["Network", "NetworkShape", "build_network", "load_weights", "save_weights"]

_WEIGHTS, _SHAPE = "model.safetensors", "network.json"


@dataclass(frozen=True)
class NetworkShape:
    """What must be known to build a network before its weights are read.

    Attributes:
      columns: Input columns with an encoder of their own, in order.
      encoders: Kind and config of each, in the same order.
      table: Config of the encoder of all other columns; None without any.
      num_outputs: Outputs of the head.
      fusion: How vectors of columns become one: ``concatenate`` or ``gated``.
    """

    columns: tuple[str, ...]
    encoders: tuple[tuple[str, Mapping[str, Any]], ...]
    table: Mapping[str, Any] | None
    num_outputs: int
    fusion: str = "concatenate"


class Network(nn.Module):
    """Columns -> features, side by side or through gates -> outputs.

    Args:
      columns: Input columns with an encoder of their own, in the order of `encoders`.
      encoders: One encoder per column, each with its ``kind``, ``keys`` and ``width``.
      num_outputs: Outputs of the linear head.
      table: Encodes all other columns.
      fusion: ``concatenate`` or ``gated``; one vector alone stays as it is.
    """

    family: ClassVar[str] = "network"

    def __init__(
        self,
        columns: Sequence[str],
        encoders: Sequence[nn.Module],
        num_outputs: int,
        table: TableEncoder | None = None,
        fusion: str = "concatenate",
    ) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.encoders = nn.ModuleList(encoders)
        self.table = table
        widths = [int(encoder.width) for encoder in encoders] + ([table.width] if table else [])  # type: ignore[arg-type]
        gated = fusion == "gated" and len(widths) > 1
        self.fusion = GatedFusion(widths) if gated else None
        width = self.fusion.width if self.fusion else sum(widths)
        self.head = nn.Linear(width, num_outputs)
        # Numbers are learned at mean 0 and deviation 1 and answered in their own unit.
        self.register_buffer("shift", torch.zeros(num_outputs))
        self.register_buffer("scale", torch.ones(num_outputs))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the outputs of one row."""
        return (self.head.out_features,)

    def features(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What the head sees: every column's vector side by side, (B, sum of widths), or one that
        is mixed from them, (B, width).
        """
        parts = [
            encoder(*(batch.get(f"{name}.{key}") for key in encoder.keys))  # type: ignore[union-attr]
            for name, encoder in zip(self.columns, self.encoders, strict=True)
        ]
        if self.table is not None:
            parts.append(self.table(batch))
        if self.fusion is not None:
            return self.fusion(parts)  # type: ignore[no-any-return]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Outputs, (B, num_outputs), float32."""
        return self.head(self.features(batch)) * self.scale + self.shift  # type: ignore[no-any-return]

    def num_weights(self) -> int:
        """Numbers that are fitted."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save(self, folder: Path) -> None:
        """Write weights as safetensors and the network's shape as JSON."""
        save_weights(self, folder)

    def shape(self) -> NetworkShape:
        """What `load_weights` needs."""
        configs = tuple((encoder.kind, encoder.config()) for encoder in self.encoders)  # type: ignore[operator]
        table = self.table.config() if self.table is not None else None
        fusion = "concatenate" if self.fusion is None else "gated"
        return NetworkShape(self.columns, configs, table, self.head.out_features, fusion)  # type: ignore[arg-type]


def build_network(
    inputs: Mapping[str, FittedColumn],
    details: Mapping[str, Any],
    num_outputs: int,
    *,
    root: Path,
    num_rows: int,
    seed: int,
    table: Mapping[str, Any] | None = None,
    fusion: str = "concatenate",
) -> Network:
    """A network ready to train.

    Args:
      inputs: Fitted input columns.
      details: Column -> what `choose_encoder` chose, and ``activation`` and ``pooling`` where the
        spec has them.
      num_outputs: Outputs of the head.
      root: The wheel's folder.
      num_rows: Training rows.
      seed: Decides the weights that have no pretrained value.
      table: Options of the encoder of numbers and names; None goes by the number of rows.
      fusion: ``concatenate`` or ``gated``.
    """
    torch.manual_seed(seed)
    # A series is a row of numbers too, but in a network it is read along time.
    rich = {
        name: column
        for name, column in inputs.items()
        if has_encoder(column) or not is_table(column)
    }
    encoders = [
        build_encoder(column, details[name], root, num_rows) for name, column in rich.items()
    ]
    plain = {name: column for name, column in inputs.items() if name not in rich}
    together = None
    if plain:
        few = bool(rich) or num_rows < 2000
        chosen = {"width": 64 if few else 128, "depth": 2, "waves": 0 if few else 16}
        together = TableEncoder(table_features(plain), **(chosen | dict(table or {})))
    return Network(tuple(rich), encoders, num_outputs, together, fusion)


def save_weights(network: Network, folder: Path) -> None:
    """Write weights as safetensors and the network's shape as JSON."""
    shape = network.shape()
    text = json.dumps(
        {
            "columns": shape.columns,
            "encoders": shape.encoders,
            "table": shape.table,
            "num_outputs": shape.num_outputs,
            "fusion": shape.fusion,
        },
        indent=1,
        sort_keys=True,
        default=str,
    )
    (folder / _SHAPE).write_text(text + "\n", encoding="utf-8")
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / _WEIGHTS)


def load_weights(folder: Path) -> Network:
    """The network that `save_weights` wrote."""
    shape = json.loads((folder / _SHAPE).read_text(encoding="utf-8"))
    encoders = [encoder_from_config(kind, config) for kind, config in shape["encoders"]]
    table = table_encoder_from_config(shape["table"]) if shape["table"] else None
    fusion = shape.get("fusion", "concatenate")
    network = Network(shape["columns"], encoders, shape["num_outputs"], table, fusion)
    network.load_state_dict(load_file(folder / _WEIGHTS))
    return network.eval()
