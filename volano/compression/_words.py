"""Students that read the teacher's own tokens, without attention: a vector for each, and a small
convolution over them, or none.

Vectors start as the teacher's embeddings of tokens, along the directions in which those of the
texts' tokens spread most.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn
from volano.columns.text import FittedText
from volano.compression._contract import Compact, Settings, Work
from volano.compression._tokens import token_counts

__all__ = ["build", "label", "settings", "shortened", "suits"]

# Legend: V tokens of the vocabulary, N those of them that occur, H width of the teacher's vectors,
# E of the student's.

ROWS_LEARNED = 200_000
"""Rows that a student learns from in all, repeated as often as it takes."""

SIZES = ((64, 64), (64, 0), (128, 128), (32, 32))
"""Numbers of a token, and features of each convolution; the best guess first."""

LEAST_GAIN = 2
"""How many times a student's numbers the teacher's must be."""

COUNTED_ROWS = 20_000


def suits(model: Compact) -> str | None:
    """Why there is no such student; None when there is."""
    if getattr(model.model, "family", "") != "network":
        return "it is no network"
    columns = [model.inputs[name] for name in model.model.columns]
    if not columns or not all(isinstance(column, FittedText) for column in columns):
        return "not every column is a text that is read in tokens"
    return None if _sizes(model) else "it has few numbers beside those of its tokens"


def _sizes(model: Compact) -> list[tuple[int, int]]:
    """Those that are much smaller than the teacher."""
    most = model.model.num_weights() / LEAST_GAIN
    found = dict.fromkeys((_vector(model, vector), filters) for vector, filters in SIZES)
    return [size for size in found if _num_weights(model, *size) <= most]


def _vector(model: Compact, vector: int) -> int:
    """No more than the teacher has to say of a token."""
    tables = [_embedding(encoder) for encoder in model.model.encoders]
    widths: list[int] = [table.embedding_dim for table in tables if table is not None]
    return min([vector, *widths])


def _embedding(encoder: Any) -> Any:
    return encoder.token_embedding() if hasattr(encoder, "token_embedding") else None


def _num_weights(model: Compact, vector: int, filters: int) -> int:
    tokens: int = sum(model.inputs[name].num_tokens for name in model.model.columns)  # type: ignore[attr-defined]
    return vector * (tokens + 12 * filters * len(model.model.columns))


def settings(model: Compact, work: Work) -> Sequence[Settings]:
    """With a convolution, without one, then larger and smaller."""
    epochs = max(4, min(24, round(ROWS_LEARNED / max(1, work.num_rows))))
    return [
        {"vector": vector, "filters": filters, "epochs": epochs}
        for vector, filters in _sizes(model)
    ]


def label(settings: Settings) -> str:
    """``words64-64``: 64 numbers a token, 64 features of each convolution; ``words64`` without."""
    filters = f"-{settings['filters']}" if settings["filters"] else ""
    return f"words{settings['vector']}{filters}"


def build(model: Compact, work: Work, settings: Settings) -> tuple[Any, Mapping[str, FittedColumn]]:
    """The student before it has learned, and the columns that encode for it."""
    import torch

    from volano.models import Network, WordsEncoder

    old = model.model
    torch.manual_seed(work.seed)
    encoders = []
    for name, encoder in zip(old.columns, old.encoders, strict=True):
        column = model.inputs[name]
        assert isinstance(column, FittedText)
        table, vector = _embedding(encoder), settings["vector"]
        num_tokens = column.num_tokens if table is None else len(table.weight)
        made = WordsEncoder(num_tokens, vector=vector, filters=settings["filters"])
        if table is not None:
            known_VH = table.weight.detach().float().numpy()
            texts = work.texts(name)
            counts_V = np.zeros(num_tokens, np.int64)  # a table may have more than the column
            seen_V = token_counts(column, texts[:: max(1, -(-len(texts) // COUNTED_ROWS))])
            counts_V[: len(seen_V)] = seen_V
            vectors_VE = shortened(known_VH, counts_V, vector)
            made.embeddings.weight.data.copy_(torch.from_numpy(vectors_VE))
        encoders.append(made)
    student: Any = Network(old.columns, encoders, old.head.out_features, copy.deepcopy(old.table))
    student.shift.copy_(old.shift)
    student.scale.copy_(old.scale)
    return student, model.inputs


def shortened(
    known_VH: NDArray[np.float32], counts_V: NDArray[np.int64], size: int
) -> NDArray[np.float32]:
    """Vectors along the directions in which those of tokens that occur spread most.

    Args:
      known_VH: The teacher's.
      counts_V: How often each token occurs.
      size: Directions, at most H.
    Returns:
      (V, size), float32; the tokens that occur have a mean of 0 and a deviation of 1 over all.
    """
    seen = counts_V > 0
    seen_NH = known_VH[seen if seen.sum() > 1 else ...].astype(np.float64)
    centre_H = seen_NH.mean(axis=0)
    _, directions_HH = np.linalg.eigh((seen_NH - centre_H).T @ (seen_NH - centre_H))
    main_HE = directions_HH[:, ::-1][:, :size]
    # The sign of a direction is chance: the largest number of each is above zero.
    main_HE = main_HE * np.sign(main_HE[np.abs(main_HE).argmax(axis=0), np.arange(size)])
    spread = float(((seen_NH - centre_H) @ main_HE).std()) or 1.0
    return np.asarray((known_VH - centre_H) @ main_HE / spread, np.float32)
