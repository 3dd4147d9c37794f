"""Audio encoders: waves -> one vector per row, their log-mel spectrograms computed in the graph.

    X[f, t] = sum_n w[n] x[t hop + n] exp(-2 pi i f n / N)         frames of N samples, Hann window
    S[m, t] = log(sum_f M[m, f] |X[f, t]|^2 + floor)               M: triangles on the mel scale

The sums over n are one convolution with fixed sines and cosines, so that the graph needs no
operator for a Fourier transform and a bundle nothing but the wave.

Stevens, Volkmann, Newman, `A Scale for the Measurement of the Psychological Magnitude Pitch
<https://doi.org/10.1121/1.1915893>`_, 1937; the mel scale is the one of the HTK book.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from volano.models._shapes import activation_of, pooling_of
from volano.models.encoders._residual import ResidualNet

__all__ = ["AudioEncoder", "LogMel", "build_encoder", "encoder_from_config", "mel_matrix"]

# Legend: B rows, T samples, N samples of a frame, W frames, M mel bands, F frequencies.

WINDOW_S, HOP_S = 0.032, 0.010
FLOOR = 1e-6
"""Of a band's power, for samples in -1..1: below it is the noise of an 8-bit recording."""

MAX_TIME_MASK, MAX_BAND_MASK = 0.2, 0.25
"""Largest part of the frames, and of the bands, that training hides at once."""


class _Fitted(Protocol):
    """What is needed of the fitted column."""

    rate: int


