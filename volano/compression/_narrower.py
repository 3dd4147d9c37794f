"""Students with fewer channels: the same convolutional net, narrower, from the channels that count.

A channel counts as much as its batch norm scales it (Liu et al., `Network Slimming
<https://arxiv.org/abs/1708.06519>`_, 2017). Where we differ: no penalty while the teacher learns;
what is kept goes on learning from the teacher's answers instead.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from volano.columns import FittedColumn
from volano.compression._contract import Compact, Settings, Work

__all__ = ["build", "settings", "suits"]

# Legend: O channels that go out, I channels that come in.

ROWS_LEARNED = 700_000
"""Whole pictures, or as much of small ones as costs the same, that a student learns from in all."""

SIZES = ((1 / 2, 1), (2 / 3, 2), (1 / 3, 1), (1 / 2, 2), (1 / 3, 2), (2 / 3, 1), (1 / 4, 1))
"""Share of the teacher's channels, and how many times as far apart the places are at which the
first convolution looks; the best guess first."""

STEP = 8
"""Channels that a processor works on at a time: fewer are not faster."""


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    if not _nets(model):
        return "there is no convolutional net from scratch"
    if not any(
        list(_narrow(widths, share)) != widths for widths in _nets(model) for share, _ in SIZES
    ):
        return "its net is as narrow as it can be"
    return None


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """A half of the channels, then other shares, some at fewer places; each width a multiple of
    `STEP`.
    """
    cost = max(getattr(encoder, "cost", 1.0) for encoder in model.model.encoders)
    epochs = max(8, min(60, round(ROWS_LEARNED / cost / max(1, work.num_rows))))
    widest = max(_nets(model), key=sum)
    found: dict[Any, Settings] = {(tuple(widest), 1): {}}
    # A first convolution that looks at every other place already does so for a reason.
    close = all(each.config()["strides"][0] == 1 for each in model.model.encoders if _is_net(each))
    for share, stride in SIZES:
        if stride > 1 and not close:
            continue
        one = {"channels": round(share, 3), **({"stride": stride} if stride > 1 else {})}
        found.setdefault((_narrow(widest, share), stride), {**one, "epochs": epochs})
    return [each for each in found.values() if each]


def label(settings: Settings) -> str:
    """``narrow50``: half of the channels; ``narrow67-s2``: at every other place of either axis."""
    far = f"-s{settings['stride']}" if settings.get("stride", 1) > 1 else ""
    return f"narrow{round(100 * settings['channels'])}{far}"


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the columns that encode for it."""
    import torch

    from volano.models import Network, encoder_kind

    old = model.model
    torch.manual_seed(work.seed)
    encoders: list[Any] = []
    kept: Any = None
    for encoder in old.encoders:
        config = encoder.config()
        if not _is_net(encoder):
            encoders.append(copy.deepcopy(encoder))
            continue
        config["widths"] = list(_narrow(config["widths"], settings["channels"]))
        first, *others = config["strides"]
        config["strides"] = [first * settings.get("stride", 1), *others]
        made: Any = encoder_kind(encoder.kind).encoder_from_config(config)
        kept = _take_channels(encoder.net, made.net)
        encoders.append(made)
    student: Any = Network(
        old.columns,
        encoders,
        old.head.out_features,
        copy.deepcopy(old.table),
        "gated" if old.fusion is not None else "concatenate",
    )
    if len(encoders) == 1 and old.table is None:
        student.head.weight.data.copy_(old.head.weight.data[:, kept])
        student.head.bias.data.copy_(old.head.bias.data)
    student.shift.copy_(old.shift)
    student.scale.copy_(old.scale)
    return student, model.inputs


def _is_net(encoder: Any) -> bool:
    return getattr(encoder, "recipe", "") == "convolution" and "widths" in encoder.config()


def _nets(model: Compact) -> list[list[int]]:
    """Channels of the stages of each convolutional net."""
    encoders = getattr(model.model, "encoders", ())
    return [list(encoder.config()["widths"]) for encoder in encoders if _is_net(encoder)]


def _narrow(widths: Sequence[int], share: float) -> tuple[int, ...]:
    return tuple(min(width, max(STEP, STEP * round(width * share / STEP))) for width in widths)


def _take_channels(old: Any, new: Any) -> Any:
    """Start a narrower residual net from the channels of a wider one that count most.

    Returns:
      The places of those that come out of it, int64, (new.width,).
    """
    import torch

    def strongest(norms: Sequence[Any], count: int) -> Any:
        """Places of the channels that the norms scale most, ascending."""
        scale_O = sum(norm.weight.detach().abs() for norm in norms)
        return torch.sort(torch.topk(scale_O, count).indices).values

    def scaled(source: Any, made: Any, out_O: Any) -> None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(made, name).data.copy_(getattr(source, name).data[out_O])

    def take(source: Any, made: Any, out_O: Any, in_I: Any) -> None:
        made.conv.weight.data.copy_(source.conv.weight.data[out_O][:, in_I])
        scaled(source.norm, made.norm, out_O)

    kept_I = torch.arange(old.stem[0].conv.in_channels)
    for source, made in zip(old.stem, new.stem, strict=True):
        out_O = strongest([source.norm], made.conv.out_channels)
        take(source, made, out_O, kept_I)
        kept_I = out_O
    for source, made in zip(old.stages, new.stages, strict=True):
        inner_O = strongest([source.first.norm], made.first.conv.out_channels)
        take(source.first, made.first, inner_O, kept_I)
        if isinstance(source.shortcut, torch.nn.Identity):
            out_O = kept_I  # what is passed by is added to the same channels
        else:
            norms = [source.second.norm, source.shortcut.norm]
            out_O = strongest(norms, made.second.conv.out_channels)
            take(source.shortcut, made.shortcut, out_O, kept_I)
        take(source.second, made.second, out_O, inner_O)
        kept_I = out_O
    scaled(old.last, new.last, kept_I)
    return kept_I
