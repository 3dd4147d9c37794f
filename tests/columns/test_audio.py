"""Sound: rates, channels, lengths, and files that are not what they say."""

from __future__ import annotations

import base64
import io
from math import gcd

import numpy as np
import pytest
import soundfile
from scipy import signal

from volano.columns import Ragged, column_kind
from volano.columns.audio import AudioColumn, FittedAudio, read_audio, resample
from volano.errors import RequestError
from volano.testing import check_column

RNG = np.random.default_rng(0)


def file_of(
    wave: np.ndarray, rate: int = 8000, form: str = "WAV", kind: str | None = None
) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, format=form, subtype=kind)
    return stream.getvalue()


def tone(seconds: float, rate: int = 8000, pitch: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def fitted(rate: int = 8000, seconds: float = 1.0) -> FittedAudio:
    return FittedAudio("clip", rate, round(seconds * rate))


def test_keeps_the_promises_of_a_column() -> None:
    values = [text_of(file_of(tone(0.01 * (size + 1)))) for size in range(3)]
    assert check_column("audio", values).kind == "audio"


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [(44100, 16000), (48000, 16000), (8000, 16000), (11025, 8000), (22050, 44100), (16000, 8000)],
)
@pytest.mark.parametrize("num_samples", [1, 7, 1000, 20_011])
def test_resampling_is_scipy_s(rate: int, wanted: int, num_samples: int) -> None:
    wave = RNG.standard_normal(num_samples).astype(np.float32)
    common = gcd(rate, wanted)
    right = signal.resample_poly(wave.astype(np.float64), wanted // common, rate // common)
    found = resample(wave, rate, wanted)
    assert found.shape == right.shape
    assert np.abs(found - right).max() < 2e-6


def test_resampling_keeps_a_tone_and_takes_away_what_does_not_fit() -> None:
    kept = resample(tone(1, 44100, 1000).astype(np.float32), 44100, 16000)
    assert np.abs(kept - tone(1, 16000, 1000))[200:-200].max() < 1e-3
    gone = resample(tone(1, 44100, 12_000).astype(np.float32), 44100, 16000)
    assert np.abs(gone)[200:-200].max() < 0.01


def test_odd_rates_cost_no_giant_filter() -> None:
    found = resample(np.ones(50_000, np.float32), 44_101, 16_001)
    assert abs(len(found) - 50_000 * 16_001 / 44_101) < 2
    assert np.abs(found[500:-500] - 1).max() < 1e-3


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
    ],
)
def test_formats(form: str, kind: str) -> None:
    data = file_of(tone(0.5), form=form, kind=kind)
    assert AudioColumn.recognises(data[:64])
    wave, cut = read_audio(data, 8000, 8000)
    assert not cut
    assert len(wave) == 4000
    close = 0.1 if kind == "VORBIS" else 0.01
    assert np.abs(wave / 32768 - tone(0.5)).max() < close


def test_sixteen_bits_pass_unchanged() -> None:
    wave = RNG.integers(-32768, 32768, 500).astype(np.int16)
    assert np.array_equal(read_audio(file_of(wave), 8000, 8000)[0], wave)


@pytest.mark.parametrize("channels", [2, 5])
def test_channels_become_their_mean(channels: int) -> None:
    many = RNG.uniform(-0.5, 0.5, (300, channels))
    wave, _ = read_audio(file_of(many, kind="FLOAT"), 8000, 8000)
    assert np.abs(wave / 32768 - many.mean(axis=1)).max() < 1e-4


def test_long_clips_are_cut_and_counted() -> None:
    long, short = file_of(tone(3)), file_of(tone(0.25))
    encoded = fitted().encode([long, short])
    waves = encoded.arrays["wave"]
    assert isinstance(waves, Ragged)
    assert waves.lengths.tolist() == [8000, 2000]
    assert encoded.counts["truncated_rows"] == 1
    assert encoded.notes == {0: "clip: cut after 1 s"}
    assert not encoded.lost
    # The cut does not change what is before it.
    whole, _ = read_audio(file_of(tone(3, 44100), 44100), 16000, 10**6)
    assert np.array_equal(read_audio(file_of(tone(3, 44100), 44100), 16000, 9000)[0], whole[:9000])


