"""Linear models of a table: a weight for each number and for each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit
from volano.models._table import TableFeature, sparse_matrix, table_arrays

__all__ = ["LinearModel"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LinearModel:
    """outputs = x W + missing M + sum over columns of names of T[code] + sparse S + b

    Attributes:
      features: The columns.
      weights: W, shape (numbers, num_outputs); a missing number counts as 0, its fitted centre.
      missing: M, the same shape: what it adds that a number is missing.
      tables: T, one per column of codes, shape (num_codes, num_outputs).
      bias: b, shape (num_outputs,).
      sparse: S of each sparse column, by its name, shape (num_places, num_outputs).
    """

    family: ClassVar[str] = "linear"
    features: tuple[TableFeature, ...]
    weights: Floats
    missing: Floats
    tables: tuple[Floats, ...]
    bias: Floats
    sparse: Mapping[str, Floats] = field(default_factory=dict)

    def outputs(self, split: EncodedSplit) -> Floats:
        """Shape (num_rows, num_outputs), float32."""
        numbers, codes = table_arrays(self.features, split)
        absent = np.isnan(numbers)
        found = np.where(absent, 0, numbers) @ self.weights + self.bias
        found = found + absent.astype(np.float32) @ self.missing
        for place, table in enumerate(self.tables):
            found = found + table[codes[:, place]]
        for column, weights in self.sparse.items():
            found = found + sparse_matrix(split.columns[column], len(weights)) @ weights
        return np.asarray(found, np.float32)

    def num_weights(self) -> int:
        """Numbers that were fitted."""
        sizes = [self.weights.size, self.missing.size, self.bias.size]
        sizes += [weights.size for weights in self.sparse.values()]
        return sum(sizes) + sum(table.size for table in self.tables)

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors."""
        from safetensors.numpy import save_file

        tensors = {"weights": self.weights, "missing": self.missing, "bias": self.bias}
        tensors |= {f"table.{place}": table for place, table in enumerate(self.tables)}
        tensors |= {f"sparse.{name}": weights for name, weights in self.sparse.items()}
        tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        save_file(tensors, folder / "linear.safetensors")

    @classmethod
    def load(cls, folder: Path, features: Sequence[TableFeature]) -> Self:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        tensors = load_file(folder / "linear.safetensors")
        sparse = {
            name.removeprefix("sparse."): weights
            for name, weights in tensors.items()
            if name.startswith("sparse.")
        }
        tables = [tensors[f"table.{place}"] for place in range(len(tensors) - len(sparse) - 3)]
        return cls(
            tuple(features),
            tensors["weights"],
            tensors["missing"],
            tuple(tables),
            tensors["bias"],
            sparse,
        )
