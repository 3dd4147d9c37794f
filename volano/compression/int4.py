"""int4: weights in 4 bits, in blocks that have a scale each; everything else as it was.

    w ~ (q - 8) s,   q = 0..15,   s of each block of a column

A weight takes half a byte and its share of a scale in 16 bits: at blocks of 32 that is 4.5 bits in
the place of 32. Of a block's scales the one is taken that leaves the least squared error: with the
largest weight at the end of the codes, or somewhat before or behind it.

Activations stay as they are between operators. Within one, onnxruntime has them in 8 bits for the
product, at a scale for each block of each row, so that an answer depends on its own row alone; the
setting ``activations: fp32`` has them as they are.

Frantar et al., `GPTQ <https://arxiv.org/abs/2210.17323>`_, 2022, and Dettmers and Zettlemoyer, `The
case for 4-bit precision <https://arxiv.org/abs/2212.09720>`_, 2022, keep weights so; codes are
rounded here to what is nearest, one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from volano.compression._contract import Compact, Makes, Settings, Work
from volano.compression._rewrite import (
    FUSED,
    SMALLEST_WEIGHT,
    Copy,
    attributes_of,
    biases_of,
    is_embedding,
    is_product,
    is_table,
    values_of,
    weights_of,
)

__all__ = ["Int4Pass", "blocks_of", "packed"]

BLOCKS = (32, 64, 128)
"""Weights that share a scale. Fewer of them take more bytes and lose less."""

SMALLEST_BLOCK = 16
"""The least that onnxruntime knows: a table whose width it does not divide stays as it is."""

SHARES = tuple(step / 20 for step in range(22, 12, -1))
"""How far the codes may reach, as parts of the block's largest weight. The squared error of weights
drawn from a normal distribution is 9% less than with 1 alone."""

ROWS_AT_ONCE = 8192
"""Rows of weights that are looked at together: tables may have hundreds of thousands."""

FEWEST, MOST = 2.0**-14, 65504.0
"""Sizes that 16 bits can say with all their digits."""

INT8_INSIDE = 4
"""What MatMulNBits calls activations in 8 bits inside of the product; 1 are those in fp32."""


class Int4Pass:
    """Multiplications with weights, attention's too, and tables from blocks of 4 bits."""

    name: ClassVar[str] = "int4"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "graph"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        weights = weights_of(model.graph)
        if any(_kind(node, weights) for node in model.graph.graph.node):
            return None
        return "the graph has no multiplication with weights that could be kept in 4 bits"

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        """Smaller blocks first; ``activations`` is ``int8`` or ``fp32`` inside of products."""
        del model, work
        return (*({"block": block} for block in BLOCKS), {"block": 32, "activations": "fp32"})

    def label(self, settings: Settings) -> str:
        """``int4``, ``int4-64`` in blocks of 64, ``int4-fp32`` with activations as they are."""
        block, inside = settings.get("block", BLOCKS[0]), settings.get("activations", "int8")
        parts = [self.name]
        parts += [str(block)] if block != BLOCKS[0] else []
        parts += [inside] if inside != "int8" else []
        return "-".join(parts)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        del work
        block = int(settings.get("block", BLOCKS[0]))
        level = INT8_INSIDE if settings.get("activations", "int8") == "int8" else 1
        return Compact(model.inputs, _Rewrite(model.graph, block, level).run())


