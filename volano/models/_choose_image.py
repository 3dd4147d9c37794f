"""Which encoder an image column gets. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volano.models._pretrained import identity, is_fetched, locate, refuse_other_kind

__all__ = ["check", "choose", "fetch", "identity_of"]

SCRATCH = ("auto", "scratch")


def identity_of(
    options: Mapping[str, Any], root: Path, fingerprint: Callable[[Path], str]
) -> dict[str, Any]:
    """See `encoder_identity`."""
    if options["encoder"] in SCRATCH:
        return {"scratch": 2}  # raised when such a net would learn otherwise
    return dict(identity(options["encoder"], root, fingerprint))


def check(options: Mapping[str, Any], root: Path) -> None:
    """See `check_encoder`."""
    refuse_other_kind(options["encoder"], "image")
    if options["encoder"] not in SCRATCH and not is_fetched(options["encoder"]):
        locate(options["encoder"], root)


def fetch(options: Mapping[str, Any], root: Path, say: Callable[[str], None]) -> None:
    """See `fetch_encoder`."""
    if options["encoder"].startswith("hf:"):
        locate(options["encoder"], root, say=say)


def choose(
    options: Mapping[str, Any], sample: Sequence[str], root: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """``encoder`` (``scratch`` or an address), ``reason``, and for pretrained ones ``size``, where
    the spec leaves it open: the pixels across that it was trained with; see `choose_encoder`.
    """
    del sample
    encoder = options["encoder"]
    if encoder in SCRATCH:
        why = "the spec says so" if encoder == "scratch" else "no pretrained one is named"
        return {"encoder": "scratch", "reason": why}
    refuse_other_kind(encoder, "image")
    pretrained = locate(encoder, root, say=say)
    config = pretrained.config()
    # timm keeps it in another place, channels first.
    size = config.get("image_size") or (config.get("pretrained_cfg") or {}).get("input_size")
    native = max(size) if isinstance(size, list) and size else size
    found = {"encoder": pretrained.pinned, "reason": "the spec says so"}
    if options.get("size", "auto") != "auto":
        return found
    return {**found, "size": native if isinstance(native, int) else 224}
