"""Convolutional nets as graphs: without norms, and with the same answers at any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from media import Pixels, Waves, picture_network, sound_network, with_used_norms

from volano.export import graph_of


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_the_graph_answers_as_the_network(kind: str) -> None:
    network = with_used_norms(picture_network() if kind == "image" else sound_network())
    column: Any = Pixels() if kind == "image" else Waves()
    graph = graph_of(network, {column.name: column})
    operators = {node.op_type for node in graph.graph.node}
    assert "Conv" in operators
    assert not any("Normalization" in name for name in operators)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    for rows, samples in ((1, 1), (1, 40), (5, 333), (3, 1999)):
        if kind == "image":
            feed = {"photo.pixels": random.integers(0, 256, (rows, 1, 12, 10)).astype(np.uint8)}
        else:
            lengths = random.integers(0, samples + 1, rows)
            wave = random.normal(0, 0.2, (rows, samples)) * (np.arange(samples) < lengths[:, None])
            feed = {"clip.wave": wave.astype(np.float32), "clip.length": lengths}
        with torch.no_grad():
            wanted = network({name: torch.from_numpy(value) for name, value in feed.items()})
        np.testing.assert_allclose(session.run(None, feed)[0], wanted.numpy(), atol=1e-4)
