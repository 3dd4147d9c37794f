"""Models of tables: against their references, in training, as arrays and as graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from volano.columns import column_kind
from volano.columns.category import FittedCategory
from volano.columns.number import NumberColumn
from volano.data import Prepared, encode_split, save_columns
from volano.errors import TrainError
from volano.export import graph_of
from volano.models import load_model, save_model, table_features, tree_matrix
from volano.spec import TrainSpec
from volano.training import Job, compete, learner
from volano.training._descent import descend, smooth_loss
from volano.training._ensemble import Judge, select
from volano.training._folds import fold_of
from volano.training.linear import design, ridge

NAMES = ("low", "middle", "high")


def prepared(folder: Path, num_rows: int, task: str, *, split: float = 0.8) -> Prepared:
    """Two numbers, one of them with gaps, and a name; the target bends with all of them."""
    random = np.random.default_rng(0)
    x, z = random.normal(size=num_rows), random.normal(size=num_rows)
    colour = random.integers(0, 4, num_rows)
    y = np.sin(2 * x) + 0.5 * x + 0.3 * (colour == 2) * z + 0.1 * random.normal(size=num_rows)
    rows = {
        "x": [f"{value:.6g}" for value in x],
        "z": ["" if place % 7 == 0 else f"{value:.6g}" for place, value in enumerate(z)],
        "colour": [f"colour {code}" for code in colour],
    }
    if task == "regression":
        rows["y"] = [repr(float(value)) for value in 1000 + 50 * y]
        target = NumberColumn.fit("y", rows["y"], {}, "target")
    else:
        rows["y"] = [NAMES[code] for code in np.digitize(y, [-0.5, 0.5])]
        target = FittedCategory("y", NAMES)
    kinds = {"x": "number", "z": "number", "colour": "category"}
    cut = int(split * num_rows)
    inputs = {
        name: column_kind(kind).fit(name, rows[name][:cut], {}) for name, kind in kinds.items()
    }
    save_columns(folder, inputs, target, {})
    for name, part in (("train", slice(0, cut)), ("validation", slice(cut, None))):
        encode_split(folder / name, inputs, target, [{key: rows[key][part] for key in rows}])
    return Prepared.open(folder)


def job_of(folder: Path, task: str, num_rows: int = 240, **spec: object) -> Job:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    made = prepared(folder / "prepared", num_rows, task)
    return Job(made, task, TrainSpec(**spec), folder, scratch)  # type: ignore[arg-type]


def graph_outputs(model: object, job: Job) -> np.ndarray:
    inputs, split = job.prepared.inputs, job.validation
    session = onnxruntime.InferenceSession(
        graph_of(model, inputs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = np.arange(split.num_rows)
    feed: dict[str, np.ndarray] = {}
    for name, column in inputs.items():
        feed |= column.collate(split.columns[name], rows)
    wanted = {item.name for item in session.get_inputs()}
    return session.run(None, {name: feed[name] for name in wanted})[0]


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("name", ["linear", "forest", "boosted", "network"])
def test_a_model_answers_the_same_saved_and_as_a_graph(
    tmp_path: Path, task: str, name: str
) -> None:
    job = job_of(tmp_path, task, epochs=2)
    fit = learner(name).fit(job)
    save_model(fit.model, tmp_path / "model")
    again = load_model(tmp_path / "model", job.prepared.inputs)
    found = graph_outputs(again, job)
    unit = 50.0 if task == "regression" else 1.0
    np.testing.assert_allclose(found / unit, fit.outputs / unit, atol=2e-4)


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("extra", [0, 1])
def test_a_forest_is_scikit_learns(tmp_path: Path, task: str, extra: int) -> None:
    from sklearn import ensemble

    job = replace(job_of(tmp_path, task), settings={"extra": extra})
    fit = learner("forest").fit(job)
    kind = ("ExtraTrees" if extra else "RandomForest") + (
        "Regressor" if task == "regression" else "Classifier"
    )
    grown = getattr(ensemble, kind)(
        200, max_features=0.5 if task == "regression" else "sqrt", random_state=0
    )
    features = table_features(job.prepared.inputs)
    model = fit.model
    grown.fit(tree_matrix(features, model.ranks, job.train), np.asarray(job.train.target))
    matrix = tree_matrix(features, model.ranks, job.validation)
    if task == "regression":
        np.testing.assert_allclose(fit.outputs[:, 0], grown.predict(matrix), rtol=1e-5)
    else:
        # Each class begins with half a tree that knows nothing.
        wanted = (200 * grown.predict_proba(matrix) + 0.5 / 3) / 200.5
        np.testing.assert_allclose(np.exp(fit.outputs), wanted, atol=1e-5)


def houses() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    size = random.uniform(40, 250, 100)
    return size, 3000 * size + 50_000 + random.normal(scale=20_000, size=100)


def test_descent_and_the_normal_equation_agree_on_a_hundred_houses() -> None:
    size, price = houses()
    scaled = ((size - size.mean()) / size.std())[:, None]
    target = (price - price.mean()) / price.std()
    for penalty in (0.0, 0.01, 1.0):
        ((wanted, bias),) = ridge(scaled, target, (penalty,))
        found = descend(scaled, target, smooth_loss("squared"), 1, l2=penalty)
        assert found[0, 0] == pytest.approx(wanted[0], rel=1e-9)
        assert found[1, 0] == pytest.approx(bias, abs=1e-9)


@pytest.mark.parametrize("l1", [0.01, 0.2])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_descent_with_l1_is_scikit_learns_elastic_net(l1: float, l2: float) -> None:
    from sklearn.linear_model import ElasticNet

    random = np.random.default_rng(1)
    design_ND = random.normal(size=(120, 6))
    target = design_ND @ [1, -0.5, 0, 0, 0.2, 0] + random.normal(size=120)
    machine = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-12, max_iter=100_000)
    machine.fit(design_ND, target)
    found = descend(design_ND, target, smooth_loss("squared"), 1, l1=l1, l2=l2)
    np.testing.assert_allclose(found[:-1, 0], machine.coef_, atol=1e-7)
    assert found[-1, 0] == pytest.approx(machine.intercept_, abs=1e-7)


def test_losses_of_numbers_are_those_of_scikit_learn() -> None:
    from scipy.optimize import check_grad
    from sklearn.linear_model import QuantileRegressor

    random = np.random.default_rng(2)
    design_ND = random.normal(size=(200, 2))
    target = design_ND @ [1.0, -0.5] + random.standard_t(2, size=200)
    for name, level in (("absolute", 0.5), ("quantile", 0.8)):
        machine = QuantileRegressor(quantile=level, alpha=0).fit(design_ND, target)
        found = descend(design_ND, target, smooth_loss(name, quantile=level), 1)
        np.testing.assert_allclose(found[:-1, 0], machine.coef_, atol=0.03)
        assert found[-1, 0] == pytest.approx(machine.intercept_, abs=0.03)
    codes = random.integers(0, 3, 5)
    for name in ("squared", "absolute", "huber", "quantile", "cross_entropy", "focal"):
        names = name in ("cross_entropy", "focal")
        known = codes if names else random.normal(size=5)
        loss = smooth_loss(name, quantile=0.3, width=0.7)
        shape = (5, 3) if names else (5, 1)

        def mean(flat: np.ndarray, loss=loss, known=known, shape=shape) -> float:
            return float(loss(flat.reshape(shape), known)[0].sum())

        def slope(flat: np.ndarray, loss=loss, known=known, shape=shape) -> np.ndarray:
            return loss(flat.reshape(shape), known)[1].ravel()

        start = random.normal(size=shape).ravel()
        assert check_grad(mean, slope, start) < 1e-5, name


def test_the_solver_that_the_spec_names_is_used(tmp_path: Path) -> None:
    job = job_of(tmp_path, "regression")
    exact = learner("linear").fit(replace(job, spec=TrainSpec(solver="exact")))
    steps = learner("linear").fit(replace(job, spec=TrainSpec(solver="sgd")))
    assert (exact.summary["solver"], steps.summary["solver"]) == ("ridge", "descent")
    np.testing.assert_allclose(steps.outputs, exact.outputs, rtol=1e-4)
    sparse = learner("linear").fit(replace(job, spec=TrainSpec(penalty="l1")))
    assert sparse.summary["solver"] == "descent"
    with pytest.raises(TrainError, match=r"(?s)no exact solution.*TRAIN-004"):
        learner("linear").fit(replace(job, spec=TrainSpec(solver="exact", loss="huber")))


def test_folds_keep_equal_rows_together_and_classes_apart(tmp_path: Path) -> None:
    from volano.training._folds import joined

    split = job_of(tmp_path, "classification").train
    folds = fold_of(joined([split, split]), 0)
    half = split.num_rows
    assert (folds[:half] == folds[half:]).all()
    counts = np.stack(
        [np.bincount(folds[:half][split.target == code], minlength=5) for code in range(3)]
    )
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


def test_a_table_is_cross_fitted_mixed_and_the_mixture_is_one_graph(tmp_path: Path) -> None:
    job = job_of(tmp_path, "classification", 300)
    contest = compete(job, ("linear", "forest", "boosted"))
    assert {row["name"] for row in contest.rows} >= {"linear", "forest", "boosted"}
    for fit in contest.fits.values():
        assert fit.held_out is not None
        assert len(fit.held_out) == job.train.num_rows
        # The model has learned from the validation rows: what is expected of it is not that.
        assert fit.answers is not None
        assert not np.array_equal(fit.answers, fit.outputs)
        found = graph_outputs(fit.model, job)
        shares = np.exp(found - found.max(1, keepdims=True))
        wanted = np.exp(fit.answers - fit.answers.max(1, keepdims=True))
        np.testing.assert_allclose(
            shares / shares.sum(1, keepdims=True), wanted / wanted.sum(1, keepdims=True), atol=1e-4
        )


def test_an_ensemble_of_two_halves_is_better_than_either_and_saved(tmp_path: Path) -> None:
    job = job_of(tmp_path, "regression")
    target = np.asarray(job.validation.target)
    random = np.random.default_rng(0)
    noise = random.normal(scale=10, size=(3, len(target)))
    outputs = [(target + one)[:, None] for one in (noise[0], -noise[0] + noise[1], 5 * noise[2])]
    judge = Judge(target, TrainSpec(), classes=False)
    found = select(judge, outputs, 0)
    assert found is not None
    weights, temperatures, expected = found
    assert weights.sum() == pytest.approx(1)
    assert weights[:2].min() > 0.3
    assert weights[2] < 0.1
    assert temperatures == (1.0, 1.0, 1.0)
    alone = [judge.loss(output) for output in outputs]
    mean = np.tensordot(weights, np.stack(outputs), axes=1)
    assert judge.loss(mean) < min(alone)
    # What is said of a row comes from weights that were chosen without it.
    assert judge.loss(mean) <= judge.loss(expected) < min(alone)
    assert select(judge, outputs[:1], 0) is None


def test_trials_repeat_and_go_on_where_they_were_stopped(tmp_path: Path, monkeypatch) -> None:
    from volano.training import boosted

    monkeypatch.setattr(boosted, "MAX_TREES_OF_FEW", 20)

    def run(name: str, trials: int, scratch: Path | None = None) -> list[dict[str, object]]:
        job = job_of(tmp_path / name, "regression")
        job = replace(job, scratch=scratch or job.scratch)
        found = compete(job, ("linear", "boosted"), trials=trials).trials
        return [
            {key: value for key, value in trial.as_dict().items() if key != "seconds"}
            for trial in found
        ]

    whole = run("a", 5)
    assert {item["state"] for item in whole} <= {"complete", "pruned"}
    assert len({str(item["settings"]) for item in whole}) == len(whole)
    first = run("b", 2, tmp_path / "kept")
    assert whole[: len(first)] == first
    tried = []
    fit = boosted.BoostedLearner.fit

    def counting(job: Job) -> object:
        tried.append(job.settings)
        return fit(job)

    monkeypatch.setattr(boosted.BoostedLearner, "fit", staticmethod(counting))
    assert run("c", 5, tmp_path / "kept") == whole
    # Three more settings, each in five folds twice and once with all rows unless it was stopped.
    stopped = sum(item["state"] == "pruned" for item in whole[-3:])
    assert 3 * 11 - 9 * stopped <= len(tried) <= 3 * 11 - 6 * stopped


def test_without_time_there_is_still_a_model(tmp_path: Path) -> None:
    contest = compete(job_of(tmp_path, "regression"), ("linear", "boosted"), budget_s=1e-6)
    assert list(contest.fits) == ["linear"]


def test_the_design_counts_a_missing_number_as_its_centre(tmp_path: Path) -> None:
    job = job_of(tmp_path, "regression")
    from volano.models import table_arrays

    features = table_features(job.prepared.inputs)
    numbers, codes = table_arrays(features, job.train)
    found = design(features, numbers, codes).toarray()
    missing = np.isnan(numbers)
    assert missing.any()
    assert (found[:, : numbers.shape[1]][missing] == 0).all()
    np.testing.assert_array_equal(found[:, numbers.shape[1] : 2 * numbers.shape[1]], missing)
