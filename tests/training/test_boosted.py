"""Boosted trees: our arrays answer as LightGBM does, and the graph as our arrays do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pytest
from mixed_tables import KINDS, encoded, fitted, job_of, mixed_rows

from volano.columns import EncodedSplit, FittedColumn
from volano.export import graph_of
from volano.models import (
    TreesModel,
    load_model,
    save_model,
    table_arrays,
    table_features,
    tree_matrix,
)
from volano.training.boosted import BoostedLearner, name_ranks, rounded_down, trees_of


def grown(
    table: np.ndarray, target: np.ndarray, rounds: int = 15, **settings: Any
) -> lightgbm.Booster:
    settings = {"min_data_in_leaf": 2, "verbosity": -1, "num_threads": 1, **settings}
    return lightgbm.train(settings, lightgbm.Dataset(table, target), rounds)


def plain(table: np.ndarray, target: np.ndarray) -> tuple[dict[str, FittedColumn], EncodedSplit]:
    """Columns of numbers that are taken as they are."""
    from volano.columns.number import NumberColumn

    columns: dict[str, FittedColumn] = {}
    values = {}
    for place in range(table.shape[1]):
        name = f"c{place}"
        values[name] = ["" if np.isnan(v) else repr(float(v)) for v in table[:, place]]
        columns[name] = NumberColumn.fit(name, values[name], {"scale": "none"})
    return columns, encoded(columns, values, target)


def graph_outputs(model: Any, columns: dict[str, FittedColumn], split: EncodedSplit) -> np.ndarray:
    graph = graph_of(model, columns)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = np.arange(split.num_rows)
    feed: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        feed |= column.collate(split.columns[name], rows)
    return np.asarray(session.run(None, feed)[0])


def check(
    booster: lightgbm.Booster, table: np.ndarray, num_outputs: int, tolerance: float = 1e-6
) -> TreesModel:
    """Our arrays and our graph give LightGBM's raw scores."""
    columns, split = plain(table, np.zeros(len(table)))
    model = trees_of(booster.dump_model(), table_features(columns), (), num_outputs)
    raw = np.asarray(booster.predict(table, raw_score=True))
    wanted = raw.reshape(len(table), -1)
    if num_outputs == 2:
        wanted = np.concatenate([np.zeros_like(wanted), wanted], axis=1)
    size = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(model.outputs(split), wanted, atol=tolerance * size)
    found = graph_outputs(model, columns, split)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=tolerance * size)
    return model


def floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Values that float32 holds, as models see them."""
    return random.normal(0, 1, shape).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("gaps", ["never", "in training", "only later"])
@pytest.mark.parametrize(
    ("num_outputs", "settings"),
    [
        (1, {"objective": "regression"}),
        (2, {"objective": "binary"}),
        (3, {"objective": "multiclass", "num_class": 3}),
    ],
)
def test_answers_are_lightgbms(num_outputs: int, settings: dict[str, Any], gaps: str) -> None:
    random = np.random.default_rng(0)
    table = floats(random, 300, 4)
    score = table[:, 0] * 2 + np.sin(3 * table[:, 1]) + 0.1 * random.normal(size=300)
    target = score * 50 + 1000 if num_outputs == 1 else np.digitize(score, [-1, 1]) % num_outputs
    if gaps == "in training":
        table[random.random(table.shape) < 0.15] = np.nan
    booster = grown(table, target, **settings)
    if gaps == "only later":
        table[random.random(table.shape) < 0.15] = np.nan
    check(booster, table, num_outputs)


def test_values_at_a_threshold_go_the_same_way() -> None:
    random = np.random.default_rng(1)
    table = random.integers(-3, 4, (400, 3)) / 7
    table = table.astype(np.float32).astype(np.float64)
    booster = grown(table, table[:, 0] + table[:, 1] ** 2, objective="regression")
    thresholds = []

    def walk(node: dict[str, Any]) -> None:
        if "threshold" in node:
            thresholds.append(node["threshold"])
            walk(node["left_child"])
            walk(node["right_child"])

    for tree in booster.dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    # Nearer to zero than 1e-35 is zero to LightGBM.
    edge = np.array([value for value in thresholds if abs(value) > 1e-30], np.float32)
    assert len(edge) > 5
    near = np.concatenate([edge, np.nextafter(edge, np.float32(9)), np.nextafter(edge, -edge)])
    more = np.stack([near.astype(np.float64)] * 3, axis=1)
    check(booster, np.concatenate([table, more]), 1)


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1e300, -1e300, 1e-35, 0.0, 3.5, 1 / 3])
def test_a_threshold_in_float32_parts_the_same_numbers(threshold: float) -> None:
    rounded = np.float32(rounded_down(threshold))
    around = np.float32(np.clip(threshold, -3e38, 3e38))
    for value in (around, np.nextafter(around, np.float32(9e9)), np.nextafter(around, -around)):
        assert (value <= rounded) == (float(value) <= threshold)


def test_a_tree_that_is_only_a_leaf() -> None:
    table = np.zeros((50, 2))
    table[:, 1] = 1.0
    booster = grown(table, np.linspace(0, 1, 50), objective="regression")
    model = check(booster, table, 1)
    assert model.num_trees >= 1


def test_names_are_ordered_by_the_mean_of_their_rows() -> None:
    rows = {"town": ["a"] * 30 + ["b"] * 30 + ["c"] * 30 + ["once"]}
    columns = fitted({"town": "category"}, rows)
    target = np.array([5.0] * 30 + [1.0] * 30 + [3.0] * 30 + [1000.0])
    split = encoded(columns, rows, target)
    (rank,) = name_ranks(table_features(columns), split, target)
    codes = columns["town"].encode(["b", "c", "a", "new", "once"]).arrays["codes"]
    assert rank[codes].tolist()[:3] == sorted(rank[codes].tolist()[:3]), "b, c, a"
    assert sorted(rank.tolist()) == [0, 1, 2, 3, 4]
    # No rows say nothing: an unseen name stands where the mean of all rows does.
    assert rank[codes[2]] < rank[codes[3]] < rank[codes[4]], "the mean is above 5 here"


@pytest.mark.parametrize("names", [(), ("no", "yes"), ("a", "b", "c")])
def test_a_mixed_table(tmp_path: Path, names: tuple[str, ...]) -> None:
    rows, right = mixed_rows(400, 0)
    more, more_right = mixed_rows(200, 1)
    columns = fitted(KINDS, rows)
    if names:
        cuts = np.quantile(right, np.linspace(0, 1, len(names) + 1)[1:-1])
        right, more_right = np.digitize(right, cuts), np.digitize(more_right, cuts)
    train, validation = encoded(columns, rows, right), encoded(columns, more, more_right)
    job = job_of(columns, train, validation, tmp_path, names=names)
    assert BoostedLearner.suits(job) is None
    fit = BoostedLearner.fit(job)
    if names:
        assert (fit.outputs.argmax(axis=1) == more_right).mean() > 0.75
    else:
        assert np.sqrt(np.mean((fit.outputs[:, 0] - more_right) ** 2)) < np.std(more_right) / 2
    assert fit.summary["trees"] == fit.model.num_trees  # type: ignore[attr-defined]
    again = BoostedLearner.fit(job)
    np.testing.assert_array_equal(again.outputs, fit.outputs)
    save_model(fit.model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", columns)
    np.testing.assert_array_equal(loaded.outputs(validation), fit.outputs)
    new = {**{name: values[:5] for name, values in more.items()}}
    new["town"], new["age"] = ["Nowhere"] * 5, ["", "x", "1e300", "0", "NA"]
    odd = encoded(columns, new, np.zeros(5))
    np.testing.assert_allclose(
        graph_outputs(loaded, columns, odd), loaded.outputs(odd), rtol=1e-5, atol=1e-4
    )


def test_without_validation_rows(tmp_path: Path) -> None:
    rows, right = mixed_rows(100, 0)
    columns = fitted(KINDS, rows)
    train = encoded(columns, rows, right)
    none = encoded(columns, {name: [] for name in rows}, np.zeros(0))
    fit = BoostedLearner.fit(job_of(columns, train, none, tmp_path))
    assert fit.outputs.shape == (0, 1)
    assert fit.model.outputs(train).shape == (100, 1)  # type: ignore[attr-defined]


def test_numbers_come_before_names_in_the_matrix() -> None:
    rows, right = mixed_rows(20, 0)
    columns = fitted(KINDS, rows)
    split = encoded(columns, rows, right)
    features = table_features(columns)
    ranks = name_ranks(features, split, right)
    matrix = tree_matrix(features, ranks, split)
    numbers, codes = table_arrays(features, split)
    np.testing.assert_array_equal(matrix[:, :3], numbers)
    np.testing.assert_array_equal(matrix[:, 3], ranks[0][codes[:, 0]])
