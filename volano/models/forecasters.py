"""Forecasting networks, each of its own kind within one shell.

The shell takes the mean and the deviation off each window and puts them back (reversible instance
normalisation), reads each series by itself with the same weights (channel independence), and adds
what columns known ahead and columns of a group say.

Kim et al., `Reversible Instance Normalization
<https://openreview.net/forum?id=cGDAkQo1C0p>`_, 2022.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from volano.models._context import LARGEST, MOST_NAMES, ForecastContext
from volano.models.encoders._temporal import CELLS, CausalConv, Recurrent

__all__ = ["FORECASTERS", "Forecaster"]

# Legend: B windows times series, N windows, K series, W steps looked back at, H steps to come,
# P patches, D hidden, A heads.

TREND_STEPS = 25
PATCH = 16
LEAST_SPREAD = 1e-5
MOST_VECTOR = 16


class DLinear(nn.Module):
    """y = T m(x) + S (x - m(x)), m the moving average, T and S linear maps from W to H.

    The window's ends are repeated, so that its average is as long as itself.

    Zeng et al., `Are Transformers Effective for Time Series Forecasting?
    <https://arxiv.org/abs/2205.13504>`_, 2022.
    """

    def __init__(self, window: int, horizon: int) -> None:
        super().__init__()
        # Odd, and no longer than the window.
        self.steps = min(TREND_STEPS, window - 1 + window % 2)
        self.trend = nn.Linear(window, horizon)
        self.remainder = nn.Linear(window, horizon)
        for layer in (self.trend, self.remainder):
            # As the paper starts: the mean of the window.
            nn.init.constant_(layer.weight, 1 / window)

    def forward(self, x_BW: Tensor) -> Tensor:
        """Shape (B, H)."""
        half = self.steps // 2
        padded_B1W = F.pad(x_BW[:, None], (half, half), mode="replicate") if half else x_BW[:, None]
        trend_BW = F.avg_pool1d(padded_B1W, self.steps, 1)[:, 0]
        return self.trend(trend_BW) + self.remainder(x_BW - trend_BW)  # type: ignore[no-any-return]


class _Layer(nn.Module):
    """A transformer's layer: attention, then two linear maps, each around its shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.all_three = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x_BPD: Tensor) -> Tensor:
        joined = self.all_three(self.before(x_BPD)).unflatten(2, (3, self.heads, -1))
        q_BAPE, k_BAPE, v_BAPE = joined.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q_BAPE @ k_BAPE.transpose(2, 3) / q_BAPE.shape[3] ** 0.5, dim=3)
        seen = (weights @ v_BAPE).transpose(1, 2).flatten(2)
        x_BPD = x_BPD + self.dropout(self.out(seen))
        inner = self.down(self.dropout(F.gelu(self.up(self.between(x_BPD)))))
        return x_BPD + self.dropout(inner)  # type: ignore[no-any-return]


class PatchTST(nn.Module):
    """A transformer over patches of 16 steps, each 8 steps after the one before.

    Nie et al., `A Time Series is Worth 64 Words <https://arxiv.org/abs/2211.14730>`_, 2022. Where
    we differ: layer norms before each part, where the paper has batch norms after it.
    """

    def __init__(self, window: int, horizon: int, width: int) -> None:
        super().__init__()
        self.patch = min(PATCH, window)
        self.stride = max(1, self.patch // 2)
        # The last step is repeated, so that every step is in a patch.
        self.more = -(window - self.patch) % self.stride
        num = (window + self.more - self.patch) // self.stride + 1
        self.embed = nn.Linear(self.patch, width)
        self.places = nn.Parameter(torch.randn(num, width) * 0.02)
        self.layers = nn.Sequential(*(_Layer(width, 4) for _ in range(3)))
        self.last = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.0)
        self.out = nn.Linear(num * width, horizon)

    def forward(self, x_BW: Tensor) -> Tensor:
        """Shape (B, H)."""
        if self.more:
            x_BW = torch.cat([x_BW, x_BW[:, -1:].expand(-1, self.more)], dim=1)
        patches_BPL = x_BW.unfold(1, self.patch, self.stride)
        inner = self.layers(self.dropout(self.embed(patches_BPL) + self.places))
        return self.out(self.dropout(self.last(inner).flatten(1)))  # type: ignore[no-any-return]


class _Ahead(nn.Module):
    """What a recurrent or convolutional net knows at its last segment, as steps to come."""

    def __init__(self, net: nn.Module, width: int, horizon: int) -> None:
        super().__init__()
        self.net = net
        self.out = nn.Linear(width, horizon)

    def forward(self, x_BW: Tensor) -> Tensor:
        """Shape (B, H)."""
        return self.out(self.net(x_BW[:, None])[:, -1])  # type: ignore[no-any-return]


def _recurrent(cell: str) -> Any:
    def build(window: int, horizon: int, width: int) -> nn.Module:
        return _Ahead(Recurrent(1, window, width, cell), width, horizon)

    return build


