"""What can go wrong, and how it is said.

    VolanoError
    ├── SpecError        SPEC-*     the spec (a ValueError)
    │   └── SpecErrors              several of them, reported together
    ├── DataError        DATA-*     rows, files and labels (a ValueError)
    ├── AssetError       ASSET-*    what must be fetched: weights, packages, hubs
    ├── TrainError       TRAIN-*    the training loop
    ├── BundleError      BUNDLE-*   a bundle that cannot be trusted or read (a ValueError)
    ├── StoreError       STORE-*    the store: locked, full, newer than this version
    ├── WheelError       WHEEL-*    commands that do not fit the wheel's state
    └── RequestError     REQUEST-*  what a client of the service sent (a ValueError), with a status

Each message has the same shape, so that a person can act on it and a program can read it::

    <where>: <what happened, with the received value>.
    Expected <what>. Did you mean <nearest>?
    Fix: <one line to paste>.  [SPEC-012]

Codes are stable: once released, a code keeps its meaning. ``docs/errors.md`` lists them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar

__all__ = [
    "AssetError",
    "BundleError",
    "DataError",
    "RequestError",
    "SpecError",
    "SpecErrors",
    "StoreError",
    "TrainError",
    "VolanoError",
    "WheelError",
    "nearest",
    "shorten",
    "shown_size",
]


class VolanoError(Exception):
    """An error that is meant for a person: never a bug of Volano's own.

    Args:
      number: The code's number; with the class's prefix it makes the code, as in ``SPEC-012``.
      what: What happened, with the received value, without a full stop.
      where: File and line, column, row or address.
      expected: What would have been right.
      nearest: The known name closest to the received one.
      fix: One line that the reader can paste or do.
    """

    prefix: ClassVar[str] = "VOLANO"

    def __init__(
        self,
        number: int,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        nearest: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.code = f"{self.prefix}-{number:03d}"
        self.what = what
        self.where = where
        self.expected = expected
        self.nearest = nearest
        self.fix = fix
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [f"{self.where}: {self.what}." if self.where else f"{self.what}."]
        hints = []
        if self.expected:
            hints.append(f"Expected {self.expected}.")
        if self.nearest:
            hints.append(f"Did you mean {self.nearest}?")
        if hints:
            lines.append(" ".join(hints))
        if self.fix:
            lines.append(f"Fix: {self.fix}.  [{self.code}]")
        else:
            lines[-1] += f"  [{self.code}]"
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str]:
        """The error as JSON-able fields; empty ones are left out."""
        fields = {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "nearest": self.nearest,
            "fix": self.fix,
        }
        return {name: value for name, value in fields.items() if value}


class SpecError(VolanoError, ValueError):
    """One thing in the spec that cannot be."""

    prefix = "SPEC"


class SpecErrors(SpecError):
    """All that is wrong with a spec, reported together.

    Args:
      errors: At least one error, in the order of the file.
    """

    def __init__(self, errors: Sequence[SpecError]) -> None:
        assert errors
        self.errors = tuple(errors)
        first = errors[0]
        super().__init__(
            int(first.code.rsplit("-", 1)[1]),
            first.what,
            where=first.where,
            expected=first.expected,
            nearest=first.nearest,
            fix=first.fix,
        )
        self.args = ("\n\n".join(str(error) for error in errors),)

    def as_dict(self) -> dict[str, str]:
        fields = super().as_dict()
        fields["all"] = str(self)
        return fields


class DataError(VolanoError, ValueError):
    """Data that cannot be read or used."""

    prefix = "DATA"


class AssetError(VolanoError):
    """Weights, a package or a hub file that could not be had, or was not what it should be."""

    prefix = "ASSET"


class TrainError(VolanoError):
    """Training that cannot start or go on."""

    prefix = "TRAIN"


class BundleError(VolanoError, ValueError):
    """A bundle that is damaged, incomplete, newer than this version, or unsafe."""

    prefix = "BUNDLE"


class StoreError(VolanoError):
    """The store cannot be opened, written, or is held by another process."""

    prefix = "STORE"


class WheelError(VolanoError):
    """A command that the wheel's present state does not allow."""

    prefix = "WHEEL"


class RequestError(VolanoError, ValueError):
    """What a client sent cannot be answered.

    Args:
      status: The HTTP status to answer with: 400 to 499 where the client is to blame, 503 where it
        need only come again later.
    """

    prefix = "REQUEST"

    def __init__(
        self,
        number: int,
        what: str,
        *,
        status: int = 400,
        where: str | None = None,
        expected: str | None = None,
        nearest: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.status = status
        super().__init__(number, what, where=where, expected=expected, nearest=nearest, fix=fix)


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name closest to ``name``, or None when none is close.

    Example:
      >>> nearest("lerning_rate", ["learning_rate", "epochs"])
      'learning_rate'
    """
    candidates = sorted(known)
    folded = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(str(name).lower(), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def shorten(value: object, limit: int = 60) -> str:
    """A value as it can stand in a message: quoted, on one line, cut in the middle when long.

    Example:
      >>> shorten("a\\nb")
      "'a\\\\nb'"
    """
    text = repr(value)
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def shown_size(size_bytes: float) -> str:
    """Bytes as people write them.

    Example:
      >>> shown_size(12_345_678), shown_size(999)
      ('12.3 MB', '1.0 kB')
    """
    if size_bytes < 100:
        return f"{size_bytes:.0f} B"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"
