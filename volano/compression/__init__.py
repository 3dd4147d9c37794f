"""Passes that make a graph smaller, how each bundle is measured, and which one ships.

Importing this brings no onnx: each pass brings what it needs when it is looked up.
"""

from volano.compression._choose import Candidate, choose
from volano.compression._contract import Calibration, Pass
from volano.compression._kinds import compression_pass, pass_kinds
from volano.compression._measure import bundle_size, measure_encoding, measure_speed

__all__ = [
    "Calibration",
    "Candidate",
    "Pass",
    "bundle_size",
    "choose",
    "compression_pass",
    "measure_encoding",
    "measure_speed",
    "pass_kinds",
]
