"""Audio: recordings as one channel of samples at one rate."""

from __future__ import annotations

import functools
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from volano.columns._contract import Encoded, FittedColumn, Inference, Ragged, Use
from volano.columns._media import (
    CheckedMedia,
    as_base64,
    infer_media,
    media_bytes,
    refused,
    sample_of,
)
from volano.errors import BundleError

__all__ = ["AudioColumn", "AudioOptions", "FittedAudio", "read_audio", "resample"]

LONGEST_S = 30.0
"""The most seconds that ``seconds: auto`` keeps of a clip."""

HIGHEST_RATE = 16_000
"""The most samples a second that ``rate: auto`` chooses: speech has little above 8 kHz."""

RATES = range(1_000, 768_001)
"""Samples a second that a file may have."""

MOST_CHANNELS = 64

SAMPLE_CLIPS = 2000
"""Training clips whose rate and length are looked at."""

BLOCK_FRAMES = 2**16
"""Frames read at a time, so that many channels do not take much memory."""

HALF_TAPS = 10
"""Zero crossings of the filter on either side, as in scipy."""

_EXAMPLE = "UklGRjQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YRAAAACAgICAgICAgICAgICAgICA"
"""Two thousandths of a second of silence."""

_EXPECTED = "a WAV, FLAC or OGG recording as base64 or a data: URI"


