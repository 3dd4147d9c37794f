"""Matrices that are kept as the product of two thin ones.

    x W ~ (x A) B          A: (in, r), B: (r, out); fewer weights where r (in + out) < in out

Both factors are ordinary weights: they learn, and are written, as any others.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["FactoredEmbedding", "FactoredLinear", "put_factors", "ranks"]


class FactoredEmbedding(nn.Module):
    """Short vectors of tokens, and one matrix that makes them as wide as others expect.

    Lan et al., `ALBERT <https://arxiv.org/abs/1909.11942>`_, 2019.

    Args:
      table: The short vectors, (num_tokens, rank).
      width: Of what comes out.
    """

    def __init__(self, table: nn.Embedding, width: int) -> None:
        super().__init__()
        self.table = table
        self.outer = nn.Linear(table.embedding_dim, width, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids, any shape -> their vectors, (..., width)."""
        return self.outer(self.table(ids))  # type: ignore[no-any-return]


class FactoredLinear(nn.Module):
    """A linear layer through a bottleneck of `rank` numbers.

    Args:
      in_features: Numbers that come in.
      out_features: Numbers that come out.
      rank: Numbers between them.
    """

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.inner = nn.Linear(in_features, rank, bias=False)
        self.outer = nn.Linear(rank, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return self.outer(self.inner(x))  # type: ignore[no-any-return]


def ranks(module: nn.Module) -> dict[str, int]:
    """Where there are factors, by the module's name, and their rank."""
    return {
        name: part.outer.in_features
        for name, part in module.named_modules()
        if isinstance(part, FactoredEmbedding | FactoredLinear)
    }


def put_factors(module: nn.Module, found: Mapping[str, int]) -> None:
    """Put factors in the place of matrices, with weights to be loaded afterwards.

    Args:
      module: Has a whole matrix at each name.
      found: What `ranks` gave.
    """
    for name, rank in found.items():
        part = module.get_submodule(name)
        if isinstance(part, nn.Embedding):
            table = nn.Embedding(part.num_embeddings, rank, padding_idx=part.padding_idx)
            module.set_submodule(name, FactoredEmbedding(table, part.embedding_dim))
        else:
            assert isinstance(part, nn.Linear)
            module.set_submodule(name, FactoredLinear(part.in_features, part.out_features, rank))
