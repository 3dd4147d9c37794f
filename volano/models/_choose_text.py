"""Which encoder a text column gets. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volano.columns import Ragged
from volano.columns.text import FittedText
from volano.models._pretrained import identity, is_fetched, locate, refuse_other_kind
from volano.models._shapes import SEQUENCES

__all__ = ["MOST_UNKNOWN", "check", "choose", "fetch", "identity_of"]

OWN = ("pieces", "scratch", *SEQUENCES)
"""Encoders that start from nothing."""

MOST_UNKNOWN = 0.1
"""Share of unknown tokens above which a pretrained tokenizer does not know the script."""


def identity_of(
    options: Mapping[str, Any], root: Path, fingerprint: Callable[[Path], str]
) -> dict[str, Any]:
    """See `encoder_identity`."""
    encoder = options["encoder"]
    if encoder in OWN:
        return {"net": encoder} if encoder in SEQUENCES else {encoder: 1}
    return {"auto": encoder == "auto"} | identity(
        "minilm" if encoder == "auto" else encoder, root, fingerprint
    )


def check(options: Mapping[str, Any], root: Path) -> None:
    """See `check_encoder`."""
    if options["encoder"] in ("auto", *OWN):
        return
    refuse_other_kind(options["encoder"], "text")
    if not is_fetched(options["encoder"]):
        pretrained = locate(options["encoder"], root)
        pretrained.tokenizer_json()


def fetch(options: Mapping[str, Any], root: Path, say: Callable[[str], None]) -> None:
    """See `fetch_encoder`."""
    if options["encoder"].startswith("hf:"):
        locate(options["encoder"], root, say=say)


def choose(
    options: Mapping[str, Any], sample: Sequence[str], root: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """``encoder`` (``scratch`` or an address), ``reason``, and for pretrained ones
    ``tokenizer_json`` and ``longest``; see `choose_encoder`.
    """
    encoder = options["encoder"]
    if encoder in OWN:
        return {"encoder": encoder, "reason": "the spec says so"}
    address = "minilm" if encoder == "auto" else encoder
    pretrained = locate(address, root, say=say)
    tokenizer_json = pretrained.tokenizer_json()
    share, worst = _unknown(tokenizer_json, sample)
    if encoder == "auto" and share > MOST_UNKNOWN:
        reason = f"{share:.0%} of the tokens are unknown to {address}, such as {worst!r}"
        say(f"    a transformer from scratch: {reason}")
        return {"encoder": "scratch", "reason": reason}
    return {
        "encoder": pretrained.pinned,
        "reason": f"{share:.1%} of the tokens are unknown to it",
        "tokenizer_json": tokenizer_json,
        "longest": pretrained.longest(),
    }


def _unknown(tokenizer_json: str, sample: Sequence[str]) -> tuple[float, str]:
    """Share of tokens that the tokenizer does not know, and a text that has most of them."""
    column = FittedText("", tokenizer_json, 512)
    if not sample or column.unknown_id is None:
        return 0.0, ""
    ids = column.encode(list(sample)).arrays["ids"]
    assert isinstance(ids, Ragged)
    unknown = ids.flat == column.unknown_id
    # Two tokens of every row are the marks of its start and end.
    total = max(1, len(ids.flat) - 2 * len(ids))
    counts = [int(unknown[ids.offsets[i] : ids.offsets[i + 1]].sum()) for i in range(len(ids))]
    worst = max(range(len(counts)), key=counts.__getitem__)
    return float(unknown.sum()) / total, sample[worst][:40]
