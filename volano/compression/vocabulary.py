"""vocabulary: tokens that no training row has are dropped, with their vectors.

A pretrained tokenizer knows tens of thousands of tokens, of which a table's texts use a few
thousand. Training rows are cut into the same tokens as before, since the longest token that fits is
taken and all that were taken stay. A word that held a dropped token is cut into shorter ones:
single characters and the shortest parts of words all stay, so that no text becomes unknown.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from volano.columns import FittedColumn
from volano.columns.text import FittedText
from volano.compression._contract import Compact, Makes, Settings, Work
from volano.compression._tokens import token_counts

__all__ = ["VocabularyPass"]

SHORT = 2
"""Letters of a token up to which it stays, whether it was seen or not."""


class VocabularyPass:
    """Fewer tokens, in every text column with a WordPiece tokenizer."""

    name: ClassVar[str] = "vocabulary"
    version: ClassVar[int] = 1
    makes: ClassVar[Makes] = "model"

    def suits(self, model: Compact, work: Work) -> str | None:
        del work
        if not _columns(model):
            return "there is no text column with a WordPiece tokenizer"
        return None

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        del model, work
        return ({"least": 1},)

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        network = copy.deepcopy(model.model)
        inputs: dict[str, FittedColumn] = dict(model.inputs)
        notes = []
        for name in _columns(model):
            column = inputs[name]
            assert isinstance(column, FittedText)
            cut, kept = _cut(column, work.texts(name), int(settings["least"]))
            inputs[name] = cut
            gone = column.num_tokens - cut.num_tokens
            notes.append(f"{name}: {gone:,} of {column.num_tokens:,} tokens are dropped")
            place = network.columns.index(name)
            _keep_vectors(network.encoders[place], kept)
        return Compact(inputs, work.graph(network, inputs), network, notes)


def _columns(model: Compact) -> list[str]:
    """Text columns whose tokens can be cut."""
    found = []
    encoders = dict(
        zip(getattr(model.model, "columns", ()), getattr(model.model, "encoders", ()), strict=True)
    )
    for name, column in model.inputs.items():
        encoder = encoders.get(name)
        if not isinstance(column, FittedText) or not hasattr(encoder, "set_token_embedding"):
            continue
        if json.loads(column.tokenizer_json)["model"].get("type") == "WordPiece":
            found.append(name)
    return found


def _cut(column: FittedText, texts: Sequence[str], least: int) -> tuple[FittedText, np.ndarray]:
    """The column with fewer tokens, and the old number of each that is left."""
    tokenizer = json.loads(column.tokenizer_json)
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    seen = token_counts(column, texts)
    prefix = tokenizer["model"]["continuing_subword_prefix"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    special.add(tokenizer["model"]["unk_token"])
    kept = {
        token: number
        for token, number in vocabulary.items()
        if seen[number] >= least
        or token in special
        or len(token.removeprefix(prefix)) <= SHORT - (not token.startswith(prefix))
    }
    order = sorted(kept, key=kept.__getitem__)
    places = {token: place for place, token in enumerate(order)}
    tokenizer["model"]["vocab"] = places
    for token in tokenizer["added_tokens"]:
        token["id"] = places[token["content"]]
    _renumber(tokenizer.get("post_processor"), places)
    if tokenizer.get("padding"):
        tokenizer["padding"]["pad_id"] = places[tokenizer["padding"]["pad_token"]]
    text = json.dumps(tokenizer, ensure_ascii=False)
    numbers = np.array([kept[token] for token in order], np.int64)
    return FittedText(column.name, text, column.max_tokens), numbers


def _renumber(part: Any, places: Mapping[str, int]) -> None:
    """Put the new numbers of special tokens wherever a post-processor names them."""
    if isinstance(part, list):
        # BertProcessing: ["[CLS]", 101]
        if len(part) == 2 and isinstance(part[0], str) and isinstance(part[1], int):
            part[1] = places[part[0]]
        for each in part:
            _renumber(each, places)
    elif isinstance(part, dict):
        if "ids" in part and "tokens" in part:
            part["ids"] = [places[token] for token in part["tokens"]]
        for each in part.values():
            _renumber(each, places)


def _keep_vectors(encoder: Any, kept: np.ndarray) -> None:
    import torch

    old = encoder.token_embedding()
    table = torch.nn.Embedding(len(kept), old.embedding_dim)
    with torch.no_grad():
        table.weight.copy_(old.weight[torch.from_numpy(kept)])
    encoder.set_token_embedding(table)
    config = getattr(getattr(encoder, "transformer", None), "config", None)
    if config is not None and config.pad_token_id is not None:
        config.pad_token_id = (
            int(np.flatnonzero(kept == old.padding_idx)[0])
            if (old.padding_idx is not None and (kept == old.padding_idx).any())
            else None
        )
