"""Image and audio encoders against references, and by property."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from media import Pixels, Waves, picture_network, sound_network, sounds, with_used_norms
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from volano.errors import AssetError
from volano.models import Network, build_network, choose_encoder, load_weights, save_weights
from volano.models._choose import check_encoder
from volano.models.encoders._residual import ConvNorm, ResidualNet, fold_norms
from volano.models.encoders.audio import FLOOR, LogMel, mel_matrix
from volano.models.encoders.image import ImageEncoder, encoder_from_config, stem_strides
from volano.models.encoders.image import build_encoder as build_image_encoder


def test_a_residual_net_is_blocks_of_convolutions_norms_and_shortcuts() -> None:
    torch.manual_seed(0)
    net = ResidualNet(2, (3, 4), (1, 1), (2,))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
    net.eval()
    x = torch.randn(3, 2, 9, 7)
    with torch.no_grad():
        inner = torch.relu(net.stem[0].norm(net.stem[0].conv(x)))
        for block in net.stages:
            first = torch.relu(block.first.norm(block.first.conv(inner)))
            second = block.second.norm(block.second.conv(first))
            inner = torch.relu(second + block.shortcut(inner))
        assert inner.shape[1:] == (4, 3, 2)
        norm = net.last
        scaled = (inner.mean((2, 3)) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        torch.testing.assert_close(net(x), scaled)
    assert net.stages[0].shortcut(x) is x
    assert isinstance(net.stages[1].shortcut, ConvNorm)


def test_a_batch_of_one_row_can_be_learned_from() -> None:
    network = picture_network().train()
    batch = {"photo.pixels": torch.randint(0, 256, (1, 1, 12, 10), dtype=torch.uint8)}
    network(batch).sum().backward()
    assert torch.isfinite(network(batch)).all()


def test_folded_norms_answer_the_same() -> None:
    network = with_used_norms(picture_network())
    batch = {"photo.pixels": torch.randint(0, 256, (4, 1, 12, 10), dtype=torch.uint8)}
    with torch.no_grad():
        before = network(batch)
        after = fold_norms(network)(batch)
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(module, _BatchNorm) for module in network.modules())


@pytest.mark.parametrize(("size", "strides"), [(16, (1,)), (40, (1,)), (64, (2,)), (224, (2,) * 3)])
def test_the_stem_follows_the_size_of_the_pictures(size: int, strides: tuple[int, ...]) -> None:
    assert stem_strides(size) == strides


def test_pictures_grow_while_a_net_learns_from_them() -> None:
    encoder = ImageEncoder(1, widths=(8, 8), blocks=(0, 1), strides=(1,), small_first=True)
    seen = []
    encoder.net.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2:]))
    pixels = torch.randint(0, 256, (2, 1, 28, 42), dtype=torch.uint8)
    for share in (0.0, 0.39, 0.5, 0.65, 1.0):
        encoder.progress(share)
        encoder(pixels)
    assert seen == [(16, 24), (16, 24), (20, 32), (28, 42), (28, 42)]
    encoder.progress(0.0)
    encoder.eval()
    encoder(pixels)
    assert seen[-1] == (28, 42)
    assert encoder.cost == pytest.approx(0.4 * (4 / 7) ** 2 + 0.25 * (5 / 7) ** 2 + 0.35)
    again = encoder_from_config(encoder.config())
    assert again.cost == encoder.cost


@pytest.mark.parametrize(("size", "small"), [(8, False), (20, False), (28, True), (64, True)])
def test_pictures_that_are_small_already_are_seen_whole(size: int, small: bool) -> None:
    column = Pixels(height=size, width=size)
    encoder = build_image_encoder(column, {}, Path(), 100)
    assert (encoder.cost < 1) == small


def test_pixels_are_scaled_by_what_training_rows_were_seen() -> None:
    encoder = ImageEncoder(3, widths=(4,), blocks=(1,), strides=(1,))
    pixels = torch.randint(0, 200, (20, 3, 8, 8), dtype=torch.uint8)
    pixels[:, 2] = 7
    encoder.observe(pixels)
    values = pixels.double()
    torch.testing.assert_close(encoder.mean.flatten(), values.mean((0, 2, 3)).float())
    spread = values.std((0, 2, 3), correction=0).float()
    torch.testing.assert_close(encoder.spread.flatten()[:2], spread[:2])
    assert encoder.spread.flatten()[2] == 1.0


@pytest.mark.parametrize("rows", [100, 2000, 200_000])
def test_more_rows_carry_a_wider_net_that_comes_back_as_saved(rows: int, tmp_path: Path) -> None:
    column = Pixels()
    details = {"photo": {"encoder": "scratch"}}
    network = build_network({"photo": column}, details, 3, root=Path(), num_rows=rows, seed=0)
    batch = {"photo.pixels": torch.randint(0, 256, (2, 1, 12, 10), dtype=torch.uint8)}
    with_used_norms(network)
    save_weights(network, tmp_path)
    with torch.no_grad():
        assert torch.equal(network(batch), load_weights(tmp_path)(batch))
    assert network.encoders[0].width == {100: 64, 2000: 96, 200_000: 128}[rows]


def test_mel_bands_are_triangles_evenly_spaced_in_mel() -> None:
    matrix = mel_matrix(16_000, 512, 40)
    assert matrix.shape == (40, 257)
    assert (matrix >= 0).all()
    assert (matrix.max(1) > 0.3).all()
    peaks = matrix.argmax(1) * 16_000 / 512
    mels = 2595 * np.log10(1 + peaks / 700)
    steps = np.diff(mels)[10:]
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.3)
    # Neighbours share every frequency between their middles in full.
    inside = slice(int(matrix[0].argmax()) + 1, int(matrix[-1].argmax()))
    np.testing.assert_allclose(matrix.sum(0)[inside], 1.0, atol=1e-9)
    assert (mel_matrix(8000, 64, 40).sum(1) > 0).all()


@pytest.mark.parametrize("rate", [2000, 8000, 44_100])
def test_log_mel_is_that_of_a_reference(rate: int) -> None:
    made = LogMel(rate, 24)
    wave = np.random.default_rng(0).normal(0, 0.3, (2, rate // 4)).astype(np.float32)
    found = made(torch.from_numpy(wave)).numpy()
    window = scipy.signal.get_window("hann", made.num_samples, fftbins=True)
    padded = np.pad(wave.astype(np.float64), ((0, 0), (0, made.num_samples)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, made.num_samples, axis=1)
    frames = frames[:, :: made.hop]
    power = np.abs(np.fft.rfft(frames * window, axis=2)) ** 2
    wanted = np.log(power @ mel_matrix(rate, made.num_samples, 24).T + FLOOR)
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 1), atol=2e-3)
    lengths = torch.tensor([0, 1, made.hop, made.hop + 1])
    assert made.num_frames(lengths).tolist() == [0, 1, 1, 2]


def test_padding_changes_no_answer_of_sound() -> None:
    network = with_used_norms(sound_network())
    split = sounds(6)
    rows = np.arange(6)
    batch = {
        name: torch.from_numpy(value)
        for name, value in Waves().collate(split.columns["clip"], rows).items()
    }
    with torch.no_grad():
        together = network(batch)
        for more in (1, 333):
            padded = {**batch, "clip.wave": nn.functional.pad(batch["clip.wave"], (0, more))}
            torch.testing.assert_close(network(padded), together, rtol=0, atol=1e-4)
        for row, length in enumerate(batch["clip.length"].tolist()):
            alone = {
                "clip.wave": batch["clip.wave"][row : row + 1, :length],
                "clip.length": batch["clip.length"][row : row + 1],
            }
            torch.testing.assert_close(network(alone)[0], together[row], rtol=0, atol=1e-4)


def test_loudness_says_nothing_and_silence_is_no_reason_for_a_nan() -> None:
    network = with_used_norms(sound_network())
    wave = torch.randn(1, 400, generator=torch.Generator().manual_seed(0)) * 0.3
    length = torch.tensor([400])
    with torch.no_grad():
        loud = network({"clip.wave": wave, "clip.length": length})
        soft = network({"clip.wave": wave / 4, "clip.length": length})
        torch.testing.assert_close(loud, soft, rtol=1e-2, atol=1e-2)
        nothing = torch.zeros(2, 1)
        found = network({"clip.wave": nothing, "clip.length": torch.tensor([0, 1])})
    assert torch.isfinite(found).all()


def test_spans_are_hidden_in_training_alone() -> None:
    network = sound_network()
    encoder = network.encoders[0]
    encoder.masks = ("time_mask", "frequency_mask")
    split = sounds(4)
    batch = {
        name: torch.from_numpy(value)
        for name, value in Waves().collate(split.columns["clip"], np.arange(4)).items()
    }
    seen: list[torch.Tensor] = []
    handle = encoder.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.eval()(batch)
    network.eval()(batch)
    network.train()(batch)
    handle.remove()
    assert torch.equal(seen[0], seen[1])
    hidden = (seen[2] == 0) & (seen[0] != 0)
    assert hidden.any()
    assert torch.equal(seen[2][~hidden], seen[0][~hidden])


def vision_folder(kind: str, folder: Path) -> Path:
    """A tiny pretrained backbone, as the hub has them."""
    from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTModel

    torch.manual_seed(0)
    if kind == "vit":
        config = ViTConfig(
            image_size=16,
            patch_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
        made = ViTModel(config)
    else:
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
        made = ResNetModel(config)
    made.save_pretrained(folder)
    scaling = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    return folder


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_pretrained_backbone_from_a_folder(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = vision_folder(kind, tmp_path / kind)
    options = {"encoder": str(folder), "size": "auto"}
    check_encoder("image", options, tmp_path)
    chosen = choose_encoder("image", options, [], tmp_path)
    assert chosen["size"] == (16 if kind == "vit" else 224)
    column = Pixels(height=16, width=16, channels=3)
    encoder = build_image_encoder(column, chosen, tmp_path, 10).eval()
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    mean, spread = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    scaled = (pixels / 255 - mean[:, None, None]) / spread[:, None, None]
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(scaled).last_hidden_state
        wanted = hidden.mean((2, 3)) if kind == "resnet" else hidden.mean(1)
        torch.testing.assert_close(encoder(pixels), wanted, rtol=1e-4, atol=1e-4)
        # Grey pictures, and those of another size, are taken as well.
        assert encoder(pixels[:, :1, :12]).shape == (2, encoder.width)
        network = Network(("photo",), [encoder], 2).eval()
        save_weights(network, tmp_path)
        batch = {"photo.pixels": pixels}
        torch.testing.assert_close(load_weights(tmp_path)(batch), network(batch))


def test_encoders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"(?s)no encoder 'nowhere'.*ASSET-101"):
        check_encoder("image", {"encoder": "nowhere"}, tmp_path)
    with pytest.raises(AssetError, match=r"(?s)no encoder 'wav2vec' for sound.*ASSET-101"):
        check_encoder("audio", {"encoder": "wav2vec"}, tmp_path)
    folder = vision_folder("resnet", tmp_path / "resnet")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "depths": [1, 2]}))
    with pytest.raises(AssetError, match=r"(?s)lack \d+ tensors.*ASSET-107"):
        build_image_encoder(Pixels(), {"encoder": str(folder)}, tmp_path, 10)
