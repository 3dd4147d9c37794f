"""Tiny stand-ins for pretrained image encoders, as folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TINY_LITE: dict[str, Any] = {
    "model_type": "efficientnet-lite",
    "stem": 4,
    "stages": [[1, 4, 1, 1, 3], [2, 6, 2, 2, 5], [2, 8, 2, 2, 3]],
    "top": 16,
    "num_channels": 3,
    "image_size": 24,
}


def write_tiny_lite(folder: Path) -> Path:
    """An EfficientNet-Lite of some thousand weights, random but with lively features."""
    import torch
    from safetensors.torch import save_file

    from volano.models.encoders._efficientnet import SCALING, EfficientNetLite

    torch.manual_seed(0)
    net = EfficientNetLite(TINY_LITE).train()
    with torch.no_grad():
        for _ in range(30):  # its norms' means and variances become those of some noise
            net(torch.randn(16, 3, 24, 24))
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.contiguous()
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY_LITE))
    (folder / "preprocessor_config.json").write_text(json.dumps(SCALING))
    return folder
