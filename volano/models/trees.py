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
    """outputs = base + sum over trees of the leaf that a row ends in, or the logarithm of that.

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
      leaf: The leaf of each value, int64, ascending; a leaf may have several, or none.
      output: The output that a value is added to, int64.
      value: What is added, float32.
      shares: Whether the sums are shares of the classes, whose logarithms are the outputs.
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
    leaf: NDArray[np.int64]
    output: NDArray[np.int64]
    value: Floats
    shares: bool = False

    @property
    def num_trees(self) -> int:
        return int(self.tree[-1]) + 1 if len(self.tree) else 0

    def outputs(self, split: EncodedSplit) -> Floats:
        """Shape (num_rows, num_outputs), float32."""
        matrix = tree_matrix(self.features, self.ranks, split)
        found = np.tile(self.base.astype(np.float64), (len(matrix), 1))
        rows = np.arange(len(matrix))
        roots = np.flatnonzero(np.diff(self.tree, prepend=-1))
        # Values of a leaf: from starts[leaf] up to starts[leaf + 1].
        starts = np.searchsorted(self.leaf, np.arange(len(self.tree) + 1))
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
            place, stop = starts[node], starts[node + 1]
            while (some := np.flatnonzero(place < stop)).size:
                at = place[some]
                found[some, self.output[at]] += self.value[at]
                place = place + 1
        return np.asarray(np.log(found) if self.shares else found, np.float32)

    def num_weights(self) -> int:
        """Nodes of all trees."""
        return len(self.column)

    def save(self, folder: Path) -> None:
        """Write everything as safetensors."""
        from safetensors.numpy import save_file

        tensors = {name: getattr(self, name) for name in _ARRAYS}
        tensors["shares"] = np.array(self.shares)
        tensors |= {f"rank.{place}": rank for place, rank in enumerate(self.ranks)}
        tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        save_file(tensors, folder / "trees.safetensors")

    @classmethod
    def load(cls, folder: Path, features: Sequence[TableFeature]) -> Self:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        tensors = load_file(folder / "trees.safetensors")
        ranks = [tensors[f"rank.{place}"] for place in range(len(tensors) - len(_ARRAYS) - 1)]
        arrays = {name: tensors[name] for name in _ARRAYS}
        return cls(tuple(features), tuple(ranks), **arrays, shares=bool(tensors["shares"].item()))


_ARRAYS = (
    "base", "tree", "column", "threshold", "left", "right", "missing_left", "leaf", "output",
    "value",
)  # fmt: skip
