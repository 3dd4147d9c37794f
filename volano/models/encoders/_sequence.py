"""Texts read from scratch without attention: recurrent nets, and convolutions along the tokens.

    h_t = tanh(W x_t + U h_(t-1) + b)                    the simple recurrent net (`rnn`)

LSTM and GRU put gates around that: Hochreiter and Schmidhuber, `Long Short-Term Memory
<https://doi.org/10.1162/neco.1997.9.8.1735>`_, 1997; Cho et al., `Learning Phrase Representations
<https://arxiv.org/abs/1406.1078>`_, 2014. Texts are read in both directions.

    y = x + D(a(C(N(x))))                                a block of the convolutional net (`conv`)

with a layer norm N, a convolution C of three tokens at a distance of 1, 2, 4, ... and dropout D:
Bai et al., `An Empirical Evaluation of Generic Convolutional and Recurrent Networks
<https://arxiv.org/abs/1803.01271>`_, 2018. Where we differ: it looks to both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from volano.columns.text import FittedText
from volano.models._shapes import activation_of, pooling_of
from volano.models.encoders._activations import activation
from volano.models.encoders._pooling import pooled

__all__ = ["SequenceEncoder", "build_sequence_encoder", "sequence_encoder_from_config"]

# Legend: B rows, T tokens of the longest row, E width of a token, H width of the net.

_CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
_GATES = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn": (0,)}
"""ONNX's gates in torch's order: update, reset, new; input, output, forget, cell."""

FLOAT = 1
"""A float32 in ONNX."""


class _Recurrent(nn.Module):
    """A recurrent net in both directions, over rows that end at different tokens."""

    def __init__(self, kind: str, num_in: int, width: int, nonlinearity: str) -> None:
        super().__init__()
        more = {"nonlinearity": nonlinearity} if kind == "rnn" else {}
        self.cell = _CELLS[kind](num_in, width // 2, batch_first=True, bidirectional=True, **more)
        self._kind, self._nonlinearity = kind, nonlinearity

    def forward(self, x_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        lengths_B = mask_BT.sum(1).clamp(min=1)
        if torch.onnx.is_in_onnx_export():
            return self._as_one_node(x_BTE, lengths_B)
        packed = pack_padded_sequence(x_BTE, lengths_B, batch_first=True, enforce_sorted=False)
        found, _ = self.cell(packed)
        padded, _ = pad_packed_sequence(found, batch_first=True, total_length=x_BTE.shape[1])
        return padded

    def fold(self) -> None:
        """Lay the weights out as ONNX has them; for networks that have learned all."""
        order = _GATES[self._kind]

        def laid(name: str) -> Tensor:
            both = [getattr(self.cell, f"{name}_l0{end}").detach() for end in ("", "_reverse")]
            return torch.stack(
                [torch.cat([part.chunk(len(order))[gate] for gate in order]) for part in both]
            )

        self.register_buffer("inner", laid("weight_ih"), persistent=False)
        self.register_buffer("again", laid("weight_hh"), persistent=False)
        biases = torch.cat([laid("bias_ih"), laid("bias_hh")], dim=1)
        self.register_buffer("biases", biases, persistent=False)

    def _as_one_node(self, x_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """ONNX has an operator for the whole loop over the tokens."""
        rows, tokens = x_BTE.shape[:2]
        half = self.cell.hidden_size
        attributes: dict[str, Any] = {"hidden_size": half, "direction": "bidirectional"}
        if self._kind == "gru":
            attributes["linear_before_reset"] = 1
        if self._kind == "rnn":
            attributes["activations"] = [self._nonlinearity.capitalize()] * 2
        ends = [[2, rows, half]] * (2 if self._kind == "lstm" else 1)
        parts = [x_BTE.transpose(0, 1), self.inner, self.again, self.biases]
        found_T2BH = torch.onnx.ops.symbolic_multi_out(
            {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN"}[self._kind],
            [*parts, lengths_B.to(torch.int32)],  # type: ignore[list-item]
            attrs=attributes,
            dtypes=[FLOAT] * (1 + len(ends)),
            shapes=[[tokens, 2, rows, half], *ends],
            version=None,
        )[0]
        return found_T2BH.permute(2, 0, 1, 3).flatten(2)


class _ConvBlock(nn.Module):
    def __init__(self, width: int, gap: int, name: str, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 3, padding=gap, dilation=gap)
        self.dropout = nn.Dropout(dropout)
        self._act = activation(name)

    def forward(self, x_BTH: Tensor, mask_BT1: Tensor) -> Tensor:
        # Zero beyond the end, as it is beyond the edge: padding changes no answer.
        inner_BHT = (self.norm(x_BTH) * mask_BT1).transpose(1, 2)
        return x_BTH + self.dropout(self._act(self.conv(inner_BHT)).transpose(1, 2))  # type: ignore[no-any-return]


class _Convolutions(nn.Module):
    def __init__(self, num_in: int, width: int, depth: int, name: str, dropout: float) -> None:
        super().__init__()
        self.start = nn.Linear(num_in, width)
        self.blocks = nn.ModuleList(
            _ConvBlock(width, 2**place, name, dropout) for place in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        mask_BT1 = mask_BT.unsqueeze(2).to(x_BTE.dtype)
        x_BTH = self.start(x_BTE)
        for block in self.blocks:
            x_BTH = block(x_BTH, mask_BT1)
        return self.norm(x_BTH)  # type: ignore[no-any-return]


class SequenceEncoder(nn.Module):
    """Embeddings of tokens, a net along them, and one vector of all that it says.

    Args:
      net: ``conv``, ``gru``, ``lstm`` or ``rnn``.
      num_tokens: Of the vocabulary.
      width: Numbers of a token, and of the vector; even.
      depth: Blocks of a convolutional net.
      activation: Of a convolutional net; ``tanh`` or ``relu`` in a simple recurrent one.
      pooling: ``average`` or ``max`` over the tokens.
      dropout: Share of the hidden values that are dropped.
    """

    kind: ClassVar[str] = "text"
    keys: ClassVar[tuple[str, ...]] = ("ids", "mask")

    def __init__(
        self,
        net: str,
        num_tokens: int,
        *,
        width: int,
        depth: int,
        activation: str,
        pooling: str,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self._config = {
            "net": net,
            "num_tokens": num_tokens,
            "width": width,
            "depth": depth,
            "activation": activation,
            "pooling": pooling,
            "dropout": dropout,
        }
        self.width, self.pooling = width, pooling
        self.embeddings = nn.Embedding(num_tokens, width)
        nn.init.normal_(self.embeddings.weight, std=width**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.net: nn.Module
        if net == "conv":
            self.net = _Convolutions(width, width, depth, activation, dropout)
        else:
            self.net = _Recurrent(net, width, width, activation)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """Token ids (B, T) and mask (1 where a token is; None without padding) -> (B, width)."""
        if mask_BT is None:
            mask_BT = torch.ones_like(ids_BT)
        x_BTE = self.dropout(self.embeddings(ids_BT))
        return pooled(self.net(x_BTE, mask_BT), mask_BT, self.pooling)

    def token_embedding(self) -> nn.Embedding:
        """One vector for each token."""
        return self.embeddings

    def config(self) -> dict[str, Any]:
        """What `sequence_encoder_from_config` needs."""
        return dict(self._config)


def build_sequence_encoder(
    column: FittedText, details: Mapping[str, Any], num_rows: int
) -> SequenceEncoder:
    """An encoder from scratch.

    Args:
      column: The fitted column: its vocabulary.
      details: ``encoder``, and ``activation`` and ``pooling`` where the spec has them.
      num_rows: Training rows: more of them carry a wider net.
    """
    net = details["encoder"]
    return SequenceEncoder(
        net,
        column.num_tokens,
        width=192 if num_rows < 50_000 else 256,
        depth=4,
        activation=activation_of(details, "relu" if net == "conv" else "tanh"),
        pooling=pooling_of(details),
    )


def sequence_encoder_from_config(config: Mapping[str, Any]) -> SequenceEncoder:
    """The encoder that a config describes, with weights to be loaded afterwards."""
    values = dict(config)
    return SequenceEncoder(values.pop("net"), values.pop("num_tokens"), **values)
