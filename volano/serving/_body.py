"""Reading what a client sent, strictly: nothing is guessed, nothing is dropped."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from volano.errors import RequestError, nearest, shorten

__all__ = ["Gone", "Receive", "Scope", "ask", "header", "keys", "read_json", "whole_number"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_TIMEOUT_S = 30.0
"""How long a client may take to send a body that did not come in one piece."""


DEEPEST = 64
"""Levels of lists and objects in a body: more than any column needs."""


class Gone(Exception):
    """The client went away while it was sending."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header by its name in lower case; None when it is not there."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_json(scope: Scope, receive: Receive, max_bytes: int) -> Any:
    """The request's body as JSON.

    Raises:
      RequestError: It is not declared as JSON (REQUEST-030), is compressed (031), too large (032),
        came too slowly (033), is empty (034), is not UTF-8 (035), is not JSON (036), nests too
        deep (037), repeats a key (038), or has text that is not Unicode (039).
    """
    kind = header(scope, b"content-type")
    if kind is None or kind.split(b";", 1)[0].strip().lower() != b"application/json":
        # Strict for a reason: a web page of somebody else's may send any other type to a service
        # on this machine without asking, but not this one.
        raise RequestError(
            30,
            f"the content type is {shorten((kind or b'').decode('latin-1'))}",
            status=415,
            expected="application/json",
            fix="send the header content-type: application/json",
        )
    packing = header(scope, b"content-encoding")
    if packing is not None and packing.strip().lower() != b"identity":
        raise RequestError(
            31,
            f"the body is packed with {shorten(packing.decode('latin-1'))}",
            status=415,
            expected="a body that is not compressed",
        )
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared[:18]) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    if message["type"] != "http.request":
        raise Gone
    body = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _rest(bytearray(body), receive, max_bytes)
        except TimeoutError as error:
            raise RequestError(
                33,
                f"the body was not complete after {BODY_TIMEOUT_S:.0f} s",
                status=408,
                expected="the whole body",
            ) from error
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return _parsed(body)


async def _rest(body: bytearray, receive: Receive, max_bytes: int) -> bytes:
    more = True
    while more:
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        32,
        "the body is too large",
        status=413,
        expected=f"at most {max_bytes} bytes",
        fix="send fewer rows at once, or raise serve.max_request_bytes",
    )


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shorten(text)} is too large a number")
    return number


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RequestError(
                    38, f"the key {shorten(key)} occurs twice in one object", expected="it once"
                )
            seen.add(key)
    return found


_decode = json.JSONDecoder(
    parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_distinct
).decode


def _parsed(body: bytes) -> Any:
    expected = "JSON"
    if not body:
        raise RequestError(34, "the body is empty", expected=expected)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            35, f"the body is not UTF-8: {error.reason} at byte {error.start}", expected="UTF-8"
        ) from error
    try:
        value = _decode(text)
    except RequestError:
        raise
    except ValueError as error:
        raise RequestError(36, f"the body is not JSON: {error}", expected=expected) from error
    except RecursionError as error:
        raise _too_deep() from error
    # Python's own limit depends on who calls: what can be parsed may still be too deep to print.
    if text.count("[") + text.count("{") > DEEPEST and _depth(value) > DEEPEST:
        raise _too_deep()
    # Half of a surrogate pair can only come in as an escape. No store and no answer could hold it.
    if "\\u" in text or "\\U" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise RequestError(
                39,
                f"a text has half of a surrogate pair, {shorten(error.object[error.start])}",
                expected="Unicode text",
            ) from error
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [
            inner for item in level for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _too_deep() -> RequestError:
    return RequestError(37, "the body nests too deep", expected=f"at most {DEEPEST} levels")


def keys(value: Any, known: Sequence[str], where: str | None = None) -> Mapping[str, Any]:
    """The value as an object that has none but the known keys.

    Raises:
      RequestError: It is no object (REQUEST-040), or has an unknown key (041).
    """
    if not isinstance(value, dict):
        raise RequestError(
            40,
            f"{'this' if where else 'the body'} is {shorten(value)}",
            status=422,
            where=where,
            expected="an object with " + ", ".join(known),
        )
    for key in value:
        if key not in known:
            raise RequestError(
                41,
                f"there is an unknown key {shorten(key)}",
                status=422,
                where=where,
                expected="one of " + ", ".join(known),
                nearest=nearest(key, known),
            )
    return value


def ask(scope: Scope, known: Sequence[str]) -> dict[str, str]:
    """The query's parameters.

    Raises:
      RequestError: One is unknown (REQUEST-042) or occurs twice (043).
    """
    found: dict[str, str] = {}
    query = scope.get("query_string", b"")
    if not query:
        return found
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise RequestError(42, f"the query cannot be read ({error})") from error
    for name, value in pairs:
        if name not in known:
            raise RequestError(
                42,
                f"there is no query parameter {shorten(name)}",
                expected="one of " + ", ".join(known) if known else "none",
                nearest=nearest(name, known),
            )
        if name in found:
            raise RequestError(43, f"the query parameter {name} occurs twice", expected="it once")
        found[name] = value
    return found


def whole_number(text: str, name: str, lowest: int, highest: int) -> int:
    """A query parameter as a whole number.

    Raises:
      RequestError: It is not one, or out of its range (REQUEST-044).
    """
    if text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest:
        return int(text)
    raise RequestError(
        44, f"{name} is {shorten(text)}", expected=f"a whole number from {lowest} to {highest}"
    )
