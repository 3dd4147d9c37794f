"""Which encoder an audio column gets: so far, one from scratch. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volano.errors import AssetError, nearest

__all__ = ["check", "choose", "fetch", "identity_of"]

KNOWN = ("auto", "scratch")


def identity_of(
    options: Mapping[str, Any], root: Path, fingerprint: Callable[[Path], str]
) -> dict[str, Any]:
    """See `encoder_identity`."""
    del options, root, fingerprint
    return {"scratch": 2}  # raised when such a net would learn otherwise


def check(options: Mapping[str, Any], root: Path) -> None:
    """See `check_encoder`."""
    del root
    if options["encoder"] not in KNOWN:
        raise AssetError(
            101,
            f"there is no encoder {options['encoder']!r} for sound",
            expected="auto or scratch",
            nearest=nearest(options["encoder"], list(KNOWN)),
        )


def fetch(options: Mapping[str, Any], root: Path, say: Callable[[str], None]) -> None:
    """See `fetch_encoder`."""
    del options, root, say


def choose(
    options: Mapping[str, Any], sample: Sequence[str], root: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """See `choose_encoder`."""
    del sample, say
    check(options, root)
    why = "the spec says so" if options["encoder"] == "scratch" else "there is no other for sound"
    return {"encoder": "scratch", "reason": why}
