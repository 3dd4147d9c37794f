"""A graph that onnxruntime has put in order answers as before, with fewer nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from media import Pixels, Waves, picture_network, pictures, sound_network, sounds, with_used_norms

from volano.compression import Calibration, Compact, compression_pass
from volano.export import graph_of
from volano.testing import GraphWork

KINDS = [(picture_network, Pixels(), pictures), (sound_network, Waves(), sounds)]


def answers(graph: Any, column: Any, split: Any) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = column.collate(split.columns[column.name], np.arange(split.num_rows))
    return np.asarray(session.run(None, feed)[0])


@pytest.mark.parametrize(("build", "column", "rows"), KINDS, ids=["image", "audio"])
def test_fewer_nodes_answer_the_same(build, column, rows, monkeypatch) -> None:
    monkeypatch.setattr("volano.compression.int8.SMALLEST_KERNEL", 64)
    network, split = with_used_norms(build()), rows(9)
    inputs = {column.name: column}
    work = GraphWork(Calibration([]))
    model = Compact(inputs, graph_of(network, inputs))
    small = compression_pass("int8").apply(model, work, {})
    fuse = compression_pass("fuse")
    for given in (model, small):
        assert fuse.suits(given, work) is None
        made = fuse.apply(given, work, {}).graph
        assert len(made.graph.node) < len(given.graph.graph.node)
        wanted = answers(given.graph, column, split)
        np.testing.assert_allclose(answers(made, column, split), wanted, atol=1e-4)
        assert fuse.suits(Compact(inputs, made), work) is not None, "once is enough"
    floats = [item for item in made.graph.initializer if item.data_type == 1]
    assert sum(np.prod(item.dims) for item in floats) < 0.5 * sum(
        np.prod(item.dims) for item in model.graph.graph.initializer
    ), "weights in 8 bits stay in 8 bits"


@pytest.mark.parametrize(("build", "column", "rows"), KINDS, ids=["image", "audio"])
def test_a_graph_does_not_say_where_it_was_made(build, column, rows) -> None:
    del rows
    graph = graph_of(build().eval(), {column.name: column})
    content = graph.SerializeToString()
    assert b".py" not in content
    assert b"site-packages" not in content
    weights = sum(item.ByteSize() for item in graph.graph.initializer)
    assert len(content) < weights + 16_000
