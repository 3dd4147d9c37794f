"""From a trained network to an ONNX graph that answers the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from volano.export._bert import is_bert_shaped, write_bert_features
from volano.export._graph import GraphWriter
from volano.export._traced import traced_graph

if TYPE_CHECKING:
    from volano.models import Network

__all__ = ["graph_of"]


def graph_of(network: Network, longest: int) -> onnx.ModelProto:
    """The network in fp32: ``COLUMN.ids`` and ``COLUMN.mask`` in, ``logits`` out.

    Args:
      network: In evaluation mode.
      longest: The most tokens that a row may have.
    """
    configs = [encoder.transformer.config for encoder in network.encoders]  # type: ignore[union-attr]
    names = [f"{column}.{part}" for column in network.columns for part in ("ids", "mask")]
    if not all(is_bert_shaped(config) for config in configs):
        return traced_graph(network, names, longest)
    writer = GraphWriter()
    features = []
    for place, (column, config) in enumerate(zip(network.columns, configs, strict=True)):
        prefix = f"encoders.{place}.transformer."
        weights = {
            name.removeprefix(prefix): value.detach().float().numpy()
            for name, value in network.state_dict().items()
            if name.startswith(prefix)
        }
        shape = ["rows", f"tokens_{place}"]
        ids = writer.input(f"{column}.ids", np.int64, shape)
        mask = writer.input(f"{column}.mask", np.int64, shape)
        features.append(write_bert_features(writer, ids, mask, weights, config))
    joined = features[0] if len(features) == 1 else writer.node("Concat", features, axis=-1)
    head = network.head
    product = writer.node(
        "MatMul", [joined, writer.weight(head.weight.detach().float().numpy().T, "head")]
    )
    logits = writer.node("Add", [product, writer.weight(head.bias.detach().float().numpy())])
    return writer.model({"logits": (logits, np.float32, ["rows", head.out_features])})
