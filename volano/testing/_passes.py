"""What `volano.compression.Pass` promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from volano.columns import FittedColumn
from volano.compression import Calibration, Compact, Pass, compression_pass

if TYPE_CHECKING:
    import onnx

__all__ = ["GraphWork", "check_pass"]


class GraphWork:
    """What a pass that changes the graph alone may look at: batches, and nothing to learn from."""

    task = "classification"
    seed = 0
    num_rows = 0

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration

    def calibration(self, inputs: Mapping[str, FittedColumn]) -> Calibration:
        """See `volano.compression.Work`."""
        del inputs
        return self._calibration

    def lessons(self, inputs: Mapping[str, FittedColumn]) -> NoReturn:
        """See `volano.compression.Work`."""
        del inputs
        raise AssertionError("a pass that changes the graph alone asks for rows to learn from")

    def watch(self, label: str, done: float, total: float) -> None:
        """See `volano.compression.Work`."""
        del label, done, total

    def texts(self, column: str) -> Sequence[str]:
        """See `volano.compression.Work`."""
        raise AssertionError(f"a pass that changes the graph alone asks for {column}'s texts")

    def graph(self, model: Any, inputs: Mapping[str, FittedColumn]) -> NoReturn:
        """See `volano.compression.Work`."""
        del model, inputs
        raise AssertionError("a pass that changes the graph alone asks for another one")

    def train(
        self,
        model: Any,
        inputs: Mapping[str, FittedColumn],
        *,
        epochs: int,
        teacher: Any = None,
        match: str = "hidden",
    ) -> None:
        """See `volano.compression.Work`."""
        del model, inputs, epochs, teacher, match
        raise AssertionError("a pass that changes the graph alone trains")


def check_pass(
    kind: str | Pass, graph: onnx.ModelProto, calibration: Calibration, *, tolerance: float = 0.5
) -> onnx.ModelProto:
    """Check a compression pass that changes the graph alone.

    Args:
      kind: Its registered name, or the pass.
      graph: Any graph that it should be able to compress.
      calibration: Batches of the graph's inputs.
      tolerance: How far any output may move.
    Returns:
      The compressed graph.
    Raises:
      AssertionError: A promise is broken; the message says which.
    """
    import onnxruntime

    made = compression_pass(kind) if isinstance(kind, str) else kind
    assert made.name, "a pass has a name"
    assert made.version >= 1, "versions start at 1"
    before = graph.SerializeToString()
    assert made.makes == "graph", (
        "a pass that takes or leaves a model to train is checked by a turn"
    )
    work, model = GraphWork(calibration), Compact({}, graph)
    refused = made.suits(model, work)
    assert refused is None, f"the pass does not take the graph: {refused}"
    settings = made.settings(model, work)
    assert settings, "a pass has at least one setting, which may be empty"
    compressed = made.apply(model, work, settings[0]).graph
    assert graph.SerializeToString() == before, "the pass changes the graph that it was given"
    content = compressed.SerializeToString()
    assert content == made.apply(model, work, settings[0]).graph.SerializeToString(), (
        "the same graph gives other bytes the second time"
    )
    sessions = [
        onnxruntime.InferenceSession(item, providers=["CPUExecutionProvider"])
        for item in (before, content)
    ]
    names = [[item.name for item in session.get_inputs()] for session in sessions]
    assert names[0] == names[1], "the compressed graph has other inputs"
    for batch in calibration.batches:
        feed = {name: batch[name] for name in names[0]}
        wanted, found = (session.run(None, feed)[0] for session in sessions)
        assert wanted.shape == found.shape, "the compressed graph answers in another shape"
        assert np.isfinite(found).all(), "the compressed graph answers with no number"
        distance = float(np.abs(wanted - found).max())
        assert distance <= tolerance, f"an output moved by {distance:.3g}"
    return compressed
