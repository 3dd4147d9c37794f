"""Small nets that learn what a larger model of a table answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_tables import columns, split, truth

import volano
from volano.columns import EncodedSplit, column_kind
from volano.columns.category import FittedCategory
from volano.compression import Compact, compression_pass
from volano.compression._lessons import STUDENT_RATE, student_plan
from volano.export import graph_of, write_bundle
from volano.models import LinearModel, Network, TableEncoder, WordsEncoder, table_features
from volano.spec import TrainSpec
from volano.tasks.classification import Classification
from volano.training import distil_objective, fit, fit_tree_student

NUM_ROWS = 1500


class Classroom:
    """`Work` over one lesson, which trains as a turn does."""

    seed, num_rows = 0, NUM_ROWS

    def __init__(self, task: str, lesson: EncodedSplit, folder: Path) -> None:
        self.task, self._lesson, self._folder = task, lesson, folder

    def lessons(self, inputs: Any) -> Any:
        return self._lesson, self._lesson

    def graph(self, model: Any, inputs: Any) -> Any:
        return graph_of(model, inputs)

    def train(self, model: Any, inputs: Any, *, epochs: int) -> None:
        self._folder.mkdir(exist_ok=True)
        plan = student_plan(model, NUM_ROWS, epochs=epochs, train=TrainSpec(seed=0))
        aim = distil_objective(self.task)
        fit(model, inputs, self._lesson, self._lesson, plan, aim=aim, scratch=self._folder)

    def watch(self, label: str, done: float, total: float) -> None:
        assert 0 <= done <= total


def outputs(made: Compact, rows: EncodedSplit) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        made.graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed: dict[str, np.ndarray] = {}
    for name, column in made.inputs.items():
        feed |= column.collate(rows.columns[name], np.arange(rows.num_rows))
    return np.asarray(session.run(None, feed)[0])


def forest(fitted: dict[str, Any], rows: EncodedSplit, task: str) -> Compact:
    made = fit_tree_student(fitted, rows, task=task, rounds=500, leaves=31, seed=1)
    return Compact(fitted, graph_of(made, fitted), made)


def mlps(model: Compact, work: Classroom) -> list[Any]:
    settings = compression_pass("distil").settings(model, work)  # type: ignore[arg-type]
    return [each for each in settings if each["student"] == "mlp"]


def test_a_forest_is_taught_to_a_net(tmp_path: Path) -> None:
    fitted, cells = columns(NUM_ROWS, missing=True)
    odds = truth(cells)
    lesson = np.stack([np.zeros(NUM_ROWS), odds, np.full(NUM_ROWS, -1.0)], axis=1)
    rows = split(fitted, cells, lesson)
    work, distil = (
        Classroom("classification", rows, tmp_path / "scratch"),
        compression_pass("distil"),
    )
    teacher = forest(fitted, rows, "classification")
    kinds = [each["student"] for each in distil.settings(teacher, work)]  # type: ignore[arg-type]
    assert kinds == ["trees"] * 4 + ["mlp"] * len(mlps(teacher, work)), "trees come first"
    settings = mlps(teacher, work)
    assert distil.label(settings[0]) == f"mlp{settings[0]['width']}"  # type: ignore[attr-defined]
    made = distil.apply(teacher, work, settings[0])  # type: ignore[arg-type]
    found = outputs(made, rows)
    assert found.shape == (NUM_ROWS, 2)
    shares = 1 / (1 + np.exp(found[:, 0] - found[:, 1]))
    assert np.abs(shares - 1 / (1 + np.exp(-odds))).mean() < 0.05
    assert made.graph.ByteSize() < teacher.graph.ByteSize() / 2
    names = FittedCategory("label", ("no", "yes"))
    write_bundle(
        tmp_path / "bundle",
        name="label",
        inputs=made.inputs,
        target=names,
        task=Classification(names.names, 1.0),
        graph=made.graph.SerializeToString(),
        details={"precision": "mlp"},
    )
    asked = [{name: cells[name][row] for name in cells} for row in range(40)]
    said = volano.load(tmp_path / "bundle").predict(asked)
    assert [each.value for each in said] == [names.names[code] for code in found[:40].argmax(1)]


def test_a_number_is_answered_in_its_own_unit(tmp_path: Path) -> None:
    fitted, cells = columns(NUM_ROWS, missing=True)
    number = 1000 + 70 * truth(cells)
    rows = split(fitted, cells, np.stack([number, np.full(NUM_ROWS, np.nan)], axis=1))
    work = Classroom("regression", rows, tmp_path)
    teacher = forest(fitted, rows, "regression")
    made = compression_pass("distil").apply(teacher, work, mlps(teacher, work)[0])  # type: ignore[arg-type]
    error = outputs(made, rows)[:, 0] - number
    assert np.sqrt(np.mean(error**2)) < 0.3 * number.std()


def test_only_nets_much_smaller_than_their_teacher_are_tried(tmp_path: Path) -> None:
    fitted, cells = columns(NUM_ROWS, missing=True)
    rows = split(fitted, cells, np.zeros((NUM_ROWS, 3)))
    work = Classroom("classification", rows, tmp_path)
    found = {}
    for width in (32, 64, 256, 1024):
        table = TableEncoder(table_features(fitted), width=width, depth=2)
        network = Network((), (), 2, table).eval()
        model = Compact(fitted, graph_of(forest_of(fitted), fitted), network)
        found[width] = [each["width"] for each in mlps(model, work)]
    assert found == {32: [], 64: [32], 256: [64, 128, 32], 1024: [64, 128, 32]}


def forest_of(fitted: dict[str, Any]) -> Any:
    cells = {"size": ["1"] * 50, "age": ["0"] * 50, "kind": ["red"] * 50}
    rows = split(fitted, cells, np.zeros((50, 3)))
    return fit_tree_student(fitted, rows, task="classification", rounds=1, leaves=2, seed=0)


def test_what_a_net_cannot_read_or_shrink_has_none() -> None:
    from volano.compression import _small_nets

    fitted, _ = columns(NUM_ROWS, missing=True)
    text = column_kind("text").fit("text", ["a b"] * 9, {"encoder": "pieces", "buckets": 256})
    model = Network((), (), 2, TableEncoder(table_features(fitted)))
    assert "not all inputs" in str(_small_nets.suits(Compact({"text": text}, None, model)))  # type: ignore[arg-type]
    flat = type("Line", (), {"family": LinearModel.family})()
    assert "linear" in str(_small_nets.suits(Compact(fitted, None, flat)))  # type: ignore[arg-type]
    small = Network((), (), 2, TableEncoder(table_features(fitted), width=8))
    assert "few numbers" in str(_small_nets.suits(Compact(fitted, None, small)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoders", "rate"), [([], 1e-3), ([WordsEncoder(9, vector=4, filters=0)], 3e-3)]
)
def test_how_a_student_learns(encoders: list[Any], rate: float) -> None:
    table = None if encoders else TableEncoder(table_features(columns(NUM_ROWS, missing=True)[0]))
    network = Network(("text",) * len(encoders), encoders, 2, table)
    plan = student_plan(network, 9000, epochs=7, train=TrainSpec(seed=3))
    assert (plan.epochs, plan.seed, plan.patience, plan.dropout) == (7, 3, 0, 0.0)
    assert plan.learning_rate == rate != STUDENT_RATE
    known = torch.nn.Module()
    known.encoders = torch.nn.ModuleList([torch.nn.Identity()])
    assert (
        student_plan(known, 9000, epochs=7, train=TrainSpec(seed=3)).learning_rate == STUDENT_RATE
    )


def test_students_learn_as_their_teacher_was_told_to() -> None:
    network = Network((), (), 2, TableEncoder(table_features(columns(60)[0]), width=8, depth=1))
    told = TrainSpec(seed=3, augment="off", precision="fp32")
    plan = student_plan(network, 500, epochs=2, train=told)
    assert (plan.seed, plan.augment, plan.precision) == (3, "off", "fp32")
