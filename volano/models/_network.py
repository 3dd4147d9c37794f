"""One network for any row: an encoder for each input column, their fusion, and the task's head."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from volano.columns import FittedColumn
from volano.models.encoders.text import (
    TextEncoder,
    build_text_encoder,
    text_encoder_from_config,
)

__all__ = ["Network", "build_network", "load_weights", "save_weights"]

_WEIGHTS, _SHAPE = "model.safetensors", "network.json"


@dataclass(frozen=True)
class NetworkShape:
    """What must be known to build a network before its weights are read.

    Attributes:
      columns: Input columns, in order.
      encoders: Config of each column's transformer, in the same order.
      num_outputs: Logits of the head.
    """

    columns: tuple[str, ...]
    encoders: tuple[Mapping[str, Any], ...]
    num_outputs: int


class Network(nn.Module):
    """Columns -> features side by side -> logits.

    Args:
      columns: Input columns, in the order of `encoders`.
      encoders: One encoder per column, each with its ``width``.
      num_outputs: Logits of the linear head.
    """

    def __init__(
        self, columns: Sequence[str], encoders: Sequence[TextEncoder], num_outputs: int
    ) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.encoders = nn.ModuleList(encoders)
        self.head = nn.Linear(sum(encoder.width for encoder in encoders), num_outputs)

    def features(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Every column's vector, side by side; (B, sum of widths)."""
        parts = [
            encoder(batch[f"{name}.ids"], batch.get(f"{name}.mask"))
            for name, encoder in zip(self.columns, self.encoders, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits, (B, num_outputs), float32."""
        return self.head(self.features(batch))  # type: ignore[no-any-return]

    def shape(self) -> NetworkShape:
        """What `network_from_shape` needs."""
        configs = []
        for encoder in self.encoders:
            assert isinstance(encoder, TextEncoder)
            config = encoder.transformer.config
            configs.append(config.to_dict() | {"model_type": config.model_type})  # type: ignore[union-attr, operator]
        return NetworkShape(self.columns, tuple(configs), self.head.out_features)


def build_network(
    inputs: Mapping[str, FittedColumn],
    details: Mapping[str, Any],
    num_outputs: int,
    *,
    root: Path,
    num_rows: int,
    seed: int,
) -> Network:
    """A network ready to train.

    Args:
      inputs: Fitted input columns.
      details: Column -> what `choose_encoder` chose.
      num_outputs: Logits of the head.
      root: The wheel's folder.
      num_rows: Training rows.
      seed: Decides the weights that have no pretrained value.
    """
    torch.manual_seed(seed)
    encoders = [
        build_text_encoder(column, details[name], root, num_rows)  # type: ignore[arg-type]
        for name, column in inputs.items()
    ]
    return Network(tuple(inputs), encoders, num_outputs)


def save_weights(network: Network, folder: Path) -> None:
    """Write weights as safetensors and the network's shape as JSON."""
    shape = network.shape()
    text = json.dumps(
        {
            "columns": shape.columns,
            "encoders": shape.encoders,
            "num_outputs": shape.num_outputs,
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
    encoders = [text_encoder_from_config(config) for config in shape["encoders"]]
    network = Network(shape["columns"], encoders, shape["num_outputs"])
    network.load_state_dict(load_file(folder / _WEIGHTS))
    return network.eval()
