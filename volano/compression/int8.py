"""int8: weights in 8 bits for good, activations in 8 bits at ranges seen on training rows.

    x ~ (q_x - z) s_x,   w ~ q_w s_w   =>   x w ~ s_x s_w (q_x - z) q_w

Convolutions are computed in fp32 from kernels that are kept in 8 bits: onnxruntime has them in
blocks of channels that fit the processor in fp32 only.

The range of every activation is fixed here rather than measured at each run. That saves a pass
over the data at each operator, and it makes an answer depend on its own row alone: ranges that
are measured at run time are measured over whatever other rows share the batch.

A few channels of a transformer's activations are far larger than the rest and would take most of
the codes for themselves. Part of their size is therefore moved into the weights first, which have a
scale for each column and bear it better:

    x w = (x / c) (c w),   c_j = max|x_j|^a / max|w_j|^(1 - a)

Jacob et al., `Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference <https://arxiv.org/abs/1712.05877>`_, 2018; Xiao et al., `SmoothQuant
<https://arxiv.org/abs/2211.10438>`_, 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from volano.compression._contract import Calibration, Compact, Makes, Settings, Work

__all__ = ["Int8Pass"]

WEIGHT_LEVELS = 63
"""Largest weight code. Processors without VNNI add two products in 16 bits: 2 * 255 * 64 fits,
2 * 255 * 127 does not and would be cut off without a sign of it."""

TAIL = 1e-5
"""Share of the activations on each side that may fall outside the range. A few outliers would
otherwise spend most of the 256 codes on values that hardly occur."""

BINS = 4096

MOVED = 0.75
"""The exponent a. On a fine-tuned MiniLM, the divergence of the answers from fp32's was 0.0103
without smoothing, and 0.0227, 0.0035, 0.0030, 0.0035 and 0.0055 at 0.5, 0.7, 0.8, 0.9 and 1."""

SMALLEST_WEIGHT = 4096
"""Weights with fewer values stay as they are: nothing is gained, and a head's accuracy is lost."""

SMALLEST_KERNEL = 512
"""The same of convolutions, of which each channel has a scale of its own."""

SMALLEST_SCALE = 6e-8
"""The least number above 0 that 16 bits can say."""

FUSED = "com.microsoft"


