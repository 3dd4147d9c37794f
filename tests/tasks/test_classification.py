"""Classification: logits to names with calibrated probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from volano.columns.category import FittedCategory
from volano.columns.text import FittedText, train_tokenizer
from volano.errors import BundleError, RequestError
from volano.tasks import task_for_target, task_kind
from volano.tasks.classification import Classification

TARGET = FittedCategory("label", ("bad", "good", "so-so"))


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 3)).astype(np.float32)
    found = Classification(TARGET.names, 2.5).probabilities(logits)
    wanted = np.exp(logits.astype(np.float64) / 2.5)
    np.testing.assert_allclose(found, wanted / wanted.sum(1, keepdims=True), rtol=1e-12)


def test_large_logits_do_not_overflow() -> None:
    found = Classification(TARGET.names).probabilities(np.array([[1e30, -1e30, 0]], np.float32))
    assert found.tolist() == [[1.0, 0.0, 0.0]]


def test_ties_go_to_the_first_name() -> None:
    answer = Classification(TARGET.names).decode(np.zeros((1, 3), np.float32))[0]
    assert answer.value == "bad"
    assert list(answer.probabilities) == list(TARGET.names)


@pytest.mark.parametrize("state", [{"temperature": 0}, {"temperature": -1}, {"temperature": "nan"}])
def test_a_temperature_that_cannot_be(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="temperature"):
        Classification.from_dict(state, TARGET)


def test_another_target_is_refused() -> None:
    text = FittedText("text", train_tokenizer(["a"], 300), 8)
    with pytest.raises(TypeError, match="classification of a text"):
        Classification.from_dict({"temperature": 1}, text)


def test_look_ups() -> None:
    assert task_for_target("category") is task_kind("classification")
    with pytest.raises(BundleError, match="Did you mean classification"):
        task_kind("clasification")


@pytest.mark.parametrize("value", [None, 1.5, [], "goood", ""])
def test_a_value_that_is_no_class(value: object) -> None:
    with pytest.raises(RequestError) as caught:
        TARGET.check(value)
    if value == "goood":
        assert caught.value.nearest == "good"


def test_names_are_taken_without_space_around_them() -> None:
    assert TARGET.check(" good ") == "good"
    assert FittedCategory("n", ("1", "True")).check(1) == "1"
    assert FittedCategory("n", ("1", "True")).check(True) == "True"
