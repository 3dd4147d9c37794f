"""Layers that do not learn answer the same in every epoch: their output is computed once.

The lower layers of a pretrained encoder know words and grammar, which a new task seldom needs to
change. Left as they are, each row's pass through them is done once, kept, and every epoch begins
above them: with half of the layers frozen, a step costs half.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from volano.models import TextEncoder
from volano.training._batches import ordered_batches

__all__ = ["FrozenLayers", "layers_of"]

LARGEST_BYTES = 2_000_000_000
"""Hidden states of all splits together; with more the frozen layers are run again in each epoch."""

ROWS, TOKENS = 64, 4096

Batch = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor | None]]
"""Rows -> token ids and mask, both (B, T); no mask where there is no padding."""


class _Passed(nn.Module):
    """Stands in the embeddings' place when the input is a hidden state already."""

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> Tensor:
        return inputs_embeds


def layers_of(encoder: TextEncoder) -> nn.ModuleList | None:
    """The layers of an encoder that is laid out as BERT is; None for another layout."""
    inner = getattr(encoder.transformer, "encoder", None)
    layers = getattr(inner, "layer", None)
    embeddings = getattr(encoder.transformer, "embeddings", None)
    return layers if isinstance(layers, nn.ModuleList) and embeddings is not None else None


class FrozenLayers:
    """The lowest layers of an encoder, taken out until `restore`.

    Args:
      encoder: Laid out as BERT is; see `layers_of`.
      num_frozen: Layers to take out, embeddings besides.
    """

    def __init__(self, encoder: TextEncoder, num_frozen: int) -> None:
        layers = layers_of(encoder)
        assert layers is not None
        assert 0 < num_frozen < len(layers)
        self._encoder = encoder
        self._layers = layers
        self._embeddings = encoder.transformer.embeddings
        self._num_frozen = num_frozen

    def fits(self, num_tokens: int) -> bool:
        """Whether the hidden states of so many tokens may be kept in memory."""
        return num_tokens * self._encoder.width * 4 <= LARGEST_BYTES

    def freeze(self) -> None:
        """Leave the layers where they are, without gradients: half the saving, no memory."""
        frozen = [self._embeddings, *self._layers[: self._num_frozen]]
        for module in frozen:
            module.requires_grad_(False)

    def hidden(
        self, batch: Batch, widths: NDArray[np.int64], say: Callable[[float, float], None]
    ) -> Tensor:
        """What leaves the frozen layers for every token of every row, row after row.

        Args:
          batch: Gives the token ids of rows.
          widths: Tokens of each row, shape (num_rows,).
          say: Told how many batches are done, of how many.
        Returns:
          Float32, (sum of widths, H).
        """
        inner = self._encoder.transformer.encoder
        offsets = np.concatenate([[0], np.cumsum(widths)])
        found = torch.empty((int(offsets[-1]), self._encoder.width))
        inner.layer = self._layers[: self._num_frozen]  # type: ignore[union-attr]
        self._encoder.eval()
        batches = ordered_batches(widths, rows=ROWS, tokens=TOKENS)
        try:
            with torch.no_grad():
                for done, rows in enumerate(batches):
                    ids_BT, mask_BT = batch(rows)
                    hidden_BTH = self._encoder.hidden(ids_BT, mask_BT)
                    for place, row in enumerate(rows.tolist()):
                        found[offsets[row] : offsets[row + 1]] = hidden_BTH[place, : widths[row]]
                    say(done, len(batches))
        finally:
            inner.layer = self._layers  # type: ignore[union-attr]
        return found

    def take_out(self) -> None:
        """From here on the encoder begins with a hidden state."""
        self._encoder.transformer.encoder.layer = self._layers[self._num_frozen :]  # type: ignore[union-attr]
        self._encoder.transformer.embeddings = _Passed()

    def restore(self) -> None:
        """Put the frozen layers back under those that were trained."""
        self._encoder.transformer.encoder.layer = self._layers  # type: ignore[union-attr]
        self._encoder.transformer.embeddings = self._embeddings
        self._encoder.requires_grad_(True)