def blocks_of(
    weights_RK: NDArray[np.float32], block: int
) -> tuple[NDArray[np.uint8], NDArray[np.float16] | NDArray[np.float32]]:
    """Weights as codes and scales.

    Args:
      weights_RK: Cut into blocks along their last axis; zeros follow what the last block lacks.
      block: Weights of a block, B.
    Returns:
      Codes, shape (R, num_blocks, B), 0 to 15, and scales, shape (R, num_blocks), in 16 bits where
      these can say them: (code - 8) * scale is near the weight.
    """
    num_rows, width = weights_RK.shape
    num_blocks = -(-width // block)
    codes = np.empty((num_rows, num_blocks, block), np.uint8)
    scales = np.empty((num_rows, num_blocks), np.float32)
    largest = float(np.abs(weights_RK).max(initial=0.0)) / 8
    half = FEWEST <= largest <= MOST
    for start in range(0, num_rows, ROWS_AT_ONCE):
        part = weights_RK[start : start + ROWS_AT_ONCE]
        part = np.pad(part, ((0, 0), (0, num_blocks * block - width)))
        found = _nearest(part.reshape(len(part), num_blocks, block), half=half)
        codes[start : start + len(part)], scales[start : start + len(part)] = found
    return codes, scales.astype(np.float16) if half else scales


def _nearest(
    values: NDArray[np.float32], *, half: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes and scales of blocks along the last axis, with the least squared error of `SHARES`."""
    place = np.abs(values).argmax(axis=-1)[..., None]
    # The largest weight, with its sign: it gets the code 0, the only one that is 8 from the middle.
    extreme = np.take_along_axis(values, place, axis=-1)[..., 0]
    best = np.full(extreme.shape, np.inf, np.float32)
    codes, scales = np.full(values.shape, 8, np.uint8), np.zeros(extreme.shape, np.float32)
    for share in SHARES:
        scale = (extreme * np.float32(-share / 8)).astype(np.float32)
        if half:
            # The codes are made for what the scale rounds to.
            scale = scale.astype(np.float16).astype(np.float32)
        divisor = np.where(scale == 0, np.float32(1), scale)[..., None]
        steps = np.clip(np.round(values / divisor), -8, 7)
        error = np.square(steps * scale[..., None] - values).sum(axis=-1)
        better = error < best
        best[better], scales[better] = error[better], scale[better]
        codes[better] = (steps[better] + 8).astype(np.uint8)
    return codes, scales


def packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two codes in a byte along the last axis, the first in its lower half."""
    return np.asarray(codes[..., 0::2] | (codes[..., 1::2] << 4), np.uint8)


def _kind(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> str | None:
    """What a node is that can be done from 4 bits: its operator; None for all others."""
    product = is_product(node, weights) and (node.op_type == "MatMul" or _is_plain(node))
    embedding = is_embedding(node, weights) and _table_block(weights[node.input[2]], BLOCKS[0])
    table = is_table(node, weights) and _table_block(weights[node.input[0]], BLOCKS[0])
    return str(node.op_type) if product or embedding or table else None


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether an Attention is as `volano.export` writes it: no past, all of one width."""
    return len(node.input) <= 4 and attributes_of(node).keys() == {"num_heads"}


def _table_block(table: onnx.TensorProto, block: int) -> int:
    """The largest block up to this one that divides a table's rows; 0 where none does."""
    if table.data_type != onnx.TensorProto.FLOAT or len(table.dims) != 2:
        return 0
    width = int(table.dims[1])
    if int(table.dims[0]) * width < SMALLEST_WEIGHT:
        return 0
    block = _fitting(width, block, SMALLEST_BLOCK)
    return 0 if width % block else block


def _fitting(width: int, block: int, least: int) -> int:
    """The largest block up to this one that leaves nothing over; the least where all would."""
    while block > least and width % block:
        block //= 2
    return block


class _Rewrite:
    """Copies a graph node by node, packing weights as it goes."""

    def __init__(self, graph: onnx.ModelProto, block: int, level: int) -> None:
        self._source, self._block, self._level = graph, block, level
        self._weights = weights_of(graph)
        self._new = Copy(graph)

    def run(self) -> onnx.ModelProto:
        nodes = list(self._source.graph.node)
        biases = biases_of(nodes, self._weights)
        done = {node.output[0] for node in biases.values()}
        for node in nodes:
            kind = _kind(node, self._weights)
            if node.output[0] in done:
                continue  # done by the multiplication that it followed
            if kind == "MatMul":
                bias = biases.get(node.name)
                output, added = (node, "") if bias is None else (bias, bias.input[1])
                self._product(node.input[0], node.input[1], added, output.output[0])
            elif kind == "Attention":
                self._attention(node)
            elif kind == "EmbedLayerNormalization":
                self._new.embedding(node, self._looked_up)
            elif kind == "Gather":
                self._looked_up(node.input[0], node.input[1], node.output[0])
            else:
                self._new.keep(node)
        return self._new.finished()

    def _product(self, value: str, weight: str, bias: str, output: str) -> str:
        """x W + b from the columns of W in blocks."""
        rows, columns = self._weights[weight].dims
        block = _fitting(rows, self._block, BLOCKS[0])
        codes, scales = f"{weight}.i4", f"{weight}.scale"
        if codes not in self._new:
            found, sizes = blocks_of(values_of(self._weights[weight]).T, block)
            self._new.constant(packed(found), codes)
            # Flat: earlier versions of onnxruntime know no other shape.
            self._scales(sizes.reshape(-1), scales)
        inputs = [value, codes, scales, *(["", "", bias] if bias else [])]
        return self._new.node(
            "MatMulNBits",
            inputs,
            output,
            domain=FUSED,
            K=rows,
            N=columns,
            bits=4,
            block_size=block,
            accuracy_level=self._level,
        )

    def _scales(self, sizes: NDArray[np.float16] | NDArray[np.float32], name: str) -> None:
        """Scales under a name, in 32 bits when the graph has been loaded."""
        if sizes.dtype == np.float16:
            self._new.cast(self._new.constant(sizes, f"{name}.half"), name)
        else:
            self._new.constant(sizes, name)

    def _attention(self, node: onnx.NodeProto) -> None:
        """Attention in parts: the operator that has all in one wants its weights as floats."""
        out, weight = node.output[0], node.input[1]
        width = int(self._weights[weight].dims[1]) // 3
        value = self._product(node.input[0], weight, node.input[2], f"{out}.qkv")
        sizes = self._new.constant(np.full(3, width, np.int64), f"{out}.sizes")
        parts = [f"{out}.{part}" for part in ("query", "key", "value")]
        self._new.node("Split", [value, sizes], *parts, axis=2)
        lengths = ["", *node.input[3:4]] if len(node.input) > 3 else []
        heads = attributes_of(node)["num_heads"]
        self._new.node("MultiHeadAttention", [*parts, *lengths], out, domain=FUSED, num_heads=heads)

    def _looked_up(self, table: str, rows: str, out: str) -> str:
        """Rows of a table in blocks; only those that are asked for become floats."""
        block = _table_block(self._weights[table], self._block)
        codes, scales = f"{table}.rows4", f"{table}.rows.scale"
        if codes not in self._new:
            found, sizes = blocks_of(values_of(self._weights[table]), block)
            self._new.constant(packed(found).reshape(len(found), -1), codes)
            self._scales(sizes, scales)
        return self._new.node(
            "GatherBlockQuantized",
            [codes, rows, scales],
            out,
            domain=FUSED,
            bits=4,
            block_size=block,
            gather_axis=0,
            quantize_axis=1,
        )
