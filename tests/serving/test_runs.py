"""How rows are joined in runs of the graph: each once, and with little padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volano.runtime._model import BATCH_TOKENS, RUN_TOKENS, _batches

WIDTHS = st.lists(st.integers(1, 600), min_size=1, max_size=80)


@given(WIDTHS)
def test_each_row_is_in_one_run(widths: list[int]) -> None:
    runs = list(_batches(np.array(widths, np.int64)))
    assert sorted(np.concatenate(runs).tolist()) == list(range(len(widths)))


@given(WIDTHS)
def test_a_run_pads_less_than_another_run_would_cost(widths: list[int]) -> None:
    array = np.array(widths, np.int64)
    for rows in _batches(array):
        cells = len(rows) * array[rows].max()
        assert cells - array[rows].sum() <= RUN_TOKENS
        assert cells <= BATCH_TOKENS or len(rows) == 1


def test_rows_of_one_length_run_together() -> None:
    assert [len(rows) for rows in _batches(np.full(64, 16))] == [64]
