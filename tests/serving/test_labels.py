"""The service around a bundle whose answers are several names at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volano.columns.labels import FittedLabels
from volano.runtime import load
from volano.store._log import PredictionLog


@pytest.fixture(scope="module")
def tagged(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory, sealed: Callable[..., None]
) -> Path:
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("labels") / "tags"))
    (folder / "columns/mood/category.json").unlink()
    (folder / "manifest.json").unlink()
    FittedLabels("mood", ("bad", "fine", "good"), ";").save(folder / "columns/mood")
    state = {"temperature": 2.0, "thresholds": [0.5, 0.5, 0.5]}
    sealed(folder, [("text", "text")], ("mood", "labels"), ("multilabel", state))
    return folder


@pytest.fixture
def tags(tagged: Path, service: Callable[..., Any]) -> Any:
    return service(model=load(tagged, threads=1))


def test_an_answer_is_a_list(tags: Any, log: PredictionLog) -> None:
    found = tags.post("/v1/predict", {"rows": [{"text": "a chair is good"}, {"text": "my tea"}]})
    for answer in found.json()["predictions"]:
        likely = answer["probabilities"]
        assert list(likely.values()) == sorted(likely.values(), reverse=True)
        assert answer["value"] == sorted(name for name, p in likely.items() if p >= 0.5)
        whole = 1.0
        for name, p in likely.items():
            whole *= p if name in answer["value"] else 1 - p
        assert answer["probability"] == pytest.approx(whole, abs=1e-4)
        kept = log.find([answer["id"]])[answer["id"]]
        assert kept.value == answer["value"]
        assert kept.gap == pytest.approx(answer["probability"])
    queue = tags.get("/v1/queue").json()["queue"]
    assert [item["gap"] for item in queue] == sorted(item["gap"] for item in queue)


def correct(tags: Any, value: Any, **more: Any) -> Any:
    found = tags.post("/v1/predict", {"row": {"text": "a chair"}}).json()["predictions"]
    body = {"prediction_id": found[0]["id"], "value": value, **more}
    return tags.post("/v1/feedback", body)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (["good", "bad"], ["bad", "good"]),
        ([], []),
        ("good", ["good"]),
        ("good; bad", ["bad", "good"]),
    ],
)
def test_corrections_are_sets(tags: Any, log: PredictionLog, value: Any, kept: list[str]) -> None:
    assert correct(tags, value).status_code == 200
    assert [item.value for item in log.current_feedback()] == [kept]


def test_new_names_must_be_meant(tags: Any, log: PredictionLog) -> None:
    refused = correct(tags, ["good", "goood"])
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["nearest"]) == (422, "REQUEST-012", "good")
    assert "new_class" in error["fix"]
    taken = correct(tags, ["good", "cheap"], new_class=True)
    assert taken.status_code == 200
    assert "'cheap' is a class" in taken.json()["notes"][0]
    assert [item.value for item in log.current_feedback()] == [["cheap", "good"]]


@pytest.mark.parametrize("value", [{}, None, [["good"]], ["good", None], 5.5])
@pytest.mark.parametrize("new_class", [True, False])
def test_what_is_no_list_of_names_is_refused(tags: Any, value: Any, new_class: bool) -> None:
    found = correct(tags, value, new_class=new_class)
    if value == 5.5 and new_class:
        assert found.status_code == 200, "a number may be a name"
        return
    assert found.status_code == 422, found.text


def test_long_and_broken_names_are_refused(tags: Any) -> None:
    for name in ("x" * 201, "a\nb"):
        found = correct(tags, [name], new_class=True)
        assert (found.status_code, found.json()["error"]["code"]) == (422, "REQUEST-056")


def test_the_openapi_document_knows_lists(tags: Any) -> None:
    document = tags.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    value = schemas["Prediction"]["properties"]["value"]
    assert (value["type"], value["items"]) == ("array", {"enum": ["bad", "fine", "good"]})
    correction = schemas["Correction"]["properties"]
    assert correction["value"]["items"] == {"type": "string"}
    assert "new_class" in correction
    model = tags.get("/v1/model").json()
    assert (model["task"], model["classes"]) == ("multilabel", ["bad", "fine", "good"])
    assert model["target"]["num_names"] == 3
