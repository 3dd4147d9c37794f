"""Any network as an ONNX graph, through torch's own exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from volano.models import Network

__all__ = ["traced_graph"]


class _Positional(nn.Module):
    """The exporter names inputs by their place; the network takes them by name."""

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, *values: Tensor) -> Tensor:
        return self.network(dict(zip(self.names, values, strict=True)))  # type: ignore[no-any-return]


def traced_graph(network: Network, names: Sequence[str], longest: int) -> onnx.ModelProto:
    """Trace a network of text columns.

    Args:
      network: In evaluation mode.
      names: The graph's inputs, ``COLUMN.ids`` and ``COLUMN.mask`` in turn.
      longest: The most tokens that a row may have.
    """
    rows = torch.export.Dim("rows", min=1, max=1 << 20)
    tokens = {
        name: torch.export.Dim(f"tokens_{place // 2}", min=2, max=longest)
        for place, name in enumerate(names)
    }
    example = []
    for name in names:
        values = torch.ones((3, 7), dtype=torch.long)
        if name.endswith(".mask"):
            values[1, 4:] = 0
        example.append(values)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Positional(network, names),
                tuple(example),
                dynamo=True,
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes=(tuple({0: rows, 1: tokens[name]} for name in names),),
                external_data=False,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    return program.model_proto
