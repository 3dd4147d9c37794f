"""What people really have: each gives one clear error, or a repair that is counted and said."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volano.columns.text import train_tokenizer

SPEC = """\
name: tiny
data: DATA
inputs: {text: {type: text, encoder: scratch, vocabulary: 300}}
target: {label: category}
train: {epochs: 1}
"""


def volano(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "volano", *arguments, "-C", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
    )


def table(rows: list[tuple[str, ...]], columns: tuple[str, ...] = ("text", "label")) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue().encode()


def rows(count: int, names: tuple[str, ...] = ("a", "b")) -> list[tuple[str, ...]]:
    return [(f"row {n} about {names[n % len(names)]}", names[n % len(names)]) for n in range(count)]


def write(folder: Path, content: bytes, name: str = "data.csv", spec: str = SPEC) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "volano.yaml").write_text(spec.replace("DATA", name))


def _folder(folder: Path) -> None:
    write(folder, b"", "tables/readme.md", SPEC.replace("DATA", "tables"))


def _bin_only(folder: Path) -> None:
    encoder = folder / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    (encoder / "pytorch_model.bin").write_bytes(b"x")
    write(folder, table(rows(40)), spec=SPEC.replace("scratch", "encoder"))


def _broken_encoder(name: str, content: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        encoder = folder / "encoder"
        encoder.mkdir()
        config = {"model_type": "bert", "max_position_embeddings": 64}
        (encoder / "config.json").write_text(json.dumps(config))
        (encoder / "model.safetensors").write_bytes(b"not weights")
        (encoder / name).write_text(content)
        write(folder, table(rows(40)), spec=SPEC.replace("scratch", "encoder"))

    return make


def _newer_store(folder: Path) -> None:
    write(folder, table(rows(40)))
    assert volano(folder, "history").returncode == 0
    connection = sqlite3.connect(folder / ".volano" / "store.db")
    connection.execute("UPDATE volano_meta SET value = '99' WHERE key = 'schema'")
    connection.commit()
    connection.close()


def _broken_store(folder: Path) -> None:
    write(folder, table(rows(40)))
    (folder / ".volano").mkdir()
    (folder / ".volano" / "store.db").write_bytes(b"this is no database at all" * 100)


def data(content: bytes, name: str = "data.csv", spec: str = SPEC) -> Callable[[Path], None]:
    return lambda folder: write(folder, content, name, spec)


# Name -> (what is in the folder, the code of the error, a piece of its text).
ERRORS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no spec": (lambda folder: None, "SPEC-001", "volano init"),
    "no file": (lambda folder: (folder / "volano.yaml").write_text(SPEC) and None, "DATA-", "DATA"),
    "empty file": (data(b""), "DATA-", "data.csv"),
    "only a header": (data(b"text,label\n"), "DATA-", "row"),
    "one column": (data(b"text\nhello\nworld\n"), "DATA-", "label"),
    "target absent": (data(table(rows(40), ("text", "lable"))), "DATA-", "Did you mean"),
    "one class": (data(table(rows(40, ("a",)))), "DATA-", "'a'"),
    "nothing but empty cells": (data(table([("", ""), (" ", "a"), ("x", "")])), "DATA-", ""),
    "20,000 classes": (
        data(table([(f"row {n}", f"class {n}") for n in range(20_000)])),
        "DATA-021",
        "names that repeat",
    ),
    "float labels": (
        data(table([(f"row {n}", f"{n / 7:.4f}") for n in range(400)])),
        "DATA-",
        "",
    ),
    "truncated gzip": (data(gzip.compress(table(rows(5000)))[:-40], "data.csv.gz"), "DATA-", "gz"),
    "no gzip": (data(b"text,label\n", "data.csv.gz"), "DATA-", "gz"),
    "folder without files": (_folder, "DATA-", "tables"),
    "no Parquet": (data(b"PAR1", "data.parquet"), "DATA-", "parquet"),
    "reserved column": (
        data(table(rows(9)), spec=SPEC.replace("label:", "prediction_id:")),
        "SPEC-031",
        "rename",
    ),
    "no such encoder": (
        data(table(rows(40)), spec=SPEC.replace("scratch", "nowhere")),
        "ASSET-101",
        "nowhere",
    ),
    "hub unreachable": (
        data(table(rows(40)), spec=SPEC.replace("scratch", "hf:someone/something")),
        "ASSET-102",
        "hub",
    ),
    "weights that run code": (_bin_only, "ASSET-104", "pytorch_model.bin"),
    "no tokenizer": (_broken_encoder("notes.txt", ""), "ASSET-105", "tokenizer"),
    "broken tokenizer": (_broken_encoder("tokenizer.json", "{"), "ASSET-", "tokenizer"),
    "broken config": (_broken_encoder("config.json", "{"), "ASSET-", "config"),
    "broken weights": (
        _broken_encoder("tokenizer.json", train_tokenizer(["a b"], 300)),
        "ASSET-107",
        "weights",
    ),
    "newer store": (_newer_store, "STORE-002", "upgrade"),
    "broken store": (_broken_store, "STORE-", "database"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ERRORS)
def test_one_clear_error(case: str, tmp_path: Path) -> None:
    make, code, piece = ERRORS[case]
    make(tmp_path)
    done = volano(tmp_path, "turn")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count(f"[{code}") == 1, done.stderr
    assert piece in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.glob(".volano/artifacts/.new-*"))


def check(folder: Path) -> dict[str, Any]:
    done = volano(folder, "check", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


BASE = table(rows(60))
REPAIRS: dict[str, tuple[bytes, int]] = {
    "mixed line ends": (BASE.replace(b"\r\n", b"\n", 20).replace(b"\r\n", b"\r", 10), 60),
    "byte order mark": (b"\xef\xbb\xbf" + BASE, 60),
    "Latin-1": (BASE + "caf\xe9 au lait,a\r\n".encode("latin-1"), 61),
    "UTF-16": (BASE.decode().encode("utf-16"), 60),
    "a cell of a megabyte": (BASE + b"big " * 250_000 + b",a\r\n", 61),
    "NaN and empty": (BASE + b"NaN,a\r\n,a\r\nx,\r\n", 63),
    "one row of a class": (BASE + b"alone,c\r\n", 61),
    "NUL": (BASE + b"with\0nul,a\r\n", 61),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REPAIRS)
def test_a_repair_is_counted(case: str, tmp_path: Path) -> None:
    content, count = REPAIRS[case]
    write(tmp_path, content)
    counts = check(tmp_path)["cleaning"]["counts"]
    assert counts["read"]["rows"] == count


@pytest.mark.slow
def test_two_rows_are_learned_and_nothing_is_promoted(tmp_path: Path) -> None:
    write(tmp_path, table(rows(2)))
    done = volano(tmp_path, "turn", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "inconclusive"
    assert "0 golden rows are too few" in found["reason"]


def test_a_port_in_use(tmp_path: Path) -> None:
    import socket

    write(tmp_path, table(rows(10)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = volano(tmp_path, "serve", "--port", str(port))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
