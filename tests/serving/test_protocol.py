"""Heads of requests that are too slow, too large or no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from volano.runtime import Model
from volano.serving import _protocol, create_app
from volano.serving._protocol import LimitedProtocol


def send(address: str, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes as they are; the status and the body until the server closes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := client.recv(1 << 16):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


LARGE = b"x-large: " + b"a" * 70_000


@pytest.mark.parametrize(
    ("pieces", "status", "code"),
    [
        ([b"GET /healthz HTTP/1.1\r\nhost: a\r\n", LARGE, b"\r\n\r\n"], 431, "REQUEST-046"),
        ([b"GET /healthz HTTP/1.1\r\nhost: a\r\n" + LARGE * 10], 431, "REQUEST-046"),
        ([b"GET /healthz HTTP/1.1\r\n", *[b"a: bbbbb\r\n"] * 30_000], 431, "REQUEST-046"),
        ([b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"], 431, "REQUEST-046"),
        ([b"hello\r\n\r\n"], 400, "REQUEST-047"),
        ([b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n"], 400, "REQUEST-047"),
    ],
    ids=["one header", "one without end", "many headers", "address", "no HTTP", "no header"],
)
def test_a_head_that_cannot_be_is_refused_and_nothing_is_logged(
    serve: Callable[..., Any], pieces: list[bytes], status: int, code: str
) -> None:
    server = serve()
    found, body = send(server.address, *pieces)
    assert (found, body["error"]["code"]) == (status, code)
    with server.client() as client:
        upgrade = {"connection": "upgrade", "upgrade": "websocket"}
        assert client.get("/healthz", headers=upgrade).status_code == 200
        assert client.get("/healthz", headers={"x-some": "a" * 8000}).status_code == 200
    assert server.stop() == (0, "")


@pytest.fixture
def slow(model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs a client against the service in this process, where a head may take 0.3 s."""
    monkeypatch.setattr(_protocol, "HEAD_TIMEOUT_S", 0.3)

    async def run(client: Callable[..., Any]) -> None:
        config = uvicorn.Config(
            create_app(model, name="tiny"), http=LimitedProtocol, port=0, log_config=None
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            await client(*await asyncio.open_connection("127.0.0.1", port))
        finally:
            server.should_exit = True
            await task

    return lambda client: asyncio.run(run(client))


@pytest.mark.parametrize("first", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nhost: a\r\n"])
def test_half_a_head_is_not_waited_for(slow: Callable[..., Any], first: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        answer = await asyncio.wait_for(reader.read(), 20)
        assert (b"408" in answer and b"REQUEST-045" in answer) == bool(first)
        writer.close()

    slow(client)


def test_nor_is_half_of_the_second_one(slow: Callable[..., Any]) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            assert b"200" in await asyncio.wait_for(reader.readuntil(b"}"), 20)
        writer.write(b"\r\nGET /heal")
        assert b"REQUEST-045" in await asyncio.wait_for(reader.read(), 20)
        writer.close()

    slow(client)


def test_a_whole_request_may_take_longer_to_answer(slow: Callable[..., Any]) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"row": {"text": "good"}}'
        writer.write(
            b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        await asyncio.sleep(0.6)
        writer.write(body)
        assert b"200" in await asyncio.wait_for(reader.readuntil(b"]}"), 20)
        writer.close()

    slow(client)
