"""Linear forecasts: a map from what is looked back at to what is to come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from volano.columns import EncodedSplit
from volano.models._context import ForecastContext

__all__ = ["LinearForecast", "stacked_windows"]

# Legend: N windows, K series, W steps looked back at, H steps to come.

Floats = NDArray[np.float32]
CHUNK_WINDOWS = 1024


def stacked_windows(split: EncodedSplit, columns: Sequence[str], rows: Any) -> Floats:
    """What some windows look back at, shape (N, K, W)."""
    arrays = [split.columns[name].arrays["values"] for name in columns]
    return np.stack([np.asarray(array[rows], np.float32) for array in arrays], axis=1)  # type: ignore[index]


@dataclass(frozen=True)
class LinearForecast:
    """y = m + W (x - m) + s (b + C z), with m and s the mean and deviation of the window x

    The mean is taken off and put back, so that a level which the training rows never had is
    answered as well as theirs: reversible instance normalisation. Of its deviation a linear map
    needs only what the bias is multiplied by; elsewhere it cancels.

    Attributes:
      columns: The series, in the order of the outputs.
      weights: W, shape (1, W, H) for one map that all series share, or (K, W, H).
      bias: b, shape (1, H) or (K, H).
      extra: C, shape (1, Z, H) or (K, Z, H); Z is 0 where nothing is known beside the series.
      context: What z is made of.

    References:
      Kim et al., `Reversible Instance Normalization
      <https://openreview.net/forum?id=cGDAkQo1C0p>`_, 2022. Toner, Darlow, `An Analysis of Linear
      Time Series Forecasting Models <https://arxiv.org/abs/2403.14587>`_, 2024.
    """

    family: ClassVar[str] = "linear_forecast"
    columns: tuple[str, ...]
    weights: Floats
    bias: Floats
    extra: Floats
    context: ForecastContext

    def outputs(self, split: EncodedSplit) -> Floats:
        """Shape (N, H, K), float32."""
        found = np.empty((split.num_rows, self.weights.shape[2], len(self.columns)), np.float32)
        for start in range(0, split.num_rows, CHUNK_WINDOWS):
            part = slice(start, start + CHUNK_WINDOWS)
            x_NKW = stacked_windows(split, self.columns, part)
            mean = x_NKW.mean(axis=2, keepdims=True)
            centred = x_NKW - mean
            spread = np.sqrt((centred**2).mean(axis=2, keepdims=True))
            y_NKH = np.matmul(centred[:, :, None], self.weights[None])[:, :, 0]
            known_KNH = np.matmul(self.context.array(split, part), self.extra)
            shift = self.bias + known_KNH.transpose(1, 0, 2)
            found[part] = (y_NKH + mean + spread * shift).transpose(0, 2, 1)
        return found

    def num_weights(self) -> int:
        """Numbers that were fitted."""
        return self.weights.size + self.bias.size + self.extra.size

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors."""
        from safetensors.numpy import save_file

        tensors = {"weights": self.weights, "bias": self.bias, "extra": self.extra}
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            folder / "forecast.safetensors",
        )
        state = {"columns": list(self.columns), "context": self.context.as_dict()}
        text = json.dumps(state, ensure_ascii=False)
        (folder / "forecast.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, features: object = None) -> Self:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        del features
        tensors = load_file(folder / "forecast.safetensors")
        state = json.loads((folder / "forecast.json").read_text(encoding="utf-8"))
        context = ForecastContext.from_dict(state["context"])
        columns = tuple(state["columns"])
        return cls(columns, tensors["weights"], tensors["bias"], tensors["extra"], context)
