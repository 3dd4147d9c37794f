"""What photos and recordings have in common: bytes of a file, in a cell or in a request."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar, Protocol, runtime_checkable

from volano.columns._contract import Inference
from volano.errors import RequestError, shorten

__all__ = [
    "LARGEST_MEDIA_BYTES",
    "CheckedMedia",
    "MediaKind",
    "as_base64",
    "infer_media",
    "media_bytes",
    "refused",
    "sample_of",
]

LARGEST_MEDIA_BYTES = 64 * 2**20
"""A larger file in one cell is refused: it would take the memory of all others."""


@runtime_checkable
class MediaKind(Protocol):
    """What a column type adds when its values are files of their own.

    The data room then keeps their bytes in a pack beside the table, and gives `encode` the bytes.

    Attributes:
      extensions: Endings of file names, in lower case, such as ``.png``.
    """

    extensions: ClassVar[frozenset[str]]

    @staticmethod
    def recognises(start: bytes) -> bool:
        """Whether a file that begins with these 64 bytes (or fewer) is of this type."""

    @staticmethod
    def problem(data: bytes | memoryview) -> str | None:
        """Why a file cannot be read to its end, in words; None when it can."""


class CheckedMedia(str):
    """Media as base64, which a log can keep, beside what `check` has already decoded.

    Attributes:
      decoded: What `encode` would else decode again.
    """

    __slots__ = ("decoded",)
    decoded: Any

    def __new__(cls, text: str, decoded: Any) -> CheckedMedia:
        made = super().__new__(cls, text)
        made.decoded = decoded
        return made


def media_bytes(value: object) -> bytes | memoryview | None:
    """The bytes of a file: as they are, as base64, or as a ``data:`` URI.

    A text is never taken for a path or an address: who sends a request must not choose which file
    a service opens.

    Returns:
      None where there is nothing.
    Raises:
      ValueError: It is none of these, in words.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value if isinstance(value, memoryview) else bytes(value)
    if not isinstance(value, str):
        raise ValueError("is neither base64 nor a data: URI")
    text = value
    if value[:5].lower() == "data:":
        head, comma, text = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError("is a data: URI without ';base64,'")
    if len(text) > LARGEST_MEDIA_BYTES * 4 // 3 + 4:
        raise ValueError(f"is larger than {LARGEST_MEDIA_BYTES // 2**20} MB")
    if "\n" in text or "\r" in text:
        text = "".join(text.split())
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("is neither base64 nor a data: URI") from None


def as_base64(value: object, data: bytes | memoryview) -> str:
    """A media value as the text that a log keeps."""
    return str(value) if isinstance(value, str) else base64.b64encode(data).decode("ascii")


def refused(name: str, value: object, reason: str, number: int, expected: str) -> RequestError:
    """Why a request's value is not taken."""
    shown = shorten(value, 40) if isinstance(value, str) else shorten(value)
    return RequestError(
        number,
        f"{name} {reason}" if isinstance(value, (str, bytes)) else f"{name} is {shown}",
        status=422,
        expected=expected,
    )


def infer_media(
    values: Sequence[str | None],
    extensions: frozenset[str],
    recognises: Callable[[bytes], bool],
    what: str,
) -> Inference:
    """Whether raw values are files of a kind: by the ending of their paths, or by their bytes."""
    present = [value.strip() for value in values if value and value.strip()]
    if not present:
        return Inference(0.0, "no values")
    endings: Counter[str] = Counter()
    inside = 0
    for value in present:
        if value[:5].lower() == "data:":
            try:
                head = value[: value.index(",") + 1] + value.partition(",")[2][:88]
                inside += recognises(bytes(media_bytes(head) or b""))
            except ValueError:
                continue
        elif len(value) < 1000:
            ending = PurePosixPath(value.replace("\\", "/")).suffix.lower()
            endings[ending] += ending in extensions
    paths = endings.total()
    score = (paths + inside) / len(present)
    if score < 0.9:
        return Inference(0.0, f"{score:.0%} of the values are {what}")
    if inside > paths:
        return Inference(score, f"{what} within the table")
    usual = ", ".join(ending for ending, count in endings.most_common(3) if count)
    return Inference(score, f"paths of {what} ({usual})")


def sample_of(values: Sequence[Any], most: int) -> list[Any]:
    """At most so many values, at even distances, without those that are missing."""
    step = max(1, -(-len(values) // most))
    return [value for value in values[::step] if value is not None and len(value)]
