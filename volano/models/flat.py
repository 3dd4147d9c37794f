"""Models of tables where rows have more than numbers and names: texts become a few numbers first.

    x_r = sum over the known tokens t of row r of W[t], over how many there are

W is an inverse-frequency weight times the token's place on the main axes of all training texts
(latent semantic analysis; Deerwester et al., `Indexing by Latent Semantic Analysis
<https://doi.org/10.1002/(SICI)1097-4571(199009)41:6%3C391::AID-ASI1%3E3.0.CO;2-9>`_, 1990). It
knows nothing of the target, so nothing of it leaks. W holds whole numbers and is divided by a power
of two: the sums are exact in any order, so that a graph and numpy give trees the very same number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import Encoded, EncodedSplit, FittedColumn, Ragged
from volano.models._table import is_table

__all__ = ["FlatModel", "WordTable", "flat_inputs", "flat_split"]

Floats = NDArray[np.float32]

_FILE, _STATE = "words.safetensors", "flat.json"


@dataclass(frozen=True)
class WordTable:
    """What each token of a text column adds.

    Attributes:
      places: Token -> row of `vectors`, int64, shape (vocabulary,); 0 for what is not known.
      vectors: Whole numbers, float32, shape (known tokens + 1, size); the first row is 0.
      unit: A power of two that the mean is divided by.
    """

    places: NDArray[np.int64]
    vectors: Floats
    unit: float

    @property
    def size(self) -> int:
        """Numbers that a text becomes."""
        return int(self.vectors.shape[1])

    def values(self, ids: Ragged) -> Floats:
        """The numbers of each text, float32, shape (num_rows, size); 0 without a known token."""
        from scipy import sparse

        places = self.places[np.asarray(ids.flat)]
        offsets = np.asarray(ids.offsets)
        shape = (len(ids), len(self.vectors))
        counts = sparse.csr_array((np.ones(len(places), np.float32), places, offsets), shape=shape)
        sums = np.asarray(counts @ self.vectors, np.float32)
        known = np.concatenate([[0], np.cumsum(places > 0)])
        number = np.maximum(known[offsets[1:]] - known[offsets[:-1]], 1).astype(np.float32)
        return np.asarray(sums / (number * np.float32(self.unit))[:, None], np.float32)


@dataclass(frozen=True)
class _Words:
    """A text column as models of tables see it."""

    kind: ClassVar[str] = "words"
    name: str
    size: int

    def encode(self, values: Any) -> Encoded:
        return Encoded({"values": np.zeros((len(values), self.size), np.float32)})


def flat_inputs(
    inputs: Mapping[str, FittedColumn], words: Mapping[str, WordTable]
) -> dict[str, FittedColumn]:
    """The columns that a model of tables takes: numbers, names, and texts that became numbers."""
    found: dict[str, Any] = {}
    for name, column in inputs.items():
        if name in words:
            found[name] = _Words(name, words[name].size)
        elif is_table(column):
            found[name] = column
    return found


def flat_split(
    split: EncodedSplit, inputs: Mapping[str, FittedColumn], words: Mapping[str, WordTable]
) -> EncodedSplit:
    """Rows in the columns of `flat_inputs`."""
    columns = {}
    for name in inputs:
        encoded = split.columns[name]
        if name in words:
            ids = encoded.arrays["ids"]
            assert isinstance(ids, Ragged)
            encoded = Encoded({"values": words[name].values(ids)})
        columns[name] = encoded
    return EncodedSplit(columns, split.target)


@dataclass(frozen=True)
class FlatModel:
    """A model of tables over the numbers, names and texts of a row; other columns it ignores.

    Attributes:
      inputs: Its columns, from `flat_inputs`.
      words: Column of text -> what makes numbers of it.
      model: A linear model or trees.
    """

    family: ClassVar[str] = "flat"
    inputs: Mapping[str, FittedColumn]
    words: Mapping[str, WordTable]
    model: Any

    def outputs(self, split: EncodedSplit) -> Floats:
        """Shape (num_rows, num_outputs), float32."""
        found: Floats = self.model.outputs(flat_split(split, self.inputs, self.words))
        return found

    def num_weights(self) -> int:
        """Numbers that were fitted."""
        fitted: int = self.model.num_weights()
        return fitted + sum(table.vectors.size for table in self.words.values())

    def save(self, folder: Path) -> None:
        """Write the words as safetensors, and the model into a folder of its own."""
        from safetensors.numpy import save_file

        from volano.models._saved import save_model

        tensors = {}
        for place, table in enumerate(self.words.values()):
            tensors[f"places.{place}"] = np.ascontiguousarray(table.places)
            tensors[f"vectors.{place}"] = np.ascontiguousarray(table.vectors)
        # An empty file of tensors cannot be mapped everywhere.
        if tensors:
            save_file(tensors, folder / _FILE)
        state = {"words": [[name, table.unit] for name, table in self.words.items()]}
        (folder / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
        save_model(self.model, folder / "model")

    @classmethod
    def load(
        cls,
        folder: Path,
        inputs: Mapping[str, FittedColumn],
        load: Callable[[Path, Mapping[str, FittedColumn]], Any],
    ) -> Self:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        tensors = load_file(folder / _FILE) if state["words"] else {}
        words = {
            name: WordTable(tensors[f"places.{place}"], tensors[f"vectors.{place}"], unit)
            for place, (name, unit) in enumerate(state["words"])
        }
        found = flat_inputs(inputs, words)
        return cls(found, words, load(folder / "model", found))
