"""The temperature against scipy's optimiser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from volano.errors import DataError
from volano.evaluation import fit_temperature, softmax


def loss(logits, labels, temperature):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 100.0])
@pytest.mark.parametrize(("num_rows", "num_classes"), [(12, 2), (300, 5), (3000, 77)])
def test_it_is_scipys_minimum(scale, num_rows, num_classes):
    rng = np.random.default_rng(num_rows)
    # One class never occurs.
    labels = rng.integers(0, num_classes - 1, size=num_rows) if num_classes > 2 else (
        rng.integers(0, 2, size=num_rows)
    )  # fmt: skip
    logits = rng.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), labels] += 1.0
    logits *= scale
    found = minimize_scalar(
        lambda log_t: loss(logits, labels, np.exp(log_t)),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(np.exp(found.x), rel=1e-4)
    assert loss(logits, labels, temperature) <= found.fun + 1e-9


def test_it_recovers_the_temperature_that_made_the_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 3
    labels = (softmax(logits, 2.0).cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(2.0, rel=0.05)


def test_it_stays_within_its_bounds():
    separable = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(separable, [0, 1]) == 0.05
    assert fit_temperature(separable, [1, 0]) == 20.0
    assert fit_temperature(np.zeros((3, 4)), [0, 1, 2]) == 1.0
    assert fit_temperature([[3.0]], [0]) == 1.0
    assert fit_temperature([[1e100, 0.0], [0.0, 1e100]], [0, 1]) == 0.05


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.05, 20))
def test_softmax_is_scipys_and_keeps_the_order(seed, temperature):
    logits = np.random.default_rng(seed).normal(size=(5, 4)) * 4
    probabilities = softmax(logits, temperature)
    np.testing.assert_allclose(
        probabilities, scipy_softmax(logits / temperature, axis=1), atol=1e-12
    )
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_rows=st.integers(1, 30))
def test_shifting_a_row_changes_nothing_and_scaling_scales(seed, num_rows):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(num_rows, 3)), rng.integers(0, 3, size=num_rows)
    temperature = fit_temperature(logits, labels)
    shifted = fit_temperature(logits + rng.normal(size=(num_rows, 1)), labels)
    assert shifted == pytest.approx(temperature, rel=1e-5)
    if 0.11 < temperature < 9:
        assert fit_temperature(logits * 2, labels) == pytest.approx(2 * temperature, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "code", "texts"),
    [
        (lambda: softmax([1.0, 2.0]), "DATA-420", ["(2,)", "(num_rows, num_classes)"]),
        (lambda: fit_temperature(np.zeros((0, 2)), []), "DATA-420", ["(0, 2)", "at least one row"]),
        (lambda: softmax([[0.0, 1.0], [np.inf, 0.0]]), "DATA-421", ["row 1", "not finite"]),
        (lambda: softmax([[0.0, 1.0]], 0.0), "DATA-422", ["is 0.0", "above 0", "fit_temperature"]),
        (lambda: fit_temperature([[0.0, 1.0]], [0, 1]), "DATA-401", ["(2,)", "shape (1,)"]),
        (lambda: fit_temperature([[0.0, 1.0]], [-1]), "DATA-402", ["is -1", "from 0 to 1"]),
    ],
)
def test_messages(call, code, texts):
    with pytest.raises(DataError) as caught:
        call()
    assert caught.value.code == code
    for text in texts:
        assert text in str(caught.value)


def test_rows_without_a_mistake_do_not_sharpen():
    """A few rows that are all right say that the model is good, and not how sure it may be."""
    from volano.evaluation import evaluator

    judge = evaluator("classification")
    logits = np.array([[2.0, 0.0], [0.0, 2.0]] * 10)
    labels = np.array([0, 1] * 10)
    assert judge.calibrate(logits, labels) == {"temperature": 1.0}
    labels[:5] = 1 - labels[:5]
    softened = judge.calibrate(logits, labels)["temperature"]
    assert softened == pytest.approx(fit_temperature(logits, labels))
