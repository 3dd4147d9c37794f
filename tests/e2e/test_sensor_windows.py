"""Windows of a sensor, one in each row, to a class: from `init` to answers without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import volano
from volano.data import resolve
from volano.wheel import Wheel, answer_table, init_wheel

CHIRP, HUM = "chirp", "hum"


def window(random: np.random.Generator, kind: str) -> list[list[float | None]]:
    """Two sensors. A burst at any place tells a chirp; what is at a given place tells nothing."""
    length = int(random.integers(24, 41))
    values = random.normal(0, 0.3, (2, length))
    at = int(random.integers(0, length - 8))
    turn = np.arange(8) * (np.pi if kind == CHIRP else np.pi / 4) + random.uniform(0, 6)
    values[0, at : at + 8] += 3 * np.cos(turn)
    found: list[list[float | None]] = values.round(3).tolist()
    found[1][3] = None
    return found


def write(path: Path, num: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for at in range(num):
            kind = (CHIRP, HUM)[at % 2]
            file.write(json.dumps({"trace": window(random, kind), "class": kind}) + "\n")


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sensor")
    write(root / "rows.jsonl", 400, 0)
    found = init_wheel(root, [str(root / "rows.jsonl")])
    assert any("trace: series: 2 series of 24 to 40 numbers" in line for line in found.reasons)
    found.path.write_text(
        "name: sensor\ndata: rows.jsonl\ninputs: {trace: series}\ntarget: {class: category}\n"
        "train: {models: [network], epochs: 8}\n"
    )
    return root


def test_it_turns_and_the_bundle_answers_without_torch(wheel_folder: Path) -> None:
    with Wheel(wheel_folder) as wheel:
        assert wheel.check()
        turn = wheel.turn()
        record = turn.record
        assert record["training"]["best"] == "network"
        assert turn.verdict == "promoted", record["reason"]
        assert record["metrics"]["accuracy"]["value"] > 0.85
        bundle = wheel.champion_bundle
        random = np.random.default_rng(9)
        answers = wheel.predict([{"trace": window(random, CHIRP)}, {"trace": [[1, 2], [3, 4]]}])
        assert answers[0].value == CHIRP
        assert "2 values where 40 are looked at; the first was repeated" in answers[1].notes[0]
    model = volano.load(bundle)
    assert model.inputs["trace"].columns == ("trace[0]", "trace[1]")
    code = (
        "import sys, volano\n"
        f"model = volano.load({str(bundle)!r})\n"
        "assert model.predict([{'trace': [[1, None, 2], [3, 4, 5]]}])[0].value\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'pyarrow', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rows_without_a_window_stop_neither_a_turn_nor_a_table_of_answers(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    lines = ["trace,machine,class"]
    for at in range(120):
        kind = (CHIRP, HUM)[at % 2]
        cells = [json.dumps(part) for part in window(random, kind)[:1]]
        if at % 10 == 3:
            cells = [("", "no window", "[]")[at // 10 % 3]]
        lines.append(f'"{cells[0]}",m{at % 3},{kind}')
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "volano.yaml").write_text(
        "name: sensor\ndata: rows.csv\ninputs: {trace: series, machine: category}\n"
        "target: {class: category}\ntrain: {models: [linear]}\n",
        encoding="utf-8",
    )
    with Wheel(tmp_path) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(turn.number)
        (tmp_path / "more.csv").write_text(
            'trace,machine\n"[1, 2, 3]",m1\n,m1\nno window,m2\n', encoding="utf-8"
        )
        model = wheel.model()
        files = resolve(["more.csv"], root=tmp_path)
        found = answer_table(files, tmp_path / "out.csv", model=model, predict=model.predict)
    assert (found.answered, found.unread) == (1, 2)
    assert found.first[1] == "row 3: trace is 'no window'"
    answers = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert [line.endswith(",,,") for line in answers[1:]] == [False, True, True]
