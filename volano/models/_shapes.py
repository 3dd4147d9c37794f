"""What nets from scratch may be made of, by the names of the spec. Needs no torch."""

from __future__ import annotations

from typing import Any

__all__ = ["SEQUENCES", "activation_of", "pooling_of"]

SEQUENCES = ("conv", "gru", "lstm", "rnn")
"""Nets from scratch that read a text token by token, beside the transformer (``scratch``)."""


def activation_of(details: Any, default: str) -> str:
    """The activation that the spec asks for: ``gelu``, ``relu``, ``sigmoid`` or ``tanh``."""
    found = details.get("activation", "auto")
    return default if found == "auto" else str(found)


def pooling_of(details: Any) -> str:
    """How many vectors become one: ``average``, ``cls`` or ``max``."""
    found = details.get("pooling", "auto")
    return "average" if found == "auto" else str(found)
