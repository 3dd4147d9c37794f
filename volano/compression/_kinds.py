"""The table of compression passes."""

from __future__ import annotations

import importlib
import importlib.metadata

from volano.compression._contract import Pass
from volano.errors import SpecError, nearest

__all__ = ["compression_pass", "pass_kinds", "pass_version"]

_KINDS = {
    "distil": ("volano.compression.distil:DistilPass", 2),
    "fp16": ("volano.compression.fp16:Fp16Pass", 1),
    "fuse": ("volano.compression.fuse:FusePass", 1),
    "int4": ("volano.compression.int4:Int4Pass", 1),
    "int8": ("volano.compression.int8:Int8Pass", 3),
    "low_rank": ("volano.compression.low_rank:LowRankPass", 1),
    "pack": ("volano.compression.pack:PackPass", 1),
    "qat": ("volano.compression.qat:QatPass", 1),
    "sparse": ("volano.compression.sparse:SparsePass", 1),
    "vocabulary": ("volano.compression.vocabulary:VocabularyPass", 1),
}
"""Name -> where it is, and its version: known without onnx, which takes a while to import."""

_GROUP = "volano.passes"


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=_GROUP)}


def pass_kinds() -> list[str]:
    """The names of all passes, sorted."""
    return sorted({*_KINDS, *_entry_points()})


def pass_version(name: str) -> int:
    """The version of a pass; one that comes with Volano is not imported for it.

    Raises:
      SpecError: There is none of that name (SPEC-040).
    """
    return _KINDS[name][1] if name in _KINDS else compression_pass(name).version


def compression_pass(name: str) -> Pass:
    """A pass by its name.

    Raises:
      SpecError: There is none of that name (SPEC-040).
    """
    if name in _KINDS:
        module, _, attribute = _KINDS[name][0].partition(":")
        made: Pass = getattr(importlib.import_module(module), attribute)()
        return made
    points = _entry_points()
    if name in points:
        loaded: Pass = points[name].load()()
        return loaded
    raise SpecError(
        40,
        f"there is no compression pass {name!r}",
        where="compress.passes",
        expected="one of " + ", ".join(pass_kinds()),
        nearest=nearest(name, pass_kinds()),
    )
