"""qat: a network learns to bear what 8 bits will make of it (quantisation-aware training).

What int8 loses is lost by rounding weights and activations that have learned nothing of it. Here
the network goes on learning from its own answers while both are rounded as they will be
(`volano.training.Rounding`), at the same scales and with the same exponent of smoothing. Its
weights stay numbers in fp32: int8 comes after it, as after any other model.

Jacob et al., `Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference <https://arxiv.org/abs/1712.05877>`_, 2018. Where we differ: what is learned is the
network's own answers and token vectors, as students learn them, beside the labels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.compression._contract import Compact, Makes, Settings, Work
from volano.compression._ranges import TAIL
from volano.compression._rewrite import SMALLEST_WEIGHT
from volano.compression.int8 import WEIGHT_LEVELS, smoothing_factors

__all__ = ["QatPass"]

ROWS_LEARNED = 30_000
"""Rows that are learned from in all, repeated as often as it takes."""


class QatPass:
    """Linear layers learn with their rounding."""

    name: ClassVar[str] = "qat"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "recovery"

    def suits(self, model: Compact, work: Work) -> str | None:
        if work.task not in ("classification", "regression"):
            return f"nothing is taught for {work.task}"
        network = model.model
        parts = [*getattr(network, "encoders", ()), getattr(network, "table", None)]
        if not any(_has_products(part) for part in parts if part is not None):
            return "there is no linear layer of some size below the head"
        return None

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        del model
        return ({"epochs": max(1, min(5, round(ROWS_LEARNED / max(1, work.num_rows))))},)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        from volano.training import Rounding

        network = copy.deepcopy(model.model)
        rounding = Rounding(
            network,
            work.calibration(model.inputs).batches,
            levels=WEIGHT_LEVELS,
            smallest=SMALLEST_WEIGHT,
            factors=smoothing_factors,
            limits=_limits,
        )
        with rounding:
            work.train(network, model.inputs, epochs=settings["epochs"], teacher=model.model)
        return Compact(model.inputs, work.graph(network, model.inputs), network)


def _has_products(part: Any) -> bool:
    import torch

    return any(
        type(each) is torch.nn.Linear and each.weight.numel() >= SMALLEST_WEIGHT
        for each in part.modules()
    )


def _limits(values: NDArray[np.float32]) -> tuple[float, float]:
    """All but the share `TAIL` of the values on either side, with 0."""
    low, high = np.quantile(values, (TAIL, 1 - TAIL))
    return min(float(low), 0.0), max(float(high), 0.0)
