"""Every registered column, task and pass keeps the promises of its contract; so may others."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
import soundfile
from onnx import helper, numpy_helper
from PIL import Image
from third_party import FittedLength, LengthColumn, installed

from volano.columns import (
    Encoded,
    FittedColumn,
    Use,
    _kinds,
    column_kinds,
    column_uses,
)
from volano.columns.category import FittedCategory
from volano.columns.labels import FittedLabels
from volano.columns.number import NumberColumn
from volano.columns.series import FittedSeries
from volano.compression import Calibration, compression_pass, pass_kinds
from volano.compression._contract import Makes
from volano.errors import SpecError
from volano.spec import parse_spec
from volano.tasks import Task, task_kinds
from volano.tasks.classification import Classification
from volano.tasks.forecasting import Forecasting
from volano.tasks.multilabel import Multilabel
from volano.tasks.regression import Regression
from volano.testing import check_column, check_pass, check_task


def _photo(shade: int, size: int) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (size, 20), (shade, 0, 0)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _recording(num_samples: int) -> str:
    stream = io.BytesIO()
    soundfile.write(stream, np.linspace(-0.5, 0.5, num_samples), 8000, format="WAV")
    return base64.b64encode(stream.getvalue()).decode()


VALUES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "audio": ([_recording(100), _recording(30), ""], {}),
    "image": ([_photo(9, 20), _photo(200, 40), ""], {}),
    "text": (["good tea", "", "bad phone 😀", "a lovely chair " * 50], {"vocabulary": 300}),
    "boolean": (["yes", "No", "", "1", "false", "NA"], {}),
    "category": (["good", "bad", "good", "很好"], {"buckets": 3, "min_rows": 2}),
    "datetime": (["2026-01-31", "28.02.2026 13:30", "1/3/2026", "", "2025-12-24T18:00:00Z"], {}),
    "labels": (["good|bad", '["bad"]', "[]", "很好 | good", "['x', 'y z']"], {"empty": "none"}),
    "id": (["U1", "U2", "U1", "", "很好"], {"min_rows": 2, "buckets": 3}),
    "number": (["1", "-2.5", "1,234.50", "", "3e4", "$ 7"], {"scale": "quantile"}),
    "series": (["1 2 3", "[4, 5.5]", "6;7;8;9"], {"window": 3}),
    "sparse": (['{"7": 1.5, "a": 0}', "7:2 b:-1", "", "b:3 7:1e9"], {"min_rows": 1}),
    "vector": (["[1, 2.5]", "3 -4", "", "0;1e9"], {}),
}


@pytest.mark.parametrize("kind", column_kinds())
def test_columns(kind: str) -> None:
    values, options = VALUES[kind]
    # An object without keys is a sparse row of zeros.
    check_column(kind, values, options=options, wrong=[[]] if kind == "sparse" else {})


NAMES = FittedCategory("label", ("a", "b", "c"))
TAGS = FittedLabels("tags", ("a", "b", "c"), ";")
AMOUNT = NumberColumn.fit("price", ["1", "2", "4"], {}, "target")

LOG = FittedSeries("y", ("y", "z"), (1.0, 0.0), (2.0, 1.0), 4, 3, 2, "3600.0 s", (1.0, 2.0), "at")

TASKS: dict[str, list[tuple[Task, FittedColumn, int | tuple[int, ...]]]] = {
    "classification": [(Classification(NAMES.names, 1.7), NAMES, 3)],
    "forecasting": [
        (Forecasting(LOG), LOG, (3, 2)),
        (Forecasting(LOG, ((0.5, 1.0),) * 3), LOG, (3, 2)),
    ],
    "multilabel": [(Multilabel(TAGS.names, (0.5, 0.1, 0.9), 1.7), TAGS, 3)],
    "regression": [(Regression(0.25), AMOUNT, 1), (Regression(), AMOUNT, 1)],
}
"""Task -> some with their targets, and how many outputs a graph has for them."""


@pytest.mark.parametrize("kind", task_kinds())
def test_tasks(kind: str) -> None:
    for task, target, num_outputs in TASKS[kind]:
        outputs = (
            np.random.default_rng(0)
            .normal(0, 5, (7, *np.atleast_1d(num_outputs)))
            .astype(np.float32)
        )
        check_task(task, target, outputs)


def test_every_pass_says_what_it_does() -> None:
    for kind in pass_kinds():
        made = compression_pass(kind)
        assert made.name == kind
        assert made.version >= 1
        assert made.makes in get_args(Makes)


GRAPH_PASSES = [kind for kind in pass_kinds() if compression_pass(kind).makes == "graph"]


LARGEST = {"fp16": 0.55, "fuse": 1.05, "int4": 0.2, "int8": 0.5, "pack": 0.55, "sparse": 1.05}
"""As a share of the graph that a pass is given."""

FARTHEST = {"fp16": 0.01, "fuse": 1e-5, "int4": 0.4, "int8": 0.1, "pack": 0.0, "sparse": 1.5}
"""How far an output may move; their deviation is 0.8, and without any weights it would be by about
3 at the most."""

ZEROS = {"pack": 0.6}
"""Share of the weights that are zero in the graph that a pass is given."""


@pytest.mark.parametrize("kind", GRAPH_PASSES)
def test_passes(kind: str) -> None:
    random = np.random.default_rng(0)
    values = random.normal(0, 0.1, (64, 128)).astype(np.float32)
    values[: round(64 * ZEROS.get(kind, 0))] = 0
    weight = numpy_helper.from_array(values, "w")
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 64])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 128])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Identity", ["product"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    batches = [{"x": random.normal(0, 1, (5, 64)).astype(np.float32)} for _ in range(3)]
    made = check_pass(kind, model, Calibration(batches), tolerance=FARTHEST[kind])
    assert made.ByteSize() < LARGEST[kind] * model.ByteSize()


def test_a_column_of_a_third_party(tmp_path: Path) -> None:
    with installed(tmp_path / "site"):
        _check_third_party()


def _check_third_party() -> None:
    assert "length" in column_kinds()
    assert column_uses()["length"] == "input"
    check_column("length", ["a", "bb", ""], options={"unit": 2})
    spec = parse_spec(
        "name: a\ndata: a.csv\ninputs: {n: {type: length, unit: 3}}\ntarget: {y: category}\n",
        column_options=_kinds.column_options,
        column_types=column_uses(),
    )
    assert spec.inputs["n"].options == {"unit": 3}
    with pytest.raises(SpecError, match="Did you mean length"):
        _kinds.column_kind("lenght")


class Forgetful(FittedLength):
    def encode(self, values: Sequence[Any]) -> Encoded:
        return Encoded({"size": np.arange(len(values))})


class ForgetfulColumn(LengthColumn):
    Fitted = Forgetful

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedLength:
        return Forgetful(name, 1)


def test_a_column_that_breaks_a_promise_is_found() -> None:
    with pytest.raises(AssertionError, match="is another one by itself"):
        check_column(ForgetfulColumn, ["a", "bb"])  # type: ignore[arg-type]
