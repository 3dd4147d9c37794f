"""What of the ``train`` section makes no sense together, or with the columns there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from volano.errors import SpecError
from volano.spec._document import Document
from volano.spec._model import TrainSpec

__all__ = ["network_combinations"]

_TABLE = ("boolean", "category", "datetime", "number", "vector")
_RICH = ("audio", "image", "text")
_SEQUENCES = ("conv", "gru", "lstm", "rnn")
_NETWORK_KEYS = ("activation", "fusion", "hidden", "layers", "optimiser", "pooling", "tune")


def network_combinations(document: Document) -> Iterator[SpecError]:
    """Reads raw values, trusting none; what is wrong by itself is said elsewhere."""
    train, inputs = document.values.get("train"), document.values.get("inputs")
    if not isinstance(train, dict) or not isinstance(inputs, dict):
        return
    train = {key: value for key, value in train.items() if not _is_default(key, value)}
    tune = train.get("tune", "all")

    def without(key: str, other: str, fix: str) -> SpecError:
        return SpecError(
            60,
            f"train.{key} is given, and it means nothing without {other}",
            where=document.where(("train", key)),
            expected=f"{other}, or no {key}",
            fix=fix,
        )

    if "layers" in train and tune != "all":
        yield without("layers", "tune: all", "remove train.layers")
    for key in ("lora_rank", "lora_alpha"):
        if key in train and tune != "lora":
            yield without(key, "tune: lora", "train: {tune: lora}")
    if "quantile" in train and train.get("loss") != "quantile":
        yield without("quantile", "loss: quantile", "train: {loss: quantile}")
    models = train.get("models", "auto")
    if isinstance(models, (list, tuple)) and "network" not in models:
        for key in _NETWORK_KEYS:
            if key in train:
                yield without(key, "a network among train.models", "train: {models: [network]}")
    columns = [_column(value) for value in inputs.values()]
    if any(kind not in (*_TABLE, *_RICH) for kind, _ in columns):
        return  # what encoders of other packages are made of is not known here
    rich = [(kind, encoder) for kind, encoder in columns if kind in _RICH]
    yield from _tuning(document, train, rich)
    yield from _useless(document, train, rich, len(rich) < len(columns))


def _is_default(key: str, value: Any) -> bool:
    """Whether a key says what holds without it."""
    field = TrainSpec.model_fields.get(key)
    if field is None:
        return False
    value = tuple(value) if isinstance(value, list) else value
    try:
        return bool(getattr(TrainSpec.model_validate({key: value}), key) == field.default)
    except ValidationError:
        return False


def _column(value: Any) -> tuple[str, str]:
    """Type and encoder of a column."""
    if isinstance(value, Mapping):
        encoder = value.get("encoder", "auto")
        return str(value.get("type")), encoder if isinstance(encoder, str) else "auto"
    return str(value), "auto"


def _pretrained(kind: str, encoder: str) -> bool:
    """Whether this may come with weights; of a text ``auto`` means so, as a rule."""
    own = {"text": ("scratch", *_SEQUENCES), "image": ("auto", "scratch")}
    return kind in own and encoder not in own[kind]


def _tuning(
    document: Document, train: Mapping[str, Any], rich: list[tuple[str, str]]
) -> Iterator[SpecError]:
    asked = next((key for key in ("tune", "layers") if train.get(key, "all") != "all"), None)
    if asked is None:
        return
    brought = [encoder for kind, encoder in rich if _pretrained(kind, encoder)]
    if not brought:
        yield SpecError(
            61,
            f"train.{asked} is given, and no column has a pretrained encoder to tune",
            where=document.where(("train", asked)),
            expected="a column such as {type: image, encoder: efficientnet-lite0}",
            fix=f"remove train.{asked}",
        )
    elif train.get("tune") == "lora" and "efficientnet-lite0" in brought:
        yield SpecError(
            61,
            "train.tune is lora, and efficientnet-lite0 has no linear layers to learn beside",
            where=document.where(("train", "tune")),
            expected="all, head or gradual",
            fix="train: {tune: gradual}",
        )


def _useless(
    document: Document, train: Mapping[str, Any], rich: list[tuple[str, str]], table: bool
) -> Iterator[SpecError]:
    def refuse(key: str, why: str) -> SpecError:
        return SpecError(
            62,
            f"train.{key} is {train[key]}, and {why}",
            where=document.where(("train", key)),
            expected=f"no {key}, or columns that have a use for it",
            fix=f"remove train.{key}",
        )

    if train.get("hidden", "auto") != "auto" and not table:
        yield refuse("hidden", "no column has numbers or names")
    if train.get("fusion") == "gated" and len(rich) + table < 2:
        yield refuse("fusion", "there is one column for it (numbers and names count as one)")
    if train.get("pooling", "auto") != "auto" and not rich:
        yield refuse("pooling", "a row of numbers and names is one vector already")
    if train.get("pooling") == "cls":
        for kind, encoder in rich:
            transformer = kind == "text" and encoder not in _SEQUENCES
            transformer |= kind == "image" and encoder not in ("auto", "scratch")
            if not transformer or encoder == "efficientnet-lite0":
                yield refuse("pooling", f"the encoder of the {kind} column has no first token")
                break
    if (bend := train.get("activation", "auto")) == "auto":
        return
    nets = [encoder for kind, encoder in rich if kind == "text" and encoder in _SEQUENCES]
    if "rnn" in nets and bend not in ("relu", "tanh"):
        yield refuse("activation", "a simple recurrent net takes tanh or relu")
    gated = [encoder for encoder in nets if encoder in ("gru", "lstm")]
    brought = [encoder for kind, encoder in rich if _pretrained(kind, encoder)]
    if rich and not table and len(gated) + len(brought) == len(rich):
        yield refuse("activation", "every net either brings its own or has gates in its place")
