"""Which encoder a column gets. Needs no torch: `prepare` asks this before any training."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from volano.store import file_digest

__all__ = ["check_encoder", "choose_encoder", "encoder_identity", "fetch_encoder"]

_KINDS = {
    "audio": "volano.models._choose_audio",
    "image": "volano.models._choose_image",
    "text": "volano.models._choose_text",
}
"""Column type -> module with ``identity_of``, ``check``, ``fetch`` and ``choose``, for types whose
encoders can be chosen among. For all others there is nothing to choose."""


def _module(kind: str) -> ModuleType | None:
    return importlib.import_module(_KINDS[kind]) if kind in _KINDS else None


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
    module = _module(kind)
    return module.identity_of(options, root, fingerprint) if module else {}


def check_encoder(kind: str, options: Mapping[str, Any], root: Path) -> None:
    """Refuse an encoder that cannot be, as far as that can be seen without fetching anything.

    Raises:
      AssetError: A folder that is not there (ASSET-101) or lacks something (103 to 107).
    """
    module = _module(kind)
    if module:
        module.check(options, root)


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
    module = _module(kind)
    if module:
        module.fetch(options, root, say)


def choose_encoder(
    kind: str,
    options: Mapping[str, Any],
    sample: Sequence[str],
    root: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The encoder of a column, and what the column must know of it to be fitted.

    Args:
      kind: The column's type.
      options: The column's options.
      sample: Some training values.
      root: The wheel's folder.
      say: Told what is being fetched and chosen.
    Returns:
      ``encoder`` (``scratch`` or an address, on the hub with its commit) and ``reason``, and
      options that the column's `fit` takes beside its own; empty where there is nothing to choose.
    """
    module = _module(kind)
    return module.choose(options, sample, root, say) if module else {}
