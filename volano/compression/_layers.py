"""Students that keep some of a transformer's layers, and some of what is in them.

Of a layer's inner neurons those stay that move its output most on training rows: the mean size of
what a neuron says, times the length of the weights that carry it on. Sun et al., `Wanda
<https://arxiv.org/abs/2306.11695>`_, 2023, weigh single weights so; here whole neurons go, so that
the products themselves become smaller.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Settings, Work

__all__ = ["build", "settings", "suits"]

ROWS_LEARNED = 60_000
"""Rows that a student learns from in all, repeated as often as it takes."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    depths = _depths(model)
    if not depths:
        return "there is no transformer of text"
    if max(depths) < 2:
        return "its transformer has one layer"
    return None


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """A third of the layers, then a half, then one; and a third with half of their neurons."""
    depth = max(_depths(model))
    epochs = max(1, min(10, round(ROWS_LEARNED / max(1, work.num_rows))))
    layers = dict.fromkeys((max(1, round(depth / 3)), max(1, depth // 2), 1))
    found: list[Settings] = [
        {"layers": count, "epochs": epochs} for count in layers if count < depth
    ]
    if found and _has_neurons(model):
        found.insert(1, {**found[0], "neurons": 0.5})
    return found


def label(settings: Settings) -> str:
    """``layers2``, ``layers2-n50`` with half of the neurons"""
    share = settings.get("neurons", 1)
    return f"layers{settings['layers']}" + (f"-n{round(100 * share)}" if share < 1 else "")


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the columns that encode for it."""
    import torch

    student = copy.deepcopy(model.model)
    for encoder in student.encoders:
        transformer: Any = getattr(encoder, "transformer", None)
        layers = getattr(getattr(transformer, "encoder", None), "layer", None)
        if layers is None or len(layers) <= settings["layers"]:
            continue
        # The last one shapes what the head reads, the first what all others build on.
        count = settings["layers"]
        places = np.linspace(0, len(layers) - 1, count) if count > 1 else np.zeros(1)
        kept = [layers[round(place)] for place in places]
        transformer.encoder.layer = torch.nn.ModuleList(kept)
        transformer.config.num_hidden_layers = count
    if settings.get("neurons", 1) < 1:
        _thin(student, work.calibration(model.inputs).batches, settings["neurons"])
    return student, model.inputs


def _has_neurons(model: Compact) -> bool:
    """Whether the layers of its transformers are made as BERT's are."""
    layers = [layer for encoder in model.model.encoders for layer in _layers_of(encoder)]
    parts = ("intermediate", "output")
    return bool(layers) and all(
        hasattr(getattr(layer, part, None), "dense") for layer in layers for part in parts
    )


def _layers_of(encoder: Any) -> Sequence[Any]:
    transformer = getattr(encoder, "transformer", None)
    return getattr(getattr(transformer, "encoder", None), "layer", ())


def _thin(network: Any, batches: Sequence[Mapping[str, Any]], share: float) -> None:
    """Leave a share of each layer's inner neurons, in place: those that matter most on some rows.

    Args:
      network: With the layers that stay.
      batches: Of the training rows, as the columns collate them.
      share: Above 0, below 1.
    """
    import torch

    layers = [layer for encoder in network.encoders for layer in _layers_of(encoder)]
    sizes = [torch.zeros(layer.output.dense.in_features) for layer in layers]
    hooks = [
        layer.output.dense.register_forward_pre_hook(
            lambda _, given, total=total: total.add_(given[0].detach().abs().flatten(0, -2).sum(0))
        )
        for layer, total in zip(layers, sizes, strict=True)
    ]
    network.eval()
    with torch.no_grad():
        for batch in batches:
            network({name: torch.from_numpy(values) for name, values in batch.items()})
    for hook in hooks:
        hook.remove()
    for layer, size in zip(layers, sizes, strict=True):
        inner, outer = layer.intermediate.dense, layer.output.dense
        count = max(8, 8 * round(share * len(size) / 8))
        matters = size * outer.weight.detach().norm(dim=0)
        kept = torch.sort(torch.topk(matters, min(count, len(size))).indices).values
        inner.weight = torch.nn.Parameter(inner.weight.detach()[kept].clone())
        inner.bias = torch.nn.Parameter(inner.bias.detach()[kept].clone())
        outer.weight = torch.nn.Parameter(outer.weight.detach()[:, kept].clone())
        inner.out_features = outer.in_features = len(kept)
    for encoder in network.encoders:
        if _layers_of(encoder):
            encoder.transformer.config.intermediate_size = _layers_of(encoder)[
                0
            ].output.dense.in_features


def _depths(model: Compact) -> list[int]:
    encoders = getattr(model.model, "encoders", ())
    parts: list[Any] = [
        getattr(getattr(each, "transformer", None), "encoder", None) for each in encoders
    ]
    return [len(part.layer) for part in parts if hasattr(part, "layer")]