FORECASTERS: Mapping[str, Any] = {
    "dlinear": lambda window, horizon, width: DLinear(window, horizon),
    "patchtst": PatchTST,
    "tcn": lambda window, horizon, width: _Ahead(CausalConv(1, window, width), width, horizon),
    **{cell: _recurrent(cell) for cell in CELLS},
}
"""Kind -> what builds it from window, horizon and width."""


class _Context(nn.Module):
    """z, with a vector learned for each name, through a line and one hidden layer, to H steps.

    Das et al., `Long-term Forecasting with TiDE <https://arxiv.org/abs/2304.08424>`_, 2023.
    """

    def __init__(self, context: ForecastContext, width: int) -> None:
        super().__init__()
        self.context = context
        self.many = [f for f in context.features if f.num_codes > MOST_NAMES]
        sizes = [min(MOST_VECTOR, max(2, round(f.num_codes**0.5))) for f in self.many]
        self.vectors = nn.ModuleList(
            nn.Embedding(feature.num_codes, size)
            for feature, size in zip(self.many, sizes, strict=True)
        )
        num = context.size + sum(sizes)
        self.line = nn.Linear(num, context.horizon, bias=False)
        self.hidden = nn.Linear(num, width)
        self.dropout = nn.Dropout(0.0)
        self.out = nn.Linear(width, context.horizon)
        for layer in (self.line, self.out):
            nn.init.zeros_(layer.weight)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Shape (N, H)."""
        context, parts = self.context, []
        for name in context.ahead:
            values = batch[f"{name}.values"]
            past = values[:, : context.window].mean(1, keepdim=True)
            parts.append((values[:, context.window :] - past).clamp(-LARGEST, LARGEST))
        for feature in context.numbers:
            values = batch[f"{feature.column}.values"]
            known = torch.where(torch.isnan(values), torch.zeros_like(values), values)
            parts.append(known.clamp(-LARGEST, LARGEST))
        for feature in context.names:
            codes = batch[f"{feature.column}.codes"]
            parts.append((codes[:, None] == torch.arange(feature.num_codes)).to(torch.float32))
        for feature, table in zip(self.many, self.vectors, strict=True):
            parts.append(table(batch[f"{feature.column}.codes"]))
        z_NZ = torch.cat(parts, dim=1)
        inner = self.dropout(torch.relu(self.hidden(z_NZ)))
        return self.line(z_NZ) + self.out(inner)  # type: ignore[no-any-return]


class Forecaster(nn.Module):
    """y = m + s (body((x - m) / s) + c(z)), with m and s the mean and deviation of the window x.

    Args:
      kind: One of `FORECASTERS`.
      series: The series, in the order of the outputs.
      context: What is known beside them.
      width: Of the hidden layers.
    """

    family: ClassVar[str] = "forecaster"
    columns: tuple[str, ...] = ()
    """Columns with an encoder of their own, as `Network` has them: none, and no encoders."""

    def __init__(
        self, kind: str, series: Sequence[str], context: ForecastContext, width: int
    ) -> None:
        super().__init__()
        self.kind, self.series, self.width = kind, tuple(series), width
        self.context = context
        self.encoders = nn.ModuleList()
        self.body = FORECASTERS[kind](context.window, context.horizon, width)
        self.known = _Context(context, width) if context.size or context.features else None

    @property
    def small(self) -> bool:
        """Whether several cores would rather wait for each other."""
        return self.width < 64

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the outputs of one window: (H, K)."""
        return (self.context.horizon, len(self.series))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Outputs, (N, H, K), float32, on the fitted scale."""
        x_NKW = torch.stack([batch[f"{name}.values"] for name in self.series], dim=1)
        mean = x_NKW.mean(2, keepdim=True)
        centred = x_NKW - mean
        # A window that never changes has no shape: it is answered by its level.
        spread = (centred * centred).mean(2, keepdim=True).sqrt().clamp(min=LEAST_SPREAD)
        found_NKH = self.body((centred / spread).flatten(0, 1)).unflatten(0, (-1, len(self.series)))
        if self.known is not None:
            found_NKH = found_NKH + self.known(batch)[:, None]
        return (mean + spread * found_NKH).transpose(1, 2)  # type: ignore[no-any-return]

    def num_weights(self) -> int:
        """Numbers that were fitted."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, all else as JSON."""
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / "forecaster.safetensors")
        state = {
            "kind": self.kind,
            "series": list(self.series),
            "context": self.context.as_dict(),
            "width": self.width,
        }
        text = json.dumps(state, ensure_ascii=False, indent=1)
        (folder / "forecaster.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        state = json.loads((folder / "forecaster.json").read_text(encoding="utf-8"))
        context = ForecastContext.from_dict(state["context"])
        made = cls(state["kind"], state["series"], context, state["width"])
        made.load_state_dict(load_file(folder / "forecaster.safetensors"))
        return made.eval()
