"""Tasks: what the target's type asks for. One file each."""

from volano.tasks._contract import Answer, Task
from volano.tasks._kinds import task_for_target, task_kind, task_kinds

__all__ = ["Answer", "Task", "task_for_target", "task_kind", "task_kinds"]
