"""fuse: what onnxruntime makes of a graph before it runs it, kept in the bundle.

Nodes that cancel out, repeat each other or can be done as one are so when the bundle is written,
and not each time it is opened. What depends on the processor, such as the order of a convolution's
channels, is still left to the machine that answers; and constants stay as they are stored, since
weights in 8 bits would else become floats again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import onnx
import onnxruntime

from volano.compression._contract import Compact, Makes, Settings, Work

__all__ = ["FusePass"]

KEPT = ("ConstantFolding",)
"""Optimisers of onnxruntime that are not used."""


class FusePass:
    """Fewer nodes that say the same."""

    name: ClassVar[str] = "fuse"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "graph"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        before = len(model.graph.graph.node)
        return None if len(_fused(model.graph).graph.node) < before else "no nodes can be joined"

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        del model, work
        return ({},)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        del work, settings
        return Compact(model.inputs, _fused(model.graph))


def _fused(graph: onnx.ModelProto) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    # The levels above are for one kind of processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fused.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            graph.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(KEPT),
        )
        made: onnx.ModelProto = onnx.load(path)
    # Written by whoever it was; what must not change with the version is what it was made from.
    made.producer_name, made.producer_version = graph.producer_name, graph.producer_version
    return made
