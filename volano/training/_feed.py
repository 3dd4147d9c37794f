"""Batches of a split as tensors, the way a network in training wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from volano.columns import EncodedSplit, FittedColumn, Ragged
from volano.models import Network
from volano.training._batches import ordered_batches
from volano.training._frozen import FrozenLayers
from volano.training._objective import Objective
from volano.training._vocabulary import CompactVocabulary

__all__ = ["INFERENCE_ROWS", "INFERENCE_TOKENS", "Feed"]

INFERENCE_ROWS, INFERENCE_TOKENS = 64, 4096

Say = Callable[[float, float], None]


class Feed:
    """Batches of a split, with tokens at their places in the cut vocabularies.

    Args:
      inputs: Fitted input columns.
      split: Encoded rows.
      vocabularies: Column -> its cut vocabulary.
      network: Decides how wide a row is.
      aim: Turns targets into tensors; None where there is nothing to learn.
    """

    def __init__(
        self,
        inputs: Mapping[str, FittedColumn],
        split: EncodedSplit,
        vocabularies: Mapping[str, CompactVocabulary],
        network: Network,
        aim: Objective | None = None,
    ) -> None:
        self._inputs, self._split, self._vocabularies = inputs, split, vocabularies
        self._hidden: dict[str, Tensor] = {}
        self._vectors: dict[str, Tensor] = {}
        self._network = network
        self.num_rows = split.num_rows
        self.targets = aim.targets(split.target) if aim else torch.zeros(0)
        self.widths = self._row_widths()

    def start_above(self, name: str, frozen: FrozenLayers, say: Say) -> None:
        """Compute what a column's frozen layers answer; batches begin with that from here on."""
        ids = self._split.columns[name].arrays["ids"]
        assert isinstance(ids, Ragged)

        def batch(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
            tensors = self.batch(rows)
            return tensors[f"{name}.ids"], tensors.get(f"{name}.mask")

        self._hidden[name] = frozen.hidden(batch, ids.lengths, say)

    def answer_once(self, name: str, encoder: nn.Module, say: Say) -> None:
        """Compute a column's vectors, float32, (num_rows, width); batches bring them from here on,
        as ``COLUMN.vector``.
        """
        encoder.eval()
        found = torch.zeros((self.num_rows, encoder.width))  # type: ignore[arg-type]
        batches = self.batches()
        with torch.no_grad():
            for done, rows in enumerate(batches):
                batch = self.batch(rows)
                found[rows] = encoder(*(batch.get(f"{name}.{key}") for key in encoder.keys))  # type: ignore[union-attr]
                say(done, len(batches))
        self._vectors[name] = found
        self.widths = self._row_widths()

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, column in self._inputs.items():
            if name in self._vectors:
                tensors[f"{name}.vector"] = self._vectors[name][torch.from_numpy(rows)]
                continue
            if name in self._hidden:
                tensors |= self._hidden_batch(name, rows)
                continue
            for key, values in column.collate(self._split.columns[name], rows).items():
                if key.endswith(".mask") and values.all():
                    continue  # Without padding the encoder may skip masking altogether.
                if key.endswith(".ids") and name in self._vocabularies:
                    values = self._vocabularies[name].places(values)
                tensors[key] = torch.from_numpy(values)
        return tensors

    def _hidden_batch(self, name: str, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        ids = self._split.columns[name].arrays["ids"]
        assert isinstance(ids, Ragged)
        places, mask = Ragged(np.arange(len(ids.flat)), ids.offsets).pad(rows, 0)
        tensors = {f"{name}.ids": self._hidden[name][torch.from_numpy(places)]}
        if not mask.all():
            tensors[f"{name}.mask"] = torch.from_numpy(mask)
        return tensors

    def batches(self) -> list[NDArray[np.int64]]:
        return ordered_batches(self.widths, rows=INFERENCE_ROWS, tokens=INFERENCE_TOKENS)

    def _row_widths(self) -> NDArray[np.int64]:
        """Cells of each row in its longest column, (num_rows,): tokens, or frames of sound."""
        widths = np.ones(self.num_rows, np.int64)
        samples = {
            name: int(getattr(encoder, "samples_per_cell", 1))
            for name, encoder in zip(self._network.columns, self._network.encoders, strict=True)
        }
        for name, encoded in self._split.columns.items():
            if name in self._vectors:
                continue
            for array in encoded.arrays.values():
                if isinstance(array, Ragged):
                    widths = np.maximum(widths, -(-array.lengths // samples.get(name, 1)))
        return widths
