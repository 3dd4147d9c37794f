"""The walk of docs/getting-started.md, command by command, on a tiny table.

Two things are changed, and no more: the encoder is one from nothing, which needs no download, and
the service takes any free port.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "getting-started.md"
COMMAND_S = 120

SMALL = """
train: {epochs: 2, precision: fp32}
"""


def commands() -> list[str]:
    """Every line of every block that a reader would paste."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line]


class Walk:
    """A folder, and what was said in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.service: subprocess.Popen[str] | None = None
        self.address = ""
        self.said: list[tuple[str, str]] = []
        self.answer: dict[str, Any] = {}
        # The installed `volano` of this very Python comes first.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = os.environ | {"PATH": path, "PYTHONWARNINGS": "default"}

    def run(self, command: str) -> None:
        if command.startswith("curl "):
            self.curl(command)
            return
        self.stop()
        if command == "volano serve":
            self.serve()
            return
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        self.said.append((command, done.stdout + done.stderr))

    def serve(self) -> None:
        self.service = subprocess.Popen(
            ["volano", "serve", "--port", "0"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.service.stdout
        line = self.service.stdout.readline()
        found = re.search(r"http://\S+:\d+", line)
        assert found, line
        self.address = found[0]

    def curl(self, command: str) -> None:
        words = shlex.split(command)
        path = next(word for word in words if "localhost:8080" in word).partition(":8080")[2]
        header = words[words.index("-H") + 1].split(": ")
        body = words[words.index("-d") + 1].encode()
        request = urllib.request.Request(f"{self.address}{path}", body, {header[0]: header[1]})
        with urllib.request.urlopen(request, timeout=30) as response:
            self.answer = json.load(response)

    def stop(self) -> None:
        """As the page says: Ctrl-C."""
        if self.service is None:
            return
        with self.service as service:
            service.send_signal(signal.SIGINT)
            assert service.wait(30) == 0
        self.service = None


@pytest.fixture
def walk(tmp_path: Path, tiny_reviews: Path) -> Iterator[Walk]:
    (tmp_path / "reviews.csv").write_bytes(tiny_reviews.read_bytes())
    more = "text,shop\nthe kettle is lovely,north\nmy kettle is awful,south\n"
    (tmp_path / "more.csv").write_text(more, encoding="utf-8")
    walk = Walk(tmp_path)
    yield walk
    if walk.service is not None:
        walk.service.kill()
        walk.service.communicate()


def correct(folder: Path) -> None:
    """What the reader does by hand: the right values, beside the ids of the answers."""
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["sentiment"] = "positive" if "lovely" in row["text"] else "negative"
    with (folder / "corrections.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


@pytest.mark.slow
def test_the_walk(walk: Walk) -> None:
    for command in commands():
        if command.startswith("volano feedback import"):
            correct(walk.folder)
        walk.run(command)
        if command.startswith("volano init"):
            spec = walk.folder / "volano.yaml"
            text = spec.read_text(encoding="utf-8")
            assert "  text: text\n" in text
            scratch = "  text: {type: text, encoder: scratch, vocabulary: 300}\n"
            spec.write_text(text.replace("  text: text\n", scratch) + SMALL, encoding="utf-8")
    walk.stop()
    said = dict(walk.said)
    turns = [text for command, text in walk.said if command == "volano turn"]
    assert len(turns) == 3
    assert "turn 1: " in turns[0]
    assert "nothing has changed since turn 1" in turns[1]
    assert "turn 2: " in turns[2]
    assert walk.answer["predictions"][0]["value"] in ("positive", "negative")
    assert "2 corrections taken in" in said["volano feedback import corrections.csv"]
    assert "turn 2" in said["volano history"]
    with (walk.folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    assert list(answers[0]) == [
        "text",
        "shop",
        "sentiment_predicted",
        "sentiment_probability",
        "prediction_id",
    ]
    assert [row["shop"] for row in answers] == ["north", "south"]
    turn = json.loads((walk.folder / "turn.json").read_text(encoding="utf-8"))
    assert turn["turn"] == 2
    assert turn["unchanged"] is True
    history = json.loads((walk.folder / "history.json").read_text(encoding="utf-8"))
    assert [row["turn"] for row in history["turns"]] == [1, 2]
    assert (walk.folder / "reviews.volano").stat().st_size > 0
    assert Path(turn["report"]).is_absolute() or (walk.folder / turn["report"]).exists()


def test_the_page_shows_every_command_that_a_newcomer_needs() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for word in ("init", "check", "turn", "predict", "serve", "feedback import", "history"):
        assert f"volano {word}" in text
    assert "volano bundle export" in text
