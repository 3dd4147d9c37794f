"""VGG: torchvision's layout against a plain list of layers, and its way into a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from media import Pixels
from safetensors.torch import save_file
from torch import nn

from volano.errors import AssetError
from volano.export import graph_of
from volano.models import Network, choose_encoder, load_weights, save_weights
from volano.models.encoders.image import PretrainedImageEncoder, build_encoder

TAUGHT = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25], "input_size": [3, 24, 24]}


def plain(name: str) -> nn.Sequential:
    """The layers as torchvision has them, a sixteenth as wide."""
    depths = {"vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3)}[name.removesuffix("_bn")]
    layers: list[nn.Module] = []
    now = 3
    for width, depth in zip((4, 8, 16, 32, 32), depths, strict=True):
        for _ in range(depth):
            layers.append(nn.Conv2d(now, width, 3, padding=1))
            if name.endswith("_bn"):
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU())
            now = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def folder_of(name: str, folder: Path) -> tuple[Path, nn.Sequential]:
    torch.manual_seed(0)
    net = plain(name)
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(values, 1.0, 0.2)
    folder.mkdir()
    weights = {f"features.{key}": value.contiguous() for key, value in net.state_dict().items()}
    save_file({**weights, "classifier.0.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    config = {"architecture": name, "num_classes": 1000, "pretrained_cfg": TAUGHT}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, net.eval()


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg16_bn"])
def test_it_answers_as_the_plain_layers_do(name: str, tmp_path: Path) -> None:
    folder, net = folder_of(name, tmp_path / name)
    chosen = choose_encoder("image", {"encoder": str(folder), "size": "auto"}, [], tmp_path)
    assert chosen["size"] == 24
    column = Pixels(height=24, width=24, channels=3)
    encoder = build_encoder(column, chosen, tmp_path, 10).eval()
    assert isinstance(encoder, PretrainedImageEncoder)
    pixels = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
    mean, spread = (torch.tensor(TAUGHT[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        wanted = net[:-1]((pixels / 255 - mean) / spread).mean((2, 3))
        torch.testing.assert_close(encoder(pixels), wanted, rtol=1e-4, atol=1e-4)
        network = Network(("photo",), [encoder], 2).eval()
        save_weights(network, tmp_path)
        batch = {"photo.pixels": pixels}
        found = network(batch)
        torch.testing.assert_close(load_weights(tmp_path)(batch), found)
        graph = graph_of(network, {"photo": column})
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (answer,) = session.run(None, {"photo.pixels": pixels.numpy()})
    np.testing.assert_allclose(answer, found.numpy(), atol=1e-4)


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    folder, _ = folder_of("vgg11", tmp_path / "vgg")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "vgg16"}))
    with pytest.raises(AssetError, match=r"(?s)do not fit its config.*vgg16.*ASSET-107"):
        build_encoder(Pixels(), {"encoder": str(folder)}, tmp_path, 10)
