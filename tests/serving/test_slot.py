"""The model that serves is replaced by a newer champion, and only by one that can be opened."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from volano.runtime import Model, load
from volano.serving import ModelSlot, logged, open_model, watch
from volano.serving._slot import gap_of


def test_a_new_champion_is_taken(model: Model, other_bundle: Path) -> None:
    other = load(other_bundle, threads=1)
    slot, looked = ModelSlot(model), threading.Semaphore(0)

    def newest() -> tuple[str, Path]:
        looked.release()
        return other.id, other_bundle

    watcher = watch(slot, newest, every_s=0.001)
    # The second look comes after the first one's swap.
    for _ in range(2):
        assert looked.acquire(timeout=60)
    watcher.stop()
    assert slot.current.id == other.id
    assert slot.current.threads == model.threads
    assert slot.problem is None


def test_the_same_champion_is_left_alone(model: Model, bundle: Path) -> None:
    slot = ModelSlot(model)
    watcher = watch(slot, lambda: (model.id, bundle), every_s=3600)
    watcher.look()
    watcher.stop()
    assert slot.current is model


def test_without_a_champion_the_old_one_goes_on(model: Model) -> None:
    slot = ModelSlot(model)
    watcher = watch(slot, lambda: None, every_s=3600)
    watcher.look()
    watcher.stop()
    assert slot.current is model
    assert slot.problem is None


def test_a_champion_that_cannot_be_opened_is_said_once_and_not_taken(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slot = ModelSlot(model)
    watcher = watch(slot, lambda: ("other", tmp_path / "nothing"), every_s=3600)
    watcher.look()
    watcher.look()
    watcher.stop()
    assert slot.current is model
    assert "there is no bundle here" in (slot.problem or "")
    assert len(caplog.records) == 1


def test_a_store_that_fails_is_looked_at_again(model: Model, other_bundle: Path) -> None:
    other = load(other_bundle, threads=1)
    answers = iter([OSError("gone"), (other.id, other_bundle)])

    def newest() -> tuple[str, Path]:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    slot = ModelSlot(model)
    watcher = watch(slot, newest, every_s=3600)
    watcher.look()
    assert "gone" in (slot.problem or "")
    watcher.look()
    watcher.stop()
    assert slot.current.id == other.id
    assert slot.problem is None


def test_open_model_takes_one_thread_and_answers(bundle: Path) -> None:
    model = open_model(bundle)
    assert model.threads == 1
    prediction = model.predict([{"text": "x"}])[0]
    entry = logged(prediction, {"text": "x"})
    assert (entry.id, entry.inputs, entry.value) == (prediction.id, {"text": "x"}, prediction.value)


def test_the_gap_is_between_the_best_two() -> None:
    assert gap_of({"a": 0.6, "b": 0.3, "c": 0.1}) == pytest.approx(0.3)
    assert gap_of({"a": 1.0}) == 1.0


def test_without_probabilities_what_was_unusual_comes_first() -> None:
    """Where answers are numbers: the more of the inputs are unlike training, the sooner."""
    assert gap_of({}) == 1.0
    assert gap_of({}, ["a: 9 is outside"]) == 0.5
    assert gap_of({}, ["a: 9 is outside", "b: 'x' has no code"]) < 0.5
    assert gap_of({"a": 0.6, "b": 0.3}, ["cut"]) == pytest.approx(0.3)
