"""From a trained network to a bundle. `write_bundle` and `export_bundle` need no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from volano.export._bundle import describe_bundle, export_bundle, write_bundle
from volano.export._output import output_place, written

if TYPE_CHECKING:
    from volano.export._onnx import graph_of

__all__ = [
    "describe_bundle",
    "export_bundle",
    "graph_of",
    "output_place",
    "write_bundle",
    "written",
]


def __getattr__(name: str) -> object:
    if name == "graph_of":
        return importlib.import_module("volano.export._onnx").graph_of
    raise AttributeError(f"module 'volano.export' has no attribute {name!r}")
