"""Turning: the plan of stages, what is cached, and the wheel as one object."""

from volano.wheel._answers import AnswerSummary, answer_table, check_output
from volano.wheel._clean import KEEP_CHAMPIONS, CleanSummary
from volano.wheel._corrections import (
    ImportSummary,
    export_feedback,
    import_feedback,
    remove_feedback,
)
from volano.wheel._crowning import picked_by_hand, picked_facts
from volano.wheel._init import InitResult, init_wheel
from volano.wheel._progress import Progress, SilentProgress, progress_for
from volano.wheel._stage import Context, Setting, Stage
from volano.wheel._wheel import SPEC_FILE, STORE_FOLDER, Turn, Wheel
from volano.wheel._words import check_lines, next_steps, quality, turn_lines

__all__ = [
    "KEEP_CHAMPIONS",
    "SPEC_FILE",
    "STORE_FOLDER",
    "AnswerSummary",
    "CleanSummary",
    "Context",
    "ImportSummary",
    "InitResult",
    "Progress",
    "Setting",
    "SilentProgress",
    "Stage",
    "Turn",
    "Wheel",
    "answer_table",
    "check_lines",
    "check_output",
    "export_feedback",
    "import_feedback",
    "init_wheel",
    "next_steps",
    "picked_by_hand",
    "picked_facts",
    "progress_for",
    "quality",
    "remove_feedback",
    "turn_lines",
]
