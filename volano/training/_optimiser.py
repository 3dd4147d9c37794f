"""Adam, AdamW and SGD over a few long vectors, with warm-up, decay, clipping and an averaged copy.

A transformer has a hundred small parameters; stepping each costs more in calls than in arithmetic.
Here all parameters of one learning rate lie in one vector, of which the network's are views.

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
    w = w - lr (m' / (sqrt(v') + eps) + decay w)          m', v' without their bias towards zero

Adam itself adds decay w to g instead. Kingma and Ba, `Adam <https://arxiv.org/abs/1412.6980>`_,
2015; Loshchilov and Hutter, `Decoupled Weight Decay Regularization
<https://arxiv.org/abs/1711.05101>`_, 2017.

    m = b m + g + decay w,   w = w - lr (g + decay w + b m)        SGD with Nesterov's momentum

Sutskever et al., `On the importance of initialization and momentum in deep learning
<https://proceedings.mlr.press/v28/sutskever13.html>`_, 2013.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from volano.models import Network
from volano.training._layers import layer_places

__all__ = [
    "FlatOptimiser",
    "ParameterGroup",
    "moving_statistics",
    "parameter_groups",
    "schedule",
    "unfrozen",
]

MOMENTUM = 0.9

UNFREEZING = 0.5
"""Share of the steps after which `gradual` has reached the lowest layer; in what is left, all of
the network learns together."""

Kind = Literal["adam", "adamw", "sgd"]


@dataclass
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay.

    Attributes:
      master: Their values in float32, one after the other.
      work: What the network computes with: the same vector, or its copy in a shorter format.
      gradient: In the format of `work`; the parameters' gradients are views of it. None for what
        no gradient moves: see `moving_statistics`.
      parameters: What of the network they are.
      depth: Layers above them that learn earlier; 0: they learn from the first step.
    """

    learning_rate: float
    decay: float
    master: Tensor
    work: Tensor
    gradient: Tensor | None
    parameters: list[nn.Parameter] = field(default_factory=list)
    depth: int = 0

    @classmethod
    def of(
        cls, parameters: list[nn.Parameter], learning_rate: float, decay: float, depth: int = 0
    ) -> ParameterGroup:
        """Move parameters into one vector; they become views of it."""
        work = torch.cat([parameter.data.reshape(-1) for parameter in parameters])
        master = work if work.dtype == torch.float32 else work.float()
        gradient = torch.zeros_like(work)
        start = 0
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.data = work[start:stop].view_as(parameter)
            parameter.grad = gradient[start:stop].view_as(parameter)
            start = stop
        return cls(learning_rate, decay, master, work, gradient, parameters, depth)


