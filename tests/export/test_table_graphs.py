"""Graphs of models of tables answer as the models do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mixed_tables import KINDS, encoded, fitted, mixed_rows

from volano.columns import EncodedSplit, FittedColumn
from volano.export import graph_of
from volano.models import (
    LinearModel,
    TreesModel,
    build_network,
    load_model,
    save_model,
    table_features,
)

ROWS, RIGHT = mixed_rows(60, 0)
ODD = {
    "size": ["", "1e300", "x", "0"],
    "age": ["1", "", "-1e9", "NA"],
    "town": ["Nowhere", "", "Ulm", "Bari"],
    "garden": ["yes", "maybe", "", "no"],
}


def run(graph: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert sorted(item.name for item in session.get_inputs()) == sorted(feed)
    return np.asarray(session.run(None, feed)[0])


def feed_of(
    columns: dict[str, FittedColumn], split: EncodedSplit, rows: list[int]
) -> dict[str, np.ndarray]:
    feed: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        feed |= column.collate(split.columns[name], np.array(rows))
    return feed


def linear(columns: dict[str, FittedColumn], num_outputs: int, *, missing: bool) -> LinearModel:
    random = np.random.default_rng(0)

    def weights(num_rows: int) -> Any:
        return random.normal(0, 2, (num_rows, num_outputs)).astype(np.float32)

    features = table_features(columns)
    num_numbers = sum(feature.size for feature in features)
    return LinearModel(
        features,
        weights(num_numbers),
        weights(num_numbers) * missing,
        tuple(weights(feature.num_codes) for feature in features if not feature.size),
        weights(1)[0],
    )


@pytest.mark.parametrize("names", [list(KINDS), ["town"], ["size"], ["garden", "age"]])
@pytest.mark.parametrize("missing", [True, False])
def test_a_linear_model(names: list[str], missing: bool, tmp_path: Path) -> None:
    kinds = {name: KINDS[name] for name in names}
    columns = fitted(kinds, ROWS)
    for num_outputs in (1, 3):
        model = linear(columns, num_outputs, missing=missing)
        for rows, right in ((ROWS, RIGHT), (ODD, np.zeros(4))):
            split = encoded(columns, rows, right)
            wanted = model.outputs(split)
            feed = feed_of(columns, split, list(range(len(right))))
            found = run(graph_of(model, columns), feed)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
        save_model(model, tmp_path / f"{num_outputs}")
        loaded = load_model(tmp_path / f"{num_outputs}", columns)
        np.testing.assert_array_equal(loaded.outputs(split), wanted)


def test_trees_by_hand() -> None:
    """x <= 1, and what is missing, goes left to 5; else y <= 0 goes to 7 and the rest to 9."""
    from volano.columns.number import NumberColumn

    columns: dict[str, FittedColumn] = {
        name: NumberColumn.fit(name, ["1"], {"scale": "none"}) for name in "xy"
    }
    split = encoded(
        columns, {"x": ["1", "", "2", "2", "2"], "y": ["9", "9", "0", "1", ""]}, [0] * 5
    )
    model = TreesModel(
        table_features(columns),
        (),
        np.float32([10]),
        tree=np.zeros(5, np.int64),
        column=np.array([0, -1, 1, -1, -1]),
        threshold=np.float32([1, 0, 0, 0, 0]),
        left=np.array([1, 0, 3, 0, 0]),
        right=np.array([2, 0, 4, 0, 0]),
        missing_left=np.array([True, False, False, False, False]),
        leaf=np.array([1, 3, 4]),
        output=np.zeros(3, np.int64),
        value=np.float32([5, 7, 9]),
    )
    assert model.outputs(split)[:, 0].tolist() == [15, 15, 17, 19, 19]
    found = run(graph_of(model, columns), feed_of(columns, split, list(range(5))))
    assert found[:, 0].tolist() == [15, 15, 17, 19, 19]


def test_a_network_of_a_table(tmp_path: Path) -> None:
    columns = fitted(KINDS, ROWS)
    network = build_network(columns, {}, 2, root=tmp_path, num_rows=60, seed=0).eval()
    network.scale.fill_(7.0)
    network.shift.fill_(-3.0)
    graph = graph_of(network, columns)
    for rows, right in ((ROWS, RIGHT), (ODD, np.zeros(4))):
        split = encoded(columns, rows, right)
        for some in ([0], list(range(len(right)))):
            feed = feed_of(columns, split, some)
            with torch.no_grad():
                wanted = network({name: torch.from_numpy(value) for name, value in feed.items()})
            found = run(graph, feed)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, atol=1e-4)
    save_model(network, tmp_path / "model")
    loaded = load_model(tmp_path / "model", columns)
    assert loaded.num_weights() == network.num_weights()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
