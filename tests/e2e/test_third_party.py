"""A column and an encoder of another package: from the spec to answers, without a change here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from third_party import installed
from tiny import write_table

import volano
from volano import Wheel

SPEC = """\
name: words
data: words.csv
inputs: {word: {type: length, unit: 1}, weight: number}
target: {size: category}
train: {models: [network], epochs: 15, seed: 1, precision: fp32, learning_rate: 0.01}
compress: off
gate: {min_rows: 10}
"""


def test_it_turns_and_answers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    for _ in range(240):
        word = "".join(random.choice(list("abcdefgh"), int(random.integers(1, 21))))
        size = "long" if len(word) > 10 else "short"
        rows.append((word, f"{random.normal():.3f}", size))
    write_table(tmp_path / "words.csv", ("word", "weight", "size"), rows)
    (tmp_path / "volano.yaml").write_text(SPEC, encoding="utf-8")
    with installed(tmp_path / "site"), Wheel(tmp_path) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(turn.number)
        wheel.export(tmp_path / "words.volano")
        asked = [{"word": "ab", "weight": 0}, {"word": "abcdefg" * 3, "weight": 0}]
        answers = volano.load(tmp_path / "words.volano").predict(asked)
    assert turn.metrics["accuracy"]["value"] > 0.9
    assert [answer.value for answer in answers] == ["short", "long"]
