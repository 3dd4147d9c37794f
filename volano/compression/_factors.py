"""The best two thin matrices in the place of one, by what comes out of them.

Of all products of rank r, W V V' is nearest to W in what it makes of the inputs x, where V are the
r directions in which the outputs x W are largest:

    V S V' = W' C W,   C = mean of x' x        min over rank r of mean |x W - x M|^2:  M = W V V'

For embeddings x says which token it is, so that C counts how often each occurs. Without C it would
be the plain SVD of W (Eckart and Young, `The approximation of one matrix by another of lower rank
<https://doi.org/10.1007/BF02288367>`_, 1936), which spends its directions on tokens that nobody
writes, and on inputs that never come. Chen et al., `DRONE
<https://proceedings.neurips.cc/paper/2021/hash/f56de5ef149cf0aedcc8f4797031e229-Abstract.html>`_,
2021; Wang et al., `SVD-LLM <https://arxiv.org/abs/2403.07378>`_, 2024. Where we differ: the
directions come from the outputs' second moments, so that nothing has to be inverted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["directions", "factor_layers", "factor_words", "rank_of"]

# Legend: V tokens, I numbers in, O numbers out, R rank.

STEP = 16
"""A rank is a multiple of it: fewer are not faster, and tables in 4 bits come in blocks of it."""

SMALLEST = 1e-12
"""Of the largest mean square: what is below says nothing."""


def rank_of(share: float, rows: int, columns: int) -> int | None:
    """The rank at which two factors have about such a share of a matrix's weights; None where no
    two of them have fewer.
    """
    rank = max(STEP, STEP * round(share * rows * columns / (rows + columns) / STEP))
    return rank if rank * (rows + columns) < rows * columns else None


def directions(moment_OO: NDArray[Any], rank: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The directions in which outputs are largest, and how large they are there.

    Args:
      moment_OO: The outputs' second moments, mean of y' y.
      rank: How many.
    Returns:
      Orthonormal columns, (O, R), the largest first, and the root mean squares, (R,).
    """
    values, vectors = np.linalg.eigh(moment_OO.astype(np.float64))
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    return vectors, np.sqrt(np.maximum(values, SMALLEST * max(1e-30, float(values[0]))))


def factor_words(encoder: Any, counts_V: NDArray[np.int64], share: float) -> None:
    """Keep an encoder's token embeddings as two factors, in place.

    Args:
      encoder: A `TextEncoder` whose embeddings are one matrix.
      counts_V: How often each token occurs; those beyond never do. One more is added to each: words
        of tomorrow count too.
      share: Of the embeddings' weights, that are left.
    """
    import torch

    from volano.models import FactoredEmbedding

    old = encoder.token_embedding()
    rank = rank_of(share, *old.weight.shape)
    assert rank is not None, "`suits` has seen to it"
    table_VO = old.weight.detach().double().numpy()
    seen_V = np.ones(len(table_VO))
    seen_V[: len(counts_V)] += counts_V
    moment_OO = table_VO.T @ (table_VO * (seen_V / seen_V.sum())[:, None])
    vectors_OR, sizes_R = directions(moment_OO, rank)
    inner_VR, outer_OR = _balanced(table_VO @ vectors_OR, vectors_OR, sizes_R)
    short = torch.nn.Embedding(len(table_VO), rank, padding_idx=old.padding_idx)
    made = FactoredEmbedding(short, table_VO.shape[1])
    with torch.no_grad():
        short.weight.copy_(torch.from_numpy(inner_VR))
        made.outer.weight.copy_(torch.from_numpy(outer_OR))
    _put(encoder.transformer, old, made)


def factor_layers(encoder: Any, batches: Sequence[Mapping[str, Any]], share: float) -> None:
    """Keep the linear layers behind a transformer's attention as two factors each, in place.

    Queries, keys and values stay whole: they are one product of their own in the graph, of which
    the operator that follows does a part.

    Args:
      encoder: A `TextEncoder` with layers as BERT's are.
      batches: Its ``ids`` and ``mask`` for some training rows.
      share: Of these layers' weights, that are left; those that would not be smaller stay.
    """
    import torch

    from volano.models import FactoredLinear

    ranks = {part: rank_of(share, *part.weight.shape) for part in linear_layers(encoder)}
    chosen = {part: rank for part, rank in ranks.items() if rank is not None}
    for part, moment_II in _moments(encoder, list(chosen), batches).items():
        rank = chosen[part]
        weight_OI = part.weight.detach().double().numpy()
        vectors_OR, sizes_R = directions(weight_OI @ moment_II @ weight_OI.T, rank)
        inner_IR, outer_OR = _balanced(weight_OI.T @ vectors_OR, vectors_OR, sizes_R)
        made = FactoredLinear(part.in_features, part.out_features, rank)
        with torch.no_grad():
            made.inner.weight.copy_(torch.from_numpy(inner_IR.T.copy()))
            made.outer.weight.copy_(torch.from_numpy(outer_OR))
            made.outer.bias.copy_(part.bias)
        _put(encoder.transformer, part, made)


def linear_layers(encoder: Any) -> list[Any]:
    """Those that `factor_layers` may factor, from the bottom."""
    import torch

    from volano.models import attention_layers

    found = [
        part
        for layer in attention_layers(encoder.transformer)
        for part in (
            layer.attention.output.dense,
            getattr(getattr(layer, "intermediate", None), "dense", None),
            getattr(getattr(layer, "output", None), "dense", None),
        )
    ]
    return [part for part in found if isinstance(part, torch.nn.Linear)]


def _balanced(
    inner: NDArray[Any], outer: NDArray[Any], sizes_R: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same product with what lies between the factors neither large nor small: both learn at
    one rate, and eight bits are enough for either.
    """
    root_R = np.sqrt(sizes_R)
    return (inner / root_R).astype(np.float32), (outer * root_R).astype(np.float32)


def _moments(
    encoder: Any, parts: Sequence[Any], batches: Sequence[Mapping[str, Any]]
) -> dict[Any, NDArray[np.float64]]:
    """The second moments of what comes into each part, over the tokens of some rows, (I, I)."""
    import torch

    totals = {part: np.zeros((part.in_features, part.in_features)) for part in parts}
    there: Any = None

    def add(part: Any, given: tuple[Any, ...]) -> None:
        x_NI = given[0][there]
        totals[part] += (x_NI.T @ x_NI).double().numpy()

    hooks = [part.register_forward_pre_hook(add) for part in parts]
    encoder.eval()
    num_tokens = 0
    with torch.no_grad():
        for batch in batches:
            ids, mask = torch.from_numpy(batch["ids"]), torch.from_numpy(batch["mask"])
            there = mask.bool()
            num_tokens += int(there.sum())
            encoder.hidden(ids, mask)
    for hook in hooks:
        hook.remove()
    return {part: total / max(1, num_tokens) for part, total in totals.items()}


def _put(transformer: Any, old: Any, new: Any) -> None:
    """Put a module in the place of another."""
    name = next(name for name, part in transformer.named_modules() if part is old)
    transformer.set_submodule(name, new)
