"""Audio encoders: waves -> one vector per row, their log-mel spectrograms computed in the graph.

    X[f, t] = sum_n w[n] x[t hop + n] exp(-2 pi i f n / N)         frames of N samples, Hann window
    S[m, t] = log(sum_f M[m, f] |X[f, t]|^2 + floor)               M: triangles on the mel scale

The sums over n are products with fixed sines and cosines, so that the graph needs no operator for a
Fourier transform and a bundle nothing but the wave. Both are symmetric about a half and a quarter
of the frame: what is multiplied by the same number is added first, which leaves a quarter of the
products and of their factors (`LogMel`).

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

    With N = 4 Q, the window symmetric and 0 at its start, and for n = 1 to Q,

        u = w[n] (x[n] + x[N - n])      v = w[2Q - n] (x[2Q - n] + x[2Q + n])
        r = w[n] (x[n] - x[N - n])      s = w[2Q - n] (x[2Q - n] - x[2Q + n])

    (v and s without n = Q, which u and r have), the real parts at frequencies 2k are the sums over
    n of (u + v) cos(2 pi 2k n / N) plus x[2Q], those at 2k + 1 of (u - v) cos less x[2Q]; and the
    imaginary ones the sums of (r - s) sin and of (r + s) sin.

    Args:
      rate: Samples per second.
      num_bands: Bands on the mel scale.
    """

    window: Tensor
    even_cos: Tensor
    even_sin: Tensor
    even_mels: Tensor
    odd_cos: Tensor
    odd_sin: Tensor
    odd_mels: Tensor

    def __init__(self, rate: int, num_bands: int) -> None:
        super().__init__()
        self.hop = max(1, round(HOP_S * rate))
        self.num_samples = 4 * max(4, round(WINDOW_S * rate / 4))
        half = self.num_samples // 2
        near_Q = np.arange(1, half // 2 + 1)
        places_2Q = np.stack([near_Q, half - near_Q])
        window_2Q = 0.5 - 0.5 * np.cos(2 * np.pi * places_2Q / self.num_samples)
        window_2Q[1, -1] = 0.0  # u and r have what lies at a quarter
        mels_MF = mel_matrix(rate, self.num_samples, num_bands)
        # They follow from the config, so they are not saved.
        self._keep("window", _floats(window_2Q))
        for name, start in (("even", 0), ("odd", 1)):
            frequencies = np.arange(start, half + 1, 2)
            angles_FQ = 2 * np.pi * np.outer(frequencies, near_Q) / self.num_samples
            self._keep(f"{name}_cos", _floats(np.cos(angles_FQ)))
            self._keep(f"{name}_sin", _floats(np.sin(angles_FQ)))
            self._keep(f"{name}_mels", _floats(mels_MF[:, frequencies]))

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        """Samples in -1..1 -> (B, M, W); frame w begins at sample w hop, the last within the wave
        or one hop after it.
        """
        num_frames = wave_BT.shape[1] // self.hop + 1
        length = (num_frames - 1) * self.hop + self.num_samples + 1
        wave_BT = F.pad(wave_BT, (0, self.num_samples + 1))[:, :length]
        # Whole runs of samples are copied, never single ones: x[n] from the wave, and x[N - n] from
        # the wave backwards, whose frames come in the opposite order.
        ahead_BWN = self._frames(wave_BT, num_frames)
        last_W = torch.arange(num_frames - 1, -1, -1, device=wave_BT.device)
        back_BWN = self._frames(wave_BT.flip(1), num_frames).index_select(1, last_W)
        quarter, half = self.num_samples // 4, self.num_samples // 2
        near, far = slice(1, quarter + 1), slice(half + 1, half + quarter + 1)
        x1_BWQ, x2_BWQ = ahead_BWN[..., near], back_BWN[..., near]
        x3_BWQ, x4_BWQ = back_BWN[..., far], ahead_BWN[..., far]
        middle_B1W = ahead_BWN[..., half][:, None]
        window_Q, farther_Q = self.window[0], self.window[1]
        u_BWQ = window_Q * (x1_BWQ + x2_BWQ)
        r_BWQ = window_Q * (x1_BWQ - x2_BWQ)
        v_BWQ = farther_Q * (x3_BWQ + x4_BWQ)
        s_BWQ = farther_Q * (x3_BWQ - x4_BWQ)
        even_BFW = _power(
            _products(u_BWQ + v_BWQ, self.even_cos) + middle_B1W,
            _products(r_BWQ - s_BWQ, self.even_sin),
        )
        odd_BFW = _power(
            _products(u_BWQ - v_BWQ, self.odd_cos) - middle_B1W,
            _products(r_BWQ + s_BWQ, self.odd_sin),
        )
        bands_BMW = F.conv1d(even_BFW, self.even_mels[..., None])
        bands_BMW = bands_BMW + F.conv1d(odd_BFW, self.odd_mels[..., None])
        return torch.log(bands_BMW + FLOOR)

    def _frames(self, wave_BT: Tensor, num_frames: int) -> Tensor:
        """The first samples of each frame, and more than are needed, (B, W, at least N + 1)."""
        parts = -(-(self.num_samples + 1) // self.hop)
        blocks = num_frames + parts - 1
        whole_BX = F.pad(wave_BT, (0, self.hop * parts))[:, : blocks * self.hop]
        blocks_BXH = whole_BX.reshape(wave_BT.shape[0], blocks, self.hop)
        return torch.cat([blocks_BXH[:, at : at + num_frames] for at in range(parts)], dim=2)

    def num_frames(self, length_B: Tensor) -> Tensor:
        """Frames that begin within a wave of so many samples."""
        return (length_B + self.hop - 1) // self.hop


def _floats(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _products(x_BWQ: Tensor, factors_FQ: Tensor) -> Tensor:
    """The sums over Q, (B, F, W): a convolution whose kernel is as wide as a frame, so that its
    factors may be kept in 8 bits and what they are multiplied with is not.
    """
    # Not [..., 0]: an exported graph would gather the numbers one by one.
    return F.conv2d(x_BWQ[:, None], factors_FQ[:, None, None]).squeeze(3)


def _power(real: Tensor, imaginary: Tensor) -> Tensor:
    return real.square() + imaginary.square()


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
