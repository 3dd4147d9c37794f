"""Attention with fewer heads: what is left of a layer, and how it is built again.

A head is a block of rows in the matrices of queries, keys and values, and a block of columns in
the one that carries its answer on. A head keeps its size, so that a layer's attention becomes
narrower than the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["attention_layers", "head_counts", "keep_heads"]

# Legend: K heads that stay, D numbers of a head.


def attention_layers(transformer: Any) -> list[Any]:
    """The layers of a transformer whose attention is made as BERT's is, from the bottom; none
    where it is made otherwise.
    """
    layers = list(getattr(getattr(transformer, "encoder", None), "layer", ()))
    known = all(
        isinstance(getattr(getattr(layer, "attention", None), "self", None), nn.Module)
        and isinstance(getattr(layer.attention.self, "query", None), nn.Linear)
        and isinstance(getattr(layer.attention.output, "dense", None), nn.Linear)
        for layer in layers
    )
    return layers if known else []


def head_counts(transformer: Any) -> list[int]:
    """Heads of each layer, from the bottom."""
    return [
        layer.attention.self.query.out_features // layer.attention.self.attention_head_size
        for layer in attention_layers(transformer)
    ]


def keep_heads(layer: Any, kept: Sequence[int]) -> None:
    """Leave some heads of a layer, in place.

    Args:
      layer: As BERT's are.
      kept: Their numbers, ascending.
    """
    attention, output = layer.attention.self, layer.attention.output.dense
    size = attention.attention_head_size
    places = torch.tensor(list(kept))[:, None] * size + torch.arange(size)
    places_KD = places.flatten()
    for part in (attention.query, attention.key, attention.value):
        part.weight = _some(part.weight[places_KD])
        part.bias = _some(part.bias[places_KD])
        part.out_features = len(places_KD)
    output.weight = _some(output.weight[:, places_KD])
    output.in_features = len(places_KD)
    attention.num_attention_heads, attention.all_head_size = len(kept), len(places_KD)


def _some(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone())
