"""The service as a process of its own: started, loaded, killed, stopped."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from volano.store._database import open_database
from volano.store._log import PredictionLog


def post(client: httpx.Client, *texts: str) -> list[dict[str, Any]]:
    answer = client.post("/v1/predict", json={"rows": [{"text": text} for text in texts]})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_it_says_where_it_is_and_stops_cleanly(serve: Callable[..., Any]) -> None:
    for how in (signal.SIGTERM, signal.SIGINT):
        server = serve()
        assert server.line.startswith("Serving tiny, bundle ")
        assert server.address.startswith("http://127.0.0.1:")
        with server.client() as client:
            assert post(client, "good")[0]["value"]
            # The connection is still open: it must not hold the service up.
            assert server.stop(how) == (0, "")


def test_requests_under_way_are_answered_when_it_is_told_to_stop(
    serve: Callable[..., Any], database: str
) -> None:
    server = serve(max_batch_rows=1, max_wait_ms=0)
    with server.client() as client:
        found: list[list[dict[str, Any]]] = []
        rows = [f"text {number}" for number in range(1000)]
        thread = threading.Thread(target=lambda: found.append(post(client, *rows)))
        thread.start()
        engine = open_database(database)
        log = PredictionLog(engine)
        while not log.num_predictions() and thread.is_alive():
            pass
        status = server.stop()
        thread.join()
        assert status == (0, "")
        assert len(found[0]) == 1000
        assert log.num_predictions() == 1000
        engine.dispose()


def test_many_clients_at_once_get_their_own_answers(serve: Callable[..., Any]) -> None:
    server = serve()
    with server.client() as client:
        expected = {
            f"text {number}": post(client, f"text {number}")[0]["probabilities"]
            for number in range(64)
        }
    wrong: list[str] = []
    ids: set[str] = set()

    def work(number: int) -> None:
        text = f"text {number}"
        with server.client() as client:
            for _ in range(10):
                (found,) = post(client, text)
                ids.add(found["id"])
                if found["probabilities"] != pytest.approx(expected[text], abs=1e-5):
                    wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(ids) == 640


def test_what_was_acknowledged_survives_a_kill(serve: Callable[..., Any], database: str) -> None:
    server = serve()
    predicted: list[str] = []
    corrected: list[str] = []
    enough = threading.Event()

    def work(number: int) -> None:
        with server.client() as client:
            while True:
                try:
                    (found,) = post(client, f"text {number} {len(predicted)}")
                    predicted.append(found["id"])
                    body = {"prediction_id": found["id"], "value": "good", "who": str(number)}
                    answer = client.post("/v1/feedback", json=body)
                    assert answer.status_code == 200, answer.text
                    corrected.append(found["id"])
                except httpx.TransportError:
                    return
                if len(corrected) > 400:
                    enough.set()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    assert enough.wait(120)
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    engine = open_database(database)
    log = PredictionLog(engine)
    assert set(predicted) <= set(log.find(predicted))
    assert set(corrected) <= {row.prediction_id for row in log.current_feedback()}
    engine.dispose()


def test_a_port_in_use_is_one_clear_error(bundle: Path, serve: Callable[..., Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = serve(port=port)
        status, said = server.stop()
    assert status == 2
    assert server.line == ""
    assert said == (
        f"127.0.0.1:{port}: port {port} is in use by another program.\n"
        "Expected a free port.\n"
        "Fix: volano serve --port 0   # any free port.  [WHEEL-080]\n"
    )


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "::ffff:192.0.2.1"])
def test_a_host_that_is_not_here_is_one_clear_error(
    bundle: Path, serve: Callable[..., Any], host: str
) -> None:
    status, said = serve(host=host).stop()
    assert status == 2
    assert "[WHEEL-082]" in said
    assert "Traceback" not in said


def raw(address: str, *parts: bytes) -> bytes:
    """What the service sends back to raw bytes, until it closes the connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def test_a_body_declared_too_large_is_refused_before_it_is_sent(
    serve: Callable[..., Any],
) -> None:
    server = serve()
    answer = raw(server.address, HEAD + b"content-length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"REQUEST-032" in answer


def test_a_chunked_body_is_cut_off_at_the_limit(serve: Callable[..., Any]) -> None:
    server = serve(max_request_bytes=10_000)
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    answer = raw(server.address, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 100)
    assert answer.startswith(b"HTTP/1.1 413 ")
    with server.client() as client:
        assert post(client, "good")


def test_what_is_not_http_is_refused(serve: Callable[..., Any]) -> None:
    server = serve()
    assert raw(server.address, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    with server.client() as client:
        assert post(client, "good")
    assert server.stop()[0] == 0


REFUSES = """
import sys

class Refuse:
    refused = {"torch", "transformers", "sklearn", "pyarrow", "scipy", "onnx", "pandas", "fastapi"}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.refused:
            raise ImportError(f"serving must not import {name}")

sys.meta_path.insert(0, Refuse())
"""


def test_it_serves_without_torch_and_what_else_only_training_needs(
    bundle: Path, database: str
) -> None:
    program = (
        REFUSES
        + """
import asyncio, httpx
from volano.serving import create_app, open_model
from volano.store._database import open_database
from volano.store._log import PredictionLog

app = create_app(open_model(sys.argv[1]), log=PredictionLog(open_database(sys.argv[2])), name="x")

async def main():
    async with app.lifespan():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/v1/predict", json={"row": {"text": "good"}})
            id_ = answer.json()["predictions"][0]["id"]
            answer = await client.post("/v1/feedback", json={"prediction_id": id_, "value": "bad"})
            assert answer.status_code == 200, answer.text
            for path in ("/v1/model", "/v1/queue", "/readyz", "/docs", "/openapi.json"):
                assert (await client.get(path)).status_code == 200, path

asyncio.run(main())
import volano.serving._server
print(sorted(Refuse.refused & set(sys.modules)))
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(bundle), database],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_openapi_document_is_whole(local: Any) -> None:
    document = local.get("/openapi.json").json()
    text = json.dumps(document)
    names = set(document["components"]["schemas"])
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= names
    assert names <= used
    assert set(document["paths"]) == {
        "/v1/predict", "/v1/feedback", "/v1/queue", "/v1/model", "/healthz", "/readyz",
    }  # fmt: skip
    row = document["components"]["schemas"]["Row"]
    assert row["properties"] == {"text": {"type": "string", "examples": ["where is my parcel?"]}}
    assert row["additionalProperties"] is False


def test_the_examples_of_the_docs_work(local: Any) -> None:
    paths = local.get("/openapi.json").json()["paths"]
    content = paths["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        answer = local.post("/v1/predict", example["value"])
        assert answer.status_code == 200
    id_ = answer.json()["predictions"][0]["id"]
    content = paths["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        text = json.dumps(example["value"])
        shown = (
            example["value"].get("prediction_id") or example["value"]["items"][0]["prediction_id"]
        )
        body = json.loads(text.replace(shown, id_))
        assert local.post("/v1/feedback", body).status_code == 200


def test_the_docs_page_needs_nothing_from_elsewhere(local: Any) -> None:
    page = local.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" in page
