"""A quantile of a number, learned and judged by its own loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny import write_table

from volano import Wheel

SPEC = """\
name: waits
data: waits.csv
inputs: {load: number}
target: {minutes: number}
train: {models: [linear], loss: quantile, quantile: 0.9, seed: 1}
compress: off
gate: {metric: pinball, min_rows: 10}
"""


def test_the_gate_compares_by_the_pinball_loss(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    loads = random.uniform(0, 10, 600)
    minutes = 5 * loads + random.exponential(3, 600)
    rows = [(f"{load:.4f}", f"{wait:.4f}") for load, wait in zip(loads, minutes, strict=True)]
    write_table(tmp_path / "waits.csv", ("load", "minutes"), rows)
    (tmp_path / "volano.yaml").write_text(SPEC, encoding="utf-8")
    with Wheel(tmp_path) as wheel:
        turn = wheel.turn()
        answers = wheel.predict([{"load": load} for load in loads.tolist()])
    gate = turn.record["gate"]
    assert gate["metric"] == "pinball 0.9"
    assert gate["reference"].startswith("the best baseline")
    assert turn.verdict == "promoted"
    assert "mean pinball loss at 0.9" in turn.record["reason"]
    assert 0.85 < np.mean([a.value > m for a, m in zip(answers, minutes, strict=True)]) < 0.95
    page = tmp_path / ".volano" / "turns" / "0001" / "report.html"
    assert "pinball loss" in page.read_text(encoding="utf-8")
