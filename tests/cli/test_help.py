"""What the command line says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import volano
from volano.cli import app

WITHOUT_A_WHEEL = {"bundle verify"}
MOST_HELP_S = 0.3
"""What `volano --help` may take on a quiet machine."""


def _commands(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*prefix, name))
        else:
            yield " ".join((*prefix, name)), command


COMMANDS = dict(_commands(get_command(app)))


def test_the_commands() -> None:
    assert sorted(COMMANDS) == [
        "bundle export",
        "bundle verify",
        "check",
        "clean",
        "demo",
        "feedback export",
        "feedback import",
        "feedback remove",
        "history",
        "init",
        "predict",
        "promote",
        "queue",
        "rollback",
        "serve",
        "show",
        "turn",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name: str, run: Any) -> None:
    done = run(*name.split(), "--help")
    assert done.status == 0
    assert done.err == ""
    assert f"volano {name}" in done.out
    assert "--json" in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_a_folder_and_json(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert "--json" in options
    assert ("-C" in options) == (name not in WITHOUT_A_WHEEL)


def test_without_a_command_it_says_what_there_is(run: Any) -> None:
    done = run()
    assert "Usage:" in done.out + done.err
    assert "turn" in done.out + done.err


def test_version(run: Any) -> None:
    done = run("--version")
    assert (done.status, done.out) == (0, f"volano {volano.__version__}\n")


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "volano", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"volano {volano.__version__}\n"


def test_help_is_quick() -> None:
    command = [str(Path(sys.executable).with_name("volano")), "--help"]
    seconds = []
    for _ in range(5):
        before, started = os.times(), time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
        # Processor time: a machine that tests run on has other things to do as well.
        used = after.children_user + after.children_system
        used -= before.children_user + before.children_system
        seconds.append(min(used, time.perf_counter() - started))
    assert min(seconds) < MOST_HELP_S, seconds
