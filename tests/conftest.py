"""What tests of several rooms share: a tiny encoder and a tiny table."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import tiny_rows, write_table, write_tiny_encoder

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if WORKER and hasattr(os, "sched_setaffinity"):
    # A core for each worker and all that it starts: threads of several would fight over them.
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(WORKER.removeprefix("gw")) % len(_cores)]})


@pytest.fixture(scope="session")
def tiny_reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file with the columns `text` and `sentiment`: 300 rows that are easy to learn."""
    path = tmp_path_factory.mktemp("tiny-reviews") / "reviews.csv"
    return write_table(path, ("text", "sentiment"), tiny_rows())


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers and width 32 with random weights, in the layout of the hub."""
    return write_tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Tiny numbers are numbers again after a test that trains: Hypothesis counts on them."""
    yield
    if "volano.training._precision" in sys.modules:
        from volano.training import release_cores

        release_cores()
