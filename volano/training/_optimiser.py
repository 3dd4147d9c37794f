"""AdamW and SGD over a few long vectors, with warm-up, decay, clipping and an averaged copy.

A transformer has a hundred small parameters; stepping each costs more in calls than in arithmetic.
Here all parameters of one learning rate lie in one vector, of which the network's are views.

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
    w = w - lr (m' / (sqrt(v') + eps) + decay w)          m', v' without their bias towards zero

Loshchilov and Hutter, `Decoupled Weight Decay Regularization
<https://arxiv.org/abs/1711.05101>`_, 2017.

    m = b m + g + decay w,   w = w - lr (g + decay w + b m)        SGD with Nesterov's momentum

Sutskever et al., `On the importance of initialization and momentum in deep learning
<https://proceedings.mlr.press/v28/sutskever13.html>`_, 2013.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from volano.models import Network

__all__ = ["FlatOptimiser", "ParameterGroup", "moving_statistics", "parameter_groups", "schedule"]

MOMENTUM = 0.9

_LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")


@dataclass
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay.

    Attributes:
      master: Their values in float32, one after the other.
      work: What the network computes with: the same vector, or its copy in a shorter format.
      gradient: In the format of `work`; the parameters' gradients are views of it. None for what
        no gradient moves: see `moving_statistics`.
    """

    learning_rate: float
    decay: float
    master: Tensor
    work: Tensor
    gradient: Tensor | None

    @classmethod
    def of(
        cls, parameters: list[nn.Parameter], learning_rate: float, decay: float
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
        return cls(learning_rate, decay, master, work, gradient)


def parameter_groups(
    network: Network,
    *,
    learning_rate: float,
    head_rate: float,
    layer_decay: float,
    weight_decay: float,
) -> list[ParameterGroup]:
    """Group a network's parameters.

    A layer learns at `layer_decay` times the rate of the layer above it: what lies deep is general
    and should change little (Howard and Ruder, `ULMFiT <https://arxiv.org/abs/1801.06146>`_, 2018).
    Biases, norms and embeddings do not decay: an embedding that no row uses must stay as it is.
    """
    names = [name for name, _ in network.named_parameters()]
    layers = [int(match[1]) for name in names if (match := _LAYER.search(name))]
    num_layers = 1 + max(layers, default=0)
    buckets: dict[tuple[float, float, torch.dtype], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        match = _LAYER.search(name)
        if name.startswith(("head.", "table.")):
            rate = head_rate
        elif match:
            rate = learning_rate * layer_decay ** (num_layers - 1 - int(match[1]))
        else:
            rate = learning_rate * layer_decay**num_layers
        plain = parameter.ndim == 1 or "embeddings" in name
        key = (rate, 0.0 if plain else weight_decay, parameter.dtype)
        buckets.setdefault(key, []).append(parameter)
    return [
        ParameterGroup.of(parameters, rate, decay)
        for (rate, decay, _), parameters in buckets.items()
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
        kind: Literal["adamw", "sgd"] = "adamw",
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
        self._rule: torch.optim.Optimizer
        if kind == "adamw":
            self._rule = torch.optim.AdamW(settings, fused=True)
        else:
            self._rule = torch.optim.SGD(settings, momentum=MOMENTUM, nesterov=True, fused=True)

    def step(self, factor: float) -> None:
        """One update from the gathered gradients, which are then cleared."""
        for shadow, group, settings in zip(
            self._shadows, self._stepped, self._rule.param_groups, strict=True
        ):
            assert group.gradient is not None
            shadow.grad = group.gradient.float()
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
