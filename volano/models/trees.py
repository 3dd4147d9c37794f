"""Sums of decision trees over a table, whoever grew them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit
from volano.models._table import TableFeature, table_arrays

__all__ = ["TreesModel", "tree_matrix"]

Floats = NDArray[np.float32]


def tree_matrix(
    features: Sequence[TableFeature], ranks: Sequence[Floats], split: EncodedSplit
) -> Floats:
    """What trees split on: all numbers, then each name's rank; float32, (num_rows, columns).

    A tree asks whether a value is below a threshold, so names need an order. Ordered by the mean
    target of their rows, one threshold parts them as well as any choice of a subset could, for a
    squared or a two-class loss (Fisher, `On Grouping for Maximum Homogeneity
    <https://doi.org/10.1080/01621459.1958.10501479>`_, 1958).
    """
    numbers, codes = table_arrays(features, split)
    named = [rank[codes[:, place]] for place, rank in enumerate(ranks)]
    return np.concatenate([numbers, *(column[:, None] for column in named)], axis=1)


@dataclass(frozen=True)
class TreesModel:
    """outputs = base + sum over trees of the leaf that a row ends in.

    At an inner node a row goes left when its value is at most the threshold.

    Attributes:
      features: The columns.
      ranks: For each column of names the value of each code, shape (num_codes,).
      base: Shape (num_outputs,).
      tree: The tree that a node belongs to, int64; nodes of a tree follow each other, root first.
      column: Column of `tree_matrix` that a node asks for; -1 in a leaf. int64.
      threshold: Of inner nodes, float32.
      left: Node to go to, int64; 0 in a leaf.
      right: The same.
      missing_left: Whether a row without the value goes left.
      output: The output that a leaf adds to, int64.
      value: What it adds, float32.
    """

    family: ClassVar[str] = "trees"
    features: tuple[TableFeature, ...]
    ranks: tuple[Floats, ...]
    base: Floats
    tree: NDArray[np.int64]
    column: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    output: NDArray[np.int64]
    value: Floats

    @property
    def num_trees(self) -> int:
        return int(self.tree[-1]) + 1 if len(self.tree) else 0

    def outputs(self, split: EncodedSplit) -> Floats:
        """Shape (num_rows, num_outputs), float32."""
        matrix = tree_matrix(self.features, self.ranks, split)
        found = np.tile(self.base.astype(np.float64), (len(matrix), 1))
        rows = np.arange(len(matrix))
        roots = np.flatnonzero(np.diff(self.tree, prepend=-1))
        for root in roots.tolist():
            node = np.full(len(matrix), root)
            while True:
                column = self.column[node]
                inner = column >= 0
                if not inner.any():
                    break
                value = matrix[rows, np.maximum(column, 0)]
                goes_left = np.where(
                    np.isnan(value), self.missing_left[node], value <= self.threshold[node]
                )
                node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
            found[rows, self.output[node]] += self.value[node]
        return found.astype(np.float32)

    def num_weights(self) -> int:
        """Nodes of all trees."""
        return len(self.column)

    def save(self, folder: Path) -> None:
        """Write everything as safetensors."""
        from safetensors.numpy import save_file

        tensors = {name: getattr(self, name) for name in _ARRAYS}
        tensors |= {f"rank.{place}": rank for place, rank in enumerate(self.ranks)}
        tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        save_file(tensors, folder / "trees.safetensors")

    @classmethod
    def load(cls, folder: Path, features: Sequence[TableFeature]) -> Self:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        tensors = load_file(folder / "trees.safetensors")
        ranks = [tensors[f"rank.{place}"] for place in range(len(tensors) - len(_ARRAYS))]
        return cls(tuple(features), tuple(ranks), **{name: tensors[name] for name in _ARRAYS})


_ARRAYS = (
    "base", "tree", "column", "threshold", "left", "right", "missing_left", "output", "value"
)  # fmt: skip
