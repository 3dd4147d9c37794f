"""Layers that learn with what 8 bits will make of them.

Going forward, weights and what they are multiplied with are rounded as `volano.compression.int8`
rounds them; going back, rounding is taken for doing nothing, and what lies beyond a range learns
nothing:

    y = r_x(x / c) r_w(c W)^T + b,   dr(v)/dv ~ 1 within the range of r, 0 outside

Ranges and c are those of the rows that `Rounding` is shown, and stay.

Jacob et al., `Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference <https://arxiv.org/abs/1712.05877>`_, 2018; Bengio et al., `Estimating or Propagating
Gradients Through Stochastic Neurons <https://arxiv.org/abs/1308.3432>`_, 2013.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Rounding", "rounded", "rounded_weight"]

# Legend: I numbers that come in, O numbers that go out.

ACTIVATION_LEVELS = 255

Factors = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""(largest size of each number that comes in, largest weight of each) -> c, all of shape (I,)."""

Range = Callable[[NDArray[np.float32]], tuple[float, float]]
"""Values -> the least and the largest that have a code; 0 lies between them."""


def rounded(values: Tensor, low: float, high: float) -> Tensor:
    """Values as 256 codes from `low` to `high` say them, one of which is 0."""
    scale = max((high - low) / ACTIVATION_LEVELS, 1e-8)
    zero = min(max(round(-low / scale), 0), ACTIVATION_LEVELS)
    codes = (values / scale).clamp(-zero, ACTIVATION_LEVELS - zero)
    return _straight(codes) * scale


def rounded_weight(weight_OI: Tensor, levels: int) -> Tensor:
    """Weights as codes from -levels to levels say them, each row at its own scale."""
    scale_O1 = (weight_OI.detach().abs().amax(1, keepdim=True) / levels).clamp(min=1e-10)
    return _straight(weight_OI / scale_O1) * scale_O1


def _straight(values: Tensor) -> Tensor:
    return values + (values.round() - values).detach()


class _RoundedLinear(nn.Linear):
    # Not buffers: what is saved of the network stays as it is.
    inverse: Tensor
    factor: Tensor
    low: float
    high: float
    levels: int

    def forward(self, x: Tensor) -> Tensor:
        weight_OI = rounded_weight(self.weight.float() * self.factor, self.levels)
        found = rounded(x.float() * self.inverse, self.low, self.high)
        return F.linear(found.to(x.dtype), weight_OI.to(x.dtype), self.bias)


class Rounding:
    """Makes the linear layers of a network round while the block lasts; their weights stay theirs.

    Args:
      network: Changed in place, and back.
      batches: Rows that say how far values go, as the columns collate them.
      levels: Largest code of a weight.
      smallest: Fewest weights of a layer that rounds.
      factors: Moves the size of what comes in into the weights.
      limits: The range of what comes in, after that.
    """

    def __init__(
        self,
        network: Any,
        batches: Iterable[Mapping[str, NDArray[Any]]],
        *,
        levels: int,
        smallest: int = 1,
        factors: Factors,
        limits: Range,
    ) -> None:
        self._layers: list[Any] = [
            part
            for part in network.modules()
            if type(part) is nn.Linear and part.weight.numel() >= smallest
        ]
        self._levels = levels
        self._network = network
        rows = [
            {name: torch.from_numpy(values) for name, values in batch.items()} for batch in batches
        ]
        largest: dict[Any, Tensor] = {}

        def note_largest(layer: Any, given: tuple[Tensor, ...]) -> None:
            found_I = given[0].flatten(0, -2).abs().amax(0)
            largest[layer] = torch.maximum(largest.get(layer, found_I), found_I)

        self._watch(rows, note_largest)
        self._layers = [layer for layer in self._layers if layer in largest]
        self._factors = {
            layer: torch.from_numpy(
                factors(largest[layer].numpy(), layer.weight.detach().abs().amax(0).numpy())
            )
            for layer in self._layers
        }
        seen: dict[Any, list[tuple[float, float]]] = {layer: [] for layer in self._layers}

        def note_range(layer: Any, given: tuple[Tensor, ...]) -> None:
            seen[layer].append(limits((given[0] / self._factors[layer]).numpy()))

        self._watch(rows, note_range)
        self._ranges = {
            layer: (min(low for low, _ in found), max(high for _, high in found))
            for layer, found in seen.items()
        }

    def _watch(
        self, rows: Iterable[Mapping[str, Tensor]], note: Callable[[Any, tuple[Tensor, ...]], None]
    ) -> None:
        hooks = [layer.register_forward_pre_hook(note) for layer in self._layers]
        self._network.eval()
        with torch.no_grad():
            for batch in rows:
                self._network(batch)
        for hook in hooks:
            hook.remove()

    def __enter__(self) -> None:
        for layer in self._layers:
            layer.__class__ = _RoundedLinear
            layer.factor, layer.inverse = self._factors[layer], 1 / self._factors[layer]
            layer.low, layer.high = self._ranges[layer]
            layer.levels = self._levels

    def __exit__(self, *_: object) -> None:
        for layer in self._layers:
            layer.__class__ = nn.Linear
            for name in ("factor", "inverse", "low", "high", "levels"):
                delattr(layer, name)
