"""One turned wheel for all tests of this folder; each works on a copy of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from volano import Wheel

SPEC = """\
name: tiny
data: reviews.csv
inputs: {text: {type: text, encoder: ENCODER}}
target: {sentiment: category}
train: {epochs: 1}
gate: {min_rows: 10, alpha: 5%}
compress: {margin: 5%}
"""


@pytest.fixture(scope="session")
def turned(
    tiny_encoder: Path, tiny_reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A wheel after its first turn. Not to be changed."""
    root = tmp_path_factory.mktemp("turned") / "wheel"
    root.mkdir()
    (root / "reviews.csv").write_bytes(tiny_reviews.read_bytes())
    (root / "volano.yaml").write_text(SPEC.replace("ENCODER", str(tiny_encoder)))
    with Wheel(root) as wheel:
        wheel.turn()
    return root


@pytest.fixture
def root(turned: Path, tmp_path: Path) -> Path:
    """A copy of the turned wheel, to do anything with."""
    place = tmp_path / "wheel"
    shutil.copytree(turned, place)
    return place


@pytest.fixture
def ran(root: Path) -> Callable[[], list[str]]:
    """Turns the wheel; returns the stages that were really run, or ``unchanged``."""

    def turn() -> list[str]:
        with Wheel(root) as wheel:
            made = wheel.turn()
        if made.unchanged:
            return ["unchanged"]
        return [item["name"] for item in made.record["stages"] if not item["cached"]]

    return turn
