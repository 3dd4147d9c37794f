"""pack: constants with many zeros, stored without them.

Of a constant of n numbers those are kept that are not zero, one after the other, and n bits that
say where they stand. The graph puts it together again, from constants alone, so that onnxruntime
does it once, when it loads the graph:

    x_i = v[b_i (b_0 + ... + b_i)],   v = (0, the numbers that are not zero),  b the bits

ONNX has a form of its own for such constants, which takes 64 bits for each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from volano.compression._contract import Compact, Makes, Settings, Work
from volano.compression._rewrite import Copy, values_of

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
    values = values_of(weight).reshape(-1)
    # By their bits, so that a minus zero comes back as one.
    bits = values.view(f"u{values.itemsize}") != 0
    packed = int(bits.sum()) * values.itemsize + len(bits) // 8 + NODES_BYTES
    return bits if packed <= (1 - LEAST_GAIN) * values.nbytes else None


def _packed(graph: onnx.ModelProto) -> onnx.ModelProto:
    new = Copy(graph)
    bits_of_byte = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    new.constant(bits_of_byte, "pack/bits")
    new.constant(np.array([-1], np.int64), "pack/whole")
    new.constant(np.array([0], np.int64), "pack/first")
    new.constant(np.array(0, np.int64), "pack/axis")
    for weight in graph.graph.initializer:
        if (bits := _bits(weight)) is not None:
            _put_together(new, weight, bits)
    for node in graph.graph.node:
        new.keep(node)
    return new.finished()


def _put_together(new: Copy, weight: onnx.TensorProto, bits: NDArray[np.bool_]) -> None:
    """Add the nodes of a constant, under its name.

    Args:
      new: Where to.
      weight: The constant.
      bits: From `_bits`.
    """
    values, at = values_of(weight).reshape(-1), f"pack/{weight.name}"
    numbers = np.concatenate([np.zeros(1, values.dtype), values[bits]])
    numbers_at = new.constant(numbers, f"{at}/numbers")
    mask = new.constant(np.packbits(bits), f"{at}/mask")
    length = new.constant(np.array([len(bits)], np.int64), f"{at}/length")
    shape = new.constant(np.array(weight.dims, np.int64), f"{at}/shape")
    places = new.cast(mask, f"{at}/bytes", TensorProto.INT32)
    found = new.node("Gather", ["pack/bits", places], f"{at}/rows")
    found = new.node("Reshape", [found, "pack/whole"], f"{at}/flat")
    found = new.node("Slice", [found, "pack/first", length], f"{at}/bits")
    found = new.cast(found, f"{at}/ones", TensorProto.INT32)
    counts = new.node("CumSum", [found, "pack/axis"], f"{at}/counts")
    places = new.node("Mul", [found, counts], f"{at}/places")
    found = new.node("Gather", [numbers_at, places], f"{at}/values")
    new.node("Reshape", [found, shape], weight.name)
