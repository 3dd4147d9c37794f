"""Which values of an activation its 256 codes are spread over, from what training rows show.

- ``percentile``: all but a share `TAIL` of the values on either side.
- ``minmax``: all of them.
- ``entropy``: up to the size t at which the codes tell least apart from the values,

      t = argmin_t KL(P_t || Q_t),   KL(P || Q) = sum_i P_i log(P_i / Q_i)

  P_t is how often sizes |x| up to t occur in narrow bins, larger ones among those of the last bin;
  Q_t is the same without the larger ones when `LEVELS` codes are all there is: what falls to a code
  is spread evenly over those of its bins in which anything was. Migacz, 8-bit Inference with
  TensorRT, 2017, number S7310 of the GPU Technology Conference.

Where our entropy differs from the source: a code's bins are spread as evenly as they can be for
every t and not only for multiples of `LEVELS`; and exact zeros are not counted, since every range
has a code for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from volano.compression._contract import Calibration

__all__ = ["Ranges", "Watched", "activation_ranges", "entropy_threshold"]

Ranges = dict[str, tuple[float, float]]
"""Value -> its least and its largest number that have a code; 0 lies between them."""

TAIL = 1e-5
"""Share of the activations on each side that may fall outside the range. A few outliers would
otherwise spend most of the 256 codes on values that hardly occur."""

BINS = 4096

SIZES = 2048
"""Bins of sizes for ``entropy``, as in the source."""

LEVELS = 128
"""Codes for sizes: half of the 256, the others are for the other sign."""

UNSEEN = 1e-9
"""What Q is taken for where P is something and Q nothing."""


class Watched:
    """A graph that also gives some of the values inside it."""

    def __init__(self, graph: onnx.ModelProto, names: Sequence[str]) -> None:
        watched = onnx.ModelProto()
        watched.CopyFrom(graph)
        # What goes in need not be asked for.
        self._fed = [item.name for item in graph.graph.input if item.name in names]
        known = {*self._fed, *(output.name for output in watched.graph.output)}
        for name in names:
            if name not in known:
                watched.graph.output.append(helper.make_empty_tensor_value_info(name))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._names = [name for name in names if name not in self._fed]
        self._session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def runs(self, calibration: Calibration) -> Iterator[dict[str, NDArray[np.float32]]]:
        """The values for each calibration batch."""
        for batch in calibration.batches:
            found = {name: np.asarray(batch[name]) for name in self._fed}
            if self._names:  # asked for nothing, a session gives everything
                run = self._session.run(self._names, dict(batch))
                found |= dict(zip(self._names, run, strict=True))
            yield found


def activation_ranges(
    graph: onnx.ModelProto, names: Sequence[str], calibration: Calibration, how: str
) -> Ranges:
    """The range of each value on the calibration rows.

    Args:
      graph: Whose values they are.
      names: Of the values.
      calibration: At least one batch, where there are names.
      how: ``percentile``, ``minmax`` or ``entropy``.
    """
    watched = Watched(graph, names)
    lows = dict.fromkeys(names, np.inf)
    highs = dict.fromkeys(names, -np.inf)
    for values in watched.runs(calibration):
        for name, value in values.items():
            lows[name] = min(lows[name], float(value.min()))
            highs[name] = max(highs[name], float(value.max()))
    return _HOW[how](watched, calibration, lows, highs)


def _percentile(
    watched: Watched, calibration: Calibration, lows: dict[str, float], highs: dict[str, float]
) -> Ranges:
    counts = {name: np.zeros(BINS, np.int64) for name in lows}
    for values in watched.runs(calibration):
        for name, value in values.items():
            counts[name] += np.histogram(value, BINS, (lows[name], highs[name] + 1e-9))[0]
    return {name: _without_tails(counts[name], lows[name], highs[name]) for name in lows}


def _without_tails(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    edges = np.linspace(low, high, len(counts) + 1)
    reached = np.cumsum(counts) / max(1, counts.sum())
    first = int(np.searchsorted(reached, TAIL))
    last = int(np.searchsorted(reached, 1 - TAIL))
    return float(min(edges[first], 0.0)), float(max(edges[min(last + 1, len(counts))], 0.0))


def _minmax(
    watched: Watched, calibration: Calibration, lows: dict[str, float], highs: dict[str, float]
) -> Ranges:
    del watched, calibration
    return {name: (min(lows[name], 0.0), max(highs[name], 0.0)) for name in lows}


def _entropy(
    watched: Watched, calibration: Calibration, lows: dict[str, float], highs: dict[str, float]
) -> Ranges:
    largest = {name: max(-lows[name], highs[name], 1e-9) for name in lows}
    counts = {name: np.zeros(SIZES, np.int64) for name in lows}
    for values in watched.runs(calibration):
        for name, value in values.items():
            sizes = np.abs(value[value != 0])
            counts[name] += np.histogram(sizes, SIZES, (0.0, largest[name]))[0]
    found = {}
    for name, low in lows.items():
        most = entropy_threshold(counts[name]) / SIZES * largest[name]
        # Nothing beyond what was seen: values of one sign get all codes for that sign.
        found[name] = (min(max(low, -most), 0.0), max(min(highs[name], most), 0.0))
    return found


_HOW: dict[str, Callable[[Watched, Calibration, dict[str, float], dict[str, float]], Ranges]] = {
    "percentile": _percentile,
    "minmax": _minmax,
    "entropy": _entropy,
}


def entropy_threshold(counts: NDArray[np.int64], levels: int = LEVELS) -> int:
    """How many bins of sizes the codes are spread over.

    Args:
      counts: Values in each of equally wide bins of sizes from 0, shape (num_bins,), at least as
        many as there are levels.
      levels: Codes that there are.
    Returns:
      t, from `levels` to num_bins; the first of those that are as good as each other.
    """
    num_bins, total = len(counts), int(counts.sum())
    if total == 0:
        return num_bins
    reached = np.cumsum(counts)
    best, found = np.inf, num_bins
    for bins in range(levels, num_bins + 1):
        inside = int(reached[bins - 1])
        if inside == 0:
            continue
        p = counts[:bins].astype(np.float64)
        p[-1] += total - inside
        there = p > 0
        # starts[l] is the first bin of code l: the same number for all of them, or one more.
        starts = np.arange(levels) * bins // levels
        mass = np.add.reduceat(counts[:bins], starts)
        used = np.add.reduceat(there.astype(np.int64), starts)
        width = np.diff(starts, append=bins)
        q = np.repeat(mass / np.maximum(used, 1), width)[there] / inside
        p = p[there] / total
        divergence = float((p * np.log(p / np.maximum(q, UNSEEN))).sum())
        if divergence < best:
            best, found = divergence, bins
    return found
