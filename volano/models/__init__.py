"""Networks and where their pretrained parts come from. Importing this brings no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from volano.models._choose import check_encoder, choose_encoder, encoder_identity, fetch_encoder
from volano.models._pretrained import Pretrained, locate

if TYPE_CHECKING:
    from volano.models._network import Network, build_network, load_weights, save_weights
    from volano.models.encoders.text import TextEncoder

__all__ = [
    "Network",
    "Pretrained",
    "TextEncoder",
    "build_network",
    "check_encoder",
    "choose_encoder",
    "encoder_identity",
    "fetch_encoder",
    "load_weights",
    "locate",
    "save_weights",
]


_HOMES = {
    "Network": "volano.models._network",
    "TextEncoder": "volano.models.encoders.text",
    "build_network": "volano.models._network",
    "load_weights": "volano.models._network",
    "save_weights": "volano.models._network",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'volano.models' has no attribute {name!r}")
