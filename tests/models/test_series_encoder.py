"""Encoders of series in cells: what each reads, and that it ships as it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from volano.columns.series import SeriesColumn
from volano.export import graph_of
from volano.models import build_network, load_weights, save_weights
from volano.models.encoders.series import SeriesEncoder, build_encoder

CELLS = ["1 2 3 4 5 6 7 8 9 | 9 8 7 6 5 4 3 2 1", "1 2 3 | 4 NaN 6", "5 5 5 5 | 1 1 2 2"]


@pytest.mark.parametrize("reader", ["auto", "conv", "gru", "lstm", "rnn"])
def test_the_graph_answers_as_the_network(reader: str, tmp_path: Any) -> None:
    column = SeriesColumn.fit("x", CELLS, {"encoder": reader})
    network = build_network({"x": column}, {"x": {}}, 3, root=tmp_path, num_rows=100, seed=0).eval()
    assert network.table is None
    save_weights(network, tmp_path)
    network = load_weights(tmp_path)
    encoded = column.encode(CELLS)
    rows = np.arange(3)
    batch = column.collate(encoded, rows)
    with torch.no_grad():
        wanted = network({key: torch.from_numpy(value) for key, value in batch.items()}).numpy()
    graph = graph_of(network, {"x": column}).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for some in (rows, rows[:1]):
        [found] = session.run(None, column.collate(encoded, some))
        assert np.abs(found - wanted[some]).max() <= 1e-4


def test_a_row_is_answered_the_same_beside_any_other() -> None:
    torch.manual_seed(0)
    column = SeriesColumn.fit("x", ["1 2 3 4 5 6"], {})
    encoder = build_encoder(column, {}, None, 10_000)  # type: ignore[arg-type]
    assert (encoder.reader, encoder.size) == ("conv", 32)
    x = torch.randn(4, 6)
    encoder.train()
    torch.testing.assert_close(encoder(x)[:1], encoder(x[:1]))


@pytest.mark.parametrize("window", [1, 2, 7, 100])
@pytest.mark.parametrize("reader", ["conv", "lstm"])
def test_windows_of_any_length(reader: str, window: int) -> None:
    encoder = SeriesEncoder(2, window, reader, 8)
    found = encoder(torch.randn(3, 2 * window))
    assert found.shape == (3, encoder.width)
    assert torch.isfinite(found).all()
    # How high a curve lies is not lost.
    flat = torch.zeros(1, 2 * window)
    assert not torch.allclose(encoder(flat), encoder(flat + 1))
