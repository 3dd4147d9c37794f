"""Checkpoints: a run that is killed goes on from its last one, to the same weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["read_checkpoint", "write_checkpoint"]

_FILE = "checkpoint.safetensors"


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and JSON-able state, replacing the last checkpoint in one step."""
    partial = folder / f".{_FILE}.part"
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        partial,
        metadata={"state": json.dumps(state)},
    )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(folder / _FILE)


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last checkpoint, or None when there is none that can be read."""
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError):
        # Replaced in one step, so this is damage from outside; the run starts again.
        return None
