"""int8: weights in 8 bits for good, activations in 8 bits at ranges seen on training rows.

    x ~ (q_x - z) s_x,   w ~ q_w s_w   =>   x w ~ s_x s_w (q_x - z) q_w

Convolutions are computed in fp32 from kernels that are kept in 8 bits: onnxruntime has them in
blocks of channels that fit the processor in fp32 only.

The range of every activation is fixed here rather than measured at each run. That saves a pass
over the data at each operator, and it makes an answer depend on its own row alone: ranges that
are measured at run time, which the setting ``dynamic`` asks for, are measured over whatever other
rows share the batch.

A few channels of a transformer's activations are far larger than the rest and would take most of
the codes for themselves. Part of their size is therefore moved into the weights first, which have a
scale for each column and bear it better:

    x w = (x / c) (c w),   c_j = max|x_j|^a / max|w_j|^(1 - a)

Jacob et al., `Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference <https://arxiv.org/abs/1712.05877>`_, 2018; Xiao et al., `SmoothQuant
<https://arxiv.org/abs/2211.10438>`_, 2022.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from volano.compression._contract import Calibration, Compact, Makes, Settings, Work
from volano.compression._ranges import Ranges, Watched, activation_ranges
from volano.compression._rewrite import (
    FUSED,
    Copy,
    attributes_of,
    biases_of,
    is_embedding,
    is_product,
    is_table,
    users_of,
    values_of,
    weights_of,
)
from volano.compression._sensitivity import how_far

__all__ = ["WEIGHT_LEVELS", "Int8Pass", "smoothing_factors"]

WEIGHT_LEVELS = 63
"""Largest weight code. Processors without VNNI add two products in 16 bits: 2 * 255 * 64 fits,
2 * 255 * 127 does not and would be cut off without a sign of it."""

MOVED = 0.75
"""The exponent a. On a fine-tuned MiniLM, the divergence of the answers from fp32's was 0.0103
without smoothing, and 0.0227, 0.0035, 0.0030, 0.0035 and 0.0055 at 0.5, 0.7, 0.8, 0.9 and 1."""

SMALLEST_KERNEL = 512
"""Fewest values of a convolution's kernels, of which each channel has a scale of its own."""

SMALLEST_SCALE = 6e-8
"""The least number above 0 that 16 bits can say."""

RECORD = "volano.int8.spared"
"""Where a graph's properties say what stays in fp32, and how far each place moved the answers."""


class Int8Pass:
    """Multiplications with weights, attention and embeddings in 8 bits; kernels kept in 8."""

    name: ClassVar[str] = "int8"
    version: ClassVar[int] = 3
    makes: ClassVar[Makes] = "graph"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        if _places(model.graph):
            return None
        return "the graph has no multiplication with weights that could be done in 8 bits"

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        """As they are, then some in fp32, other ranges, and ranges of each batch.

        ``ranges`` is ``percentile``, ``minmax``, ``entropy`` or ``dynamic``; ``spare`` is the share
        of all that could be in 8 bits which stays in fp32: that which moves the answers most.
        """
        del model, work
        return (
            {},
            {"spare": 0.1},
            {"ranges": "entropy"},
            {"ranges": "minmax"},
            {"ranges": "dynamic"},
        )

    def label(self, settings: Settings) -> str:
        """``int8``, ``int8-entropy``, ``int8-spare10`` where a tenth stays in fp32."""
        ranges, spare = settings.get("ranges", "percentile"), settings.get("spare", 0)
        parts = [self.name]
        parts += [ranges] if ranges != "percentile" else []
        parts += [f"spare{round(100 * spare)}"] if spare else []
        return "-".join(parts)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        def step(done: int, total: int) -> None:
            work.watch("int8: what moves the answers", done, total)

        calibration = work.calibration(model.inputs)
        made = self._graph(model.graph, calibration, settings, step)
        return Compact(model.inputs, made, notes=_spared(made))

    def _graph(
        self,
        graph: onnx.ModelProto,
        calibration: Calibration,
        settings: Settings | None = None,
        step: Callable[[int, int], None] = lambda done, total: None,
    ) -> onnx.ModelProto:
        how = (settings or {}).get("ranges", "percentile")
        spare = float((settings or {}).get("spare", 0.0))
        sizes = _channel_sizes(graph, calibration)
        smooth = _smoothed(graph, sizes)
        products = [node for node in smooth.graph.node if is_product(node, weights_of(smooth))]
        names = sorted({node.input[0] for node in products})
        ranges = None if how == "dynamic" else activation_ranges(smooth, names, calibration, how)
        if not spare:
            return _rewritten(smooth, ranges)
        places = _places(smooth)
        trials = {
            place: functools.partial(_rewritten, smooth, ranges, places.keys() - {place})
            for place in places
        }
        moved = how_far(smooth, trials, calibration, step)
        spared = list(moved)[: max(1, round(spare * len(places)))]
        # What stays in fp32 need not be smooth either.
        made = _rewritten(_smoothed(graph, sizes, spared), ranges, spared)
        record = [
            {"weights": places[place], "makes": place, "moved": far, "fp32": place in spared}
            for place, far in moved.items()
        ]
        made.metadata_props.add(key=RECORD, value=json.dumps(record))
        return made


