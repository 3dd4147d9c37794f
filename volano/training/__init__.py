"""Fitting networks: batches, optimiser, schedule, checkpoints, the loop."""

from volano.training._loop import TrainResult, fit, network_logits
from volano.training._plan import TrainPlan, plan_training
from volano.training._precision import fast_dtype, release_cores, use_cores

__all__ = [
    "TrainPlan",
    "TrainResult",
    "fast_dtype",
    "fit",
    "network_logits",
    "plan_training",
    "release_cores",
    "use_cores",
]
