"""What `volano.compression.Pass` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from volano.compression import Calibration, Pass, compression_pass

if TYPE_CHECKING:
    import onnx

__all__ = ["check_pass"]


def check_pass(
    kind: str | Pass, graph: onnx.ModelProto, calibration: Calibration, *, tolerance: float = 0.5
) -> onnx.ModelProto:
    """Check a compression pass on a graph.

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
    compressed = made.apply(graph, calibration)
    assert graph.SerializeToString() == before, "the pass changes the graph that it was given"
    content = compressed.SerializeToString()
    assert content == made.apply(graph, calibration).SerializeToString(), (
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
