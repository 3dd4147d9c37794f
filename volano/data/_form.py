"""What the types of a table's columns say of its rows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volano.columns import column_kind
from volano.data._keys import Hashes, hash_inputs

__all__ = ["TableForm"]

_NUM_VALUE_CODES = 2**31 - 1


@dataclass(frozen=True)
class TableForm:
    """How rows are told apart and which targets can be used.

    Attributes:
      inputs: Input columns, in order.
      target: The column to predict.
      folds: Which inputs are the same when case, space and punctuation are: texts. In a number
        the sign and the dot are everything.
      observations: Whether rows are observations, of which many may well agree: when no input is
        a thing of its own, such as a text or a photo. Their hashes take the target in, and no row
        is held to repeat another.
      counted: Whether the target is one name out of few; else values are not listed nor counted.
      target_kind: The target's type.
      options: The target's own, for types that read cells by them.
    """

    inputs: tuple[str, ...]
    target: str
    folds: tuple[bool, ...]
    observations: bool
    counted: bool
    target_kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        inputs: Sequence[str],
        target: str,
        kinds: Mapping[str, str],
        options: Mapping[str, Any] | None = None,
    ) -> TableForm:
        """The form of a table; columns without a kind are text, and the target a category."""
        types = [column_kind(kinds.get(name, "text")) for name in inputs]
        target_kind = kinds.get(target, "category")
        return cls(
            tuple(inputs),
            target,
            tuple(kind.kind == "text" for kind in types),
            not any(kind.content for kind in types),
            column_kind(target_kind).names,
            target_kind,
            dict(options or {}),
        )

    @property
    def canonical(self) -> Callable[[str], str | None] | None:
        """Of targets that are several names at once: a cell -> a JSON list, None without a value.

        None for all other targets, which are as they stand in the table.
        """
        read = getattr(column_kind(self.target_kind), "canonical", None)
        return None if read is None else lambda cell: read(cell, self.options)

    def refused(self, targets: Sequence[str]) -> dict[str, str]:
        """Target -> why it cannot be learned, for those that are no value of the target's type."""
        refuse = column_kind(self.target_kind).refuse
        found = {value: refuse(value) for value in set(targets)}
        return {value: reason for value, reason in found.items() if reason}

    def hashes(
        self,
        inputs: Sequence[Sequence[str]],
        targets: Sequence[str],
        file: int,
        numbers: Sequence[int],
    ) -> tuple[Hashes, Hashes]:
        """Exact and folded hashes of rows; see `hash_inputs`.

        Of observations the exact hash takes the target in, and the folded one also the row's place
        (file and number), so that equal observations are held out and validated on one by one.
        """
        if not self.observations:
            return hash_inputs(inputs, self.folds)
        plain = [False] * (len(inputs) + 2)
        places = [f"{file}:{number}" for number in numbers]
        exact, _ = hash_inputs([*inputs, targets], plain[1:])
        _, placed = hash_inputs([*inputs, targets, places], plain)
        return exact, placed

    def value_code(self, target: str) -> int:
        """A code for a target that is not counted: equal targets have equal ones."""
        return zlib.crc32(target.encode()) % _NUM_VALUE_CODES
