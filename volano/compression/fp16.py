"""fp16: weights that are in 32 bits are kept in 16, and are 32 again when the graph is loaded.

    w ~ fp16(w),   |w - fp16(w)| <= 2^-11 |w|   from 2^-14 to 65504

Each is followed by a Cast, which onnxruntime does once, as it opens the graph: half the bytes on
disk, and the same operators on the same 32 bits from then on. ``bf16`` keeps 8 bits of a weight in
the place of 11, and the whole range of fp32 (Kalamkar et al., `A Study of BFLOAT16
<https://arxiv.org/abs/1905.12322>`_, 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from volano.compression._contract import Compact, Makes, Settings, Work
from volano.compression._rewrite import Copy, values_of

__all__ = ["Fp16Pass", "halved"]

SMALLEST = 256
"""Weights with fewer values stay as they are: the Cast takes about a hundred bytes itself."""

DIGITS = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""Largest error of a weight as a share of it, where the format can say it with all its digits."""


class Fp16Pass:
    """What is left in fp32, in 16 bits until it is loaded."""

    name: ClassVar[str] = "fp16"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "graph"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        found = [halved(values_of(item), "fp16") for item in _weights(model.graph)]
        if not found:
            return "the graph has no weights in 32 bits that are worth it"
        if all(each is None for each in found):
            return "its weights are beyond the range of 16 bits"
        return None

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        del model, work
        return ({}, {"format": "bf16"})

    def label(self, settings: Settings) -> str:
        """``fp16`` or ``bf16``."""
        return str(settings.get("format", self.name))

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        del work
        form = str(settings.get("format", self.name))
        new = Copy(model.graph)
        for item in _weights(model.graph):
            if (made := halved(values_of(item), form)) is None:
                continue
            kind = onnx.TensorProto.FLOAT16 if form == "fp16" else onnx.TensorProto.BFLOAT16
            half = onnx.TensorProto(
                name=f"{item.name}.{form}", data_type=kind, dims=item.dims, raw_data=made.tobytes()
            )
            new.cast(new.tensor(half), item.name)
        for node in model.graph.graph.node:
            new.keep(node)
        return Compact(model.inputs, new.finished())


def _weights(graph: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Constants in fp32 of some size."""
    given = {item.name for item in graph.graph.input}
    for item in graph.graph.initializer:
        large = item.data_type == onnx.TensorProto.FLOAT and np.prod(item.dims) >= SMALLEST
        if large and item.name not in given:
            yield item


def halved(values: NDArray[np.float32], form: str) -> NDArray[np.uint16] | None:
    """Weights in 16 bits; None where these cannot say them.

    Args:
      values: Of any shape.
      form: ``fp16`` or ``bf16``.
    Returns:
      The bits of each, in the same order; None if one is beyond the largest number of the format,
      or if all are so small that the largest loses digits.
    """
    if form == "fp16":
        with np.errstate(over="ignore"):
            short = values.astype(np.float16)
        bits, read = short.view(np.uint16), short.astype(np.float32)
    else:
        # The upper half of the 32 bits, rounded to the nearest and, between two, to the even one.
        whole = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
        upper = (whole + 0x7FFF + ((whole >> 16) & 1)) >> 16
        bits = upper.astype(np.uint16)
        read = (bits.astype(np.uint32) << 16).view(np.float32)
    if not np.isfinite(read).all():
        return None
    largest = float(np.abs(values).max())
    error = float(np.abs(values.astype(np.float64) - read).max())
    return bits if error <= DIGITS[form] * largest else None
