"""Answers on the wire: JSON with the right status, and errors in one shape."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from volano.errors import RequestError, StoreError, VolanoError
from volano.serving._body import Scope, header

__all__ = ["HTML", "JSON", "Headers", "Send", "failure", "reply", "reply_json"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
HTML = (b"content-type", b"text/html; charset=utf-8")

_log = logging.getLogger("volano.serving")


async def reply(
    scope: Scope, send: Send, body: bytes, headers: Headers = (JSON,), *, status: int = 200
) -> None:
    """Answer with bytes; gives the client's own X-Request-ID back."""
    fields = [*headers, (b"content-length", b"%d" % len(body))]
    given = header(scope, b"x-request-id")
    if given is not None and len(given) <= 128 and given.isascii():
        fields.append((b"x-request-id", given))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def reply_json(
    scope: Scope, send: Send, value: Any, headers: Headers = (), *, status: int = 200
) -> None:
    """Answer with a value as JSON."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    await reply(scope, send, body, (JSON, *headers), status=status)


async def failure(scope: Scope, send: Send, error: BaseException, headers: Headers = ()) -> None:
    """Answer with an error. What nobody foresaw is logged, and the client gets its number only."""
    if isinstance(error, RequestError):
        status, fields = error.status, error.as_dict()
    elif isinstance(error, StoreError):
        # The client did nothing wrong, and the same request may go well in a moment.
        status, fields = 503, error.as_dict()
        _log.error("%s %s: %s", scope["method"], scope["path"], error)
    else:
        incident = uuid.uuid4().hex
        status = 500
        fields = {
            "code": error.code if isinstance(error, VolanoError) else "REQUEST-070",
            "what": f"the service failed; this is incident {incident}",
            "incident": incident,
            "fix": "look for the incident in the service's log",
        }
        _log.error("incident %s: %s %s", incident, scope["method"], scope["path"], exc_info=error)
    extra = list(headers)
    if status == 503:
        extra.append((b"retry-after", b"1"))
    if status in (408, 413):
        # The rest of the body is not read, so nothing else can come over this connection.
        extra.append((b"connection", b"close"))
    await reply_json(scope, send, {"error": fields}, extra, status=status)
