"""What every text column asks of a value, however it is encoded afterwards."""

from __future__ import annotations

from typing import Any

from volano.errors import RequestError, shorten

__all__ = ["checked_text", "text_schema"]


def checked_text(name: str, value: object) -> str:
    """The value, where it is text that can be written as UTF-8.

    Raises:
      RequestError: It is not (REQUEST-010).
    """
    if not isinstance(value, str):
        raise RequestError(10, f"{name} is {shorten(value)}", status=422, expected="text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half of a pair of surrogates, which is no character.
        raise RequestError(
            10,
            f"{name} has half of a surrogate pair at character {error.start + 1}",
            status=422,
            expected="text that can be written as UTF-8",
        ) from None
    return value


def text_schema() -> dict[str, Any]:
    """What a value is in JSON."""
    return {"type": "string", "examples": ["where is my parcel?"]}
