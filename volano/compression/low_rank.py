"""low_rank: token embeddings, and if asked for linear layers, as the product of two thin matrices.

    E ~ A B          A: (num_tokens, r), B: (r, width)

Half of a small encoder's weights are vectors of tokens, each as wide as the network. Most of what
they say lies in fewer directions, those of the tokens that the rows use above all.

Lan et al., `ALBERT <https://arxiv.org/abs/1909.11942>`_, 2019, train such factors from nothing;
here they are computed (`volano.compression._factors`), and go on learning where a student has them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from volano.columns.text import FittedText
from volano.compression._contract import Compact, Makes, Settings, Work
from volano.compression._factors import factor_layers, factor_words, linear_layers, rank_of
from volano.compression._tokens import token_counts

__all__ = ["LowRankPass", "can_factor", "factor_embeddings"]

SHARES = (0.33, 0.5, 0.25)
"""Of the embeddings' weights; the best guess first."""

LAYER_SHARE = 0.6
"""Of the weights of linear layers, where these are factored as well."""


class LowRankPass:
    """Two factors in the place of each text column's token embeddings."""

    name: ClassVar[str] = "low_rank"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "model"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        found = [encoder for _, encoder in _encoders(model)]
        if not found:
            return "there is no transformer of text"
        if not any(_whole(encoder) for encoder in found):
            return "its token embeddings are two factors already"
        if not any(can_factor(encoder, share) for encoder in found for share in SHARES):
            return "its token embeddings are too few to gain anything"
        return None

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        """A third of the embeddings' weights, a half, a quarter; and a third with linear layers."""
        del work
        found = [encoder for _, encoder in _encoders(model)]
        shares = [share for share in SHARES if any(can_factor(encoder, share) for encoder in found)]
        settings: list[Settings] = [{"embeddings": share} for share in shares]
        if any(linear_layers(encoder) for encoder in found):
            settings.append({"embeddings": shares[0], "layers": LAYER_SHARE})
        return settings

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        network = copy.deepcopy(model.model)
        made = Compact(model.inputs, model.graph, network)
        if settings.get("embeddings", 1) < 1:
            factor_embeddings(made, work, settings["embeddings"])
        if settings.get("layers", 1) < 1:
            for name, encoder in _encoders(made):
                batches = _batches(work.calibration(model.inputs).batches, name)
                factor_layers(encoder, batches, settings["layers"])
        return Compact(model.inputs, work.graph(network.eval(), model.inputs), network)


def factor_embeddings(model: Compact, work: Work, share: float) -> None:
    """Keep the token embeddings of each text column as two factors, in place, where they gain.

    Args:
      model: Its network is changed.
      work: Has the texts whose tokens count.
      share: Of the embeddings' weights, that are left.
    """
    for name, encoder in _encoders(model):
        if can_factor(encoder, share):
            factor_words(encoder, token_counts(model.inputs[name], work.texts(name)), share)


def _whole(encoder: Any) -> bool:
    """Whether an encoder of text has its token embeddings in one plain matrix."""
    import torch

    found = encoder.transformer.get_input_embeddings()
    # Not a kind of its own: one that scales what it looks up would lose that.
    return type(found) is torch.nn.Embedding


def _encoders(model: Compact) -> Iterator[tuple[str, Any]]:
    """Text columns with a transformer, each with it."""
    network = model.model
    for name, encoder in zip(
        getattr(network, "columns", ()), getattr(network, "encoders", ()), strict=True
    ):
        column = model.inputs.get(name)
        if isinstance(column, FittedText) and hasattr(encoder, "transformer"):
            yield name, encoder


def can_factor(encoder: Any, share: float) -> bool:
    """Whether an encoder of text has token embeddings that such a share makes smaller."""
    shape = encoder.token_embedding().weight.shape
    return _whole(encoder) and rank_of(share, *shape) is not None


def _batches(
    batches: Sequence[Mapping[str, NDArray[Any]]], name: str
) -> list[Mapping[str, NDArray[Any]]]:
    """What a column has in them, by what it calls it."""
    return [{key: batch[f"{name}.{key}"] for key in ("ids", "mask")} for batch in batches]
