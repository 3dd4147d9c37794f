"""A tiny encoder and a tiny table, made in a second; `conftest.py` has them as fixtures."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np

TINY_WIDTH = 32
TINY_LAYERS = 2
TINY_TOKENS = 400

_GOOD = ("good", "great", "lovely", "perfect", "wonderful")
_BAD = ("bad", "awful", "broken", "useless", "terrible")
_THINGS = ("parcel", "book", "phone", "tea", "chair", "lamp")
_STARTS = ("the", "this", "my", "their", "that old")
_ENDS = ("", "as I said")


def tiny_rows() -> list[tuple[str, str]]:
    """300 different reviews and their sentiment, which one word of each gives away."""
    made = []
    for start, thing, end in itertools.product(_STARTS, _THINGS, _ENDS):
        for good, bad in zip(_GOOD, _BAD, strict=True):
            word, sentiment = (good, "positive") if len(made) % 2 else (bad, "negative")
            made.append((f"{start} {thing} is {word} {end}".strip(), sentiment))
    return made


def write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    """Rows as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)
    return path


def write_tiny_encoder(folder: Path) -> Path:
    """Write config.json, model.safetensors and tokenizer.json; needs no torch."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    from volano.columns.text import train_tokenizer

    tokenizer = train_tokenizer([text for text, _ in tiny_rows()], TINY_TOKENS)
    num_tokens = Tokenizer.from_str(tokenizer).get_vocab_size()
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}

    def matrix(name: str, rows: int, columns: int, scale: float = 0.1) -> None:
        weights[name] = random.normal(0, scale, (rows, columns)).astype(np.float32)

    def linear(name: str, rows: int, columns: int) -> None:
        matrix(f"{name}.weight", rows, columns)
        weights[f"{name}.bias"] = np.zeros(rows, np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(TINY_WIDTH, np.float32)
        weights[f"{name}.bias"] = np.zeros(TINY_WIDTH, np.float32)

    # Words drown out positions, so that a linear head can tell texts apart from the start.
    matrix("embeddings.word_embeddings.weight", num_tokens, TINY_WIDTH, 1.0)
    matrix("embeddings.position_embeddings.weight", 64, TINY_WIDTH)
    matrix("embeddings.token_type_embeddings.weight", 2, TINY_WIDTH)
    norm("embeddings.LayerNorm")
    for layer in range(TINY_LAYERS):
        start = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{start}.attention.self.{part}", TINY_WIDTH, TINY_WIDTH)
        linear(f"{start}.attention.output.dense", TINY_WIDTH, TINY_WIDTH)
        norm(f"{start}.attention.output.LayerNorm")
        linear(f"{start}.intermediate.dense", 4 * TINY_WIDTH, TINY_WIDTH)
        linear(f"{start}.output.dense", TINY_WIDTH, 4 * TINY_WIDTH)
        norm(f"{start}.output.LayerNorm")
    linear("pooler.dense", TINY_WIDTH, TINY_WIDTH)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": num_tokens,
        "hidden_size": TINY_WIDTH,
        "num_hidden_layers": TINY_LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 4 * TINY_WIDTH,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "pad_token_id": 0,
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return folder
