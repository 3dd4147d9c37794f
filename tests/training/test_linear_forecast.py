"""Linear forecasts in closed form: against a direct solution, and through the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from volano.columns import Encoded, EncodedSplit, Windows
from volano.columns.category import FittedCategory
from volano.columns.number import NumberColumn
from volano.columns.series import FittedSeries
from volano.data import Prepared
from volano.export import graph_of
from volano.models import ForecastContext, LinearForecast, load_model, save_model
from volano.spec import TrainSpec
from volano.training import Job, learner
from volano.training.linear_forecast import ridge_maps, window_products

WIDTH, HORIZON = 12, 4


def split_of(values: NDArray[np.float64], names: tuple[str, ...] = ("a", "b")) -> EncodedSplit:
    starts = np.arange(WIDTH, len(values) - HORIZON + 1)
    flat = values.astype(np.float32)
    columns = {
        name: Encoded({"values": Windows(flat[:, place], starts - WIDTH, WIDTH)})
        for place, name in enumerate(names)
    }
    return EncodedSplit(columns, Windows(flat, starts, HORIZON))


def waves(num: int, seed: int = 0) -> NDArray[np.float64]:
    time = np.arange(num)
    noise = np.random.default_rng(seed).normal(0, 0.05, (num, 2))
    both = [np.sin(time / 2) + time / 50, np.cos(time / 3)]
    return np.stack(both, axis=1) + noise


@pytest.mark.parametrize("power", [0, 2])
def test_products_and_ridge_are_the_direct_solution(power: int) -> None:
    split = split_of(waves(80))
    found = window_products(split, ("a", "b"), (power,))[power]
    for place, name in enumerate(("a", "b")):
        w = np.asarray(split.columns[name].arrays["values"], np.float64)
        y = np.asarray(split.target, np.float64)[:, :, place]
        mean, spread = w.mean(axis=1, keepdims=True), w.std(axis=1, keepdims=True)
        x = np.concatenate([(w - mean) / spread, np.ones_like(mean)], axis=1)
        y = (y - mean) / spread
        v = spread**power
        gram = x.T @ (v * x) / len(x)
        penalty = 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram))
        wanted = np.linalg.solve(gram + penalty, x.T @ (v * y) / len(x))
        [weights] = ridge_maps(found.gram[place], found.cross[place], (0.1,))
        np.testing.assert_allclose(weights, wanted, rtol=1e-6, atol=1e-9)
        loss = (v * (y - x @ weights) ** 2).mean()
        one = type(found)(
            found.gram[place : place + 1],
            found.cross[place : place + 1],
            found.square[place : place + 1],
        )
        assert one.loss(weights[None]) == pytest.approx(loss, rel=1e-6)


def test_the_graph_answers_as_the_model(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    split = split_of(waves(40))
    inputs: dict[str, Any] = {n: FittedSeries(n, (n,), (0.0,), (1.0,), WIDTH) for n in ("a", "b")}
    inputs |= {
        "price": FittedSeries("price", ("price",), (0.0,), (1.0,), WIDTH + HORIZON, ahead=HORIZON),
        "size": NumberColumn.fit("size", ["1", "2"], NumberColumn.Options().model_dump()),
        "shop": FittedCategory("shop", ("x", "y"), 1),
    }
    num = split.num_rows
    beside = {
        "price": Encoded({"values": random.normal(size=(num, WIDTH + HORIZON)).astype("f4") * 9}),
        "size": Encoded(
            {"values": np.where(random.random((num, 1)) < 0.5, np.nan, 1).astype("f4")}
        ),
        "shop": Encoded({"codes": random.integers(0, 3, num)}),
    }
    split = EncodedSplit({**split.columns, **beside}, split.target)
    target = FittedSeries("a", ("a", "b"), (0.0, 0.0), (1.0, 1.0), WIDTH, HORIZON)
    context = ForecastContext.of(inputs, target)
    assert context.size == HORIZON + 1 + 3
    for maps in (1, 2):
        model = LinearForecast(
            ("a", "b"),
            random.normal(size=(maps, WIDTH, HORIZON)).astype(np.float32),
            random.normal(size=(maps, HORIZON)).astype(np.float32),
            random.normal(size=(maps, context.size, HORIZON)).astype(np.float32),
            context,
        )
        save_model(model, tmp_path / str(maps))
        loaded = load_model(tmp_path / str(maps), inputs)
        graph = graph_of(loaded, inputs).SerializeToString()
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        rows = np.arange(split.num_rows)
        feed: dict[str, object] = {}
        for name, column in inputs.items():
            feed.update(column.collate(split.columns[name], rows))
        [found] = session.run(None, feed)
        assert found.shape == (split.num_rows, HORIZON, 2)
        np.testing.assert_allclose(found, model.outputs(split), atol=5e-5)
        assert loaded.num_weights() == maps * (WIDTH + 1 + context.size) * HORIZON


class _Prepared:
    """As much of `Prepared` as a learner asks for."""

    def __init__(self, train: EncodedSplit, validation: EncodedSplit) -> None:
        self.splits = {"train": train, "validation": validation}
        self.target = FittedSeries("a", ("a", "b"), (0.0, 0.0), (1.0, 1.0), WIDTH, HORIZON)
        self.inputs = {n: FittedSeries(n, (n,), (0.0,), (1.0,), WIDTH) for n in ("a", "b")}
        self.details: dict[str, object] = {}

    def split(self, name: str) -> EncodedSplit:
        return self.splits[name]


def job(tmp_path: Path, validation: NDArray[np.float64]) -> Job:
    prepared = _Prepared(split_of(waves(300)), split_of(validation))
    spec = TrainSpec()
    fake: Prepared = prepared  # type: ignore[assignment]
    return Job(fake, "forecasting", spec, tmp_path, tmp_path)


def test_it_learns_waves_and_a_level_that_it_never_saw(tmp_path: Path) -> None:
    validation = waves(100, seed=1) + 100
    fit = learner("linear").fit(job(tmp_path, validation))
    right = np.asarray(split_of(validation).target)
    assert ((fit.outputs - right) ** 2).mean() < 0.02
    assert fit.summary["map"] in ("own", "shared")
    best = min(item["validation_loss"] for item in fit.summary["penalties"])
    assert best == pytest.approx(((fit.outputs - right) ** 2).mean(), rel=1e-3)


def test_a_series_that_never_changes_is_answered_by_itself(tmp_path: Path) -> None:
    validation = np.full((60, 2), 7.0)
    fit = learner("linear").fit(job(tmp_path, validation))
    np.testing.assert_allclose(fit.outputs, 7.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["boosted", "forest", "network"])
def test_models_of_single_answers_refuse_forecasts(name: str, tmp_path: Path) -> None:
    refusal = learner(name).suits(job(tmp_path, waves(60)))
    assert refusal == "it answers with one number or name, and a forecast has many"
