"""The table of tasks, and which target type asks for which."""

from __future__ import annotations

import importlib
from typing import cast

from volano.errors import BundleError, nearest
from volano.tasks._contract import Task

__all__ = ["task_for_target", "task_kind", "task_kinds"]

_KINDS = {
    "classification": "volano.tasks.classification:Classification",
    "forecasting": "volano.tasks.forecasting:Forecasting",
    "multilabel": "volano.tasks.multilabel:Multilabel",
    "regression": "volano.tasks.regression:Regression",
}
_TARGETS = {
    "category": "classification",
    "labels": "multilabel",
    "number": "regression",
    "series": "forecasting",
}


def task_kinds() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(_KINDS)


def task_kind(name: str) -> type[Task]:
    """A task by its name.

    Raises:
      BundleError: There is none of that name (BUNDLE-021).
    """
    if name not in _KINDS:
        raise BundleError(
            21,
            f"there is no task {name!r}",
            expected="one of " + ", ".join(task_kinds()),
            nearest=nearest(name, _KINDS),
            fix="pip install --upgrade volano",
        )
    module, _, attribute = _KINDS[name].partition(":")
    return cast("type[Task]", getattr(importlib.import_module(module), attribute))


def task_for_target(column_kind: str) -> type[Task]:
    """The task that a target of this column type asks for."""
    return task_kind(_TARGETS[column_kind])
