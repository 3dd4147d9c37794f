"""What a wheel, a turn and a model say of themselves, on one line."""

from __future__ import annotations

from pathlib import Path

import volano


def test_one_line_each(root: Path, tmp_path: Path) -> None:
    with volano.Wheel(root) as wheel:
        assert repr(wheel) == f"<volano.Wheel '{root.resolve()}'>"
        turn = wheel.turn()
        accuracy = turn.metrics["accuracy"]["value"]
        assert repr(turn) == (
            f"<volano.Turn 1 {turn.verdict} accuracy={accuracy:.4g} unchanged: {turn.bundle}>"
        )
        if turn.verdict != "promoted":
            wheel.promote(1)
        wheel.export(tmp_path / "x.volano")
    model = volano.load(tmp_path / "x.volano")
    assert repr(model) == (
        f"<volano.Model 'tiny': text -> sentiment of 2 classes, id {model.id[:16]}>"
    )


def test_a_turn_without_golden_rows() -> None:
    turn = volano.Turn(3, "inconclusive", Path("b"), Path("r"), {"metrics": {}})
    assert repr(turn) == "<volano.Turn 3 inconclusive: b>"


def test_a_wheel_without_a_spec(tmp_path: Path) -> None:
    assert "volano.Wheel" in repr(volano.Wheel(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
