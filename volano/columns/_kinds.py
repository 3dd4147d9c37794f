"""The table of column types, looked up by name when first needed."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any, cast

from pydantic import BaseModel

from volano.columns._contract import Column, Use
from volano.columns._media import MediaKind
from volano.errors import SpecError, nearest

__all__ = [
    "column_kind",
    "column_kinds",
    "column_options",
    "column_uses",
    "media_kind",
    "plain_cells",
]

_KINDS: dict[str, tuple[str, Use]] = {
    "audio": ("volano.columns.audio:AudioColumn", "input"),
    "boolean": ("volano.columns.boolean:BooleanColumn", "input"),
    "category": ("volano.columns.category:CategoryColumn", "both"),
    "datetime": ("volano.columns.datetime:DatetimeColumn", "input"),
    "id": ("volano.columns.id:IdColumn", "input"),
    "image": ("volano.columns.image:ImageColumn", "input"),
    "labels": ("volano.columns.labels:LabelsColumn", "target"),
    "number": ("volano.columns.number:NumberColumn", "both"),
    "series": ("volano.columns.series:SeriesColumn", "both"),
    "sparse": ("volano.columns.sparse:SparseColumn", "input"),
    "vector": ("volano.columns.vector:VectorColumn", "input"),
    "text": ("volano.columns.text:TextColumn", "input"),
}
"""Name -> where its class is, and whether it can be an input, the target or both."""

_GROUP = "volano.columns"
"""Entry points of this group add types: ``name = "package.module:Class"``."""


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=_GROUP)}


def column_kinds() -> list[str]:
    """The names of all column types there are, sorted."""
    return sorted({*_KINDS, *_entry_points()})


@functools.cache
def column_kind(name: str) -> type[Column]:
    """A column type by its name.

    Raises:
      SpecError: There is none of that name (SPEC-015).
    """
    if name in _KINDS:
        module, _, attribute = _KINDS[name][0].partition(":")
        return cast("type[Column]", getattr(importlib.import_module(module), attribute))
    if name in _entry_points():
        return cast("type[Column]", _entry_points()[name].load())
    raise SpecError(
        15,
        f"there is no column type {name!r}",
        expected="one of " + ", ".join(column_kinds()),
        nearest=nearest(name, column_kinds()),
    )


def column_options(name: str) -> type[BaseModel]:
    """The model of a column type's options."""
    return column_kind(name).Options


def media_kind(name: str) -> type[MediaKind] | None:
    """A column type whose values are files of their own; None when they are not."""
    kind = column_kind(name)
    return kind if isinstance(kind, MediaKind) else None


def plain_cells(
    columns: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> dict[str, Callable[[str], str]]:
    """Column -> what makes its cells such as all later steps read them, where that is anything.

    Args:
      columns: Column -> type and options.
    """
    found = {}
    for name, (kind, options) in columns.items():
        made = getattr(column_kind(kind), "plain", None)
        read = made(options) if made else None
        if read is not None:
            found[name] = read
    return found


def column_uses() -> dict[str, str]:
    """Column type -> ``input``, ``target`` or ``both``."""
    return {
        name: _KINDS[name][1] if name in _KINDS else column_kind(name).use
        for name in column_kinds()
    }