class AudioOptions(BaseModel):
    """Options of an audio column.

    Attributes:
      encoder: ``auto``, ``scratch``, or a pretrained network by name, folder or hub id.
      rate: Samples a second that clips are brought to; auto takes the usual rate of the training
        clips, at most 16,000.
      seconds: Longer clips are cut, and counted; auto keeps 995 of 1,000 training clips whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    encoder: str = Field("auto", min_length=1)
    rate: Annotated[int, Field(ge=1000, le=192_000)] | Literal["auto"] = "auto"
    seconds: Annotated[float, Field(gt=0, le=600)] | Literal["auto"] = "auto"


@functools.lru_cache(maxsize=32)
def _filter(up: int, down: int) -> tuple[NDArray[np.float32], int]:
    """The low-pass filter, cut into its phases.

    Returns:
      Taps of each phase in reverse, float32, shape (up, num_taps); half the filter's length.
    """
    # h[n] = w[n] sinc(n / max(up, down)) / sum, times up: no frequency above the lower of the two
    # rates' halves gets through. w is Kaiser's window with beta = 5.
    widest = max(up, down)
    half = HALF_TAPS * widest
    places = np.arange(-half, half + 1)
    taps = np.sinc(places / widest) * np.kaiser(2 * half + 1, 5.0)
    taps *= up / taps.sum()
    num_taps = -(-len(taps) // up)
    padded = np.zeros(num_taps * up)
    padded[: len(taps)] = taps
    phases = padded.reshape(num_taps, up).T[:, ::-1]
    return np.ascontiguousarray(phases, np.float32), half


def resample(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Samples at another rate, by a windowed-sinc filter of which only the needed phases are run.

    Between the samples lie up - 1 zeros, the filter takes away what is above either rate's half,
    and every down-th value is kept: y[m] = sum_k h[m down - k up + half] x[k].

    Args:
      wave: Shape (num_samples,).
      rate: Its samples a second.
      wanted: Those of the result. Odd ratios are taken to the nearest of whole numbers up to
        1,000, which shifts the pitch by less than a millionth.
    Returns:
      Shape (ceil(num_samples * up / down),).
    References:
      `scipy.signal.resample_poly
      <https://docs.scipy.org/doc/scipy/reference/generated/scipy.signal.resample_poly.html>`_:
      the same filter and the same result, up to rounding.
    """
    ratio = Fraction(wanted, rate).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    if up == down or not len(wave):
        return wave
    phases, half = _filter(up, down)
    num_taps = phases.shape[1]
    num_out = -(-len(wave) * up // down)
    # Output m stands at m down + half of the filtered signal; its last sample is k = that // up.
    positions = np.arange(num_out, dtype=np.int64) * down + half
    newest = positions // up
    left = num_taps - 1
    right = max(0, int(newest[-1]) + 1 - len(wave))
    padded = np.concatenate(
        [np.zeros(left, np.float32), wave, np.zeros(right, np.float32)], dtype=np.float32
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, num_taps)
    out = np.empty(num_out, np.float32)
    block = max(1, 2**20 // num_taps)
    for start in range(0, num_out, block):
        part = slice(start, start + block)
        out[part] = np.einsum(
            "ij,ij->i", windows[newest[part]], phases[positions[part] % up], optimize=False
        )
    return out


def _opened(data: bytes | memoryview) -> Any:
    """The recording's header.

    Raises:
      ValueError: It is none, in words.
    """
    import soundfile

    if not len(data):
        raise ValueError("is an empty file")
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    # libsndfile's own errors, and TypeError for raw samples without a header.
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError):
        raise ValueError("is no recording that can be read") from None
    if file.samplerate not in RATES or not 1 <= file.channels <= MOST_CHANNELS:
        raise ValueError(f"has {file.channels} channels at {file.samplerate} samples a second")
    return file


def read_audio(
    data: bytes | memoryview, rate: int, max_samples: int
) -> tuple[NDArray[np.int16], bool]:
    """A recording as one channel: the mean of its channels, at the wanted rate.

    Args:
      data: A file's content.
      rate: Samples a second.
      max_samples: Where it is cut; no more of the file is read than that needs.
    Returns:
      Samples, int16, shape (num_samples,), at least one; whether it was cut.
    Raises:
      ValueError: It cannot be read, in words.
    """
    with _opened(data) as file:
        own = int(file.samplerate)
        # Some more than are kept, so that the cut does not sound in the last samples.
        most = math.ceil((max_samples + 1) * own / rate) + 2 * HALF_TAPS * max(1, own // rate)
        parts: list[NDArray[np.float32]] = []
        left = most + 1
        try:
            while left > 0:
                block = file.read(min(left, BLOCK_FRAMES), dtype="float32", always_2d=True)
                if not len(block):
                    break
                parts.append(block.mean(axis=1))
                left -= len(block)
        # libsndfile fails in many ways on a damaged file; none is a fault of ours.
        except Exception as error:
            raise ValueError(f"is damaged ({str(error)[:100].rstrip('.')})") from None
        declared = int(file.frames)
    if data[:4] == b"RIFF" and len(data) < (size := int.from_bytes(data[4:8], "little")) < 2**31:
        # libsndfile takes what is there of a WAV file, and says nothing of the rest. What was
        # streamed says 2**32 - 1 or so.
        raise ValueError(f"is cut short: {len(data)} of {size + 8} bytes are there")
    wave = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(wave):
        raise ValueError("has no samples")
    # Streams say 2**31 frames or so when they do not know; a file that ends early is another thing.
    if len(wave) < min(declared, most) and declared < 2**31 - 2**16:
        raise ValueError(f"is cut short: {len(wave)} of {declared} samples are there")
    # Finite, and within what 16 bits hold: files of floats may have anything.
    wave = np.clip(np.nan_to_num(wave, nan=0.0), -8.0, 8.0)
    wave = resample(wave, own, rate)
    cut = len(wave) > max_samples
    wave = wave[:max_samples]
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16), cut


TOKEN_S = 0.08
"""Seconds of sound that cost a small convolutional net about what a token costs a transformer."""


@dataclass(frozen=True)
class FittedAudio:
    """The rate and the longest length that clips are brought to.

    Attributes:
      rate: Samples a second.
      max_samples: Where clips are cut.
    """

    kind: ClassVar[str] = "audio"
    name: str
    rate: int
    max_samples: int

    @property
    def cell_cost(self) -> float:
        """What a sample costs the graph beside a token of a transformer: so that clips of unlike
        length share a run.
        """
        return 1 / (TOKEN_S * self.rate)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the stretches of a clip, in order, that explanations speak of."""
        return tuple(f"{self.name}[{place}]" for place in range(16))

    def check(self, value: object) -> CheckedMedia | None:
        """The recording as base64, decoded once here and not again by `encode`."""
        try:
            data = media_bytes(value)
            if data is None:
                return None
            decoded = read_audio(data, self.rate, self.max_samples)
        except ValueError as error:
            raise refused(self.name, value, str(error), 19, _EXPECTED) from None
        return CheckedMedia(as_base64(value, data), decoded)

    def schema(self) -> dict[str, Any]:
        """What a value is in JSON."""
        return {
            "type": ["string", "null"],
            "contentEncoding": "base64",
            "contentMediaType": "audio/*",
            "examples": [_EXAMPLE],
        }

    def facts(self) -> dict[str, Any]:
        """What a client may want to know of the values."""
        return {"rate": self.rate, "seconds": self.max_samples / self.rate}

    def encode(self, values: Sequence[Any]) -> Encoded:
        """Samples at the fitted rate, int16; one of silence where there is no recording.

        Counts ``missing``, ``unreadable`` and cut clips (``truncated_rows``).
        """
        waves: list[NDArray[np.int16]] = []
        notes: dict[int, str] = {}
        lost: set[int] = set()
        missing = num_cut = 0
        for row, value in enumerate(values):
            cut = False
            wave = np.zeros(1, np.int16)
            try:
                if isinstance(value, CheckedMedia):
                    wave, cut = value.decoded
                elif (data := media_bytes(value)) is not None:
                    wave, cut = read_audio(data, self.rate, self.max_samples)
                else:
                    missing += 1
                    notes[row] = f"{self.name}: there is no recording"
            except ValueError as error:
                notes[row] = f"{self.name}: {error}"
                lost.add(row)
            if cut:
                num_cut += 1
                notes[row] = f"{self.name}: cut after {self.max_samples / self.rate:.3g} s"
            waves.append(wave)
        offsets = np.zeros(len(waves) + 1, np.int64)
        np.cumsum([len(wave) for wave in waves], out=offsets[1:])
        flat = np.concatenate(waves) if waves else np.zeros(0, np.int16)
        counts = {"missing": missing, "unreadable": len(lost), "truncated_rows": num_cut}
        return Encoded({"wave": Ragged(flat, offsets)}, counts, notes, frozenset(lost))

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Samples from -1 to 1, padded with zeros on the right, and how many there are."""
        ragged = encoded.arrays["wave"]
        assert isinstance(ragged, Ragged)
        starts, lengths = ragged.offsets[rows], ragged.offsets[rows + 1] - ragged.offsets[rows]
        wave = np.zeros((len(rows), max(1, int(lengths.max(initial=0)))), np.float32)
        for place, (start, length) in enumerate(
            zip(starts.tolist(), lengths.tolist(), strict=True)
        ):
            # Dividing by a power of two is exact.
            np.multiply(
                ragged.flat[start : start + length],
                np.float32(1 / 32768),
                out=wave[place, :length],
                dtype=np.float32,
            )
        return {f"{self.name}.wave": wave, f"{self.name}.length": lengths.astype(np.int64)}

    def save(self, folder: Path) -> None:
        state = {"rate": self.rate, "max_samples": self.max_samples}
        (folder / "audio.json").write_text(json.dumps(state) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            state = json.loads(files["audio.json"])
            rate, max_samples = int(state["rate"]), int(state["max_samples"])
            if rate not in RATES or not 1 <= max_samples <= 600 * 768_000:
                raise ValueError(f"{max_samples} samples at {rate} a second")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                20, f"the column {name!r} cannot be read ({error!r})", fix="export the bundle again"
            ) from error
        return cls(name, rate, max_samples)


class AudioColumn:
    """Paths of recordings, their bytes, or one folder for each class."""

    kind: ClassVar[str] = "audio"
    version: ClassVar[int] = 1
    use: ClassVar[Use] = "input"
    content: ClassVar[bool] = True
    names: ClassVar[bool] = False
    extensions: ClassVar[frozenset[str]] = frozenset(
        {".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
    )
    Options: ClassVar[type[BaseModel]] = AudioOptions
    Fitted: ClassVar[type[FittedColumn]] = FittedAudio

    @staticmethod
    def recognises(start: bytes) -> bool:
        wave = start[:4] in (b"RIFF", b"RF64", b"RIFX") and start[8:12] == b"WAVE"
        aiff = start[:4] == b"FORM" and start[8:11] == b"AIF"
        mpeg = start[:3] == b"ID3" or (len(start) > 1 and start[0] == 0xFF and start[1] >> 5 == 7)
        # JPEG begins with FF D8, which no frame of MPEG sound does.
        return wave or aiff or start[:4] in (b"fLaC", b"OggS") or (mpeg and start[1] != 0xD8)

    @staticmethod
    def problem(data: bytes | memoryview) -> str | None:
        try:
            read_audio(data, 8000, math.ceil(LONGEST_S * 8000))
        except ValueError as error:
            return str(error)
        return None

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        del use
        return infer_media(values, AudioColumn.extensions, AudioColumn.recognises, "recordings")

    @staticmethod
    def refuse(value: str) -> str | None:
        del value
        return "is a recording, which cannot be a target"

    @staticmethod
    def fit(
        name: str, values: Iterable[Any], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedAudio:
        """Fit an audio column.

        Args:
          name: The column.
          values: Bytes (or base64) of training clips; a list is only looked at here and there.
          options: Those of `AudioOptions`; ``rate`` may also come from a pretrained encoder.
        """
        del use
        listed = values if isinstance(values, Sequence) else list(values)
        rates: Counter[int] = Counter()
        lengths: list[float] = []
        for value in sample_of(listed, SAMPLE_CLIPS):
            try:
                data = media_bytes(value)
                assert data is not None
                with _opened(data) as file:
                    if file.frames > 0:
                        rates[file.samplerate] += 1
                        lengths.append(file.frames / file.samplerate)
            except ValueError:
                continue
        rate = options.get("rate", "auto")
        if rate == "auto":
            # Of rates that are equally frequent the lower: nothing then has to be made up.
            usual = min(rates, key=lambda found: (-rates[found], found), default=HIGHEST_RATE)
            rate = min(usual, HIGHEST_RATE)
        seconds = options.get("seconds", "auto")
        if seconds == "auto":
            longest = float(np.quantile(lengths, 0.995, method="higher")) if lengths else 1.0
            seconds = min(longest, LONGEST_S)
        return FittedAudio(name, int(rate), max(1, math.ceil(seconds * rate)))
