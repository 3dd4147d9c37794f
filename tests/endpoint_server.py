"""A small OpenAI-compatible server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Answers chat completions.

    Attributes:
      answer: The messages of a request -> (status, headers, body).
      requests: What was received: headers and body.
    """

    def __init__(self) -> None:
        self.answer: Callable[[list[dict[str, str]]], tuple[int, dict[str, str], Any]] = (
            lambda messages: (200, {}, said("positive" if "good" in user(messages) else "negative"))
        )
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((dict(self.headers), {**body, "path": self.path}))
                status, headers, content = outer.answer(body["messages"])
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def user(messages: list[dict[str, str]]) -> str:
    return next(item["content"] for item in messages if item["role"] == "user")


def said(text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}
