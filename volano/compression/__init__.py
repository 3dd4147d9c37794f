"""Passes that make a model smaller, the search over them, and which of the results ships.

Importing this brings no onnx and no torch: each pass brings what it needs when it is looked up.
"""

from volano.compression._choose import Candidate, Goal, choose
from volano.compression._contract import Calibration, Compact, Pass, Settings, Work
from volano.compression._endpoint import Endpoint, Told
from volano.compression._kinds import compression_pass, pass_kinds, pass_version
from volano.compression._lessons import Lessons
from volano.compression._measure import (
    accepted_row,
    bundle_size,
    measure_encoding,
    measure_speed,
    measure_start,
)
from volano.compression._search import Attempt, Measured, search

__all__ = [
    "Attempt",
    "Calibration",
    "Candidate",
    "Compact",
    "Endpoint",
    "Goal",
    "Lessons",
    "Measured",
    "Pass",
    "Settings",
    "Told",
    "Work",
    "accepted_row",
    "bundle_size",
    "choose",
    "compression_pass",
    "measure_encoding",
    "measure_speed",
    "measure_start",
    "pass_kinds",
    "pass_version",
    "search",
]
