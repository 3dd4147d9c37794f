"""Students that keep some of a transformer's layers, and some of what is in them.

Of a layer's heads and inner neurons those stay that the answers hang on most
(`volano.compression._importance`), measured in the whole teacher, before its layers go. They go as
blocks, so that the products themselves become smaller.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Settings, Work
from volano.compression._importance import Importance, importances
from volano.compression.low_rank import can_factor, factor_embeddings

__all__ = ["build", "settings", "suits"]

ROWS_LEARNED = 60_000
"""Rows that a student learns from in all, repeated as often as it takes."""

RANK = 0.33
"""Of the token embeddings' weights, where a student has them as two factors."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    depths = _depths(model)
    if not depths:
        return "there is no transformer of text"
    if max(depths) < 2:
        return "its transformer has one layer"
    return None


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """A third of the layers, then a half, then one; and a third with half of their neurons. At the
    end those with short embeddings too: a third, and a half with half of their heads and neurons;
    and a third that learns what is said of tokens as well, which takes about twice as long.
    """
    depth = max(_depths(model))
    epochs = max(1, min(10, round(ROWS_LEARNED / max(1, work.num_rows))))
    layers = dict.fromkeys((max(1, round(depth / 3)), max(1, depth // 2), 1))
    found: list[Settings] = [
        {"layers": count, "epochs": epochs} for count in layers if count < depth
    ]
    thin = {"neurons": 0.5}
    short = any(can_factor(each, RANK) for each in model.model.encoders if _layers_of(each))
    last: list[Settings] = []
    if found and short:
        last.append({**found[0], "rank": RANK})
    if found and _is_known(model):
        if short:
            last.append({**found[min(1, len(found) - 1)], **thin, "heads": 0.5, "rank": RANK})
        found.insert(1, {**found[0], **thin})
    if found:
        last.append({**found[0], "match": "hidden"})
        if _is_known(model):
            last.append({**found[0], "match": "relations"})
    return [*found, *last]


def label(settings: Settings) -> str:
    """``layers2``; ``layers2-n50-h50-r33-hidden`` with half of the neurons and heads, embeddings of
    a third of their weights, and the teacher's token vectors to learn.
    """
    parts = [f"layers{settings['layers']}"]
    for name in ("neurons", "heads", "rank"):
        if settings.get(name, 1) < 1:
            parts.append(f"{name[0]}{round(100 * settings[name])}")
    if settings.get("match"):
        parts.append(str(settings["match"]))
    return "-".join(parts)


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the columns that encode for it."""
    import torch

    student = copy.deepcopy(model.model)
    matters: dict[Any, Importance] = {}
    shares = settings.get("heads", 1), settings.get("neurons", 1)
    if min(shares) < 1:
        layers = [layer for encoder in student.encoders for layer in _layers_of(encoder)]
        batches = work.calibration(model.inputs).batches
        found = importances(student, layers, batches, task=work.task, seed=work.seed)
        matters = dict(zip(layers, found, strict=True))
    for encoder in student.encoders:
        layers = list(_layers_of(encoder))
        count = settings["layers"]
        if len(layers) > count:
            # The last one shapes what the head reads, the first what all others build on.
            places = np.linspace(0, len(layers) - 1, count) if count > 1 else np.zeros(1)
            layers = [layers[round(place)] for place in places]
            encoder.transformer.encoder.layer = torch.nn.ModuleList(layers)
            encoder.transformer.config.num_hidden_layers = count
        for layer in layers:
            if layer in matters:
                _thin(layer, matters[layer], *shares)
        if layers and matters:
            config = encoder.transformer.config
            config.intermediate_size = layers[0].intermediate.dense.out_features
    if settings.get("rank", 1) < 1:
        factor_embeddings(Compact(model.inputs, model.graph, student), work, settings["rank"])
    return student, model.inputs


def _is_known(model: Compact) -> bool:
    """Whether the layers of its transformers are made as BERT's are."""
    from volano.models import attention_layers

    encoders = [encoder for encoder in model.model.encoders if _layers_of(encoder)]
    parts = ("intermediate", "output")
    return bool(encoders) and all(
        attention_layers(encoder.transformer)
        and all(
            hasattr(getattr(getattr(layer, part, None), "dense", None), "weight")
            for layer in _layers_of(encoder)
            for part in parts
        )
        for encoder in encoders
    )


def _layers_of(encoder: Any) -> Sequence[Any]:
    transformer = getattr(encoder, "transformer", None)
    return getattr(getattr(transformer, "encoder", None), "layer", ())


def _thin(layer: Any, matters: Importance, heads: float, neurons: float) -> None:
    """Leave a share of a layer's heads and of its inner neurons, in place.

    Args:
      layer: As BERT's are.
      matters: What the answers hang on.
      heads: Share of the heads; at least one stays.
      neurons: Share of the neurons, of which a multiple of 8 stays.
    """
    import torch

    from volano.models import keep_heads

    if heads < 1:
        keep_heads(layer, _most(matters.heads, max(1, round(heads * len(matters.heads)))).tolist())
    if neurons < 1:
        inner, outer = layer.intermediate.dense, layer.output.dense
        size = len(matters.neurons)
        kept = _most(matters.neurons, min(size, max(8, 8 * round(neurons * size / 8))))
        inner.weight = torch.nn.Parameter(inner.weight.detach()[kept].clone())
        inner.bias = torch.nn.Parameter(inner.bias.detach()[kept].clone())
        outer.weight = torch.nn.Parameter(outer.weight.detach()[:, kept].clone())
        inner.out_features = outer.in_features = len(kept)


def _most(values: Any, count: int) -> Any:
    """The places of the largest, ascending."""
    import torch

    return torch.sort(torch.topk(values, count).indices).values


def _depths(model: Compact) -> list[int]:
    return [
        len(layers)
        for encoder in getattr(model.model, "encoders", ())
        if len(layers := _layers_of(encoder))
    ]
