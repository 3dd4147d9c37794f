"""What `volano.tasks.Task` promises."""

from __future__ import annotations

import json
import math

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.tasks import Task, task_kind

__all__ = ["check_task"]


def check_task(task: Task, target: FittedColumn, outputs: NDArray[np.float32]) -> None:
    """Check a task on some outputs of a graph.

    Args:
      task: With any state.
      target: The column that it predicts.
      outputs: As the graph gives them, at least two rows.
    Raises:
      AssertionError: A promise is broken; the message says which.
    """
    assert task_kind(task.kind).kind == task.kind, "the task is not registered under its name"
    state = task.as_dict()
    assert json.loads(json.dumps(state)) == state, "the state is not plain JSON"
    loaded = type(task).from_dict(state, target)
    assert loaded == task, "a task does not equal the one it was saved from"
    kept = outputs.copy()
    answers = task.decode(outputs)
    assert np.array_equal(outputs, kept), "decode changes what it was given"
    assert len(answers) == len(outputs), "not one answer for each row"
    assert list(answers) == list(loaded.decode(outputs)), "decoding after loading answers otherwise"
    for row, answer in enumerate(answers):
        json.dumps([answer.value, answer.probability, dict(answer.probabilities)])
        alone = task.decode(outputs[row : row + 1])[0]
        assert alone == answer, f"row {row} is answered otherwise by itself"
        if answer.probability is None:
            assert not answer.probabilities
            continue
        values = list(answer.probabilities.values())
        assert 0 <= answer.probability <= 1
        assert values == sorted(values, reverse=True), "probabilities are not highest first"
        if isinstance(answer.value, list):
            # Several names at once: each has a probability of its own, and they need no sum.
            assert set(answer.value) <= set(answer.probabilities), "a name without a probability"
            assert all(0 <= value <= 1 for value in values), "a probability beyond 0 and 1"
            continue
        assert math.isclose(sum(values), 1, abs_tol=1e-3), "probabilities do not sum to one"
        assert answer.probabilities[answer.value] == answer.probability
