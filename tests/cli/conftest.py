"""Running commands in this process, and a wheel that has turned once."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import volano
from volano import cli


@dataclass(frozen=True)
class Done:
    """What a command left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which must be one JSON object on one line and nothing else."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("turn", "--json", cwd=folder)`: a command as `main` runs it, without a new process."""

    def run(*words: object, cwd: Path | None = None) -> Done:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["volano", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        found = capfd.readouterr()
        code = stopped.value.code
        return Done(code if isinstance(code, int) else int(bool(code)), found.out, found.err)

    return run


@pytest.fixture(scope="session")
def turned_once(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, tiny_reviews: Path
) -> Path:
    """A wheel with one turn, promoted by hand. Not to be changed: `wheel` is a copy."""
    root = tmp_path_factory.mktemp("turned") / "wheel"
    root.mkdir()
    shutil.copytree(tiny_encoder, root / "encoder")
    shutil.copy(tiny_reviews, root / "reviews.csv")
    (root / "volano.yaml").write_text(
        "name: reviews\n"
        "data: reviews.csv\n"
        "inputs: {text: {type: text, encoder: encoder}}\n"
        "target: {sentiment: category}\n"
        "train: {epochs: 1, precision: fp32}\n",
        encoding="utf-8",
    )
    with volano.Wheel(root) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(turn.number)
    return root


@pytest.fixture
def wheel(turned_once: Path, tmp_path: Path) -> Path:
    """A copy of a wheel that has turned once."""
    return Path(shutil.copytree(turned_once, tmp_path / "wheel"))
