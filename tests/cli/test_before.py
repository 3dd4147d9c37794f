"""`-C` and `--json` before the command mean what they mean behind it, and the last one counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    "words",
    [
        ("-C", "wheel", "history", "--json"),
        ("--json", "-C", "wheel", "history"),
        ("--json", "history", "-C", "wheel"),
        ("-C", "nowhere", "history", "-C", "wheel", "--json"),
        ("-C", "nowhere", "-C", "wheel", "--json", "history"),
        ("history", "-C", "nowhere", "-C", "wheel", "--json"),
        ("--json", "-C", "wheel", "history", "--json"),
    ],
    ids=" ".join,
)
def test_it_does_not_matter_where_they_stand(words: tuple[str, ...], wheel: Path, run: Any) -> None:
    done = run(*words, cwd=wheel.parent)
    assert done.status == 0, done.err
    assert [row["turn"] for row in done.json["turns"]] == [1]


def test_the_last_folder_counts(wheel: Path, run: Any) -> None:
    done = run("-C", "wheel", "history", "-C", "nowhere", "--json", cwd=wheel.parent)
    assert done.json["error"]["where"] == "nowhere/volano.yaml"
    assert not (wheel.parent / "nowhere").exists()


def test_commands_of_a_group(wheel: Path, run: Any) -> None:
    done = run("-C", wheel, "--json", "feedback", "export", "-o", wheel / "out.csv")
    assert done.json["rows"] == 0
    target = wheel.parent / "x.volano"
    done = run("--json", "-C", wheel, "bundle", "export", target)
    assert done.json["size_bytes"] == target.stat().st_size
    assert run("--json", "bundle", "verify", target).json["inputs"] == ["text"]


def test_init_writes_there(tmp_path: Path, tiny_reviews: Path, run: Any) -> None:
    done = run("-C", tmp_path / "new", "init", tiny_reviews)
    assert done.status == 0, done.err
    assert (tmp_path / "new" / "volano.yaml").exists()


def test_demo_goes_there(tmp_path: Path, run: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("x")
    done = run("-C", tmp_path / "mine", "--json", "demo")
    assert done.json["error"]["code"] == "WHEEL-090"
    assert str(tmp_path / "mine") in done.json["error"]["where"]


def test_a_folder_for_what_has_none_is_refused(tmp_path: Path, run: Any) -> None:
    done = run("-C", tmp_path, "--json", "bundle", "verify", "x.volano")
    assert done.status == 2
    assert "'-C'" in done.json["error"]["what"]
    assert "about a bundle" in done.err


def test_a_folder_alone_is_no_command(tmp_path: Path, run: Any) -> None:
    done = run("-C", tmp_path)
    assert done.status == 2
    assert "Missing command" in done.err
