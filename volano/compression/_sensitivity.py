"""What moves a graph's answers most when it alone is quantised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from volano.compression._contract import Calibration
from volano.compression._ranges import Watched

__all__ = ["how_far"]

SCANNED_BATCHES = 4
"""Calibration batches that each trial answers, at even distances: one trial for each place."""

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


def how_far(
    graph: onnx.ModelProto,
    trials: Mapping[str, Callable[[], onnx.ModelProto]],
    calibration: Calibration,
    step: Callable[[int, int], None],
) -> dict[str, float]:
    """How far each trial's answers lie from the graph's.

        d = mean((y' - y)^2) / mean((y - mean y)^2)

    with the mean of each output over the rows; summed over the graph's outputs.

    Args:
      graph: What all are compared with.
      trials: Name -> makes the graph with one place quantised.
      calibration: Some batches of it are answered.
      step: Told which trial comes next, and how many there are.
    Returns:
      Name -> d, with three digits, the largest first.
    Raises:
      ValueError: There are no batches.
    """
    batches = calibration.batches
    if not batches:
        raise ValueError("there are no rows to measure on what moves the answers")
    places = np.unique(np.linspace(0, len(batches) - 1, SCANNED_BATCHES).astype(np.int64))
    some = Calibration([batches[place] for place in places.tolist()])
    names = [item.name for item in graph.graph.output if item.type.tensor_type.elem_type in FLOATS]
    wanted = _answers(graph, names, some)
    spread = {name: max(float(value.var(axis=0).mean()), 1e-12) for name, value in wanted.items()}
    found = {}
    for place, (trial, make) in enumerate(trials.items()):
        step(place, len(trials))
        answered = _answers(make(), names, some)
        apart = [
            float(np.mean((answered[name] - wanted[name]) ** 2)) / spread[name] for name in names
        ]
        # Rounded, so that the last digits of sums decide nothing.
        found[trial] = float(f"{sum(apart):.3g}")
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _answers(
    graph: onnx.ModelProto, names: Sequence[str], calibration: Calibration
) -> dict[str, NDArray[np.float64]]:
    """Each output for all rows, shape (num_rows, numbers of a row)."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for values in Watched(graph, names).runs(calibration):
        for name, value in values.items():
            parts[name].append(value.reshape(len(value), -1).astype(np.float64))
    return {name: np.concatenate(found) for name, found in parts.items()}
