"""A text column for encoders that sum over pieces of words and need no tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns._contract import Encoded, Ragged
from volano.columns._pieces import hash_pieces, pieces_of_text
from volano.columns._text_value import checked_text, text_schema
from volano.errors import BundleError

__all__ = ["PIECES_FILE", "FittedPieces"]

PIECES_FILE = "pieces.json"

CHUNK_ROWS = 512
LONGEST_TEXT = 20_000
"""The most characters of a text that are looked at, however long those of the training rows are."""


@dataclass(frozen=True)
class FittedPieces:
    """Texts as buckets of hashed pieces.

    Attributes:
      name: The column.
      num_buckets: Buckets that pieces fall into.
      max_characters: Longer texts are cut, and counted.
    """

    kind: ClassVar[str] = "text"
    cell_cost: ClassVar[float] = 1 / 64
    """What a piece costs the graph beside a token of a transformer: next to nothing, so that rows
    of unlike length share a run."""

    name: str
    num_buckets: int
    max_characters: int

    @classmethod
    def of(cls, name: str, texts: Iterable[str], num_buckets: int) -> Self:
        """A column that takes texts twice as long as 999 of 1,000 training texts are."""
        lengths = np.fromiter((len(text) for text in texts), np.int64)
        wanted = int(np.quantile(lengths, 0.999)) if len(lengths) else 0
        return cls(name, num_buckets, max(256, min(LONGEST_TEXT, 2 * wanted)))

    def check(self, value: object) -> str:
        return checked_text(self.name, value)

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        return text_schema()

    def encode(self, values: Sequence[str]) -> Encoded:
        """Texts as sorted buckets, each once. Counts ``truncated_rows``, ``truncated_characters``
        and ``pieces``."""
        notes: dict[int, str] = {}
        flat: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        cut = 0
        for start in range(0, len(values), CHUNK_ROWS):
            chunk = values[start : start + CHUNK_ROWS]
            for row, value in enumerate(chunk, start):
                if len(value) > self.max_characters:
                    over = len(value) - self.max_characters
                    cut += over
                    notes[row] = f"{self.name}: the last {over} characters were cut"
                elif not value or value.isspace():
                    notes[row] = f"{self.name}: there is no text"
            texts = [pieces_of_text(value[: self.max_characters]) for value in chunk]
            buckets, counts = hash_pieces(texts, self.num_buckets)
            flat.append(buckets)
            lengths.append(counts)
        joined = np.concatenate(flat)
        offsets = np.zeros(len(values) + 1, np.int64)
        np.cumsum(np.concatenate(lengths), out=offsets[1:])
        counts_of = {
            "truncated_rows": sum("cut" in note for note in notes.values()),
            "truncated_characters": cut,
            "pieces": len(joined),
        }
        return Encoded({"pieces": Ragged(joined, offsets)}, counts_of, notes)

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """``pieces`` int64 and ``shares`` float32, (B, P): a row's shares have length 1, so that
        a long text's sum is no larger than a short one's."""
        ragged = encoded.arrays["pieces"]
        assert isinstance(ragged, Ragged)
        pieces, mask = ragged.pad(rows, 0)
        counts = np.maximum(mask.sum(axis=1, keepdims=True), 1)
        shares = (mask / np.sqrt(counts)).astype(np.float32)
        return {f"{self.name}.pieces": pieces, f"{self.name}.shares": shares}

    def save(self, folder: Path) -> None:
        text = json.dumps(
            {"num_buckets": self.num_buckets, "max_characters": self.max_characters}, indent=1
        )
        (folder / PIECES_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            found = json.loads(files[PIECES_FILE])
            return cls(name, int(found["num_buckets"]), int(found["max_characters"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
