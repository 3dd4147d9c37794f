"""sparse: weights of large products set to zero, those that training rows miss least.

The graph stays as large and as fast as it was: zeros are multiplied as any other number. What is
gained are bytes on disk, once `pack` has left the zeros out; `int8` goes between the two.

Frantar and Alistarh, `SparseGPT <https://arxiv.org/abs/2301.00774>`_, 2023. Where we differ: what
flows into a product is seen once, in the graph as it was given, and not again behind the products
that were pruned before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx
from onnx import numpy_helper

from volano.compression._contract import Compact, Makes, Settings, Work
from volano.compression._products import gram_matrices, products
from volano.compression._pruning import Zeros, pruned

__all__ = ["SparsePass"]


class SparsePass:
    """Half of the weights of each large product, as a pattern or the least of all."""

    name: ClassVar[str] = "sparse"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "graph"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        if products(model.graph):
            return None
        return "the graph has no large multiplication with weights in fp32"

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        del model, work
        return (
            {"method": "sparsegpt", "pattern": "2:4"},
            {"method": "sparsegpt", "pattern": "4:8"},
            {"method": "sparsegpt", "share": 0.5},
            {"method": "wanda", "pattern": "4:8"},
        )

    def label(self, settings: Settings) -> str:
        """``sparse2of4``; ``sparse50`` for half of all; ``sparse2of4-wanda`` by another method."""
        zeros = _zeros(settings)
        shown = f"{zeros[0]}of{zeros[1]}" if isinstance(zeros, tuple) else f"{round(100 * zeros)}"
        method = "" if settings["method"] == "sparsegpt" else f"-{settings['method']}"
        return f"sparse{shown}{method}"

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        found = products(model.graph)
        zeros = _zeros(settings)
        grams = gram_matrices(model.graph, found, work.calibration(model.inputs))
        made = onnx.ModelProto()
        made.CopyFrom(model.graph)
        weights = {item.name: item for item in made.graph.initializer}
        for done, product in enumerate(found):
            work.watch("pruning", done, len(found))
            weight = weights[product.weight]
            matrix = numpy_helper.to_array(weight)
            weight_OI = matrix if product.by_output else matrix.T
            left_OI = pruned(weight_OI, grams[product.weight], settings["method"], zeros)
            left = left_OI if product.by_output else left_OI.T
            weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(left), weight.name))
        return Compact(model.inputs, made)


def _zeros(settings: Settings) -> Zeros:
    if "share" in settings:
        return float(settings["share"])
    stay, _, of = settings["pattern"].partition(":")
    return int(stay), int(of)
