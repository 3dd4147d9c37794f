"""HTTP as uvicorn speaks it, with limits on the head of a request, and errors in our own shape.

uvicorn limits neither how large a request's headers are nor how long they take, so that a client
which sends half of them, or megabytes of them, would hold a connection for as long as it likes.
"""

from __future__ import annotations

import json
import logging
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from volano.errors import RequestError

__all__ = ["HEAD_TIMEOUT_S", "LARGEST_HEAD_BYTES", "LimitedProtocol"]

HEAD_TIMEOUT_S = 30.0
"""How long a request's line and headers may take, from the connection's or their first byte."""

LARGEST_HEAD_BYTES = 1 << 16

# What is no HTTP is answered with an error; a line in the log for each would be a stranger's to
# write. What fails in the service itself is of level error.
_log = logging.getLogger("volano.serving.http")
_log.setLevel(logging.ERROR)


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _log
        self._timer: TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0
        self._refusal: RequestError | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        # The first piece may hold the body of the request before, too: it does not count.
        self._head_bytes += len(data) if self._in_head else 0
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > LARGEST_HEAD_BYTES:
            self._refuse(_too_large())
        elif self._timer is None and self.cycle is not None and self.cycle.response_complete:
            self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # What follows a body in pieces, its trailers, must not pass for headers.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > LARGEST_HEAD_BYTES:
            # The parser makes this an error of its own, which ends in `send_400_response`.
            self._refusal = _too_large()
            raise self._refusal
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            self._refusal or RequestError(47, "this is not HTTP/1.1", expected="an HTTP request")
        )
        del msg

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if not self._in_head:
            self.transport.close()
            return
        what = f"the headers were not complete after {HEAD_TIMEOUT_S:.0f} s"
        self._refuse(RequestError(45, what, status=408, expected="the whole request"))

    def _refuse(self, error: RequestError) -> None:
        body = json.dumps({"error": error.as_dict()}, ensure_ascii=False).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[error.status] + head % len(body) + body)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _too_large() -> RequestError:
    return RequestError(
        46,
        "the address and headers of the request are too large",
        status=431,
        expected=f"at most {LARGEST_HEAD_BYTES} bytes",
    )
