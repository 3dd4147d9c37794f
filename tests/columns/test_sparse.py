"""Thousands of places, nearly all zero: kept as they are, from the cell to the weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import write_table

from volano import Wheel
from volano.columns import EncodedSplit
from volano.columns.sparse import FittedSparse, SparseColumn, parse_sparse
from volano.errors import RequestError
from volano.models import sparse_matrix


def test_cells() -> None:
    assert parse_sparse("3:1 3:2 4:0") == {"3": 3.0}
    assert parse_sparse({"a": "1.5"}) == {"a": 1.5}
    assert parse_sparse("a:b:2") == {"a:b": 2.0}
    for wrong in ("1 2", "a:x", ":1", '{"a": [1]}', '{"a": true}', "a:inf", "a:nan", [1], "{", 5):
        assert parse_sparse(wrong) is None, wrong


def test_encoding_is_csr() -> None:
    column = SparseColumn.fit("x", ["b:4 a:1", "b:-8", "c:1"], {"min_rows": 1})
    assert (column.places, column.scales) == (("a", "b", "c"), (1.0, 8.0, 1.0))
    encoded = column.encode(["c:2 a:1", "", "z:1 b:4", "what"])
    dense = sparse_matrix(encoded, 3).toarray()
    assert dense.tolist() == [[1, 0, 2], [0, 0, 0], [0, 0.5, 0], [0, 0, 0]]
    assert encoded.counts == {"missing": 1, "unreadable": 1, "unseen": 1}
    batch = column.collate(encoded, np.array([2, 0]))
    assert batch["x.places"].tolist() == [[1, 3], [0, 2]]
    assert batch["x.weights"].tolist() == [[0.5, 0.0], [1.0, 2.0]]
    assert SparseColumn.fit("x", ["b:4 a:1", "b:-8"], {"min_rows": 2}).places == ("b",)
    split = EncodedSplit({"x": encoded}, np.zeros(4))
    assert split.num_rows == 4
    with pytest.raises(RequestError, match="REQUEST-019"):
        FittedSparse("x", ("a",), (1.0,)).check("a b")


def test_inferred_where_cells_are_places() -> None:
    assert SparseColumn.infer(["1:2 5:1", "7:1"]).score > 0.98
    assert SparseColumn.infer(['{"a": 1, "b": 2}', "{}"]).score > 0.98
    for values in (["12:30", "13:45"], ["a b"], ["1 2"], [""], ['{"a": "x"}']):
        assert SparseColumn.infer(values).score == 0, values


def test_a_line_and_a_network_take_places_beside_numbers(tmp_path: Path) -> None:
    """Each is held to parity with its graph on the way; trees say why they do not."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, 200)
    rows = []
    for _ in range(400):
        places = np.unique(rng.integers(0, 200, 6))
        size = rng.normal()
        value = weights[places].sum() + 2 * size
        rows.append((" ".join(f"{place}:1" for place in places), f"{size:.4f}", f"{value:.4f}"))
    rows[5] = ("", *rows[5][1:])
    write_table(tmp_path / "rows.csv", ("words", "size", "amount"), rows)
    (tmp_path / "volano.yaml").write_text(
        "name: words\ndata: rows.csv\ntarget: {amount: number}\n"
        "inputs: {words: sparse, size: number}\ngate: {min_rows: 10}\n"
        "train: {models: [linear, network, boosted], epochs: 2}\n",
        encoding="utf-8",
    )
    with Wheel(tmp_path) as wheel:
        turn = wheel.turn()
        if turn.verdict != "promoted":
            wheel.promote(1)
        models = {item["name"]: item for item in turn.record["training"]["models"]}
        assert "'words' is sparse" in models["boosted"]["refused"]
        made = {item["name"] for item in turn.record["candidates"] if item["size_bytes"]}
        assert {"linear", "network"} <= made
        assert turn.metrics["r2"]["value"] > 0.6
        answers = wheel.predict([{"words": {"3": 1}, "size": 1}, {"words": None, "size": 1}])
    assert answers[0].value != answers[1].value


LARGE = """
import resource, sys
import numpy as np
from pathlib import Path
from volano import Wheel

folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
weights = rng.normal(0, 1, 50_000)
with (folder / "rows.csv").open("w") as file:
    file.write("words,kind\\n")
    for row in range(20_000):
        places = np.unique(rng.zipf(1.3, 30) % 50_000)
        kind = "good" if weights[places].sum() > 0 else "bad"
        cell = " ".join(f"{place}:{rng.integers(1, 4)}" for place in places)
        file.write(f"{cell},{kind}\\n")
(folder / "volano.yaml").write_text(
    "name: words\\ndata: rows.csv\\ntarget: {kind: category}\\n"
    "inputs: {words: {type: sparse, min_rows: 1}}\\n"
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Wheel(folder) as wheel:
    turn = wheel.turn()
    wheel.promote(1) if turn.verdict != "promoted" else None
    column = wheel.model().inputs["words"]
    assert column.num_places > 10_000, column.num_places
    rows = [{"words": {"1": 1, "2": 2}}, {"words": None}, {"words": "1:1 2:2"}]
    answers = wheel.predict(rows)
    assert answers[0].probabilities == answers[2].probabilities
    assert answers[0].probabilities != answers[1].probabilities
print(turn.record["metrics"]["accuracy"]["value"], "torch" in sys.modules)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_fifty_thousand_places_never_become_dense(tmp_path: Path) -> None:
    """20,000 rows of 50,000 places are 4 GB dense in float32, and 8 GB in float64."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    accuracy, torch = done.stdout.splitlines()[-2].split()
    assert float(accuracy) > 0.7
    assert torch == "False"
    assert int(done.stdout.splitlines()[-1]) < 1000, "megabytes beyond the imports"
