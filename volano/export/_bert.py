"""BERT-shaped encoders as few, fused operators: written directly, in a fraction of a second.

The general exporter (`volano.export._traced`) takes any network but leaves hundreds of small
nodes, which ONNX Runtime's optimiser does not put together again for graphs of today's exporter.
Written by hand, a layer is six nodes, and they run faster than the traced ones.

Devlin et al., `BERT <https://arxiv.org/abs/1810.04805>`_, 2018; the fused operators are those of
`ONNX Runtime <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>`_.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.export._graph import GraphWriter

__all__ = ["is_bert_shaped", "write_bert_features"]

Weights = Mapping[str, NDArray[np.float32]]

WORDS = "embeddings.word_embeddings"


def is_bert_shaped(config: Any) -> bool:
    """Whether `write_bert_features` knows this architecture."""
    return (
        config.model_type == "bert"
        and config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not getattr(config, "is_decoder", False)
    )


def write_bert_features(
    writer: GraphWriter, ids: str, mask: str, weights: Weights, config: Any, max_tokens: int
) -> str:
    """Add an encoder and its pooling to a graph.

    Matrices may be kept as two factors, and layers may have fewer heads than the config says:
    `weights` tells.

    Args:
      writer: The graph.
      ids: Value of the token ids, int64, (B, T).
      mask: Value of the mask, int64, (B, T); ones first, then zeros.
      weights: Those of the transformers `BertModel`, by their names there.
      config: Its config.
      max_tokens: Tokens that a row has at the most; positions beyond are not written.
    Returns:
      The value of the features, (B, H): the mean token at length sqrt(H), as in `TextEncoder`.
    """
    width = config.hidden_size
    head_size = width // config.num_attention_heads
    epsilon = float(config.layer_norm_eps)
    # All segments are the first, so its vector joins the positions'.
    positions = (
        weights["embeddings.position_embeddings.weight"][:max_tokens]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    embed = _factored_words if f"{WORDS}.outer.weight" in weights else _words
    hidden, lengths = embed(writer, ids, mask, weights, positions, epsilon=epsilon)
    for layer in range(config.num_hidden_layers):
        at = f"encoder.layer.{layer}."
        attention = at + "attention.self."
        parts = [weights[f"{attention}{part}.weight"].T for part in ("query", "key", "value")]
        biases = [weights[f"{attention}{part}.bias"] for part in ("query", "key", "value")]
        context = writer.fused(
            "Attention",
            [
                hidden,
                writer.weight(np.concatenate(parts, axis=1), "qkv"),
                writer.weight(np.concatenate(biases)),
                lengths,
            ],
            num_heads=len(biases[0]) // head_size,
        )
        hidden = _residual(
            writer, context, hidden, weights, at + "attention.output.", epsilon=epsilon
        )
        inner, bias = _product(writer, hidden, weights, at + "intermediate.dense")
        inner = writer.fused("BiasGelu", [inner, bias])
        hidden = _residual(writer, inner, hidden, weights, at + "output.", epsilon=epsilon)
    # mean / |mean| = sum / |sum|: the number of tokens cancels out.
    mask_BT = writer.cast(mask, np.float32)
    mask_B1T = writer.node("Unsqueeze", [mask_BT, writer.weight(np.array([1], np.int64))])
    sum_B1H = writer.node("MatMul", [mask_B1T, hidden])
    sum_BH = writer.node("Squeeze", [sum_B1H, writer.weight(np.array([1], np.int64))])
    unit = writer.node("LpNormalization", [sum_BH], axis=-1, p=2)
    return writer.node("Mul", [unit, writer.weight(np.array(math.sqrt(width), np.float32))])


def _words(
    writer: GraphWriter,
    ids: str,
    mask: str,
    weights: Weights,
    positions: NDArray[np.float32],
    *,
    epsilon: float,
) -> tuple[str, str]:
    """LayerNorm(E[ids] + positions), (B, T, H), and the length of each row, int32, (B,)."""
    hidden = writer.fused(
        "EmbedLayerNormalization",
        [
            writer.cast(ids, np.int32),
            "",
            writer.weight(weights[f"{WORDS}.weight"], "words"),
            writer.weight(positions, "positions"),
            "",
            writer.weight(weights["embeddings.LayerNorm.weight"]),
            writer.weight(weights["embeddings.LayerNorm.bias"]),
            writer.cast(mask, np.int32),
        ],
        num_outputs=2,
        epsilon=epsilon,
    )
    return hidden, f"{hidden}:1"


def _factored_words(
    writer: GraphWriter,
    ids: str,
    mask: str,
    weights: Weights,
    positions: NDArray[np.float32],
    *,
    epsilon: float,
) -> tuple[str, str]:
    """As `_words`, from two factors: LayerNorm(A[ids] B + positions)."""
    short_BTR = writer.node(
        "Gather", [writer.weight(weights[f"{WORDS}.table.weight"], "words"), ids]
    )
    wide_BTH = writer.node(
        "MatMul", [short_BTR, writer.weight(weights[f"{WORDS}.outer.weight"].T, "dense")]
    )
    zero, one, two = (writer.weight(np.array([place], np.int64)) for place in range(3))
    tokens = writer.node("Slice", [writer.node("Shape", [ids]), one, two])
    places_TH = writer.node("Slice", [writer.weight(positions, "positions"), zero, tokens, zero])
    hidden = writer.node(
        "LayerNormalization",
        [
            writer.node("Add", [wide_BTH, places_TH]),
            writer.weight(weights["embeddings.LayerNorm.weight"]),
            writer.weight(weights["embeddings.LayerNorm.bias"]),
        ],
        axis=-1,
        epsilon=epsilon,
    )
    lengths = writer.node("ReduceSum", [writer.cast(mask, np.int32), one], keepdims=0)
    return hidden, lengths


def _product(writer: GraphWriter, value: str, weights: Weights, at: str) -> tuple[str, str]:
    """value W, of one matrix or of two factors; and the constant that is still to be added."""
    parts = [at] if f"{at}.weight" in weights else [f"{at}.inner", f"{at}.outer"]
    for part in parts:
        value = writer.node("MatMul", [value, writer.weight(weights[f"{part}.weight"].T, "dense")])
    return value, writer.weight(weights[f"{parts[-1]}.bias"])


def _residual(
    writer: GraphWriter, value: str, skip: str, weights: Weights, at: str, *, epsilon: float
) -> str:
    """LayerNorm(skip + dense(value)).

    Not as one SkipLayerNormalization: that operator takes longer on a CPU than the three nodes.
    """
    product, bias = _product(writer, value, weights, at + "dense")
    dense = writer.node("Add", [product, bias])
    return writer.node(
        "LayerNormalization",
        [
            writer.node("Add", [dense, skip]),
            writer.weight(weights[at + "LayerNorm.weight"]),
            writer.weight(weights[at + "LayerNorm.bias"]),
        ],
        axis=-1,
        epsilon=epsilon,
    )