class Int8Pass:
    """Multiplications with weights, attention and embeddings in 8 bits; kernels kept in 8."""

    name: ClassVar[str] = "int8"
    version: ClassVar[int] = 3
    makes: ClassVar[Makes] = "graph"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        weights = {item.name: item for item in model.graph.graph.initializer}
        for node in model.graph.graph.node:
            if any(able(node, weights) for able in (_is_product, _is_table, _is_convolution)):
                return None
        return "the graph has no multiplication with weights that could be done in 8 bits"

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        del model, work
        return ({},)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        del settings
        graph = self._graph(model.graph, work.calibration(model.inputs))
        return Compact(model.inputs, graph)

    def _graph(self, graph: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        smooth = _smoothed(graph, calibration)
        weights = {item.name: item for item in smooth.graph.initializer}
        values = {node.input[0] for node in smooth.graph.node if _is_product(node, weights)}
        return _Rewrite(smooth, activation_ranges(smooth, sorted(values), calibration)).run()


def _is_product(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type not in ("MatMul", "Attention") or node.input[1] not in weights:
        return False
    return int(np.prod(weights[node.input[1]].dims)) >= SMALLEST_WEIGHT


def _is_convolution(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Whether a convolution's kernels are constants, and of some size."""
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    kernels = weights[node.input[1]]
    large = int(np.prod(kernels.dims)) >= SMALLEST_KERNEL
    return large and kernels.data_type == onnx.TensorProto.FLOAT


def _is_table(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Whether rows of a constant matrix are looked up."""
    if node.op_type != "Gather" or node.input[0] not in weights:
        return False
    table = weights[node.input[0]]
    axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
    large = len(table.dims) == 2 and int(np.prod(table.dims)) >= SMALLEST_WEIGHT
    return large and axis == 0 and table.data_type == onnx.TensorProto.FLOAT


def _sums(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, onnx.TensorProto]
) -> dict[str, onnx.NodeProto]:
    """Rows looked up in a table that only a product from the left uses, by what they are called."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found = {}
    for node in nodes:
        after = users.get(node.output[0], [])
        alone = len(after) == 1 and after[0].op_type == "MatMul"
        if alone and after[0].input[1] == node.output[0] and _is_table(node, weights):
            found[node.output[0]] = node
    return found


def _biases(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, onnx.TensorProto]
) -> dict[str, str]:
    """Multiplication -> the addition of a constant vector that alone uses its result, by name."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found = {}
    for node in nodes:
        if node.op_type != "MatMul" or not _is_product(node, weights):
            continue
        after = users.get(node.output[0], [])
        if len(after) != 1 or after[0].op_type != "Add" or after[0].input[0] != node.output[0]:
            continue
        bias = weights.get(after[0].input[1])
        if bias is not None and len(bias.dims) == 1:
            found[node.name] = after[0].name
    return found


class _Watched:
    """A graph that also gives some of the values inside it."""

    def __init__(self, graph: onnx.ModelProto, names: Sequence[str]) -> None:
        watched = onnx.ModelProto()
        watched.CopyFrom(graph)
        known = {output.name for output in watched.graph.output}
        for name in names:
            if name not in known:
                watched.graph.output.append(helper.make_empty_tensor_value_info(name))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._names = list(names)
        self._session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def runs(self, calibration: Calibration) -> Iterator[dict[str, NDArray[np.float32]]]:
        """The values for each calibration batch."""
        if not self._names:
            return  # asked for nothing, a session gives everything
        for batch in calibration.batches:
            found = self._session.run(self._names, dict(batch))
            yield dict(zip(self._names, found, strict=True))


def _smoothed(graph: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """The same graph with large channels of activations made smaller, and their weights larger."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    weights = {item.name: item for item in result.graph.initializer}
    products = [node for node in result.graph.node if _is_product(node, weights)]
    names = sorted({node.input[0] for node in products})
    largest: dict[str, NDArray[np.float32]] = {}
    for values in _Watched(graph, names).runs(calibration):
        for name, value in values.items():
            found = np.abs(value.reshape(-1, value.shape[-1])).max(axis=0)
            largest[name] = np.maximum(largest.get(name, found), found)
    nodes = []
    for node in result.graph.node:
        # A weight that two products share cannot follow both of their inputs.
        if _is_product(node, weights) and _uses(products, node.input[1]) == 1:
            weight = weights[node.input[1]]
            matrix = numpy_helper.to_array(weight)
            factor = _factors(largest[node.input[0]], np.abs(matrix).max(axis=1))
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


def _factors(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """c of each channel, with a geometric mean of 1; shape (num_channels,)."""
    logs = MOVED * np.log(np.maximum(values, 1e-5)) - (1 - MOVED) * np.log(
        np.maximum(weights, 1e-5)
    )
    return np.asarray(np.exp(np.clip(logs - logs.mean(), -7, 7)), np.float32)


def activation_ranges(
    graph: onnx.ModelProto, names: Sequence[str], calibration: Calibration
) -> dict[str, tuple[float, float]]:
    """The range of each value on the calibration rows, all but `TAIL` of it on either side."""
    watched = _Watched(graph, names)
    lows = dict.fromkeys(names, np.inf)
    highs = dict.fromkeys(names, -np.inf)
    for values in watched.runs(calibration):
        for name, value in values.items():
            lows[name] = min(lows[name], float(value.min()))
            highs[name] = max(highs[name], float(value.max()))
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    for values in watched.runs(calibration):
        for name, value in values.items():
            counts[name] += np.histogram(value, BINS, (lows[name], highs[name] + 1e-9))[0]
    return {name: _without_tails(counts[name], lows[name], highs[name]) for name in names}


def _without_tails(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    edges = np.linspace(low, high, len(counts) + 1)
    reached = np.cumsum(counts) / max(1, counts.sum())
    first = int(np.searchsorted(reached, TAIL))
    last = int(np.searchsorted(reached, 1 - TAIL))
    return float(min(edges[first], 0.0)), float(max(edges[min(last + 1, len(counts))], 0.0))


class _Rewrite:
    """Copies a graph node by node, quantising as it goes."""

    def __init__(self, graph: onnx.ModelProto, ranges: dict[str, tuple[float, float]]) -> None:
        self._source = graph
        self._ranges = ranges
        self._weights = {item.name: item for item in graph.graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        self._added: list[onnx.TensorProto] = []
        self._quantised: dict[str, tuple[str, str, str]] = {}

    def run(self) -> onnx.ModelProto:
        nodes = list(self._source.graph.node)
        biases = _biases(nodes, self._weights)
        sums = _sums(nodes, self._weights)
        for node in nodes:
            if node.name in biases.values() or node.output[0] in sums:
                continue  # done by the multiplication that it followed, or that follows it
            if node.op_type == "MatMul" and node.input[1] in sums:
                self._sum(node, sums[node.input[1]])
                continue
            if _is_product(node, self._weights) and node.op_type == "MatMul":
                self._matmul(
                    node, next((n for n in nodes if n.name == biases.get(node.name)), None)
                )
            elif _is_product(node, self._weights):
                self._attention(node)
            elif node.op_type == "EmbedLayerNormalization":
                self._embedding(node)
            elif _is_table(node, self._weights):
                self._looked_up(node.input[0], node.input[1], node.output[0])
            elif _is_convolution(node, self._weights):
                self._convolution(node)
            else:
                self._nodes.append(node)
        used = {name for node in self._nodes for name in node.input}
        kept = [item for item in self._source.graph.initializer if item.name in used]
        result = onnx.ModelProto()
        result.CopyFrom(self._source)
        del result.graph.node[:], result.graph.initializer[:]
        result.graph.node.extend(self._nodes)
        result.graph.initializer.extend([*kept, *self._added])
        if not any(item.domain == FUSED for item in result.opset_import):
            result.opset_import.append(helper.make_opsetid(FUSED, 1))
        return result

    def _constant(self, values: NDArray[Any], name: str) -> str:
        self._added.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(
        self, operator: str, inputs: list[str], output: str, domain: str = "", **more: Any
    ) -> str:
        self._nodes.append(
            helper.make_node(operator, inputs, [output], name=output, domain=domain, **more)
        )
        return output

    def _activation(self, value: str) -> tuple[str, str, str]:
        """The value in unsigned 8 bits, its scale and its zero point; made once for all users."""
        if value not in self._quantised:
            low, high = self._ranges[value]
            scale = max((high - low) / 255, 1e-8)
            zero = int(np.clip(round(-low / scale), 0, 255))
            scale_name = self._constant(np.array(scale, np.float32), f"{value}.scale")
            zero_name = self._constant(np.array(zero, np.uint8), f"{value}.zero")
            self._node("QuantizeLinear", [value, scale_name, zero_name], f"{value}.u8")
            self._quantised[value] = (f"{value}.u8", scale_name, zero_name)
        return self._quantised[value]

    def _columns(self, name: str) -> tuple[str, str]:
        """A weight matrix in signed 8 bits, each column at its own scale."""
        if f"{name}.i8" not in {item.name for item in self._added}:
            values = numpy_helper.to_array(self._weights[name])
            scale = np.maximum(np.abs(values).max(axis=0) / WEIGHT_LEVELS, 1e-10)
            self._constant(np.round(values / scale).astype(np.int8), f"{name}.i8")
            self._constant(scale.astype(np.float32), f"{name}.scale")
        return f"{name}.i8", f"{name}.scale"

    def _matmul(self, node: onnx.NodeProto, bias: onnx.NodeProto | None) -> None:
        """One product, with the addition that follows it where there is one."""
        value, scale, zero = self._activation(node.input[0])
        weight, weight_scale = self._columns(node.input[1])
        inputs = [value, weight, scale, weight_scale, zero]
        if bias is not None:
            inputs += ["", bias.input[1]]
        output = (bias or node).output[0]
        self._node("MatMulIntegerToFloat", inputs, output, domain=FUSED)

    def _attention(self, node: onnx.NodeProto) -> None:
        value, scale, zero = self._activation(node.input[0])
        weight, weight_scale = self._columns(node.input[1])
        heads = next(item.i for item in node.attribute if item.name == "num_heads")
        lengths = node.input[3] if len(node.input) > 3 else ""
        inputs = [value, weight, node.input[2], scale, weight_scale, lengths, zero]
        self._node("QAttention", inputs, node.output[0], domain=FUSED, num_heads=heads)

    def _convolution(self, node: onnx.NodeProto) -> None:
        """A convolution in fp32 whose kernels are kept in 8 bits, each channel at its own scale."""
        name = node.input[1]
        if f"{name}.i8" not in {item.name for item in self._added}:
            values = numpy_helper.to_array(self._weights[name])
            axes = tuple(range(1, values.ndim))
            # No sum is kept in 16 bits here, so that all codes can be used.
            scale = np.maximum(np.abs(values).max(axis=axes, keepdims=True) / 127, 1e-10)
            self._constant(np.round(values / scale).astype(np.int8), f"{name}.i8")
            self._constant(scale.astype(np.float32), f"{name}.scale")
            # Of constants alone: done once, when the graph is loaded.
            floats = onnx.TensorProto.FLOAT
            codes = self._node("Cast", [f"{name}.i8"], f"{name}.floats", to=floats)
            self._node("Mul", [codes, f"{name}.scale"], f"{name}.read")
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.input[1] = f"{name}.read"
        self._nodes.append(made)

    def _sum(self, node: onnx.NodeProto, looked_up: onnx.NodeProto) -> None:
        """x T[r] with a table T in 8 bits: (x s[r]) Q[r], so that scales meet the few and not the
        many.
        """
        (table, rows), out = looked_up.input, node.output[0]
        self._table(table)
        floats = onnx.TensorProto.FLOAT
        codes = self._node("Gather", [f"{table}.i8", rows], f"{out}.codes")
        codes = self._node("Cast", [codes], f"{out}.floats", to=floats)
        # (..., P, 1) of the table's rows as (..., 1, P), as the factors of the sum are.
        scales = self._node("Gather", [f"{table}.scale", rows], f"{out}.scales")
        scales = self._node("Cast", [scales], f"{out}.factors", to=floats)
        last = self._constant(np.array([-1], np.int64), f"{out}.last")
        scales = self._node("Squeeze", [scales, last], f"{out}.flat")
        place = self._constant(np.array([-2], np.int64), f"{out}.place")
        scales = self._node("Unsqueeze", [scales, place], f"{out}.across")
        scaled = self._node("Mul", [node.input[0], scales], f"{out}.scaled")
        self._node("MatMul", [scaled, codes], out)

    def _looked_up(self, table: str, rows: str, out: str) -> str:
        """Rows of a table that is kept in 8 bits."""
        self._table(table)
        floats = onnx.TensorProto.FLOAT
        codes_in = self._node("Gather", [f"{table}.i8", rows], f"{out}.codes")
        scales_in = self._node("Gather", [f"{table}.scale", rows], f"{out}.scales")
        codes_in = self._node("Cast", [codes_in], f"{out}.floats", to=floats)
        scales_in = self._node("Cast", [scales_in], f"{out}.factors", to=floats)
        return self._node("Mul", [codes_in, scales_in], out)

    def _table(self, table: str) -> None:
        """A table in 8 bits, each row at its own scale."""
        if f"{table}.i8" not in {item.name for item in self._added}:
            values = numpy_helper.to_array(self._weights[table])
            # In 16 bits, as there is one for each row: the codes are made for what it rounds to.
            scale = (np.abs(values).max(axis=1, keepdims=True) / 127).astype(np.float16)
            scale = np.maximum(scale, np.float16(SMALLEST_SCALE))
            codes = np.clip(np.round(values / scale.astype(np.float32)), -127, 127)
            self._constant(codes.astype(np.int8), f"{table}.i8")
            self._constant(scale, f"{table}.scale")

    def _embedding(self, node: onnx.NodeProto) -> None:
        """Word vectors in 8 bits, each at its own scale; only those of a batch become floats."""
        out = node.output[0]
        ids = node.input[0]
        rows = self._looked_up(node.input[2], ids, f"{out}.words")
        # Position p of every row is column p: the first T rows of the table, T = tokens.
        one = self._constant(np.array([1], np.int64), f"{out}.first")
        two = self._constant(np.array([2], np.int64), f"{out}.second")
        zero = self._constant(np.array([0], np.int64), f"{out}.origin")
        shape = self._node("Shape", [ids], f"{out}.shape")
        tokens = self._node("Slice", [shape, one, two], f"{out}.tokens")
        places = self._node("Slice", [node.input[3], zero, tokens, zero], f"{out}.places")
        total = self._node("Add", [rows, places], f"{out}.total")
        epsilon = next(item.f for item in node.attribute if item.name == "epsilon")
        self._node(
            "LayerNormalization",
            [total, node.input[5], node.input[6]],
            out,
            axis=-1,
            epsilon=epsilon,
        )
        lengths = self._node("ReduceSum", [node.input[7], one], f"{out}.lengths", keepdims=0)
        self._node("Cast", [lengths], node.output[1], to=onnx.TensorProto.INT32)
