"""A column type and its encoder as another package would bring them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from volano.columns import Encoded, FittedColumn, Inference, Use, _kinds
from volano.errors import BundleError, RequestError
from volano.models.encoders import _contract


class LengthOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    unit: int = 1


@dataclass(frozen=True)
class FittedLength:
    """A third party's column: the length of a text."""

    kind: ClassVar[str] = "length"
    name: str
    unit: int

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise RequestError(10, f"{self.name} is {value!r}", status=422)
        return value

    def encode(self, values: Sequence[Any]) -> Encoded:
        return Encoded({"size": np.array([len(value) // self.unit for value in values], np.int64)})

    def collate(self, encoded: Encoded, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        sizes = encoded.arrays["size"]
        assert isinstance(sizes, np.ndarray)
        return {f"{self.name}.size": sizes[rows]}

    def save(self, folder: Path) -> None:
        (folder / "length.json").write_text(json.dumps({"unit": self.unit}))

    @classmethod
    def load(cls, name: str, files: Mapping[str, bytes]) -> Self:
        try:
            return cls(name, int(json.loads(files["length.json"])["unit"]))
        except (KeyError, ValueError) as error:
            raise BundleError(20, f"the column {name!r} cannot be read") from error


class LengthColumn:
    kind: ClassVar[str] = "length"
    version: ClassVar[int] = 1
    use: ClassVar[str] = "input"
    content: ClassVar[bool] = False
    names: ClassVar[bool] = False
    Options = LengthOptions
    Fitted = FittedLength

    @staticmethod
    def infer(values: Sequence[str | None], use: Use = "input") -> Inference:
        return Inference(0.0, "only when asked for")

    @staticmethod
    def refuse(value: str) -> str | None:
        return None

    @staticmethod
    def fit(
        name: str, values: Iterable[str], options: Mapping[str, Any], use: Use = "input"
    ) -> FittedLength:
        return FittedLength(name, options["unit"])


class LengthEncoder(nn.Module):
    """A third party's encoder, of the column above: a text's length, bent sixteen ways."""

    kind: ClassVar[str] = "length"
    keys: ClassVar[tuple[str, ...]] = ("size",)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(1, width)

    def forward(self, size_B: Tensor) -> Tensor:
        return torch.tanh(self.layer(size_B[:, None].float() / 10))

    def config(self) -> dict[str, Any]:
        return {"width": self.width}

    @classmethod
    def build_encoder(
        cls, column: FittedColumn, details: Mapping[str, Any], root: Path, num_rows: int
    ) -> LengthEncoder:
        return cls(16)

    @classmethod
    def encoder_from_config(cls, config: Mapping[str, Any]) -> LengthEncoder:
        return cls(**config)


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Both as an installed package would bring them, to this process and to those it starts.

    Args:
      folder: An empty one, which the package's metadata is written into.
    """
    facts = folder / "lengths-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[volano.columns]\nlength = third_party:LengthColumn\n"
        "[volano.encoders]\nlength = third_party:LengthEncoder\n"
    )
    found = [str(folder), str(Path(__file__).parent)]
    before = [part for part in (os.environ.get("PYTHONPATH"),) if part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*found, *sys.path])
        patch.setenv("PYTHONPATH", os.pathsep.join([*found, *before]))
        _forget()
        yield
    _forget()


def _forget() -> None:
    for cached in (_kinds._entry_points, _kinds.column_kind, _contract._entry_points):
        cached.cache_clear()
