"""What the service answers, to good requests and to bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volano.errors import StoreError
from volano.runtime import Model
from volano.store._log import PredictionLog


def predict(local: Any, text: str = "this book is good") -> dict[str, Any]:
    answer = local.post("/v1/predict", {"row": {"text": text}})
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    return prediction


def test_a_row_is_answered_as_the_model_answers_it(local: Any, model: Model) -> None:
    expected = model.predict([{"text": "this book is good"}])[0].as_dict()
    found = predict(local)
    assert {**found, "id": ""} == {**expected, "id": ""}
    assert list(found["probabilities"].values()) == sorted(
        found["probabilities"].values(), reverse=True
    )


def test_rows_are_answered_in_order(local: Any, model: Model) -> None:
    rows = [{"text": f"{'very ' * (number % 17)}{number} good"} for number in range(300)]
    answer = local.post("/v1/predict", {"rows": rows})
    found = answer.json()["predictions"]
    assert [item["value"] for item in found] == [item.value for item in model.predict(rows)]
    assert len({item["id"] for item in found}) == 300


def test_what_was_cut_is_said(local: Any) -> None:
    (note,) = predict(local, "good " * 200)["notes"]
    assert "tokens were cut" in note


def test_top_limits_the_probabilities(local: Any) -> None:
    for top, num in ((0, 0), (1, 1), (2, 2), (99, 3)):
        answer = local.post(f"/v1/predict?top={top}", {"row": {"text": "good"}})
        assert len(answer.json()["predictions"][0]["probabilities"]) == num


def test_each_answer_is_logged_with_its_inputs(local: Any, log: PredictionLog) -> None:
    found = predict(local, "漢字 🦜\u0000")
    kept = log.find([found["id"]])[found["id"]]
    assert kept.inputs == {"text": "漢字 🦜\u0000"}
    assert (kept.value, kept.probability, kept.bundle) == (
        found["value"], found["probability"], found["bundle"],
    )  # fmt: skip
    first, second, *_ = found["probabilities"].values()
    assert kept.gap == pytest.approx(first - second, abs=2e-6)


def test_a_request_id_comes_back(local: Any) -> None:
    for path in ("/v1/model", "/nowhere"):
        answer = local.request("GET", path, headers={"x-request-id": "abc-1"})
        assert answer.headers["x-request-id"] == "abc-1"


def test_feedback_is_joined_to_its_prediction(local: Any, log: PredictionLog) -> None:
    found = predict(local)
    body = {"prediction_id": found["id"], "value": "bad", "who": "ada"}
    answer = local.post("/v1/feedback", body)
    assert (answer.status_code, answer.json()) == (200, {"recorded": 1, "notes": []})
    (row,) = log.current_feedback()
    assert (row.inputs, row.value, row.who) == ({"text": "this book is good"}, "bad", "ada")


def test_feedback_takes_the_id_by_the_name_that_answers_give_it(
    local: Any, log: PredictionLog
) -> None:
    id_ = predict(local)["id"]
    assert local.post("/v1/feedback", {"id": id_, "value": "bad"}).status_code == 200
    both = {"id": id_, "prediction_id": id_, "value": "good"}
    assert local.post("/v1/feedback", both).status_code == 200
    answer = local.post("/v1/feedback", {**both, "id": "another"})
    assert answer.status_code == 422
    assert "not the same" in answer.json()["error"]["what"]
    (row,) = log.current_feedback()
    assert row.value == "good"


def test_feedback_may_come_in_lists(local: Any, log: PredictionLog) -> None:
    items = [
        {"prediction_id": predict(local, f"text {number}")["id"], "value": "bad"}
        for number in range(5)
    ]
    assert local.post("/v1/feedback", {"items": items}).json()["recorded"] == 5
    items.append({"prediction_id": "unknown", "value": "bad"})
    answer = local.post("/v1/feedback", {"items": items})
    assert answer.status_code == 404
    assert "nothing was recorded" in answer.json()["error"]["what"]
    assert log.num_feedback() == 5


def test_a_new_class_is_taken_when_it_is_said_to_be_one(local: Any, log: PredictionLog) -> None:
    body = {"prediction_id": predict(local)["id"], "value": "goood"}
    answer = local.post("/v1/feedback", body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["nearest"] == "good"
    assert '"new_class": true' in error["fix"]
    assert log.num_feedback() == 0
    answer = local.post("/v1/feedback", {**body, "new_class": True})
    assert answer.status_code == 200
    assert "does not know" in answer.json()["notes"][0]
    assert [row.value for row in log.current_feedback()] == ["goood"]


def test_the_queue_lists_what_is_worth_a_label(local: Any) -> None:
    for number in range(6):
        predict(local, f"text {number}")
    queue = local.get("/v1/queue?limit=4").json()["queue"]
    assert len(queue) == 4
    assert [item["gap"] for item in queue] == sorted(item["gap"] for item in queue)
    body = {"prediction_id": queue[0]["prediction_id"], "value": "good"}
    assert local.post("/v1/feedback", body).status_code == 200
    ids = [item["prediction_id"] for item in local.get("/v1/queue").json()["queue"]]
    assert len(ids) == 5
    assert queue[0]["prediction_id"] not in ids


def test_the_model_says_what_it_is(local: Any, model: Model) -> None:
    found = local.get("/v1/model").json()
    assert found["bundle"] == model.id
    assert found["name"] == "tiny"
    assert found["inputs"] == [{"name": "text", "type": "text"}]
    assert found["target"] == {
        "name": "mood", "type": "category", "names": ["bad", "fine", "good"], "num_names": 3,
    }  # fmt: skip
    assert found["task"] == "classification"
    assert found["classes"] == ["bad", "fine", "good"]
    assert found["metrics"]["accuracy"]["value"] == 0.5
    assert found["since"] > 0


def test_without_a_log_it_answers_and_refuses_feedback(service: Callable[..., Any]) -> None:
    local = service(log=None)
    body = {"prediction_id": predict(local)["id"], "value": "bad"}
    for answer in (local.post("/v1/feedback", body), local.get("/v1/queue")):
        assert answer.status_code == 404
        assert "keeps no log" in answer.json()["error"]["what"]
    assert local.get("/readyz").status_code == 200


def test_it_can_be_mounted_below_a_path(local: Any) -> None:
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await local.app({**scope, "root_path": "/ml"}, receive, send)

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(app=mounted)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/ml/v1/model")

    assert local._runner.run(scenario()).json()["name"] == "tiny"


def test_head_has_no_body(local: Any) -> None:
    answer = local.request("HEAD", "/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_log_that_fails_makes_it_unready_and_is_said(
    local: Any, log: PredictionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StoreError(51, "the store's disk is full", fix="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(log, "commit", full)
        patch.setattr(log, "probe", full)
        for answer in (
            local.post("/v1/predict", {"row": {"text": "x"}}),
            local.post("/v1/feedback", {"prediction_id": "x", "value": "bad"}),
            local.get("/readyz"),
        ):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "STORE-051"
            assert answer.headers["retry-after"] == "1"
        assert local.get("/healthz").status_code == 200
    assert local.get("/readyz").status_code == 200
    predict(local)


def test_a_fault_of_ours_is_an_incident_and_shows_nothing(
    local: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a secret of ours")

    monkeypatch.setattr(local.app.slot.current, "answers", broken)
    answer = local.post("/v1/predict", {"row": {"text": "x"}})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["error"]["incident"] in caplog.text
    assert "a secret of ours" in caplog.text


JSON = "application/json"
DEEP = b"[" * 200_000
BAD_BODIES: dict[str, tuple[bytes | str, str, int, str, str]] = {
    # name: (body, content type, status, code, words of the error)
    "empty": (b"", JSON, 400, "REQUEST-034", "empty"),
    "no JSON": (b"{", JSON, 400, "REQUEST-036", "not JSON"),
    "cut off": (b'{"row": {"text": "a', JSON, 400, "REQUEST-036", "not JSON"),
    "more after": (b'{"row": {"text": "a"}} x', JSON, 400, "REQUEST-036", "not JSON"),
    "a BOM": (b'\xef\xbb\xbf{"row": {"text": "a"}}', JSON, 400, "REQUEST-036", "not JSON"),
    "UTF-16": ('{"row": {"text": "a"}}'.encode("utf-16"), JSON, 400, "REQUEST-035", "not UTF-8"),
    "Latin-1": ('{"row": {"text": "é"}}'.encode("latin-1"), JSON, 400, "REQUEST-035", "byte 18"),
    "NaN": (b'{"row": {"text": NaN}}', JSON, 400, "REQUEST-036", "NaN is not JSON"),
    "Infinity": (b'{"row": {"text": -Infinity}}', JSON, 400, "REQUEST-036", "-Infinity"),
    "1e999": (b'{"row": {"text": 1e999}}', JSON, 400, "REQUEST-036", "too large a number"),
    "a huge integer": (b"9" * 10_000, JSON, 400, "REQUEST-036", "not JSON"),
    "nesting": (DEEP, JSON, 400, "REQUEST-037", "nests too deep"),
    "nesting and an escape": (b'["\\u0041",' + DEEP, JSON, 400, "REQUEST-037", "too deep"),
    **{
        f"{depth} levels": (b"[" * depth + b"]" * depth, JSON, 400, "REQUEST-037", "too deep")
        for depth in range(700, 1001, 20)
    },
    "a key twice": (b'{"row": {"text": "a", "text": "b"}}', JSON, 400, "REQUEST-038", "'text'"),
    "half a pair": (b'{"row": {"text": "\\ud83e"}}', JSON, 400, "REQUEST-039", "surrogate"),
    "half a pair as key": (b'{"row": {"\\uDC00": "a"}}', JSON, 400, "REQUEST-039", "surrogate"),
    "text/plain": (b'{"row": {"text": "a"}}', "text/plain", 415, "REQUEST-030", "text/plain"),
    "no content type": (b'{"row": {"text": "a"}}', "", 415, "REQUEST-030", "content type"),
    "a form": (b"text=a", "application/x-www-form-urlencoded", 415, "REQUEST-030", "form"),
    "too large": (b" " * 2_000_000, JSON, 413, "REQUEST-032", "too large"),
    "a list": (b"[]", JSON, 422, "REQUEST-054", "the body is []"),
    "null": (b"null", JSON, 422, "REQUEST-054", "None"),
    "a number": (b"1", JSON, 422, "REQUEST-054", "is 1"),
    "an empty object": (b"{}", JSON, 422, "REQUEST-054", "{}"),
    "bare columns": (
        b'{"text": "a"}', JSON, 422, "REQUEST-054", '{"row": {"text": "where is my parcel?"}}',
    ),
    "both forms": (b'{"row": {}, "rows": []}', JSON, 422, "REQUEST-054", "nothing else"),
    "no rows": (b'{"rows": []}', JSON, 422, "REQUEST-052", "at least one"),
    "rows is an object": (b'{"rows": {}}', JSON, 422, "REQUEST-052", "a list"),
    "too many rows": (
        json.dumps({"rows": [{"text": "a"}] * 1001}).encode(),
        JSON, 413, "REQUEST-053", "1001 rows",
    ),
    "a row is text": (b'{"rows": ["a"]}', JSON, 422, "REQUEST-020", "row 0"),
    "a row is null": (b'{"rows": [{"text": "a"}, null]}', JSON, 422, "REQUEST-020", "row 1"),
    "a column is missing": (b'{"row": {}}', JSON, 422, "REQUEST-021", "'text'"),
    "an unknown column": (b'{"row": {"text": "a", "txt": 1}}', JSON, 422, "REQUEST-022", "'txt'"),
    "a misspelt column": (b'{"row": {"texts": "a"}}', JSON, 422, "REQUEST-022", "nearest"),
    "a number for text": (b'{"row": {"text": 1}}', JSON, 422, "REQUEST-010", "text"),
    "null for text": (b'{"row": {"text": null}}', JSON, 422, "REQUEST-010", "None"),
    "a list for text": (b'{"row": {"text": ["a"]}}', JSON, 422, "REQUEST-010", "['a']"),
    "true for text": (b'{"rows": [{"text": true}]}', JSON, 422, "REQUEST-010", "row 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_rows(local: Any, log: PredictionLog, name: str) -> None:
    body, kind, status, code, words = BAD_BODIES[name]
    headers = {"content-type": kind} if kind else {}
    answer = local.request("POST", "/v1/predict", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert words in json.dumps(answer.json(), ensure_ascii=False).replace('\\"', '"')
    assert log.num_predictions() == 0
    predict(local)


BAD_FEEDBACK: dict[str, tuple[Any, int, str, str]] = {
    "a list": ([], 422, "REQUEST-040", "prediction_id"),
    "nothing": ({}, 422, "REQUEST-056", "no prediction_id"),
    "no value": ({"prediction_id": "ID"}, 422, "REQUEST-056", "no value"),
    "an unknown key": (
        {"prediction_id": "ID", "value": "bad", "whom": "a"},
        422, "REQUEST-041", "who",
    ),
    "an unknown id": ({"prediction_id": "x", "value": "bad"}, 404, "REQUEST-057", "'x'"),
    "an id that is a number": ({"prediction_id": 1, "value": "bad"}, 422, "REQUEST-056", "is 1"),
    "an id with NUL": ({"prediction_id": "a\0", "value": "bad"}, 422, "REQUEST-056", "one line"),
    "an empty value": ({"prediction_id": "ID", "value": ""}, 422, "REQUEST-012", "''"),
    "null": ({"prediction_id": "ID", "value": None}, 422, "REQUEST-011", "None"),
    "an object": ({"prediction_id": "ID", "value": {"a": 1}}, 422, "REQUEST-011", "{'a': 1}"),
    "an unknown class": ({"prediction_id": "ID", "value": "gud"}, 422, "REQUEST-012", "new_class"),
    "a new class that is empty": (
        {"prediction_id": "ID", "value": " ", "new_class": True},
        422, "REQUEST-056", "value",
    ),
    "a new class that is a number": (
        {"prediction_id": "ID", "value": 3, "new_class": True},
        422, "REQUEST-056", "value",
    ),
    "a new class of a page": (
        {"prediction_id": "ID", "value": "x" * 201, "new_class": True},
        422, "REQUEST-056", "200",
    ),
    "new_class is text": (
        {"prediction_id": "ID", "value": "good", "new_class": "yes"},
        422, "REQUEST-056", "true or false",
    ),
    "who is a list": (
        {"prediction_id": "ID", "value": "bad", "who": []},
        422, "REQUEST-056", "who",
    ),
    "who is long": (
        {"prediction_id": "ID", "value": "bad", "who": "x" * 201},
        422, "REQUEST-056", "200",
    ),
    "no items": ({"items": []}, 422, "REQUEST-055", "at least one"),
    "items is text": ({"items": "x"}, 422, "REQUEST-055", "a list"),
    "items and more": ({"items": [], "who": "x"}, 422, "REQUEST-041", "'who'"),
    "an item is null": (
        {"items": [{"prediction_id": "ID", "value": "bad"}, None]},
        422, "REQUEST-040", "item 1",
    ),
    "too many items": (
        {"items": [{"prediction_id": "ID", "value": "bad"}] * 1001},
        413, "REQUEST-053", "1001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FEEDBACK)
def test_bad_feedback(local: Any, log: PredictionLog, name: str) -> None:
    body, status, code, words = BAD_FEEDBACK[name]
    text = json.dumps(body).replace('"ID"', json.dumps(predict(local)["id"]))
    headers = {"content-type": JSON}
    answer = local.request("POST", "/v1/feedback", content=text, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert words in json.dumps(answer.json(), ensure_ascii=False)
    assert log.num_feedback() == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "words"),
    [
        ("GET", "/", 404, "REQUEST-050", "/v1/predict"),
        ("GET", "/v1/predikt", 404, "REQUEST-050", '"nearest": "/v1/predict"'),
        ("GET", "/v1/predict", 405, "REQUEST-051", "POST"),
        ("DELETE", "/v1/model", 405, "REQUEST-051", "GET, HEAD"),
        ("POST", "/v1/queue", 405, "REQUEST-051", "GET, HEAD"),
        ("GET", "/v1/queue?limit=0", 400, "REQUEST-044", "from 1 to 1000"),
        ("GET", "/v1/queue?limit=-1", 400, "REQUEST-044", "'-1'"),
        ("GET", "/v1/queue?limit=²", 400, "REQUEST-044", "limit"),
        ("GET", "/v1/queue?limit=9999999999999", 400, "REQUEST-044", "limit"),
        ("GET", "/v1/queue?limit=", 400, "REQUEST-044", "''"),
        ("GET", "/v1/queue?limit=1&limit=2", 400, "REQUEST-043", "twice"),
        ("GET", "/v1/queue?limitt=1", 400, "REQUEST-042", '"nearest": "limit"'),
        ("GET", "/v1/model?a=1", 400, "REQUEST-042", "none"),
        ("GET", "/v1/model?" + "&".join(["a=1"] * 200), 400, "REQUEST-042", "query"),
        ("POST", "/v1/predict?top=x", 400, "REQUEST-044", "'x'"),
        ("POST", "/v1/predict?tip=1", 400, "REQUEST-042", '"nearest": "top"'),
        ("POST", "/v1/feedback?top=1", 400, "REQUEST-042", "none"),
    ],
)
def test_bad_addresses(
    local: Any, method: str, path: str, status: int, code: str, words: str
) -> None:
    answer = local.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert words in json.dumps(answer.json(), ensure_ascii=False)
    if status == 405:
        assert answer.headers["allow"] == answer.json()["error"]["expected"]


def test_a_packed_body_is_refused(local: Any) -> None:
    headers = {"content-type": JSON, "content-encoding": "gzip"}
    answer = local.request("POST", "/v1/predict", content=b"x", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "REQUEST-031")


def test_the_limits_of_the_spec_hold(service: Callable[..., Any]) -> None:
    local = service(max_request_bytes=100, max_request_rows=2)
    assert local.post("/v1/predict", {"rows": [{"text": "a"}] * 2}).status_code == 200
    assert local.post("/v1/predict", {"rows": [{"text": "a"}] * 3}).status_code == 413
    assert local.post("/v1/predict", {"row": {"text": "a" * 100}}).status_code == 413


def test_a_body_without_a_length_is_cut_off_at_the_limit(service: Callable[..., Any]) -> None:
    local, num_sent = service(max_request_bytes=1000), 0

    async def receive() -> dict[str, Any]:
        nonlocal num_sent
        num_sent += 1
        return {"type": "http.request", "body": b" " * 100, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    local._runner.run(local.app(scope, receive, send))
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert num_sent == 11


def test_a_client_that_goes_away_is_no_error(local: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {
        "type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    local._runner.run(local.app(scope, receive, None))
    assert not caplog.records


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["row", "rows", "text", "texts", "items"]) | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
NEARLY = st.one_of(
    ANYTHING,
    st.fixed_dictionaries({"row": st.fixed_dictionaries({"text": ANYTHING})}),
    st.fixed_dictionaries({"rows": st.lists(st.fixed_dictionaries({"text": st.text()}))}),
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.one_of(
        st.binary(max_size=60),
        NEARLY.map(lambda value: json.dumps(value).encode()),
        NEARLY.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")),
    ),
    kind=st.sampled_from(["application/json", "application/json; charset=utf-8", "a/b"]),
    path=st.sampled_from(["/v1/predict", "/v1/predict?top=1", "/v1/feedback"]),
)
def test_no_body_whatever_is_a_fault(local: Any, body: bytes, kind: str, path: str) -> None:
    answer = local.request("POST", path, content=body, headers={"content-type": kind})
    assert answer.status_code in (200, 400, 404, 413, 415, 422), answer.text
    if answer.status_code == 200:
        assert answer.json()["predictions"]
    else:
        assert answer.json()["error"]["code"].startswith("REQUEST-")


def test_responses_of_httpx_are_strict_json(local: Any) -> None:
    answer: httpx.Response = local.post("/v1/predict", {"row": {"text": 'a"\\\n\u2028'}})
    json.loads(answer.content, parse_constant=pytest.fail)
