"""pack: constants with many zeros, stored without them.

Of a constant of n numbers those are kept that are not zero, one after the other, and n bits that
say where they stand. The graph puts it together again, from constants alone, so that onnxruntime
does it once, when it loads the graph:

    x_i = v[b_i (b_0 + ... + b_i)],   v = (0, the numbers that are not zero),  b the bits

ONNX has a form of its own for such constants, which takes 64 bits for each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from volano.compression._contract import Compact, Makes, Settings, Work

__all__ = ["PackPass"]

TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8)

NODES_BYTES = 1024
"""What the nodes that put one constant together take, about."""

LEAST_GAIN = 0.1
"""Share of a constant's bytes that must be saved."""


class PackPass:
    """Each constant that takes fewer bytes without its zeros."""

    name: ClassVar[str] = "pack"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "graph"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        if any(_bits(weight) is not None for weight in model.graph.graph.initializer):
            return None
        return "no weights have enough zeros to be stored without them"

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        del model, work
        return ({},)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        del work, settings
        return Compact(model.inputs, _packed(model.graph))


def _bits(weight: onnx.TensorProto) -> NDArray[np.bool_] | None:
    """Where a constant is not zero, one bool for each number; None where that is not worth it."""
    if weight.data_type not in TYPES:
        return None
    values = numpy_helper.to_array(weight).reshape(-1)
    # By their bits, so that a minus zero comes back as one.
    bits = values.view(f"u{values.itemsize}") != 0
    packed = int(bits.sum()) * values.itemsize + len(bits) // 8 + NODES_BYTES
    return bits if packed <= (1 - LEAST_GAIN) * values.nbytes else None


def _packed(graph: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    del made.graph.node[:], made.graph.initializer[:]
    writer = _Writer()
    for weight in graph.graph.initializer:
        bits = _bits(weight)
        if bits is None:
            made.graph.initializer.append(weight)
        else:
            writer.put_together(weight, bits)
    made.graph.initializer.extend(writer.constants)
    made.graph.node.extend([*writer.nodes, *graph.graph.node])
    return made


class _Writer:
    """Nodes that put constants together, and what they are made of."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        self._bits_of_byte = self._constant(bits, "pack/bits")
        self._whole = self._constant(np.array([-1], np.int64), "pack/whole")
        self._first = self._constant(np.array([0], np.int64), "pack/first")
        self._axis = self._constant(np.array(0, np.int64), "pack/axis")

    def put_together(self, weight: onnx.TensorProto, bits: NDArray[np.bool_]) -> None:
        """Add the nodes of a constant, under its name.

        Args:
          weight: The constant.
          bits: From `_bits`.
        """
        values, at = numpy_helper.to_array(weight).reshape(-1), f"pack/{weight.name}"
        numbers = np.concatenate([np.zeros(1, values.dtype), values[bits]])
        numbers_at = self._constant(numbers, f"{at}/numbers")
        mask = self._constant(np.packbits(bits), f"{at}/mask")
        length = self._constant(np.array([len(bits)], np.int64), f"{at}/length")
        shape = self._constant(np.array(weight.dims, np.int64), f"{at}/shape")
        places = self._node("Cast", [mask], f"{at}/bytes", to=TensorProto.INT32)
        found = self._node("Gather", [self._bits_of_byte, places], f"{at}/rows")
        found = self._node("Reshape", [found, self._whole], f"{at}/flat")
        found = self._node("Slice", [found, self._first, length], f"{at}/bits")
        found = self._node("Cast", [found], f"{at}/ones", to=TensorProto.INT32)
        counts = self._node("CumSum", [found, self._axis], f"{at}/counts")
        places = self._node("Mul", [found, counts], f"{at}/places")
        found = self._node("Gather", [numbers_at, places], f"{at}/values")
        self._node("Reshape", [found, shape], weight.name)

    def _constant(self, values: NDArray[Any], name: str) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, operator: str, inputs: list[str], output: str, **more: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **more))
        return output
