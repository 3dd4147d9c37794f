"""The service around a bundle of a table: numbers, names, moments, vectors; a number as answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from volano.columns import column_kind
from volano.runtime import Model, load
from volano.serving import open_model
from volano.store._log import PredictionLog

ROW = {
    "size": 80.5,
    "rooms": 3,
    "town": "Rome",
    "garden": True,
    "built": "1970-05-01T00:00:00Z",
    "place": [0.5, 0.25],
}
VALUES = {
    "size": ("number", ["40.5", "80", "250"]),
    "rooms": ("number", ["1", "3", "8"]),
    "town": ("category", ["Rome", "Rome", "Milan"]),
    "garden": ("boolean", ["yes", "no", "yes"]),
    "built": ("datetime", ["1950-01-01", "1970-05-01", "2001-02-03"]),
    "place": ("vector", ["[0, 1]", "[0.5, 0.5]", "[1, 0]"]),
}


def build_table(
    folder: Path, sealed: Callable[..., None], *, half_width: float | None = 2.5
) -> Path:
    """A bundle whose graph adds up what the columns give, missing values as 0."""
    inputs = {
        name: column_kind(kind).fit(name, values, {"buckets": 1} if kind == "category" else {})
        for name, (kind, values) in VALUES.items()
    }
    target = column_kind("number").fit("price", ["1.5", "2", "9.75"], {}, "target")
    nodes, wanted, sums = [], [], []
    for column in inputs.values():
        encoded = column.encode([])
        (key,) = column.collate(encoded, np.zeros(0, np.int64))
        (array,) = encoded.arrays.values()
        codes = array.dtype == np.int64  # type: ignore[union-attr]
        shape = ["rows"] if codes else ["rows", array.shape[1]]  # type: ignore[union-attr]
        kind = TensorProto.INT64 if codes else TensorProto.FLOAT
        wanted.append(helper.make_tensor_value_info(key, kind, shape))
        if codes:
            nodes.append(helper.make_node("Cast", [key], [f"{key}.sum"], to=TensorProto.FLOAT))
        else:
            nodes += [
                helper.make_node("IsNaN", [key], [f"{key}.nan"]),
                helper.make_node("Where", [f"{key}.nan", "zero", key], [f"{key}.known"]),
                helper.make_node("ReduceSum", [f"{key}.known", "one"], [f"{key}.sum"], keepdims=0),
            ]
        sums.append(f"{key}.sum")
    nodes.append(helper.make_node("Sum", sums, ["flat"]))
    nodes.append(helper.make_node("Unsqueeze", ["flat", "one"], ["number"]))
    graph = helper.make_graph(
        nodes,
        "table",
        wanted,
        [helper.make_tensor_value_info("number", TensorProto.FLOAT, ["rows", 1])],
        [
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for name, column in {**inputs, "price": target}.items():
        place = folder / "columns" / name
        place.mkdir(parents=True)
        column.save(place)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    kinds = [(name, kind) for name, (kind, _) in VALUES.items()]
    state = {"half_width": half_width}
    sealed(folder, kinds, ("price", "number"), ("regression", state))
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, sealed: Callable[..., None]) -> Path:
    return build_table(tmp_path_factory.mktemp("tables") / "houses", sealed)


@pytest.fixture
def houses(table: Path, service: Callable[..., Any]) -> Any:
    return service(model=load(table, threads=1))


def answer(local: Any, **changes: Any) -> dict[str, Any]:
    found = local.post("/v1/predict", {"row": ROW | changes})
    assert found.status_code == 200, found.text
    (prediction,) = found.json()["predictions"]
    return dict(prediction)


def test_an_answer_has_what_its_task_has(houses: Any, table: Path) -> None:
    found = answer(houses)
    assert set(found) == {"id", "value", "low", "high", "bundle", "notes"}
    assert found["high"] - found["low"] == pytest.approx(5)
    own = load(table, threads=1).predict([ROW])[0].as_dict()
    same = ("value", "low", "high", "bundle", "notes")
    assert {key: found[key] for key in same} == {key: own[key] for key in same}


def test_an_interval_may_be_lacking(
    tmp_path: Path, service: Callable[..., Any], sealed: Callable[..., None]
) -> None:
    bundle = build_table(tmp_path / "few", sealed, half_width=None)
    local = service(model=load(bundle, threads=1))
    assert set(answer(local)) == {"id", "value", "bundle", "notes"}


def test_null_is_a_missing_value(houses: Any, log: PredictionLog) -> None:
    found = answer(houses, **dict.fromkeys(ROW))
    logged = log.find([found["id"]])[found["id"]]
    assert logged.inputs == {**dict.fromkeys(ROW), "town": ""}


def test_what_is_unlike_the_training_rows_is_said(houses: Any) -> None:
    assert answer(houses)["notes"] == []
    notes = answer(houses, size=900, town="Oslo")["notes"]
    assert notes == [
        "size: 900 is outside the training rows, which go from 40.5 to 250",
        "town: 'Oslo' has no code of its own",
    ]


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("size", "big", "REQUEST-013"),
        ("size", True, "REQUEST-013"),
        ("size", [1], "REQUEST-013"),
        ("size", {}, "REQUEST-013"),
        ("size", 10**400, "REQUEST-013"),
        ("town", [], "REQUEST-011"),
        ("town", {"a": 1}, "REQUEST-011"),
        ("garden", "maybe", "REQUEST-014"),
        ("garden", 2, "REQUEST-014"),
        ("garden", [], "REQUEST-014"),
        ("built", "soon", "REQUEST-015"),
        ("built", 5, "REQUEST-015"),
        ("built", [], "REQUEST-015"),
        ("place", [1], "REQUEST-016"),
        ("place", "x", "REQUEST-016"),
        ("place", {"a": 1}, "REQUEST-016"),
        ("place", [[1], [2]], "REQUEST-016"),
        ("place", [1, None], "REQUEST-016"),
        ("place", [1, True], "REQUEST-016"),
    ],
)
def test_a_wrong_type_is_refused(
    houses: Any, log: PredictionLog, column: str, value: Any, code: str
) -> None:
    found = houses.post("/v1/predict", {"row": ROW | {column: value}})
    assert (found.status_code, found.json()["error"]["code"]) == (422, code), found.text
    assert column in found.json()["error"]["what"]
    assert log.num_predictions() == 0


def test_the_model_describes_its_columns(houses: Any) -> None:
    found = houses.get("/v1/model").json()
    about = {item["name"]: item for item in found["inputs"]}
    assert about["size"] == {
        "name": "size", "type": "number", "low": 40.5, "high": 250.0, "whole": False,
    }  # fmt: skip
    assert about["town"] == {
        "name": "town", "type": "category", "names": ["Rome", "Milan"], "num_names": 2,
    }  # fmt: skip
    assert about["place"]["length"] == 2
    assert {name: item["type"] for name, item in about.items()} == {
        name: kind for name, (kind, _) in VALUES.items()
    }
    assert (found["target"]["low"], found["target"]["high"]) == (1.5, 9.75)
    assert (found["task"], found["classes"]) == ("regression", [])


def test_the_openapi_document_knows_the_types(houses: Any) -> None:
    schemas = houses.get("/openapi.json").json()["components"]["schemas"]
    row = schemas["Row"]["properties"]
    assert {name: schema["type"] for name, schema in row.items()} == {
        "size": ["number", "null"],
        "rooms": ["number", "null"],
        "town": ["string", "null"],
        "garden": ["boolean", "null"],
        "built": ["string", "null"],
        "place": ["array", "null"],
    }
    assert row["built"]["format"] == "date-time"
    assert (row["place"]["minItems"], row["place"]["maxItems"]) == (2, 2)
    assert schemas["Prediction"]["properties"]["value"]["type"] == "number"
    assert {"low", "high"} <= set(schemas["Prediction"]["properties"])
    assert "probability" not in schemas["Prediction"]["properties"]
    correction = schemas["Correction"]["properties"]
    assert correction["value"]["type"] == "number"
    assert "new_class" not in correction


def test_the_examples_of_the_docs_work(houses: Any) -> None:
    paths = houses.get("/openapi.json").json()["paths"]
    content = paths["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        found = houses.post("/v1/predict", example["value"])
        assert found.status_code == 200, found.text
        assert found.json()["predictions"][0]["notes"] == []
    body = paths["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]
    one = body["examples"]["one"]["value"] | {"prediction_id": found.json()["predictions"][0]["id"]}
    assert houses.post("/v1/feedback", one).status_code == 200


def test_a_number_is_fed_back(houses: Any, log: PredictionLog) -> None:
    for right, kept in ((7, 7.0), (2.5, 2.5), ("1,250.5", 1250.5)):
        id_ = answer(houses)["id"]
        body = {"prediction_id": id_, "value": right, "who": "ada"}
        assert houses.post("/v1/feedback", body).json() == {"recorded": 1, "notes": []}
        assert [item.value for item in log.standing_feedback()][-1] == kept


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"value": "much"}, "REQUEST-013", "finite number"),
        ({"value": None}, "REQUEST-056", "the right value of price"),
        ({"value": "nan"}, "REQUEST-056", "the right value of price"),
        ({"value": True}, "REQUEST-013", "price is True"),
        ({"value": 3, "new_class": True}, "REQUEST-059", "it has no classes"),
    ],
)
def test_feedback_that_is_no_number_is_refused(
    houses: Any, log: PredictionLog, change: dict[str, Any], code: str, words: str
) -> None:
    body = {"prediction_id": answer(houses)["id"], **change}
    found = houses.post("/v1/feedback", body)
    assert (found.status_code, found.json()["error"]["code"]) == (422, code), found.text
    assert words in found.text
    assert log.num_feedback() == 0


def test_the_queue_asks_for_what_is_unlike_the_training_rows(houses: Any) -> None:
    usual = answer(houses)["id"]
    odd = answer(houses, size=900)["id"]
    oddest = answer(houses, size=901, town="Oslo")["id"]
    queue = houses.get("/v1/queue").json()["queue"]
    assert [item["prediction_id"] for item in queue] == [oddest, odd, usual]
    assert [item["probability"] for item in queue] == [None] * 3


def test_a_bundle_of_a_table_is_warm_when_it_opens(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    predict = Model.predict
    monkeypatch.setattr(
        Model, "predict", lambda self, rows: asked.extend(rows) or predict(self, rows)
    )
    open_model(table)
    assert [set(row) for row in asked] == [set(ROW)]