def mel_matrix(rate: int, num_samples: int, num_bands: int) -> NDArray[np.float64]:
    """Triangles of equal height, evenly spaced in mel from 20 Hz to half of the rate.

    mel(f) = 2595 log10(1 + f / 700)

    Returns:
      Weights of each frequency, shape (num_bands, num_samples // 2 + 1).
    """

    def mel(frequency: float) -> float:
        return 2595 * math.log10(1 + frequency / 700)

    places = np.linspace(mel(20), mel(rate / 2), num_bands + 2)
    edges = 700 * (10 ** (places / 2595) - 1)
    frequencies = np.arange(num_samples // 2 + 1) * rate / num_samples
    rise = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    found: NDArray[np.float64] = np.maximum(0, np.minimum(rise, fall))
    # A low band may lie between two frequencies; it then takes the nearest one.
    for band in np.flatnonzero(found.sum(1) == 0):
        found[band, np.abs(frequencies - edges[band + 1]).argmin()] = 1.0
    return found


class LogMel(nn.Module):
    """Waves -> log-mel spectrograms.

    Args:
      rate: Samples per second.
      num_bands: Bands on the mel scale.
    """

    def __init__(self, rate: int, num_bands: int) -> None:
        super().__init__()
        self.hop = max(1, round(HOP_S * rate))
        self.num_samples = 2 * max(8, round(WINDOW_S * rate / 2))
        places = np.arange(self.num_samples)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * places / self.num_samples)
        turns = 2 * np.pi * np.outer(np.arange(self.num_samples // 2 + 1), places)
        angles = turns / self.num_samples
        kernels = np.concatenate([np.cos(angles), np.sin(angles)]) * window
        # They follow from the config, so they are not saved.
        kernels_F1N = torch.from_numpy(kernels.astype(np.float32))[:, None]
        self.register_buffer("kernels", kernels_F1N, persistent=False)
        mels_MF1 = torch.from_numpy(
            mel_matrix(rate, self.num_samples, num_bands).astype(np.float32)
        )[:, :, None]
        self.register_buffer("mels", mels_MF1, persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Samples in -1..1 -> (B, M, W); frame w begins at sample w hop, the last within the wave
        or one hop after it.
        """
        wave_B1T = F.pad(wave_BT, (0, self.num_samples))[:, None]
        parts_BFW = F.conv1d(wave_B1T, self.kernels, stride=self.hop)  # type: ignore[arg-type]
        real_BFW, imaginary_BFW = parts_BFW.chunk(2, dim=1)
        power_BFW = real_BFW.square() + imaginary_BFW.square()
        return torch.log(F.conv1d(power_BFW, self.mels) + FLOOR)  # type: ignore[arg-type]

    def num_frames(self, length_B: Tensor) -> Tensor:
        """Frames that begin within a wave of so many samples."""
        return (length_B + self.hop - 1) // self.hop


class AudioEncoder(nn.Module):
    """Log-mel spectrogram, a residual net over bands and time, and the mean over the sound.

    Each clip's spectrogram is brought to mean 0 and deviation 1 over the sound itself, so that
    neither loudness nor what the clip was padded with says anything.

    Args:
      rate: Samples per second.
      num_bands: Bands of the spectrogram.
      widths: Channels of each stage.
      blocks: Blocks of each stage.
      strides: Of the stem's convolutions.
      act: The activation.
      pooling: ``average`` over the sound, or its ``max``.
    """

    kind: ClassVar[str] = "audio"
    keys: ClassVar[tuple[str, ...]] = ("wave", "length")
    recipe: ClassVar[str] = "convolution"

    def __init__(
        self,
        rate: int,
        *,
        num_bands: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        strides: tuple[int, ...],
        act: str = "relu",
        pooling: str = "average",
    ) -> None:
        super().__init__()
        self._config = {
            "act": act,
            "pooling": pooling,
            "rate": rate,
            "num_bands": num_bands,
            "widths": list(widths),
            "blocks": list(blocks),
            "strides": list(strides),
        }
        self.spectrogram = LogMel(rate, num_bands)
        self.net = ResidualNet(1, widths, blocks, strides, act, pooling)
        self.width = self.net.width
        self.masks: tuple[str, ...] = ()
        """What training hides spans of: ``time_mask``, ``frequency_mask``; the loop decides."""

    @property
    def samples_per_cell(self) -> int:
        """Samples that cost about as much as one token of a text: those of one frame."""
        return self.spectrogram.hop

    def forward(self, wave_BT: Tensor, length_B: Tensor) -> Tensor:
        """Samples in -1..1 (B, T), zero beyond `length_B` -> (B, width), float32."""
        with torch.no_grad():
            x_BMW = self.spectrogram(wave_BT.float())
            frames_B = self.spectrogram.num_frames(length_B)
            x_BMW = self._scaled(x_BMW, frames_B)
            if self.training and self.masks:
                x_BMW = _hidden_spans(x_BMW, frames_B, self.masks)
        return self.net(x_BMW[:, None], frames_B)  # type: ignore[no-any-return]

    def _scaled(self, x_BMW: Tensor, frames_B: Tensor) -> Tensor:
        columns_W = torch.arange(x_BMW.shape[2], device=x_BMW.device)
        inside_B1W = (columns_W < frames_B[:, None])[:, None].to(x_BMW.dtype)
        places_B11 = (frames_B * x_BMW.shape[1]).clamp(min=1).to(x_BMW.dtype)[:, None, None]
        mean_B11 = (x_BMW * inside_B1W).sum((1, 2), keepdim=True) / places_B11
        centred_BMW = (x_BMW - mean_B11) * inside_B1W
        variance_B11 = centred_BMW.square().sum((1, 2), keepdim=True) / places_B11
        # Silence has no deviation, and must stay silent.
        return centred_BMW / variance_B11.clamp(min=1e-2).sqrt()

    def config(self) -> dict[str, Any]:
        """What `encoder_from_config` needs."""
        return dict(self._config)


def _hidden_spans(x_BMW: Tensor, frames_B: Tensor, names: tuple[str, ...]) -> Tensor:
    """Set one span of frames, of bands, or of both, of every row to its mean, which is zero.

    Park et al., `SpecAugment <https://arxiv.org/abs/1904.08779>`_, 2019.
    """
    num_rows, num_bands, num_columns = x_BMW.shape
    drawn_4B = torch.rand((4, num_rows))
    spans_B = drawn_4B[0] * MAX_TIME_MASK * frames_B
    starts_B = drawn_4B[1] * (frames_B - spans_B)
    columns_W = torch.arange(num_columns)
    hidden_BW = (columns_W >= starts_B[:, None]) & (columns_W < (starts_B + spans_B)[:, None])
    heights_B = drawn_4B[2] * MAX_BAND_MASK * num_bands
    lowest_B = drawn_4B[3] * (num_bands - heights_B)
    bands_M = torch.arange(num_bands)
    hidden_BM = (bands_M >= lowest_B[:, None]) & (bands_M < (lowest_B + heights_B)[:, None])
    if "time_mask" in names:
        x_BMW = x_BMW.masked_fill(hidden_BW[:, None, :], 0.0)
    if "frequency_mask" in names:
        x_BMW = x_BMW.masked_fill(hidden_BM[:, :, None], 0.0)
    return x_BMW


def build_encoder(
    column: _Fitted, details: Mapping[str, Any], root: Path, num_rows: int
) -> AudioEncoder:
    """An encoder from scratch.

    Args:
      column: The fitted column: its rate decides the frames.
      details: ``activation`` and ``pooling`` where the spec has them.
      root: The wheel's folder.
      num_rows: Training rows: more of them carry a wider net.
    """
    del root
    wide = 32 if num_rows >= 10_000 else 24
    return AudioEncoder(
        column.rate,
        num_bands=40 if column.rate <= 8000 else 64,
        widths=(wide, 2 * wide, 4 * wide),
        blocks=(0, 1, 1),
        strides=(1,) if column.rate <= 8000 else (2,),
        act=activation_of(details, "relu"),
        pooling=pooling_of(details),
    )


def encoder_from_config(config: Mapping[str, Any]) -> AudioEncoder:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    return AudioEncoder(
        config["rate"],
        num_bands=config["num_bands"],
        widths=tuple(config["widths"]),
        blocks=tuple(config["blocks"]),
        strides=tuple(config["strides"]),
        act=config["act"],
        pooling=config["pooling"],
    )
