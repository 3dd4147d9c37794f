"""Where answers, corrections and bundles are written: never over what must stay."""

from __future__ import annotations

import csv
import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

MORE = "text,shop\nthe kettle is lovely,north\nmy kettle is awful,south\n"
WRITES = {
    "predict": ("predict", "more.csv", "-o"),
    "feedback": ("feedback", "export", "-o"),
    "bundle": ("bundle", "export"),
}


@pytest.fixture
def place(wheel: Path) -> Path:
    """A wheel with a table to answer."""
    (wheel / "more.csv").write_text(MORE, encoding="utf-8")
    return wheel


@pytest.mark.parametrize("command", WRITES)
def test_a_device_stays_a_device(command: str, place: Path, run: Any) -> None:
    (place / "null").symlink_to("/dev/null")
    done = run(*WRITES[command], "null", cwd=place)
    assert done.status == 0, done.err
    assert (place / "null").is_symlink()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("command", WRITES)
def test_a_pipe_is_written_to(command: str, place: Path, run: Any) -> None:
    os.mkfifo(place / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(
        target=lambda: found.append((place / "pipe").read_bytes()), daemon=True
    )
    reader.start()
    done = run(*WRITES[command], "pipe", cwd=place)
    reader.join(20)
    assert done.status == 0, done.err
    assert (place / "pipe").is_fifo()
    assert found[0].startswith(b"PK" if command == "bundle" else b"text,")


@pytest.mark.parametrize("command", WRITES)
def test_a_link_stays_a_link(command: str, place: Path, run: Any) -> None:
    (place / "far").mkdir()
    (place / "far" / "real.csv").write_text("old", encoding="utf-8")
    (place / "far" / "real.csv").chmod(0o600)
    (place / "link.csv").symlink_to("far/real.csv")
    done = run(*WRITES[command], "link.csv", cwd=place)
    assert done.status == 0, done.err
    assert (place / "link.csv").is_symlink()
    assert (place / "far" / "real.csv").read_bytes() != b"old"
    assert (place / "far" / "real.csv").stat().st_mode & 0o777 == 0o600
    assert not list(place.rglob("*.part"))


NO_PLACE = {
    "folder": "encoder",
    "empty": "",
    "too long": "a" * 300 + ".csv",
    "below a file": "more.csv/x.csv",
}


@pytest.mark.parametrize("case", NO_PLACE)
@pytest.mark.parametrize("command", WRITES)
def test_no_file_can_be_there(command: str, case: str, place: Path, run: Any) -> None:
    done = run(*WRITES[command], NO_PLACE[case], cwd=place)
    assert done.status == 1
    assert "[WHEEL-040]" in done.err
    assert "Traceback" not in done.err
    assert not list(place.rglob("*.part"))
    assert (place / "more.csv").read_text(encoding="utf-8") == MORE


def test_a_name_as_long_as_names_can_be(place: Path, run: Any) -> None:
    name = "a" * 251 + ".csv"
    assert run("predict", "more.csv", "-o", name, cwd=place).status == 0
    assert (place / name).exists()


@pytest.mark.parametrize("name", ["more.csv", "./encoder/../more.csv", "link.csv"])
def test_answers_do_not_replace_their_rows(name: str, place: Path, run: Any) -> None:
    (place / "link.csv").symlink_to("more.csv")
    done = run("predict", "more.csv", "-o", name, "--json", cwd=place)
    assert done.status == 1
    assert done.json["error"]["code"] == "WHEEL-041"
    assert (place / "more.csv").read_text(encoding="utf-8") == MORE


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.parquet", "out.gz", "out.csv.zip"])
@pytest.mark.parametrize("command", ["predict", "feedback"])
def test_an_extension_that_is_not_written(command: str, name: str, place: Path, run: Any) -> None:
    done = run(*WRITES[command], name, cwd=place)
    assert done.status == 1
    assert "[WHEEL-042]" in done.err
    assert ".jsonl" in done.err
    assert not (place / name).exists()


@pytest.mark.parametrize("name", ["o.csv", "o.tsv", "o.jsonl", "o.NDJSON", "o.csv.gz"])
def test_formats(name: str, place: Path, run: Any) -> None:
    done = run("predict", "more.csv", "-o", name, cwd=place)
    assert done.status == 0, done.err
    content = (place / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    lines = text.splitlines()
    if "json" in name.lower():
        rows = [json.loads(line) for line in lines]
    else:
        rows = list(csv.DictReader(lines, delimiter="\t" if ".tsv" in name else ","))
    assert [row["shop"] for row in rows] == ["north", "south"]


def test_columns_that_give_way_are_named(place: Path, run: Any) -> None:
    table = "text,prediction_id,sentiment_predicted\nthe kettle is lovely,7,mine\n"
    (place / "own.csv").write_text(table, encoding="utf-8")
    done = run("predict", "own.csv", "-o", "out.csv", "--json", cwd=place)
    assert any("prediction_id, sentiment_predicted" in note for note in done.json["notes"])
    done = run("predict", "own.csv", "-o", "out.csv", cwd=place)
    assert "gave way" in done.err
