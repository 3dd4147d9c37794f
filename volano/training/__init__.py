"""Fitting models: networks by gradient descent, trees, linear models. Importing brings no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from volano.training._contest import Contest, compete
from volano.training._learner import (
    Fit,
    Job,
    Learner,
    TrainedModel,
    learner,
    learner_kinds,
    portfolio,
)

if TYPE_CHECKING:
    from volano.training._distil import distil_objective
    from volano.training._loop import TrainResult, fit, network_logits
    from volano.training._plan import TrainPlan, plan_training
    from volano.training._precision import fast_dtype, release_cores, use_cores
    from volano.training._rounding import Rounding
    from volano.training._tree_student import fit_tree_student

__all__ = [
    "Contest",
    "Fit",
    "Job",
    "Learner",
    "Rounding",
    "TrainPlan",
    "TrainResult",
    "TrainedModel",
    "compete",
    "distil_objective",
    "fast_dtype",
    "fit",
    "fit_tree_student",
    "learner",
    "learner_kinds",
    "network_logits",
    "plan_training",
    "portfolio",
    "release_cores",
    "use_cores",
]

_HOMES = {
    "Rounding": "volano.training._rounding",
    "TrainPlan": "volano.training._plan",
    "TrainResult": "volano.training._loop",
    "distil_objective": "volano.training._distil",
    "fast_dtype": "volano.training._precision",
    "fit": "volano.training._loop",
    "fit_tree_student": "volano.training._tree_student",
    "network_logits": "volano.training._loop",
    "plan_training": "volano.training._plan",
    "release_cores": "volano.training._precision",
    "use_cores": "volano.training._precision",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'volano.training' has no attribute {name!r}")
