"""What serves is damaged: it is said what to do, and that helps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from volano import Wheel
from volano.errors import WheelError

ROWS = [{"text": "a good kettle"}]


def flip(path: Path) -> None:
    """Change a byte where it lies: in every artifact that shares the file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


def spoil(bundle: Path, how: str) -> None:
    graph = next(bundle.rglob("*.onnx"))
    if how == "flipped":
        flip(graph)
    elif how == "cut":
        graph.write_bytes(graph.read_bytes()[:100])
    elif how == "gone":
        graph.unlink()
    else:
        shutil.rmtree(bundle.parent)


@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "all gone"])
def test_a_damaged_champion_says_what_to_do_and_a_turn_makes_it_again(
    root: Path, tmp_path: Path, how: str
) -> None:
    with Wheel(root) as wheel:
        wheel.promote(1)
        before = wheel.model().predict(ROWS)[0]
        spoil(wheel.champion_bundle, how)
        for work in (
            wheel.model,
            lambda: wheel.predict(ROWS),
            lambda: wheel.export(tmp_path / "x.volano"),
            wheel.serve,
        ):
            with pytest.raises(WheelError) as caught:
                work()
            assert caught.value.code == "WHEEL-032"
            assert "turn 1, which serves" in str(caught.value)
            assert "Fix: volano turn " in str(caught.value)
            assert "volano rollback" in str(caught.value)
        assert wheel.turn().unchanged
        after = wheel.predict(ROWS)[0]
        assert (after.bundle, after.probabilities) == (before.bundle, before.probabilities)
        wheel.export(tmp_path / "x.volano")


def test_a_rollback_leaves_a_damaged_champion(root: Path, ran: Callable[[], list[str]]) -> None:
    with Wheel(root) as wheel:
        wheel.promote(1)
    spec = root / "volano.yaml"
    spec.write_text(spec.read_text().replace("epochs: 1}", "epochs: 1, seed: 5}"))
    ran()
    with Wheel(root) as wheel:
        if wheel.champion().turn != 2:
            wheel.promote(2)
        flip(next(wheel.champion_bundle.rglob("*.onnx")))
        with pytest.raises(WheelError, match="turn 2, which serves"):
            wheel.model()
        assert wheel.rollback().turn == 1
        assert wheel.predict(ROWS)[0].value in ("negative", "positive")
