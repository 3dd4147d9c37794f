"""What people mean where they write something else."""

from __future__ import annotations

from volano.spec._document import Key

__all__ = ["FORMS", "meant"]


FORMS: dict[Key, str] = {
    ("budget",): "a time, such as 5m",
    ("compress", "budget"): "a time, such as 10m",
    ("compress", "latency"): "a time, such as 2ms",
    ("compress", "size"): "a size, such as 8MB",
    ("compress", "endpoint", "url"): "an address that begins with http:// or https://",
}
"""What values of a form of their own look like."""

_LISTS = {("compress",): "passes", ("train",): "models"}
"""Sections that people give a list, and the key that they mean."""


def meant(key: Key, value: object) -> str | None:
    """The section that a list in its place stands for."""
    if key not in _LISTS or not isinstance(value, (list, tuple)) or not value:
        return None
    return f"{key[0]}: {{{_LISTS[key]}: [{', '.join(map(str, value))}]}}"
