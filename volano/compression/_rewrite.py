"""Graphs written anew node by node: what passes that keep weights in fewer bits have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = [
    "FUSED",
    "SMALLEST_WEIGHT",
    "Copy",
    "attributes_of",
    "biases_of",
    "is_embedding",
    "is_product",
    "is_table",
    "users_of",
    "values_of",
    "weights_of",
]

FUSED = "com.microsoft"
"""Operators of ONNX Runtime that do the work of several standard ones."""

SMALLEST_WEIGHT = 4096
"""Weights with fewer values stay as they are: nothing is gained, and a head's accuracy is lost."""

Weights = Mapping[str, onnx.TensorProto]


def weights_of(graph: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The constants of a graph by name."""
    return {item.name: item for item in graph.graph.initializer}


def values_of(weight: onnx.TensorProto) -> NDArray[Any]:
    """A constant as an array."""
    found: NDArray[Any] = numpy_helper.to_array(weight)
    return found


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """What a node is told beside its inputs, by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def users_of(nodes: Sequence[onnx.NodeProto]) -> dict[str, list[onnx.NodeProto]]:
    """Value -> the nodes that read it, in order."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def is_product(node: onnx.NodeProto, weights: Weights) -> bool:
    """Whether values are multiplied by a large constant matrix, with or without attention."""
    if node.op_type not in ("MatMul", "Attention") or node.input[1] not in weights:
        return False
    return _is_large_matrix(weights[node.input[1]])


def is_table(node: onnx.NodeProto, weights: Weights) -> bool:
    """Whether rows of a large constant matrix are looked up."""
    if node.op_type != "Gather" or node.input[0] not in weights:
        return False
    return attributes_of(node).get("axis", 0) == 0 and _is_large_matrix(weights[node.input[0]])


def is_embedding(node: onnx.NodeProto, weights: Weights) -> bool:
    """Whether it looks tokens up in a table, as `volano.export` writes it: with one segment."""
    if node.op_type != "EmbedLayerNormalization" or len(node.input) != 8:
        return False
    plain = not node.input[1] and not node.input[4] and len(node.output) == 2
    return plain and node.input[2] in weights


def _is_large_matrix(weight: onnx.TensorProto) -> bool:
    if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) != 2:
        return False
    return int(np.prod(weight.dims)) >= SMALLEST_WEIGHT


def biases_of(nodes: Sequence[onnx.NodeProto], weights: Weights) -> dict[str, onnx.NodeProto]:
    """A product's name -> the addition of a constant vector that alone uses its result."""
    users = users_of(nodes)
    found = {}
    for node in nodes:
        if node.op_type != "MatMul" or not is_product(node, weights):
            continue
        after = users.get(node.output[0], [])
        if len(after) != 1 or after[0].op_type != "Add" or after[0].input[0] != node.output[0]:
            continue
        bias = weights.get(after[0].input[1])
        if bias is not None and len(bias.dims) == 1:
            found[node.name] = after[0]
    return found


@final
class Copy:
    """A graph that is being written after the pattern of another.

    Args:
      source: The graph, which stays as it is.
    """

    def __init__(self, source: onnx.ModelProto) -> None:
        self._source = source
        self._nodes: list[onnx.NodeProto] = []
        self._added: dict[str, onnx.TensorProto] = {}

    def __contains__(self, name: str) -> bool:
        """Whether such a constant was added."""
        return name in self._added

    def constant(self, values: NDArray[Any], name: str) -> str:
        """Add a constant; returns its name."""
        return self.tensor(numpy_helper.from_array(np.ascontiguousarray(values), name))

    def tensor(self, made: onnx.TensorProto) -> str:
        """Add a constant of a type that numpy does not have; returns its name."""
        self._added[made.name] = made
        return str(made.name)

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        *more: str,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node, called as its first output; returns that.

        Args:
          operator: Its kind.
          inputs: Values that it reads; "" for one that is left out.
          output: What it makes.
          more: Its further outputs.
          domain: Whose operator it is.
          attributes: What else it is told.
        """
        made = helper.make_node(
            operator, list(inputs), [output, *more], name=output, domain=domain, **attributes
        )
        self._nodes.append(made)
        return output

    def keep(self, node: onnx.NodeProto) -> None:
        """Take a node over as it is."""
        self._nodes.append(node)

    def cast(self, value: str, output: str, to: int = onnx.TensorProto.FLOAT) -> str:
        """Another element type; of a constant it is done once, when the graph is loaded."""
        return self.node("Cast", [value], output, to=to)

    def embedding(self, node: onnx.NodeProto, look_up: Callable[[str, str, str], str]) -> None:
        """An EmbedLayerNormalization in parts, so that its table can be kept otherwise.

        Args:
          node: One that `is_embedding`.
          look_up: Table, ids and the name of the output -> rows of the table as floats.
        """
        out, ids = node.output[0], node.input[0]
        rows = look_up(node.input[2], ids, f"{out}.words")
        # Position p of every row is column p: the first T rows of the table, T = tokens.
        one = self.constant(np.array([1], np.int64), f"{out}.first")
        two = self.constant(np.array([2], np.int64), f"{out}.second")
        zero = self.constant(np.array([0], np.int64), f"{out}.origin")
        shape = self.node("Shape", [ids], f"{out}.shape")
        tokens = self.node("Slice", [shape, one, two], f"{out}.tokens")
        places = self.node("Slice", [node.input[3], zero, tokens, zero], f"{out}.places")
        total = self.node("Add", [rows, places], f"{out}.total")
        scaling = [total, node.input[5], node.input[6]]
        epsilon = attributes_of(node)["epsilon"]
        self.node("LayerNormalization", scaling, out, axis=-1, epsilon=epsilon)
        lengths = self.node("ReduceSum", [node.input[7], one], f"{out}.lengths", keepdims=0)
        self.cast(lengths, node.output[1], onnx.TensorProto.INT32)

    def finished(self) -> onnx.ModelProto:
        """The new graph, without the constants that nothing reads any more."""
        read = set(_read(self._nodes)) | {item.name for item in self._source.graph.output}
        made = self._added.keys() | {name for node in self._nodes for name in node.output}
        kept = [
            item
            for item in self._source.graph.initializer
            if item.name in read and item.name not in made
        ]
        result = onnx.ModelProto()
        result.CopyFrom(self._source)
        del result.graph.node[:], result.graph.initializer[:]
        result.graph.node.extend(self._nodes)
        result.graph.initializer.extend([*kept, *self._added.values()])
        if not any(item.domain == FUSED for item in result.opset_import):
            result.opset_import.append(helper.make_opsetid(FUSED, 1))
        return result


def _read(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Values that nodes read, those inside of branches and loops as well."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _read(inner.node)
                yield from (item.name for item in inner.output)
