"""Networks and where their pretrained parts come from. Importing this brings no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from volano.models._choose import choose_encoder, encoder_identity
from volano.models._pretrained import Pretrained, locate

if TYPE_CHECKING:
    from volano.models._network import Network, build_network, load_weights, save_weights

__all__ = [
    "Network",
    "Pretrained",
    "build_network",
    "choose_encoder",
    "encoder_identity",
    "load_weights",
    "locate",
    "save_weights",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module("volano.models._network"), name)
    raise AttributeError(f"module 'volano.models' has no attribute {name!r}")
