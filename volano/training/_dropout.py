"""Dropout from a pool of masks: on a CPU a fresh mask costs as much as a layer's arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DropoutPool", "PooledDropout", "replace_dropout"]

POOL_SIZE = 1 << 23


class DropoutPool:
    """Masks drawn once. Each use takes a window of them at a random place.

    The places depend on `seed` and the step alone, so a resumed run drops the same values.
    Windows overlap between steps; 8 million draws are enough that a network cannot tell.
    """

    def __init__(self, probability: float, seed: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(seed)
        kept = torch.rand(POOL_SIZE, generator=generator) >= probability
        # Kept values grow by 1 / (1 - p), so that their expectation stays the same.
        self._masks = (kept / (1 - probability)).to(dtype)
        self._seed = seed
        self._places = torch.Generator()

    def start_step(self, step: int) -> None:
        """Begin a training step."""
        self._places.manual_seed(self._seed * 1_000_003 + step)

    def window(self, size: int) -> Tensor:
        """Masks for `size` values, each 0 or 1 / (1 - p)."""
        if size >= POOL_SIZE:
            repeats = -(-size // POOL_SIZE)
            return self._masks.repeat(repeats)[:size]
        start = int(torch.randint(POOL_SIZE - size, (), generator=self._places))
        return self._masks[start : start + size]


class PooledDropout(nn.Module):
    """Multiplies by a window of the pool in training; passes values through otherwise."""

    p = 0.0
    """Attention layers read this: dropping attention weights costs much and gains nothing here."""

    def __init__(self, pool: DropoutPool | None) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.pool is None:
            return values
        return values * self.pool.window(values.numel()).view_as(values)


def replace_dropout(
    module: nn.Module, pool: DropoutPool | None
) -> list[tuple[nn.Module, str, nn.Module]]:
    """Put pooled dropout (or none) in the place of every `nn.Dropout`.

    Returns:
      What was replaced, as (parent, name, module), to put back afterwards.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                replaced.append((parent, name, child))
                setattr(parent, name, PooledDropout(pool))
    return replaced
