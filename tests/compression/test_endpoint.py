"""An endpoint that labels rows: what it is sent, which answers count, what a failure does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import Server, said, user

from volano.compression import Endpoint
from volano.errors import AssetError
from volano.spec import EndpointSpec

NAMES = ("positive", "negative")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volano.compression._endpoint.FIRST_PAUSE_S", 0.01)


def endpoint(server: Server, cache: Path, **more: Any) -> Endpoint:
    spec = EndpointSpec(url=server.url, model="m", columns=("text",), **more)
    return Endpoint(spec, NAMES, cache)


ROWS = [
    {"text": "a good tea", "secret": "4711"},
    {"text": "a bad lamp", "secret": "4712"},
    {"text": "good, good", "secret": "4713"},
]


def test_rows_are_labelled_and_nothing_else_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "k-123")
    told = endpoint(server, tmp_path / "c.jsonl", key="SOME_KEY").label(ROWS)
    assert told.codes == [0, 1, 0]
    assert told.counts == {
        "asked": 3, "cached": 0, "unusable": 0, "requests": 3, "tokens_in": 30, "tokens_out": 6,
    }  # fmt: skip
    assert all("4711" not in json.dumps(body) for _, body in server.requests)
    headers, body = server.requests[0]
    assert headers["Authorization"] == "Bearer k-123"
    assert body["path"] == "/v1/chat/completions"
    assert (body["model"], body["temperature"]) == ("m", 0)
    assert '["positive", "negative"]' in body["messages"][0]["content"]
    assert {json.loads(user(body["messages"]))["text"] for _, body in server.requests} == {
        row["text"] for row in ROWS
    }


def test_what_was_answered_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "c.jsonl"
    endpoint(server, cache).label(ROWS[:2])
    with cache.open("a", encoding="utf-8") as file:
        file.write('{"of": "cut o')
    told = endpoint(server, cache).label(ROWS)
    assert told.codes == [0, 1, 0]
    assert (told.counts["cached"], told.counts["requests"]) == (2, 1)
    other = endpoint(server, cache, instruction="Something else.").label(ROWS[:1])
    assert other.counts["cached"] == 0, "another question has other answers"


@pytest.mark.parametrize(
    "text",
    [
        "positive",
        " Positive.\n",
        '"positive"',
        '{"label": "positive"}',
        '```json\n{"a": "positive"}\n```',
    ],
)
def test_ways_to_say_a_name(server: Server, tmp_path: Path, text: str) -> None:
    server.answer = lambda messages: (200, {}, said(text))
    assert endpoint(server, tmp_path / "c").label(ROWS[:1]).codes == [0]


@pytest.mark.parametrize("content", ["It is rather positive", "", "neutral", '["positive", 1]'])
def test_what_is_no_name_is_asked_once_more_and_then_left(
    server: Server, tmp_path: Path, content: str
) -> None:
    server.answer = lambda messages: (200, {}, said(content))
    told = endpoint(server, tmp_path / "c").label(ROWS[:1])
    assert told.codes == [-1]
    assert (told.counts["unusable"], told.counts["requests"]) == (1, 2)
    assert "none of the names" in server.requests[1][1]["messages"][-1]["content"]
    assert not (tmp_path / "c").exists(), "nothing to remember"


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"choices": []}', b'{"choices": 3}'])
def test_answers_that_are_none(server: Server, tmp_path: Path, body: bytes) -> None:
    good = said("negative")
    found = iter([(200, {}, body), (200, {}, good), (200, {}, good), (200, {}, good)])
    server.answer = lambda messages: next(found)
    assert endpoint(server, tmp_path / "c").label(ROWS[:1]).codes == [1]


def test_an_endpoint_in_trouble_is_tried_again(server: Server, tmp_path: Path) -> None:
    found = iter([(429, {"Retry-After": "0"}, b""), (503, {}, b""), (200, {}, said("positive"))])
    server.answer = lambda messages: next(found)
    told = endpoint(server, tmp_path / "c", at_once=1).label(ROWS[:1])
    assert (told.codes, told.counts["requests"]) == ([0], 3)


def test_one_that_refuses_or_is_not_there_says_so(server: Server, tmp_path: Path) -> None:
    server.answer = lambda messages: (401, {}, b"no such key")
    with pytest.raises(AssetError, match=r"(?s)HTTP 401: no such key.*ASSET-110"):
        endpoint(server, tmp_path / "c").label(ROWS)
    server.answer = lambda messages: (500, {}, b"")
    with pytest.raises(AssetError, match=r"(?s)HTTP 500.*ASSET-110"):
        endpoint(server, tmp_path / "c").label(ROWS[:1])
    server.close()
    with pytest.raises(AssetError, match=r"(?s)refused.*ASSET-110"):
        endpoint(server, tmp_path / "c").label(ROWS[:1])
    with pytest.raises(AssetError, match=r"(?s)no variable 'NOT_SET_ANYWHERE'.*ASSET-109"):
        endpoint(server, tmp_path / "c", key="NOT_SET_ANYWHERE")


def test_the_answers_before_a_failure_are_kept(server: Server, tmp_path: Path) -> None:
    server.answer = lambda messages: (
        (200, {}, said("positive")) if "good" in user(messages) else (400, {}, b"too long")
    )
    with pytest.raises(AssetError):
        endpoint(server, tmp_path / "c", at_once=1).label(ROWS)
    assert len((tmp_path / "c").read_text(encoding="utf-8").splitlines()) >= 1
