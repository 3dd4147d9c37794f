"""Any network as an ONNX graph, through torch's own exporter."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from volano.columns import FittedColumn
from volano.models.encoders._residual import fold_norms

if TYPE_CHECKING:
    from volano.models import Network

__all__ = ["traced_graph"]

_RAGGED = ("ids", "mask", "wave", "places", "weights")
"""Inputs with as many cells as the longest row has."""

WAVE = 1001
"""Samples of the sound that a network is traced with."""


class _Positional(nn.Module):
    """The exporter names inputs by their place; the network takes them by name."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, *values: Tensor) -> Tensor:
        return self.network(dict(zip(self.names, values, strict=True)))  # type: ignore[no-any-return]


def traced_graph(network: Network, inputs: Mapping[str, FittedColumn]) -> onnx.ModelProto:
    """Trace a network.

    Args:
      network: In evaluation mode.
      inputs: Its fitted input columns.
    """
    rows = torch.export.Dim("rows", min=1, max=1 << 20)
    names, example, dynamic = [], [], []
    for place, (column, fitted) in enumerate(inputs.items()):
        most = getattr(fitted, "max_tokens", 0) or getattr(fitted, "max_samples", 0) or 8192
        longest = torch.export.Dim(f"length_{place}", min=2, max=max(most, WAVE))
        none = fitted.collate(fitted.encode([]), np.zeros(0, np.int64))
        for name, empty in none.items():
            # Those with as many cells as the longest row has: tokens, or samples of sound.
            ragged = name.removeprefix(f"{column}.") in _RAGGED
            shape = (3, WAVE if name.endswith(".wave") else 7)
            shape = shape if ragged else (3, *empty.shape[1:])
            values = torch.ones(shape, dtype=torch.from_numpy(empty).dtype)
            if name.endswith(".mask"):
                values[1, 4:] = 0
            names.append(name)
            example.append(values)
            dynamic.append({0: rows, 1: longest} if ragged else {0: rows})
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Positional(fold_norms(copy.deepcopy(network)), names),
                tuple(example),
                dynamo=True,
                input_names=list(names),
                output_names=["outputs"],
                dynamic_shapes=(tuple(dynamic),),
                external_data=False,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    made = program.model_proto  # a new one each time that it is asked for
    del made.metadata_props[:]
    _forget_origin(made.graph)
    return made


def _forget_origin(graph: onnx.GraphProto) -> None:
    """Remove, in place, what the exporter writes of where each node came from.

    Most of a small graph would be that, with lines and paths of the machine that it was made on.
    """
    del graph.value_info[:], graph.metadata_props[:]
    graph.doc_string = ""
    for item in (*graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_origin(attribute.g)
