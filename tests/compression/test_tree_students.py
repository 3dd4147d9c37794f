"""Small trees that learn what a larger model of a table answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_tables import columns, split, truth

from volano.columns import EncodedSplit
from volano.compression import Compact, compression_pass
from volano.compression._variants import exchanged
from volano.export import graph_of
from volano.models import TreesModel
from volano.training import fit_tree_student

NUM_ROWS = 3000


def test_two_classes_are_learned_without_labels() -> None:
    fitted, cells = columns(NUM_ROWS)
    odds = truth(cells)
    logits = np.stack([np.zeros(NUM_ROWS), odds], axis=1)
    lesson = np.concatenate([logits, np.full((NUM_ROWS, 1), -1.0)], axis=1)
    rows = split(fitted, cells, lesson)
    model = fit_tree_student(fitted, rows, task="classification", rounds=100, leaves=15, seed=0)
    found = model.outputs(rows)
    assert found.shape == (NUM_ROWS, 2)
    shares = 1 / (1 + np.exp(found[:, 0] - found[:, 1]))
    wanted = 1 / (1 + np.exp(-odds))
    assert np.abs(shares - wanted).mean() < 0.03
    again = fit_tree_student(fitted, rows, task="classification", rounds=100, leaves=15, seed=0)
    np.testing.assert_array_equal(again.outputs(rows), found)


def test_three_classes_and_what_is_right_of_them() -> None:
    fitted, cells = columns(NUM_ROWS)
    odds = truth(cells)
    logits = np.stack([-odds, np.zeros(NUM_ROWS), odds], axis=1)
    right = logits.argmax(1)
    lesson = np.concatenate([logits, right[:, None]], axis=1)
    rows = split(fitted, cells, lesson)
    model = fit_tree_student(fitted, rows, task="classification", rounds=60, leaves=15, seed=0)
    assert (model.outputs(rows).argmax(1) == right).mean() > 0.95


def test_a_number_is_learned_as_it_is() -> None:
    fitted, cells = columns(NUM_ROWS)
    number = 100 + 7 * truth(cells)
    right = number + np.random.default_rng(1).normal(0, 7, NUM_ROWS)
    right[::2] = np.nan  # nobody knows
    rows = split(fitted, cells, np.stack([number, right], axis=1))
    model = fit_tree_student(fitted, rows, task="regression", rounds=100, leaves=15, seed=0)
    error = model.outputs(rows)[:, 0] - number
    assert np.sqrt(np.mean(error**2)) < 0.3 * number.std()


class Classroom:
    task, seed, num_rows = "classification", 0, NUM_ROWS

    def __init__(self, lesson: EncodedSplit) -> None:
        self._lesson = lesson

    def lessons(self, inputs: Any) -> Any:
        return self._lesson, self._lesson

    def graph(self, model: Any, inputs: Any) -> Any:
        return graph_of(model, inputs)

    def watch(self, label: str, done: float, total: float) -> None:
        assert 0 <= done <= total


def test_a_forest_is_taught_to_fewer_trees() -> None:
    fitted, cells = columns(NUM_ROWS)
    odds = truth(cells)
    logits = np.stack([np.zeros(NUM_ROWS), odds], axis=1)
    rows = split(fitted, cells, np.concatenate([logits, np.full((NUM_ROWS, 1), -1.0)], axis=1))
    forest = fit_tree_student(fitted, rows, task="classification", rounds=400, leaves=31, seed=1)
    teacher = Compact(fitted, graph_of(forest, fitted), forest)
    work, distil = Classroom(rows), compression_pass("distil")
    assert distil.suits(teacher, work) is None
    settings = [each for each in distil.settings(teacher, work) if each["student"] == "trees"]
    assert len(settings) == 4
    made = distil.apply(teacher, work, settings[0])
    assert isinstance(made.model, TreesModel)
    assert made.model.num_trees == settings[0]["trees"]
    assert made.graph.ByteSize() < teacher.graph.ByteSize() / 4
    smallest = distil.apply(teacher, work, settings[-1])
    why = distil.suits(Compact(fitted, smallest.graph, smallest.model), work)
    assert why is not None
    assert "few numbers already" in why


def test_cells_come_from_other_rows_of_their_column() -> None:
    values = [str(place) for place in range(2000)]
    made = exchanged(values, 1, "a")
    assert made == exchanged(values, 1, "a")
    moved = [place for place, value in enumerate(made) if value != values[place]]
    assert 100 < len(moved) < 300
    assert set(made) <= set(values)
    other = exchanged(values, 1, "b")
    assert other != made, "columns do not move together"
    assert exchanged([], 0, "a") == []


@pytest.mark.parametrize("rounds", [5, 300])
def test_progress_is_told(rounds: int) -> None:
    fitted, cells = columns(NUM_ROWS)
    told: list[tuple[float, float]] = []
    rows = split(fitted, cells, np.stack([truth(cells), truth(cells)], axis=1))
    fit_tree_student(
        fitted,
        rows,
        task="regression",
        rounds=rounds,
        leaves=7,
        seed=0,
        step=lambda label, done, total: told.append((done, total)),
    )
    assert len(told) == rounds
    assert all(total == rounds for _, total in told)
