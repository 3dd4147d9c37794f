"""Every encoder there is keeps the promises of its contract; so may others."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from nets import write_tiny_lite
from PIL import Image
from third_party import LengthColumn, LengthEncoder, installed
from tiny import tiny_rows, write_tiny_encoder
from torch import Tensor

from volano.columns import FittedColumn, column_kind
from volano.errors import SpecError
from volano.models import encoder_kind, table_features
from volano.models.encoders import _contract
from volano.models.encoders.table import TableEncoder
from volano.testing import check_encoder, check_table_encoder

TEXTS = [text for text, _ in tiny_rows()[:40]] + ["the book is good " * 6, "tea", "an"]


def fitted(kind: str, values: Sequence[str], **options: Any) -> FittedColumn:
    column = column_kind(kind)
    plain = column.Options.model_validate(options).model_dump(mode="json")
    return column.fit("a column", iter(values), plain, "input")


def photo(seed: int, size: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def recording(seed: int, num_samples: int) -> str:
    stream = io.BytesIO()
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples)
    soundfile.write(stream, wave, 8000, format="WAV")
    return base64.b64encode(stream.getvalue()).decode()


PHOTOS = [photo(seed, size) for seed, size in enumerate((20, 20, 33))]
SOUNDS = [recording(seed, size) for seed, size in enumerate((1200, 700, 2500))]
SERIES = ["1 2 3 4 5 6 7 8", "8 5 2 9 1 1 0 3", "2 2 2 2 2 2 2 2"]
SPARSE = ['{"7": 1.5, "a": 2}', "7:2 b:-1", "b:3 7:1 a:4", "a:1"]

Case = tuple[str, Sequence[str], Mapping[str, Any], Mapping[str, Any]]
CASES: dict[str, Case] = {
    "audio": ("audio", SOUNDS, {}, {}),
    "audio-max": ("audio", SOUNDS, {}, {"pooling": "max", "activation": "gelu"}),
    "image": ("image", PHOTOS, {"size": 20}, {}),
    "sparse": ("sparse", SPARSE, {"min_rows": 1}, {}),
    "pieces": ("text", TEXTS[-6:], {"encoder": "pieces", "buckets": 256}, {}),
}
for reader in ("conv", "gru"):
    CASES[f"series-{reader}"] = ("series", SERIES, {"window": 8, "encoder": reader}, {})
for net in ("scratch", "conv", "gru", "lstm", "rnn"):
    CASES[f"text-{net}"] = ("text", TEXTS[-6:], {"vocabulary": 300}, {"encoder": net})


@pytest.mark.parametrize("name", CASES)
def test_encoders(name: str) -> None:
    kind, values, options, details = CASES[name]
    column = fitted(kind, values, **options)
    check_encoder(kind, column, values, details=details)


def test_every_kind_is_checked() -> None:
    assert {kind for kind, *_ in CASES.values()} == set(_contract._KINDS)


def test_a_pretrained_text_encoder(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path)
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    column = column_kind("text").fit(
        "a column",
        TEXTS,
        {"encoder": str(folder), "max_tokens": 32, "tokenizer_json": tokenizer, "longest": 64},
        "input",
    )
    encoder = check_encoder("text", column, TEXTS[-6:], details={"encoder": str(folder)})
    assert encoder.pretrained


def test_efficientnet(tmp_path: Path) -> None:
    folder = write_tiny_lite(tmp_path / "lite")
    column = fitted("image", PHOTOS, size=24)
    check_encoder("image", column, PHOTOS, details={"encoder": str(folder)})


@pytest.mark.parametrize("waves", [0, 8])
def test_tables(waves: int) -> None:
    values = {
        "price": ["1", "-2.5", "1,234.50", "", "3e4"],
        "colour": ["red", "blue", "red", "green", "blue"],
        "vector": ["1 2", "3 4", "0 1", "5 5", "2 2"],
    }
    kinds = {"price": "number", "colour": "category", "vector": "vector"}
    inputs = {}
    for name, kind in kinds.items():
        column = column_kind(kind)
        plain = column.Options().model_dump(mode="json")
        inputs[name] = column.fit(name, iter(values[name]), plain, "input")
    encoder = TableEncoder(table_features(inputs), width=16, waves=waves, dropout=0.1)
    check_table_encoder(encoder, inputs, values)


LENGTH = LengthColumn.fit("words", [], {"unit": 1})
WORDS = ["a", "bb", "a longer one", ""]


def test_an_encoder_of_a_third_party(tmp_path: Path) -> None:
    with installed(tmp_path / "site"):
        assert _contract.has_encoder(LENGTH)
        assert isinstance(check_encoder("length", LENGTH, WORDS), LengthEncoder)


def test_a_type_without_an_encoder_is_refused() -> None:
    assert not _contract.has_encoder(LENGTH)
    with pytest.raises(SpecError, match=r"(?s)nothing encodes.*'length'.*SPEC-047"):
        encoder_kind("length")
    check_encoder(LengthEncoder, LENGTH, WORDS)


class OtherKind(LengthEncoder):
    kind = "text"


class OtherKeys(LengthEncoder):
    keys = ("length",)


class Wide(LengthEncoder):
    def forward(self, size_B: Tensor) -> Tensor:
        return super().forward(size_B).repeat(1, 2)


class Crowded(LengthEncoder):
    def forward(self, size_B: Tensor) -> Tensor:
        return super().forward(size_B - size_B.float().mean())


class Ordered(LengthEncoder):
    def forward(self, size_B: Tensor) -> Tensor:
        return super().forward(size_B + torch.arange(len(size_B)))


class Forgetful(LengthEncoder):
    def config(self) -> dict[str, Any]:
        return {"width": self.width + 1}


class Unsaid(LengthEncoder):
    def config(self) -> dict[str, Any]:
        return {"width": torch.tensor(self.width)}


class Deaf(LengthEncoder):
    def forward(self, size_B: Tensor) -> Tensor:
        return super().forward(size_B).detach()


class Double(LengthEncoder):
    def forward(self, size_B: Tensor) -> Tensor:
        return super().forward(size_B).double()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (OtherKind, "kind is 'text'"),
        (OtherKeys, "keys are"),
        (Wide, "the vectors have the shape"),
        (Crowded, "depends on the rows beside it"),
        (Ordered, "depends on the order"),
        (Forgetful, "describes another encoder"),
        (Unsaid, "what JSON cannot hold"),
        (Deaf, "no gradient reaches any weight"),
        (Double, "float64 and not float32"),
    ],
)
def test_a_broken_promise_is_found(kind: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_encoder(kind, LENGTH, WORDS)