def parameter_groups(
    network: Network,
    *,
    learning_rate: float,
    head_rate: float,
    layer_decay: float,
    weight_decay: float,
    gradual: bool = False,
) -> list[ParameterGroup]:
    """Group a network's parameters.

    A layer learns at `layer_decay` times the rate of the layer above it: what lies deep is general
    and should change little (Howard and Ruder, `ULMFiT <https://arxiv.org/abs/1801.06146>`_, 2018).
    Biases, norms and embeddings do not decay: an embedding that no row uses must stay as it is.

    Args:
      network: Its parameters become views of the groups' vectors.
      learning_rate: Of the top layer of encoders; of all of it where none is pretrained.
      head_rate: Of all that starts from nothing beside a pretrained encoder.
      layer_decay: A layer's rate as a share of that of the layer above it.
      weight_decay: Of weight matrices.
      gradual: Whether layers of pretrained encoders learn the later the deeper they lie.
    """
    known = [bool(getattr(encoder, "pretrained", False)) for encoder in network.encoders]
    places: dict[str, tuple[float, int]] = {}
    for number, encoder in enumerate(network.encoders):
        layers, num_layers = layer_places(encoder)
        for name, place in layers.items():
            below = min(num_layers, max(0, num_layers - 1 - place))
            rate = learning_rate * layer_decay**below
            if any(known) and not known[number]:
                rate, below = head_rate, 0
            depth = below if gradual and known[number] else 0
            places[f"encoders.{number}.{name}"] = rate, depth
    buckets: dict[tuple[float, float, torch.dtype, int], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate, depth = places.get(name, (head_rate, 0))
        plain = parameter.ndim == 1 or "embeddings" in name
        key = (rate, 0.0 if plain else weight_decay, parameter.dtype, depth)
        buckets.setdefault(key, []).append(parameter)
    return [
        ParameterGroup.of(parameters, rate, decay, depth)
        for (rate, decay, _, depth), parameters in buckets.items()
    ]


def moving_statistics(network: nn.Module) -> list[ParameterGroup]:
    """Means and variances that batch norms gather as they go, as one group; none without any.

    They belong to the weights beside which they were gathered: what is kept, averaged and put back
    of the weights must be of them as well.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    places = [
        (norm, name)
        for norm in norms
        for name in ("running_mean", "running_var")
        if getattr(norm, name) is not None
    ]
    if not places:
        return []
    values = torch.cat([getattr(norm, name).float() for norm, name in places])
    start = 0
    for norm, name in places:
        stop = start + getattr(norm, name).numel()
        setattr(norm, name, values[start:stop])
        start = stop
    return [ParameterGroup(0.0, 0.0, values, values, None)]


def schedule(step: int, num_steps: int, warmup: float) -> float:
    """Share of the highest learning rate: up in a straight line, then down to zero in another."""
    rise = max(1, round(num_steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (num_steps - step) / max(1, num_steps - rise))


def unfrozen(step: int, num_steps: int, depth: int) -> int:
    """How deep learning reaches at a step: from 0 to `depth`, in `UNFREEZING` of the steps.

    Example:
      >>> [unfrozen(step, 12, 2) for step in range(8)]
      [0, 0, 0, 1, 1, 1, 2, 2]
    """
    return min(depth, int(step * depth / max(1.0, UNFREEZING * num_steps)))


class FlatOptimiser:
    """Steps, clips and averages parameter groups.

    The average is exponential with a memory of `memory` updates, shorter at first. It answers
    better than the last weights, and costs one more vector (Polyak and Juditsky, 1992).
    """

    def __init__(
        self,
        groups: list[ParameterGroup],
        *,
        clip: float,
        memory: float,
        kind: Kind = "adamw",
    ) -> None:
        self.groups = groups
        self.average = [group.master.clone() for group in groups]
        self._clip = clip
        self._memory = max(1.0, memory)
        self._updates = 0
        self._stepped = [group for group in groups if group.gradient is not None]
        self._shadows = [nn.Parameter(group.master) for group in self._stepped]
        settings = [
            {"params": [shadow], "lr": group.learning_rate, "weight_decay": group.decay}
            for shadow, group in zip(self._shadows, self._stepped, strict=True)
        ]
        self.depth = max((group.depth for group in groups), default=0)
        self._reach = self.depth
        self._rule: torch.optim.Optimizer
        if kind == "adamw":
            self._rule = torch.optim.AdamW(settings, fused=True)
        elif kind == "adam":
            self._rule = torch.optim.Adam(settings, fused=True)
        else:
            self._rule = torch.optim.SGD(settings, momentum=MOMENTUM, nesterov=True, fused=True)

    def unfreeze(self, reach: int) -> None:
        """Let groups learn down to a depth; those below get no gradients and take no steps."""
        if reach == self._reach:
            return
        self._reach = reach
        for group in self.groups:
            for parameter in group.parameters:
                parameter.requires_grad_(group.depth <= reach)

    def step(self, factor: float) -> None:
        """One update from the gathered gradients, which are then cleared."""
        for shadow, group, settings in zip(
            self._shadows, self._stepped, self._rule.param_groups, strict=True
        ):
            assert group.gradient is not None
            shadow.grad = group.gradient.float() if group.depth <= self._reach else None
            settings["lr"] = group.learning_rate * factor
        torch.nn.utils.clip_grad_norm_(self._shadows, self._clip)
        self._rule.step()
        for group in self._stepped:
            if group.work is not group.master:
                group.work.copy_(group.master)
            assert group.gradient is not None
            group.gradient.zero_()

    def update_average(self) -> None:
        """Take the present weights into the average."""
        self._updates += 1
        keep = min(1 - 1 / self._memory, self._updates / (self._updates + 9))
        for average, group in zip(self.average, self.groups, strict=True):
            average.lerp_(group.master, 1 - keep)

    def swap_average(self) -> None:
        """Exchange weights and average; calling it again puts them back."""
        for average, group in zip(self.average, self.groups, strict=True):
            kept = group.master.clone()
            group.master.copy_(average)
            average.copy_(kept)
            if group.work is not group.master:
                group.work.copy_(group.master)

    def tensors(self) -> dict[str, Tensor]:
        """All that a later `restore` needs, by name."""
        found: dict[str, Tensor] = {"updates": torch.tensor(self._updates)}
        for place, group in enumerate(self.groups):
            found[f"master.{place}"] = group.master
            found[f"average.{place}"] = self.average[place]
        for place, shadow in enumerate(self._shadows):
            for name, value in self._rule.state[shadow].items():
                found[f"rule.{place}.{name}"] = value
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to where `tensors` were taken."""
        self._updates = int(tensors["updates"])
        for place, group in enumerate(self.groups):
            group.master.copy_(tensors[f"master.{place}"])
            if group.work is not group.master:
                group.work.copy_(group.master)
            self.average[place].copy_(tensors[f"average.{place}"])
        for place, shadow in enumerate(self._shadows):
            start = f"rule.{place}."
            self._rule.state[shadow] = {
                name.removeprefix(start): value.clone()
                for name, value in tensors.items()
                if name.startswith(start)
            }
