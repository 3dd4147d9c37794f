"""Turning: the plan of stages, what is cached, and the wheel as one object."""

from volano.wheel._progress import Progress, SilentProgress, progress_for
from volano.wheel._stage import Context, Setting, Stage
from volano.wheel._wheel import SPEC_FILE, STORE_FOLDER, Turn, Wheel

__all__ = [
    "SPEC_FILE",
    "STORE_FOLDER",
    "Context",
    "Progress",
    "Setting",
    "SilentProgress",
    "Stage",
    "Turn",
    "Wheel",
    "progress_for",
]
