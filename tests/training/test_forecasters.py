"""Forecasting networks: they learn, come again bit by bit, stop in time, ship as they answer."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from volano.columns import Encoded, EncodedSplit, Windows
from volano.columns.category import FittedCategory
from volano.columns.series import FittedSeries
from volano.data import Prepared
from volano.export import graph_of
from volano.models import ForecastContext, TableFeature, load_model, save_model
from volano.models.forecasters import FORECASTERS, DLinear, Forecaster, PatchTST
from volano.spec import TrainSpec
from volano.training import Job, compete, learner
from volano.training._window_judge import WindowJudge

WIDTH, HORIZON = 60, 4
NETS = sorted(FORECASTERS)


class _Prepared:
    """As much of `Prepared` as a learner asks for: two series, a price known ahead, a shop."""

    def __init__(self, num: int, seed: int, shift: float = 0.0) -> None:
        self.target = FittedSeries("a", ("a", "b"), (0.0, 0.0), (1.0, 1.0), WIDTH, HORIZON)
        self.inputs: dict[str, Any] = {
            "a": FittedSeries("a", ("a",), (0.0,), (1.0,), WIDTH),
            "b": FittedSeries("b", ("b",), (0.0,), (1.0,), WIDTH),
            "price": FittedSeries(
                "price", ("price",), (0.0,), (1.0,), WIDTH + HORIZON, ahead=HORIZON
            ),
            "shop": FittedCategory("shop", ("x", "y"), 1),
        }
        self.details: dict[str, object] = {}
        self.splits = {"train": made(num, seed), "validation": made(40, seed + 1, shift)}

    def split(self, name: str) -> EncodedSplit:
        return self.splits[name]


def made(num: int, seed: int, shift: float = 0.0) -> EncodedSplit:
    total = num + WIDTH + HORIZON - 1
    time_ = np.arange(total)
    random = np.random.default_rng(seed)
    price = random.integers(0, 2, total).astype(np.float64)
    values = np.stack([np.sin(time_ / 3), np.cos(time_ / 5)], axis=1)
    values += random.normal(0, 0.05, values.shape) + 0.5 * price[:, None] + shift
    flat = values.astype(np.float32)
    starts = np.arange(num)
    columns = {
        name: Encoded({"values": Windows(flat[:, place], starts, WIDTH)})
        for place, name in enumerate(("a", "b"))
    }
    columns["price"] = Encoded(
        {"values": Windows(price.astype(np.float32), starts, WIDTH + HORIZON)}
    )
    columns["shop"] = Encoded({"codes": random.integers(0, 3, num)})
    return EncodedSplit(columns, Windows(flat, starts + WIDTH, HORIZON))


def job(folder: Path, *, num: int = 120, shift: float = 0.0, **spec: Any) -> Job:
    folder.mkdir(exist_ok=True)
    prepared: Prepared = _Prepared(num, 0, shift)  # type: ignore[assignment]
    return Job(prepared, "forecasting", TrainSpec(**spec), folder, folder)


@pytest.mark.parametrize("name", NETS)
def test_it_learns_and_its_graph_answers_as_it_does(name: str, tmp_path: Path) -> None:
    # A level that no training row had: what is normalised comes back.
    asked = job(tmp_path, shift=50.0, epochs=30, learning_rate=0.01)
    fit = learner(name).fit(asked)
    validation = asked.validation
    right = np.asarray(validation.target)
    error = ((fit.outputs - right) ** 2).mean()
    last = validation.columns["a"].arrays["values"][:][:, -1]  # type: ignore[index]
    stay = ((last[:, None] - right[:, :, 0]) ** 2).mean()
    assert error < 0.6 * stay, (error, stay)
    assert fit.summary["num_steps"] > 0
    assert fit.summary["epochs"][0]["epoch"] == 1

    save_model(fit.model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", asked.prepared.inputs)
    assert loaded.num_weights() == fit.model.num_weights()
    graph = graph_of(loaded, asked.prepared.inputs).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = {found.name for found in session.get_inputs()}
    for rows in (np.arange(1), np.arange(len(right))):
        feed: dict[str, Any] = {}
        for column, fitted in asked.prepared.inputs.items():
            feed |= fitted.collate(validation.columns[column], rows)
        [found] = session.run(None, {key: value for key, value in feed.items() if key in names})
        assert found.shape == (len(rows), HORIZON, 2)
        assert np.abs(found - fit.outputs[rows]).max() <= 1e-4


def test_a_price_known_ahead_is_used(tmp_path: Path) -> None:
    asked = job(tmp_path, num=300, epochs=15, learning_rate=0.01)
    with_price = learner("dlinear").fit(asked)
    without = job(tmp_path / "other", num=300, epochs=15, learning_rate=0.01)
    for name in ("price", "shop"):
        del without.prepared.inputs[name]  # type: ignore[attr-defined]
    blind = learner("dlinear").fit(without)
    right = np.asarray(asked.validation.target)
    errors = [float(((fit.outputs - right) ** 2).mean()) for fit in (with_price, blind)]
    assert errors[0] < 0.5 * errors[1], errors


def test_a_killed_run_comes_to_the_same_weights(tmp_path: Path) -> None:
    whole = learner("tcn").fit(job(tmp_path / "whole", num=100, epochs=3))
    stopped = job(tmp_path / "stopped", num=100, epochs=3)
    done = 0

    def stop(label: str, at: float, total: float) -> None:
        nonlocal done
        done += 1
        # In the second of three epochs, each of which is saved at its end.
        if at > 0.5 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner("tcn").fit(replace(stopped, step=stop))
    said: list[str] = []
    again = learner("tcn").fit(replace(stopped, say=said.append))
    assert any("going on from step" in line for line in said)
    for one, two in zip(
        whole.model.state_dict().values(),  # type: ignore[attr-defined]
        again.model.state_dict().values(),  # type: ignore[attr-defined]
        strict=True,
    ):
        assert torch.equal(one, two)


def test_it_stops_in_time_with_what_it_has(tmp_path: Path) -> None:
    said: list[str] = []
    asked = replace(job(tmp_path, epochs=5000), deadline=time.monotonic() + 1, say=said.append)
    started = time.monotonic()
    fit = learner("gru").fit(asked)
    assert time.monotonic() - started < 30
    assert said[-1].strip() == "time is over: stopping"
    assert fit.summary["num_steps"] < 5000
    assert np.isfinite(fit.outputs).all()


def test_dlinear_is_its_formula() -> None:
    torch.manual_seed(0)
    net = DLinear(40, 3)
    torch.nn.init.normal_(net.trend.weight)
    x = torch.randn(2, 40)
    padded = np.pad(x.numpy(), ((0, 0), (12, 12)), mode="edge")
    trend = np.stack([padded[:, at : at + 25].mean(axis=1) for at in range(40)], axis=1)
    wanted = net.trend(torch.from_numpy(trend)) + net.remainder(x - torch.from_numpy(trend))
    torch.testing.assert_close(net(x), wanted, atol=1e-5, rtol=1e-5)


def test_patches_hold_every_step_of_any_window() -> None:
    for window in (1, 5, 16, 17, 30, 336):
        net = PatchTST(window, 2, 8)
        x = torch.randn(3, window, requires_grad=True)
        net(x).sum().backward()
        assert x.grad is not None
        assert (x.grad.abs().sum(0) > 0).all(), window


@pytest.mark.parametrize("name", NETS)
def test_series_are_read_by_themselves_and_a_still_window_is_answered_by_its_level(
    name: str,
) -> None:
    torch.manual_seed(1)
    context = ForecastContext((), 20, 3, ())
    net = Forecaster(name, ("a", "b"), context, 8).eval()
    a, b = torch.randn(2, 20), torch.randn(2, 20)
    first = net({"a.values": a, "b.values": b})
    second = net({"a.values": a, "b.values": b + 5})
    torch.testing.assert_close(first[:, :, 0], second[:, :, 0])
    # A level is put back as it was taken off.
    torch.testing.assert_close(first[:, :, 1] + 5, second[:, :, 1], atol=1e-4, rtol=1e-4)
    still = net({"a.values": torch.full((1, 20), 7.0), "b.values": b[:1]})
    torch.testing.assert_close(still[:, :, 0], torch.full((1, 3), 7.0), atol=1e-2, rtol=0)


def test_many_names_get_vectors_and_few_a_place_each() -> None:
    features = (TableFeature("shop", 0, 200), TableFeature("size", 2, 0), TableFeature("c", 0, 3))
    context = ForecastContext((), 6, 2, features)
    assert context.size == 2 + 3
    net = Forecaster("dlinear", ("a",), context, 8)
    batch = {
        "a.values": torch.randn(2, 6),
        "shop.codes": torch.tensor([0, 199]),
        "size.values": torch.tensor([[1.0, float("nan")], [0.0, 99.0]]),
        "c.codes": torch.tensor([0, 2]),
    }
    found = net(batch)
    assert found.shape == (2, 2, 1)
    assert torch.isfinite(found).all()


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    asked = replace(job(tmp_path), task="regression")
    for name in NETS:
        assert learner(name).suits(asked) == "it forecasts series, and the target is none"


def test_settings_are_searched_and_the_best_of_each_kind_is_taken(tmp_path: Path) -> None:
    asked = job(tmp_path, num=60, epochs=2)
    found = compete(asked, ("linear", "dlinear", "gru"), trials=5)
    assert [trial.model for trial in found.trials[:3]] == ["linear", "dlinear", "gru"]
    assert all(not trial.settings for trial in found.trials[:3])
    assert [trial.model for trial in found.trials[3:]] == ["dlinear", "gru"] * 2 + ["dlinear"]
    assert all("width" in trial.settings for trial in found.trials[3:] if trial.model == "gru")
    assert set(found.fits) == {"linear", "dlinear", "gru"}
    truth = np.asarray(asked.validation.target)
    for name, fit in found.fits.items():
        losses = [trial.loss for trial in found.trials if trial.model == name and trial.loss]
        assert np.mean((fit.outputs - truth) ** 2) == pytest.approx(min(losses), rel=1e-5)
    again = compete(asked, ("linear", "dlinear", "gru"), trials=5)
    assert [trial.as_dict() for trial in again.trials] == [t.as_dict() for t in found.trials]


def test_windows_count_the_same_whatever_of_them_was_measured() -> None:
    truth = np.zeros((3, 2, 1))
    truth[0, 1] = np.nan
    judge = WindowJudge(truth)
    outputs = np.array([[[3.0], [9.0]], [[1.0], [1.0]], [[0.0], [2.0]]])
    assert judge.loss(outputs) == pytest.approx((9 + 1 + 2) / 3)
    assert judge.part(np.array([2]), outputs[2:]) == pytest.approx(2)
    assert judge.spread(outputs) == pytest.approx(np.std([9, 1, 2], ddof=1) / 3**0.5)
    assert judge.loss(outputs[:0]) == float("inf")
