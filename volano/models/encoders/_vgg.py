"""VGG: stages of 3x3 convolutions and ReLUs, each but the last place halved by the largest of four.

Simonyan and Zisserman, `Very Deep Convolutional Networks for Large-Scale Image Recognition
<https://arxiv.org/abs/1409.1556>`_, 2015. transformers has no class for it; its weights are on the
hub in the layout of torchvision (``features.N.weight``), with a config.json that names the
``architecture``, such as ``vgg16`` or ``vgg16_bn``. The three linear layers above the last stage,
nine tenths of the weights, name ImageNet's classes and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from volano.errors import AssetError
from volano.models.encoders._residual import ConvNorm

__all__ = ["MODEL_TYPE", "Vgg", "is_vgg", "load_vgg"]

# Legend: B rows, C channels, H height, W width.

MODEL_TYPE = "vgg"

_DEPTHS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""Convolutions of each stage."""


class _Conv(ConvNorm):
    """A 3x3 convolution with a bias, and a batch norm where the net has some."""

    def __init__(self, num_in: int, num_out: int, norm: bool) -> None:
        super().__init__(num_in, num_out)
        self.conv = nn.Conv2d(num_in, num_out, 3, padding=1)
        if not norm:
            self.norm = nn.Identity()

    def fold(self) -> None:
        if not isinstance(self.norm, nn.Identity):
            super().fold()


class Vgg(nn.Module):
    """The net up to its last stage.

    Args:
      shape: ``stages``, the channels of each convolution in each stage; ``norm``, whether batch
        norms follow them; ``num_channels`` of the pictures.
    """

    def __init__(self, shape: Mapping[str, Any]) -> None:
        super().__init__()
        self.shape = {**shape, "model_type": MODEL_TYPE}
        now, stages = shape["num_channels"], []
        for widths in shape["stages"]:
            convs = []
            for width in widths:
                convs.append(_Conv(now, width, shape["norm"]))
                now = width
            stages.append(nn.ModuleList(convs))
        self.stages = nn.ModuleList(stages)
        self.width: int = now

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Scaled pixels (B, C, H, W) -> (B, width, H / 16, W / 16), before the last halving."""
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        for place, convs in enumerate(self.stages):
            if place:
                x_BCHW = F.max_pool2d(x_BCHW, 2)
            for conv in convs:  # type: ignore[attr-defined]
                x_BCHW = F.relu(conv(x_BCHW))
        return x_BCHW


def is_vgg(config: Mapping[str, Any]) -> bool:
    """Whether a config.json belongs to such a net."""
    return str(config.get("architecture", "")).removesuffix("_bn") in _DEPTHS


def load_vgg(folder: Path, config: Mapping[str, Any]) -> Vgg:
    """The net of a folder with config.json and model.safetensors; the weights say how wide it is.

    Raises:
      AssetError: Tensors are missing or of another shape (ASSET-107).
    """
    name = str(config["architecture"])
    norm = name.endswith("_bn")
    try:
        weights = load_file(folder / "model.safetensors")
        found: dict[str, Tensor] = {}
        widths: list[list[int]] = []
        # In torchvision's list a convolution is followed by its norm and its ReLU, a stage by its
        # pooling; all of them count.
        place = 0
        for stage, depth in enumerate(_DEPTHS[name.removesuffix("_bn")]):
            widths.append([])
            for number in range(depth):
                mine = f"stages.{stage}.{number}"
                for kind in ("weight", "bias"):
                    found[f"{mine}.conv.{kind}"] = weights[f"features.{place}.{kind}"]
                if norm:
                    for kind in ("weight", "bias", "running_mean", "running_var"):
                        found[f"{mine}.norm.{kind}"] = weights[f"features.{place + 1}.{kind}"]
                    found[f"{mine}.norm.num_batches_tracked"] = torch.tensor(0)
                widths[-1].append(len(found[f"{mine}.conv.bias"]))
                place += 3 if norm else 2
            place += 1
        channels = found["stages.0.0.conv.weight"].shape[1]
        net = Vgg({"stages": widths, "norm": norm, "num_channels": channels})
        net.load_state_dict(found)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise AssetError(
            107,
            f"the encoder's weights do not fit its config ({said})",
            where=str(folder),
            expected=f"the weights of a {name} in torchvision's layout: features.N.weight",
        ) from error
    return net
