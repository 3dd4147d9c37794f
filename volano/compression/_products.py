"""Products with constant matrices in a graph, and what flows into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from volano.compression._contract import Calibration
from volano.compression._ranges import Watched
from volano.compression._rewrite import SMALLEST_WEIGHT, attributes_of

__all__ = ["Product", "gram_matrices", "products"]

# Legend: N rows, tokens of all texts among them, I inputs of a product.


@dataclass(frozen=True)
class Product:
    """A constant matrix that only products use.

    Attributes:
      weight: Its name.
      values: What it is multiplied with, one name for each product.
      by_output: Whether each row is an output; else each column is.
    """

    weight: str
    values: tuple[str, ...]
    by_output: bool


def products(graph: onnx.ModelProto) -> list[Product]:
    """Those of a graph that are large, in fp32, and used for nothing else."""
    weights = {
        item.name
        for item in graph.graph.initializer
        if item.data_type == onnx.TensorProto.FLOAT
        and len(item.dims) == 2
        and int(np.prod(item.dims)) >= SMALLEST_WEIGHT
    }
    values: dict[str, list[tuple[str, bool]]] = {}
    other: set[str] = {output.name for output in graph.graph.output}
    for node in graph.graph.node:
        by_output = _by_output(node)
        for place, name in enumerate(node.input):
            if name not in weights:
                continue
            if place == 1 and by_output is not None:
                values.setdefault(name, []).append((node.input[0], by_output))
            else:
                other.add(name)
    found = []
    for name, uses in values.items():
        ways = {way for _, way in uses}
        if name not in other and len(ways) == 1:
            found.append(Product(name, tuple(value for value, _ in uses), ways.pop()))
    return found


def _by_output(node: onnx.NodeProto) -> bool | None:
    """Whether the second input of a product has a row for each output; None if it is no product."""
    if node.op_type in ("MatMul", "Attention"):
        return False
    if node.op_type != "Gemm":
        return None
    turned = attributes_of(node)
    return None if turned.get("transA") else bool(turned.get("transB"))


def gram_matrices(
    graph: onnx.ModelProto, found: list[Product], calibration: Calibration
) -> Mapping[str, NDArray[np.float64]]:
    """X'X of what each matrix is multiplied with on the calibration rows, (I, I), by its name.

    Raises:
      ValueError: There are no such rows.
    """
    if not calibration.batches:
        raise ValueError("there are no rows on which to see what flows through the graph")
    names = sorted({value for product in found for value in product.values})
    sums: dict[str, NDArray[np.float64]] = {}
    for seen in Watched(graph, names).runs(calibration):
        for name, value in seen.items():
            value_NI = value.reshape(-1, value.shape[-1])
            gram_II = (value_NI.T @ value_NI).astype(np.float64)
            sums[name] = sums[name] + gram_II if name in sums else gram_II
    grams: dict[str, NDArray[np.float64]] = {}
    for product in found:
        first, *others = (sums[value] for value in product.values)
        grams[product.weight] = sum(others, start=first)
    return grams