def test_batches_are_floats_padded_with_zeros() -> None:
    wave = np.array([-32768, 16384, 32767], np.int16)
    column = fitted()
    encoded = column.encode([file_of(wave), file_of(wave[:1])])
    batch = column.collate(encoded, np.array([1, 0]))
    assert batch["clip.wave"].dtype == np.float32
    assert batch["clip.length"].tolist() == [1, 3]
    assert batch["clip.length"].dtype == np.int64
    assert batch["clip.wave"].tolist() == [[-1, 0, 0], [-1, 0.5, 32767 / 32768]]


def damaged() -> dict[str, bytes]:
    return {
        "no samples": file_of(np.zeros(0)),
        "a text": b"this is a letter and no sound",
        "nothing": b"",
        "a header alone": file_of(tone(1))[:20],
        "truncated WAV": file_of(tone(1))[:4000],
        "truncated FLAC": file_of(tone(1), form="FLAC")[:3000],
    }


@pytest.mark.parametrize("what", damaged())
def test_damaged_files_are_noted(what: str) -> None:
    good = file_of(tone(0.1))
    encoded = fitted().encode([good, damaged()[what], good])
    assert encoded.lost == {1}
    assert encoded.counts["unreadable"] == 1
    assert "clip: " in encoded.notes[1]
    assert encoded.arrays["wave"].lengths.tolist() == [800, 1, 800]  # type: ignore[union-attr]
    with pytest.raises(RequestError, match="clip") as error:
        fitted().check(text_of(damaged()[what]) or "AA==")
    assert error.value.status == 422


def test_silence_is_sound() -> None:
    encoded = fitted().encode([file_of(np.zeros(800))])
    assert not encoded.lost
    assert encoded.arrays["wave"].lengths.tolist() == [800]  # type: ignore[union-attr]


def test_floats_that_are_no_numbers_become_silence() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.5])
    wave, _ = read_audio(file_of(odd, kind="FLOAT"), 8000, 8000)
    assert wave.tolist()[0] == 0
    assert wave.tolist()[1:3] == [32767, -32768]


def test_bytes_at_random_never_crash() -> None:
    whole = [file_of(tone(0.1), form=form) for form in ("WAV", "FLAC", "OGG")]
    files = []
    for trial in range(90):
        data = bytearray(whole[trial % 3])
        for place in RNG.integers(0, min(len(data), 300), 4):
            data[place] = RNG.integers(0, 256)
        files.append(bytes(data))
    encoded = fitted().encode(files)
    assert len(encoded) == len(files)


def test_fit_takes_the_usual_rate_and_nearly_the_longest_clip() -> None:
    options = AudioColumn.Options().model_dump()
    files = [file_of(tone(0.5)), file_of(tone(0.25)), file_of(tone(0.3, 44100), 44100), b"broken"]
    found = AudioColumn.fit("a", files, options)
    assert (found.rate, found.max_samples) == (8000, 4000)
    assert AudioColumn.fit("a", files[2:], options).rate == 16000
    assert AudioColumn.fit("a", [file_of(tone(40))], options).max_samples == 30 * 8000
    sized = AudioColumn.fit("a", files, {**options, "rate": 16000, "seconds": 2.0})
    assert (sized.rate, sized.max_samples) == (16000, 32000)


def test_paths_are_told_from_text() -> None:
    kind = column_kind("audio")
    assert kind.infer(["a/1.wav", "b/2.FLAC"]).score == 1.0
    assert kind.infer(["data:;base64," + text_of(file_of(tone(0.1)))]).score == 1.0
    assert kind.infer(["a.png", "words"]).score == 0.0
    assert not AudioColumn.recognises(b"\xff\xd8\xff\xe0")
    assert "cannot be a target" in str(kind.refuse("a.wav"))


def test_requests_never_name_a_path() -> None:
    with pytest.raises(RequestError, match="base64"):
        fitted().check("/etc/passwd")
    assert fitted().check(None) is None
