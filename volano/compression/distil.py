"""distil: a smaller network learns what the model answers, on more rows than have a label.

Hinton et al., `Distilling the Knowledge in a Neural Network <https://arxiv.org/abs/1503.02531>`_,
2015; students that keep some of the teacher's layers start from them (Sanh et al., `DistilBERT
<https://arxiv.org/abs/1910.01108>`_, 2019).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Makes, Settings, Work

__all__ = ["DistilPass"]

TASKS = ("classification", "regression")


class Students(Protocol):
    """What a module of `_KINDS` has: the students of one kind."""

    def suits(self, model: Compact) -> str | None: ...

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]: ...

    def label(self, settings: Settings) -> str: ...

    def build(
        self, model: Compact, work: Work, settings: Settings
    ) -> tuple[Any, Mapping[str, FittedColumn]]: ...


_KINDS = {
    "pieces": "volano.compression._piece_sums",
    "trees": "volano.compression._trees",
    "mlp": "volano.compression._small_nets",
    "words": "volano.compression._words",
    "narrow": "volano.compression._narrower",
    "net": "volano.compression._photo_nets",
    "layers": "volano.compression._layers",
}
"""Kind of student -> module with `Students`; those that learn fastest come first."""


def _students(kind: str) -> Students:
    module: Any = importlib.import_module(_KINDS[kind])
    found: Students = module
    return found


class DistilPass:
    """A student of each kind that the model's columns allow."""

    name: ClassVar[str] = "distil"
    version: ClassVar[int] = 2
    makes: ClassVar[Makes] = "student"

    def suits(self, model: Compact, work: Work) -> str | None:
        if work.task not in TASKS:
            return f"there are no students for {work.task}"
        reasons = {kind: _students(kind).suits(model) for kind in _KINDS}
        if None in reasons.values():
            return None
        return "; ".join(f"{kind}: {reason}" for kind, reason in reasons.items())

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        return [
            {"student": kind, **found}
            for kind in _KINDS
            if _students(kind).suits(model) is None
            for found in _students(kind).settings(model, work)
        ]

    def label(self, settings: Settings) -> str:
        """What reports call the student."""
        return _students(settings["student"]).label(settings)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        student, inputs = _students(settings["student"]).build(model, work, settings)
        if "match" in settings:
            epochs, match = settings["epochs"], settings["match"]
            work.train(student, inputs, epochs=epochs, teacher=model.model, match=match)
        elif "epochs" in settings:
            work.train(student, inputs, epochs=settings["epochs"])
        return Compact(inputs, work.graph(student, inputs), student)
