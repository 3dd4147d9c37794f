"""Ctrl-C, and readers that go away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import volano

VOLANO = str(Path(sys.executable).with_name("volano"))


@pytest.fixture
def fresh(turned_once: Path, tmp_path: Path) -> Path:
    """A wheel that has not turned, with more epochs than anyone would wait for."""
    root = tmp_path / "fresh"
    shutil.copytree(turned_once, root, ignore=shutil.ignore_patterns(".volano"))
    spec = root / "volano.yaml"
    text = spec.read_text(encoding="utf-8").replace("epochs: 1", "epochs: 10000, patience: 0")
    spec.write_text(text, encoding="utf-8")
    return root


@pytest.mark.slow
def test_ctrl_c_in_a_turn(fresh: Path, run: Any) -> None:
    command = [VOLANO, "turn", "-C", str(fresh), "--json"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has had Ctrl-C ignored for all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line)
            if "epoch 1 of" in line:
                break
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert rest.strip().splitlines()[-1].startswith("stopped")
    assert len([line for line in rest.splitlines() if "stopped" in line]) == 1
    assert out == ""
    assert not list((fresh / ".volano" / "artifacts").glob(".new-*")), "half an artifact was left"
    with volano.Wheel(fresh) as wheel:
        assert wheel.history() == []
        assert wheel.store.golden() is not None, "what was finished is kept"
    done = run("check", "-C", fresh, "--json")
    assert done.status == 0, done.err


def test_ctrl_c_in_a_service(wheel: Path) -> None:
    command = [VOLANO, "serve", "-C", str(wheel), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == ""


def test_a_reader_that_goes_away(wheel: Path) -> None:
    """`volano predict more.csv | head -1` is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [VOLANO, "predict", "reviews.csv"]
    done = subprocess.run(
        command, cwd=wheel, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr == ""
    assert done.returncode == 0