def _spared(graph: onnx.ModelProto) -> list[str]:
    """What a scan found, in a line; nothing without one."""
    for item in graph.metadata_props:
        if item.key == RECORD:
            places = json.loads(item.value)
            kept = [f"{each['weights']} ({each['moved']:.2g})" for each in places if each["fp32"]]
            left = f"{len(kept)} of {len(places)} places stay in fp32"
            return [f"{left}, those that move the answers most: {', '.join(kept)}"]
    return []


def _places(graph: onnx.ModelProto) -> dict[str, str]:
    """All that could be in 8 bits: a node's first output -> the name of its weights."""
    weights, found = weights_of(graph), {}
    for node in graph.graph.node:
        if is_table(node, weights):
            found[node.output[0]] = node.input[0]
        elif is_embedding(node, weights):
            found[node.output[0]] = node.input[2]
        elif is_product(node, weights) or _is_convolution(node, weights):
            found[node.output[0]] = node.input[1]
    return found


def _is_convolution(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a convolution's kernels are constants, and of some size."""
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    kernels = weights[node.input[1]]
    large = int(np.prod(kernels.dims)) >= SMALLEST_KERNEL
    return large and kernels.data_type == onnx.TensorProto.FLOAT


def _sums(
    nodes: Sequence[onnx.NodeProto], weights: Mapping[str, onnx.TensorProto]
) -> dict[str, onnx.NodeProto]:
    """Rows looked up in a table that only a product from the left uses, by what they are called."""
    users, found = users_of(nodes), {}
    for node in nodes:
        after = users.get(node.output[0], [])
        alone = len(after) == 1 and after[0].op_type == "MatMul"
        if alone and after[0].input[1] == node.output[0] and is_table(node, weights):
            found[node.output[0]] = node
    return found


def _channel_sizes(
    graph: onnx.ModelProto, calibration: Calibration
) -> dict[str, NDArray[np.float32]]:
    """The largest size in each channel of what products read; value -> shape (num_channels,)."""
    weights = weights_of(graph)
    names = sorted({node.input[0] for node in graph.graph.node if is_product(node, weights)})
    largest: dict[str, NDArray[np.float32]] = {}
    for values in Watched(graph, names).runs(calibration):
        for name, value in values.items():
            found = np.abs(value.reshape(-1, value.shape[-1])).max(axis=0)
            largest[name] = np.maximum(largest.get(name, found), found)
    return largest


def _smoothed(
    graph: onnx.ModelProto,
    largest: Mapping[str, NDArray[np.float32]],
    spared: Collection[str] = (),
) -> onnx.ModelProto:
    """The same graph with large channels of activations made smaller, and their weights larger.

    Args:
      graph: Stays as it is.
      largest: As `_channel_sizes` finds them.
      spared: Products that stay as they are, by what they make.
    """
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    weights = weights_of(result)
    products = [node for node in result.graph.node if is_product(node, weights)]
    nodes = []
    for node in result.graph.node:
        # A weight that two products share cannot follow both of their inputs.
        alone = is_product(node, weights) and _uses(products, node.input[1]) == 1
        if alone and node.output[0] not in spared:
            weight = weights[node.input[1]]
            matrix = values_of(weight)
            factor = smoothing_factors(largest[node.input[0]], np.abs(matrix).max(axis=1))
            weight.CopyFrom(numpy_helper.from_array(matrix * factor[:, None], weight.name))
            inverse = numpy_helper.from_array(1 / factor, f"{node.name}.inverse")
            result.graph.initializer.append(inverse)
            smooth = f"{node.name}.smooth"
            nodes.append(helper.make_node("Mul", [node.input[0], inverse.name], [smooth], smooth))
            node.input[0] = smooth
        nodes.append(node)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def _uses(products: Sequence[onnx.NodeProto], weight: str) -> int:
    return sum(node.input[1] == weight for node in products)


def smoothing_factors(
    values: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """c of each channel, with a geometric mean of 1.

    Args:
      values: The largest size of each channel of an activation, (num_channels,).
      weights: The largest size of the weights that each is multiplied with, (num_channels,).
    """
    logs = MOVED * np.log(np.maximum(values, 1e-5)) - (1 - MOVED) * np.log(
        np.maximum(weights, 1e-5)
    )
    return np.asarray(np.exp(np.clip(logs - logs.mean(), -7, 7)), np.float32)


def _rewritten(
    graph: onnx.ModelProto, ranges: Ranges | None, spared: Collection[str] = ()
) -> onnx.ModelProto:
    return _Rewrite(graph, ranges, spared).run()


class _Rewrite:
    """Copies a graph node by node, quantising as it goes.

    Args:
      graph: Stays as it is.
      ranges: Of what products read; None measures them at each run.
      spared: What stays as it is, by what it makes.
    """

    def __init__(
        self, graph: onnx.ModelProto, ranges: Ranges | None, spared: Collection[str] = ()
    ) -> None:
        self._source, self._ranges, self._spared = graph, ranges, spared
        self._weights = weights_of(graph)
        self._new = Copy(graph)
        self._quantised: dict[str, tuple[str, str, str]] = {}

    def run(self) -> onnx.ModelProto:
        nodes = list(self._source.graph.node)
        todo = _places(self._source).keys() - set(self._spared)
        found = biases_of(nodes, self._weights)
        biases = {
            node.name: found[node.name]
            for node in nodes
            if node.output[0] in todo and node.name in found
        }
        sums = {name: node for name, node in _sums(nodes, self._weights).items() if name in todo}
        done = {node.output[0] for node in biases.values()} | sums.keys()
        for node in nodes:
            if node.output[0] in done:
                continue  # done by the multiplication that it followed, or that follows it
            if node.op_type == "MatMul" and node.input[1] in sums:
                self._sum(node, sums[node.input[1]])
            elif node.output[0] not in todo:
                self._new.keep(node)
            elif node.op_type == "MatMul":
                self._matmul(node, biases.get(node.name))
            elif node.op_type == "Attention":
                self._attention(node)
            elif node.op_type == "EmbedLayerNormalization":
                self._new.embedding(node, self._looked_up)
            elif node.op_type == "Gather":
                self._looked_up(node.input[0], node.input[1], node.output[0])
            else:
                self._convolution(node)
        return self._new.finished()

    def _activation(self, value: str) -> tuple[str, str, str]:
        """The value in unsigned 8 bits, its scale and its zero point; made once for all users."""
        if value not in self._quantised:
            names = (f"{value}.u8", f"{value}.scale", f"{value}.zero")
            if self._ranges is None:
                self._new.node("DynamicQuantizeLinear", [value], *names)
            else:
                low, high = self._ranges[value]
                scale = max((high - low) / 255, 1e-8)
                zero = int(np.clip(round(-low / scale), 0, 255))
                self._new.constant(np.array(scale, np.float32), names[1])
                self._new.constant(np.array(zero, np.uint8), names[2])
                self._new.node("QuantizeLinear", [value, *names[1:]], names[0])
            self._quantised[value] = names
        return self._quantised[value]

    def _columns(self, name: str) -> tuple[str, str]:
        """A weight matrix in signed 8 bits, each column at its own scale."""
        if f"{name}.i8" not in self._new:
            values = values_of(self._weights[name])
            scale = np.maximum(np.abs(values).max(axis=0) / WEIGHT_LEVELS, 1e-10)
            self._new.constant(np.round(values / scale).astype(np.int8), f"{name}.i8")
            self._new.constant(scale.astype(np.float32), f"{name}.scale")
        return f"{name}.i8", f"{name}.scale"

    def _matmul(self, node: onnx.NodeProto, bias: onnx.NodeProto | None) -> None:
        """One product, with the addition that follows it where there is one."""
        output = (bias or node).output[0]
        added = ["", bias.input[1]] if bias is not None else []
        if self._ranges is None:
            inputs = [node.input[0], *self._columns(node.input[1]), *added]
            self._new.node("DynamicQuantizeMatMul", inputs, output, domain=FUSED)
            return
        value, scale, zero = self._activation(node.input[0])
        weight, weight_scale = self._columns(node.input[1])
        inputs = [value, weight, scale, weight_scale, zero, *added]
        self._new.node("MatMulIntegerToFloat", inputs, output, domain=FUSED)

    def _attention(self, node: onnx.NodeProto) -> None:
        value, scale, zero = self._activation(node.input[0])
        weight, weight_scale = self._columns(node.input[1])
        heads = attributes_of(node)["num_heads"]
        lengths = node.input[3] if len(node.input) > 3 else ""
        inputs = [value, weight, node.input[2], scale, weight_scale, lengths, zero]
        self._new.node("QAttention", inputs, node.output[0], domain=FUSED, num_heads=heads)

    def _convolution(self, node: onnx.NodeProto) -> None:
        """A convolution in fp32 whose kernels are kept in 8 bits, each channel at its own scale."""
        name = node.input[1]
        if f"{name}.i8" not in self._new:
            values = values_of(self._weights[name])
            axes = tuple(range(1, values.ndim))
            # No sum is kept in 16 bits here, so that all codes can be used.
            scale = np.maximum(np.abs(values).max(axis=axes, keepdims=True) / 127, 1e-10)
            self._new.constant(np.round(values / scale).astype(np.int8), f"{name}.i8")
            self._new.constant(scale.astype(np.float32), f"{name}.scale")
            # Of constants alone: done once, when the graph is loaded.
            codes = self._new.cast(f"{name}.i8", f"{name}.floats")
            self._new.node("Mul", [codes, f"{name}.scale"], f"{name}.read")
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.input[1] = f"{name}.read"
        self._new.keep(made)

    def _sum(self, node: onnx.NodeProto, looked_up: onnx.NodeProto) -> None:
        """x T[r] with a table T in 8 bits: (x s[r]) Q[r], so that scales meet the few and not the
        many.
        """
        (table, rows), out = looked_up.input, node.output[0]
        self._table(table)
        codes = self._new.node("Gather", [f"{table}.i8", rows], f"{out}.codes")
        codes = self._new.cast(codes, f"{out}.floats")
        # (..., P, 1) of the table's rows as (..., 1, P), as the factors of the sum are.
        scales = self._new.node("Gather", [f"{table}.scale", rows], f"{out}.scales")
        scales = self._new.cast(scales, f"{out}.factors")
        last = self._new.constant(np.array([-1], np.int64), f"{out}.last")
        scales = self._new.node("Squeeze", [scales, last], f"{out}.flat")
        place = self._new.constant(np.array([-2], np.int64), f"{out}.place")
        scales = self._new.node("Unsqueeze", [scales, place], f"{out}.across")
        scaled = self._new.node("Mul", [node.input[0], scales], f"{out}.scaled")
        self._new.node("MatMul", [scaled, codes], out)

    def _looked_up(self, table: str, rows: str, out: str) -> str:
        """Rows of a table that is kept in 8 bits."""
        self._table(table)
        codes_in = self._new.node("Gather", [f"{table}.i8", rows], f"{out}.codes")
        scales_in = self._new.node("Gather", [f"{table}.scale", rows], f"{out}.scales")
        codes_in = self._new.cast(codes_in, f"{out}.floats")
        scales_in = self._new.cast(scales_in, f"{out}.factors")
        return self._new.node("Mul", [codes_in, scales_in], out)

    def _table(self, table: str) -> None:
        """A table in 8 bits, each row at its own scale."""
        if f"{table}.i8" not in self._new:
            values = values_of(self._weights[table])
            # In 16 bits, as there is one for each row: the codes are made for what it rounds to.
            scale = (np.abs(values).max(axis=1, keepdims=True) / 127).astype(np.float16)
            scale = np.maximum(scale, np.float16(SMALLEST_SCALE))
            codes = np.clip(np.round(values / scale.astype(np.float32)), -127, 127)
            self._new.constant(codes.astype(np.int8), f"{table}.i8")
            self._new.constant(scale, f"{table}.scale")
