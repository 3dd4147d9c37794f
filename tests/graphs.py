"""Small graphs that passes can make smaller, rows for them, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

TOKENS = 200

Batches = Sequence[Mapping[str, np.ndarray]]


def text_graph() -> onnx.ModelProto:
    """A BERT of two layers as Volano writes it, with a channel that is far larger than the others,
    as fine-tuned ones have."""
    import torch
    from transformers import BertConfig, BertModel

    from volano.columns.text import FittedText, train_tokenizer
    from volano.export import graph_of
    from volano.models import Network, TextEncoder

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=TOKENS,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=24,
    )
    network = Network(("text",), [TextEncoder(BertModel(config, add_pooling_layer=False))], 6)
    with torch.no_grad():
        network.head.weight.mul_(4)
        layer = network.encoders[0].transformer.encoder.layer[0]
        layer.attention.output.LayerNorm.weight[3] = 12.0
    column = FittedText("text", train_tokenizer(["good tea", "bad tea"] * 9, 300), 24)
    return graph_of(network.eval(), {"text": column})


def feeds(number: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Batches of eight rows for `text_graph`."""
    random = np.random.default_rng(seed)
    return [
        {
            "text.ids": random.integers(1, TOKENS, (8, tokens)),
            "text.mask": np.ones((8, tokens), np.int64),
        }
        for tokens in random.integers(3, 20, number)
    ]


def graph_from(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, tuple[Any, Sequence[str | int]]],
    outputs: Mapping[str, Sequence[str | int]],
) -> onnx.ModelProto:
    """A graph from its parts.

    Args:
      nodes: In order.
      weights: Constants by name.
      inputs: Name -> dtype and shape.
      outputs: Name -> shape; all are float32.
    """

    def info(name: str, dtype: Any, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, element, list(shape))

    graph = helper.make_graph(
        list(nodes),
        "g",
        [info(name, *found) for name, found in inputs.items()],
        [info(name, np.float32, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def product_graph(rows: int, columns: int, seed: int = 0, spread: float = 0.1) -> onnx.ModelProto:
    """y = x W + b, with W of so many rows and columns."""
    random = np.random.default_rng(seed)
    weights = {
        "w": random.normal(0, spread, (rows, columns)).astype(np.float32),
        "b": random.normal(0, 1, columns).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
        helper.make_node("Add", ["product", "b"], ["y"], name="sum"),
    ]
    return graph_from(nodes, weights, {"x": (np.float32, ["rows", rows])}, {"y": ["rows", columns]})


def constants(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    """A graph's constants by name."""
    return {item.name: numpy_helper.to_array(item) for item in graph.graph.initializer}


def kinds(graph: onnx.ModelProto) -> list[str]:
    """The operators of a graph, in order."""
    return [node.op_type for node in graph.graph.node]


def answers(graph: onnx.ModelProto, batches: Batches) -> np.ndarray:
    """The first output for all rows."""
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run(None, dict(batch))[0] for batch in batches])


def apart(wanted: np.ndarray, found: np.ndarray) -> float:
    """How far answers moved, as a share of how much they differ among themselves."""
    return float(np.sqrt(np.mean((wanted - found) ** 2)) / wanted.std())
