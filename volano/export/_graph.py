"""Writing ONNX graphs node by node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["FUSED_DOMAIN", "TREE_DOMAIN", "GraphWriter", "constants", "model_from_bytes"]

OPSET = 17
FUSED_DOMAIN = "com.microsoft"
"""Operators of ONNX Runtime that do the work of several standard ones."""

TREE_DOMAIN, TREE_OPSET = "ai.onnx.ml", 3
"""ONNX's own operators for classic models."""

IR_VERSION = 10


class GraphWriter:
    """Collects nodes and weights; names are given here so that they never collide.

    Example:
      >>> writer = GraphWriter()
      >>> x = writer.input("x", np.float32, ["rows", 2])
      >>> y = writer.node("Relu", [x])
      >>> len(writer.model({"y": (y, np.float32, ["rows", 2])}).graph.node)
      2
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._functions: list[onnx.FunctionProto] = []
        self._opsets = {"": OPSET, FUSED_DOMAIN: 1}
        self._count = 0

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, dtype: Any, shape: Sequence[str | int]) -> str:
        """Declare an input of the graph."""
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(helper.make_tensor_value_info(name, element, list(shape)))
        return name

    def weight(self, values: NDArray[Any], stem: str = "weight") -> str:
        """A constant of the graph."""
        name = self._name(stem)
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        domain: str = "",
        num_outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """Add a node; returns the name of its first output, the others end in ``:1``, ``:2``."""
        name = self._name(operator)
        outputs = [name, *(f"{name}:{place}" for place in range(1, num_outputs))]
        self._nodes.append(
            helper.make_node(
                operator, list(inputs), outputs, name=name, domain=domain, **attributes
            )
        )
        return name

    def fused(
        self, operator: str, inputs: Sequence[str], *, num_outputs: int = 1, **attributes: Any
    ) -> str:
        """Add one of ONNX Runtime's own operators."""
        return self.node(
            operator, inputs, domain=FUSED_DOMAIN, num_outputs=num_outputs, **attributes
        )

    def cast(self, value: str, dtype: Any) -> str:
        """Convert to another element type."""
        return self.node("Cast", [value], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def take_in(self, other: onnx.ModelProto, values: dict[str, str]) -> list[str]:
        """Add the nodes of a finished graph under names of their own.

        Args:
          other: The graph.
          values: Name of an input -> its value here; inputs that are not among them are declared,
            and added.
        Returns:
          The values of its outputs.
        """
        graph = onnx.ModelProto()
        graph.CopyFrom(other)
        prefix = self._name("part")
        names = {"": ""}
        for info in graph.graph.input:
            if info.name not in values:
                self._inputs.append(info)
                values[info.name] = info.name
            names[info.name] = values[info.name]

        def here(name: str) -> str:
            return names.setdefault(name, f"{prefix}/{name}")

        for weight in graph.graph.initializer:
            weight.name = here(weight.name)
            self._weights.append(weight)
        _rename(graph.graph.node, here, prefix)
        self._nodes.extend(graph.graph.node)
        self._functions.extend(graph.functions)
        for needed in graph.opset_import:
            self._opsets[needed.domain] = max(self._opsets.get(needed.domain, 0), needed.version)
        return [here(info.name) for info in graph.graph.output]

    def model(self, outputs: Mapping[str, tuple[str, Any, Sequence[str | int]]]) -> onnx.ModelProto:
        """The finished graph.

        Args:
          outputs: Name -> (value, dtype, shape).
        """
        infos = []
        for name, (value, dtype, shape) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name], name=f"to_{name}"))
            element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            infos.append(helper.make_tensor_value_info(name, element, list(shape)))
        graph = helper.make_graph(self._nodes, "volano", self._inputs, infos, self._weights)
        if any(node.domain == TREE_DOMAIN for node in self._nodes):
            self._opsets[TREE_DOMAIN] = TREE_OPSET
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*item) for item in self._opsets.items()],
            functions=self._functions,
            producer_name="volano",
        )
        model.ir_version = IR_VERSION
        return model


def _rename(nodes: Iterable[onnx.NodeProto], here: Callable[[str], str], prefix: str) -> None:
    """Give values new names, those inside of branches and loops as well."""
    for node in nodes:
        node.name = f"{prefix}/{node.name}"
        for places in (node.input, node.output):
            for place, name in enumerate(places):
                places[place] = here(name)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                for info in [*inner.input, *inner.output, *inner.initializer]:
                    info.name = here(info.name)
                _rename(inner.node, here, prefix)


def model_from_bytes(content: bytes) -> onnx.ModelProto:
    """A graph as it was written."""
    return onnx.load_model_from_string(content)


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The weights of a graph by name."""
    return {weight.name: weight for weight in model.graph.initializer}


assert TensorProto.FLOAT == 1
