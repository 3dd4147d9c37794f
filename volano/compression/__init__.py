"""Passes that make a graph smaller, how each bundle is measured, and which one ships."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from volano.compression._choose import Candidate, choose
from volano.compression._measure import bundle_size, measure_speed

if TYPE_CHECKING:
    from volano.compression._contract import Calibration, Pass
    from volano.compression._kinds import compression_pass, pass_kinds

__all__ = [
    "Calibration",
    "Candidate",
    "Pass",
    "bundle_size",
    "choose",
    "compression_pass",
    "measure_speed",
    "pass_kinds",
]

# These need the onnx package, which only training has.
_HOMES = {
    "Calibration": "volano.compression._contract",
    "Pass": "volano.compression._contract",
    "compression_pass": "volano.compression._kinds",
    "pass_kinds": "volano.compression._kinds",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'volano.compression' has no attribute {name!r}")
