"""Which encoder a column gets. Needs no torch: `prepare` asks this before any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volano.columns import Ragged
from volano.columns.text import FittedText
from volano.models._pretrained import identity, is_fetched, locate
from volano.store import file_digest

__all__ = [
    "MOST_UNKNOWN",
    "check_encoder",
    "choose_encoder",
    "encoder_identity",
    "fetch_encoder",
]

MOST_UNKNOWN = 0.1
"""Share of unknown tokens above which a pretrained tokenizer does not know the script."""


def encoder_identity(
    kind: str,
    options: Mapping[str, Any],
    root: Path,
    *,
    fingerprint: Callable[[Path], str] = file_digest,
) -> dict[str, Any]:
    """What of a column's encoder goes into a stage's key.

    Args:
      kind: The column's type.
      options: The column's options.
      root: The wheel's folder.
      fingerprint: SHA-256 of a file, remembered where that is quicker.
    """
    if kind != "text":
        return {}
    encoder = options["encoder"]
    if encoder == "scratch":
        return {"scratch": 1}
    return {"auto": encoder == "auto"} | identity(
        "minilm" if encoder == "auto" else encoder, root, fingerprint
    )


def check_encoder(kind: str, options: Mapping[str, Any], root: Path) -> None:
    """Refuse an encoder that cannot be, as far as that can be seen without fetching anything.

    Raises:
      AssetError: A folder that is not there (ASSET-101) or lacks something (103 to 107).
    """
    if kind != "text" or options["encoder"] in ("auto", "scratch"):
        return
    if not is_fetched(options["encoder"]):
        pretrained = locate(options["encoder"], root)
        pretrained.tokenizer_json()


def fetch_encoder(
    kind: str,
    options: Mapping[str, Any],
    root: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Fetch a model of the hub that is not on this machine, so that its commit can be in a key.

    Raises:
      AssetError: It cannot be fetched (ASSET-102), or is incomplete (103, 104).
    """
    if kind == "text" and options["encoder"].startswith("hf:"):
        locate(options["encoder"], root, say=say)


def choose_encoder(
    kind: str,
    options: Mapping[str, Any],
    sample: Sequence[str],
    root: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The encoder of a column, and what its tokenizer must know of it.

    Args:
      kind: The column's type.
      options: The column's options.
      sample: Some training values.
      root: The wheel's folder.
      say: Told what is being fetched and chosen.
    Returns:
      ``encoder`` (``scratch`` or an address, on the hub with its commit), ``reason``, and for
      pretrained ones ``tokenizer_json`` and ``longest``.
    """
    assert kind == "text", kind
    encoder = options["encoder"]
    if encoder == "scratch":
        return {"encoder": "scratch", "reason": "the spec says so"}
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
