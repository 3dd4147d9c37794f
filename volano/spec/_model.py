"""The spec as frozen, typed values. The YAML file is a view of these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "CleanSpec",
    "ColumnSpec",
    "CompressSpec",
    "EndpointSpec",
    "Fraction",
    "GateSpec",
    "SearchSpec",
    "ServeSpec",
    "Spec",
    "SplitSpec",
    "TrainSpec",
]


def _fraction(value: object) -> object:
    """``0.5%`` and ``0.005`` are the same number."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*%\s*", value)
        if match:
            return float(match[1]) / 100
    return value


def _bytes(value: object) -> object:
    """``2MB`` -> 2,000,000."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(B|kB|KB|MB|GB)\s*", value)
        if match:
            return int(
                float(match[1]) * {"B": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2][0].upper()]
            )
    return value


def _milliseconds(value: object) -> object:
    """``5ms`` -> 5.0, ``2s`` -> 2000.0."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s)\s*", value)
        if match:
            return float(match[1]) * (1000 if match[2] == "s" else 1)
    return value


def _seconds(value: object) -> object:
    """``5m`` -> 300.0, ``90s`` -> 90.0, ``1h`` -> 3600.0."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(s|m|min|h)\s*", value)
        if match:
            return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2][0]]
    return value


def _on_off(value: object) -> object:
    """YAML reads a bare ``off`` as false; people mean the word."""
    return "off" if value is False else value


Fraction = Annotated[float, BeforeValidator(_fraction), Field(ge=0, lt=1)]
SizeBytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1)]
Milliseconds = Annotated[float, BeforeValidator(_milliseconds), Field(ge=0)]

Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


Augmentation = Literal[
    "colour",
    "crop",
    "cutmix",
    "cutout",
    "flip",
    "frequency_mask",
    "gain",
    "mixup",
    "noise",
    "rotate",
    "shift",
    "time_mask",
    "word_dropout",
    "word_swap",
    "word_synonym",
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ColumnSpec(_Section):
    """One column of the table.

    Attributes:
      type: The kind of column: ``text``, ``category``, ...
      options: What the kind's own options model accepts, as plain values with defaults filled in.
    """

    type: str
    options: Mapping[str, Any] = Field(default_factory=dict)


class CleanSpec(_Section):
    """What to do with rows that teach nothing or the wrong thing. All are counted either way."""

    duplicates: Literal["auto", "drop", "keep"] = Field(
        "auto",
        description="rows whose inputs and target repeat an earlier row; auto drops them where "
        "there is a text, image, sound or series",
    )
    conflicts: Literal["keep", "drop"] = Field(
        "keep", description="rows with the same inputs and different targets"
    )
    empty: Literal["drop", "fail"] = Field(
        "drop", description="rows without inputs or without a target"
    )
    broken: Literal["drop", "fail"] = Field("drop", description="rows that cannot be parsed")
    rare: Literal["keep", "drop"] = Field(
        "keep", description="rows of classes with fewer rows than rare_below"
    )
    rare_below: int = Field(5, ge=1, description="rows under which a class is called rare")


class SplitSpec(_Section):
    """Which rows are held out. Golden rows judge bundles and never train one."""

    golden: Fraction = Field(0.15, description="share of the rows to freeze as golden rows")
    golden_max: int = Field(2000, ge=1, description="the most golden rows to freeze")
    validation: Fraction = Field(
        0.1, gt=0, description="share of the training rows that steers training"
    )
    seed: int = Field(0, ge=0, description="chooses the split")


class TrainSpec(_Section):
    """How the model is fitted."""

    models: tuple[str, ...] | Literal["auto"] = Field(
        "auto",
        description="what to train, such as [linear, boosted]; auto goes by the columns; the "
        "smallest that is as good as the best one ships",
    )
    loss: Literal["auto", "squared", "absolute", "huber", "quantile", "cross_entropy", "focal"] = (
        Field(
            "auto",
            description="what errors cost: numbers take squared, absolute, huber or quantile, "
            "names take cross_entropy or focal; auto: squared, cross_entropy",
        )
    )
    quantile: Fraction = Field(
        0.5, gt=0, description="which quantile the loss of that name aims at"
    )
    penalty: Literal["auto", "none", "l1", "l2", "elastic"] = Field(
        "auto",
        description="what keeps the weights of a linear model small: auto is l2; l1 and elastic "
        "also set the useless ones to 0; how strong, validation rows choose",
    )
    solver: Literal["auto", "exact", "sgd"] = Field(
        "auto",
        description="how a linear model is fitted: exact is the normal equation (squared loss, l2 "
        "or none), sgd steps along gradients of parts of the rows",
    )
    epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="the most passes over the training rows; auto goes by their number"
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = Field(
        "auto", description="the highest learning rate of the schedule"
    )
    batch_rows: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="rows per step"
    )
    tune: Literal["all", "head", "gradual", "lora"] = Field(
        "all",
        description="what of a pretrained encoder learns: all of it (or its last layers), nothing "
        "below the head, one layer more at a time from the top, or small pairs of matrices beside "
        "its own",
    )
    layers: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        "all",
        description="with tune: all, layers of a pretrained encoder that learn, from the top; "
        "fewer: faster; 0 is tune: head",
    )
    lora_rank: int = Field(8, ge=1, le=1024, description="inner width of the pairs of tune: lora")
    lora_alpha: float = Field(
        16.0, gt=0, description="what the pairs of tune: lora weigh, times their rank"
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] | Literal["auto"] = Field(
        "auto",
        description="widths of the layers that read numbers and names in a network, from the "
        "first, such as [64, 32]",
    )
    activation: Literal["auto", "gelu", "relu", "sigmoid", "tanh"] = Field(
        "auto",
        description="what bends between the layers of nets from scratch; auto: relu in "
        "convolutions, tanh in simple recurrent nets, gelu elsewhere",
    )
    pooling: Literal["auto", "average", "cls", "max"] = Field(
        "auto",
        description="how the vectors of a text's tokens, or of the places of a picture or sound, "
        "become one; cls: a transformer's first token; auto: average",
    )
    fusion: Literal["concatenate", "gated"] = Field(
        "concatenate",
        description="how the vectors of several columns meet in a network: side by side, or "
        "through gates that say row by row which to listen to",
    )
    optimiser: Literal["auto", "adam", "adamw", "sgd"] = Field(
        "auto",
        description="how networks step; sgd has Nesterov's momentum of 0.9; auto: sgd for "
        "convolutional nets from scratch, adamw for all others",
    )
    patience: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="epochs without progress before stopping; 0: never; auto: never for "
        "convolutional nets from scratch, which learn most at the end, 3 for all others",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: a rare class counts as much as a common one"
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="auto: bf16 where this machine is faster with it (measured)"
    )
    augment: Annotated[
        tuple[Augmentation, ...] | Literal["auto", "off"], BeforeValidator(_on_off)
    ] = Field(
        "auto",
        description="changes to each row that leave its target as it is, a list; auto goes by the "
        "columns",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="makes the run repeat bit for bit")


class SearchSpec(_Section):
    """Settings of models to try beside the good defaults, which always come first."""

    trials: int = Field(
        0, ge=0, le=10_000, description="how many, chosen by Optuna; bad ones are stopped early"
    )


class EndpointSpec(_Section):
    """A language model that says what rows without a label should be called."""

    url: str = Field(
        pattern=r"^https?://",
        description="an OpenAI-compatible address, such as `http://localhost:8000/v1`",
    )
    model: str = Field(min_length=1, description="the model's name there")
    columns: tuple[str, ...] = Field(
        min_length=1, description="the inputs that may be sent; nothing else ever is"
    )
    instruction: str = Field(
        "Say which name fits the row best.", description="what the names mean, in words"
    )
    key: str | None = Field(
        None, description="the environment's variable that holds the key; no key without it"
    )
    rows: int = Field(1000, ge=1, description="rows that it is asked about, at the most")
    at_once: int = Field(4, ge=1, le=64, description="requests that may wait side by side")
    max_tokens: int = Field(64, ge=1, le=10_000, description="tokens of an answer, at the most")


class CompressSpec(_Section):
    """How much smaller the bundle may become, and at what price."""

    margin: Fraction = Field(
        0.005, description="the most that the metric may fall for a smaller model"
    )
    size: SizeBytes | None = Field(
        None, description="the most that the bundle should take on disk, such as 8MB"
    )
    latency: Milliseconds | None = Field(
        None, description="the most that one row should take here, median, such as 2ms"
    )
    budget: Seconds | None = Field(
        None,
        description="how long to look for smaller models, such as 10m; without it the first "
        "setting of each pass is tried",
    )
    passes: tuple[str, ...] = Field(
        ("distil", "vocabulary", "qat", "int8"),
        description="what may be done, in this order; unless it is given, or size, latency, "
        "budget, unlabelled or a margin of 1% asks for something small or fast, only passes on the "
        "graph itself are tried, which is int8",
    )
    unlabelled: tuple[str, ...] = Field(
        (),
        description="rows without a label that students learn the best model's answers to: paths, "
        "folders, globs or pypi: addresses, or `predictions` for what the service was asked",
    )
    endpoint: EndpointSpec | None = Field(
        None, description="a language model that labels rows of `unlabelled`"
    )


class GateSpec(_Section):
    """When a candidate becomes the champion."""

    metric: Literal[
        "auto",
        "accuracy",
        "log_loss",
        "squared_error",
        "absolute_error",
        "pinball",
        "jaccard",
        "subset_accuracy",
    ] = Field(
        "auto",
        description="the score of a row that is compared with the champion's; auto: accuracy for "
        "names, jaccard for labels, squared_error for numbers; pinball is of `train.quantile`",
    )
    alpha: Fraction = Field(
        0.05, gt=0, description="the chance of ever promoting a bundle that is not better"
    )
    min_rows: int = Field(50, ge=1, description="golden rows under which nothing is promoted")


class ServeSpec(_Section):
    """The service. None of this changes an answer."""

    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    max_batch_rows: int = Field(64, ge=1, description="rows answered together at the most")
    max_wait_ms: Milliseconds = Field(
        0.0, description="how long a request waits for others to join it; under load they do anyway"
    )
    max_request_bytes: SizeBytes = Field(1_000_000, description="a larger request is refused")
    max_request_rows: int = Field(1000, ge=1, description="rows in one request at the most")


class Spec(_Section):
    """What the user declares: one wheel.

    Attributes:
      name: What to call the wheel; in answers and reports only.
      data: Where the labelled rows are: paths, folders, globs or ``pypi:`` addresses.
      test: Where golden rows are, used as they are; empty when Volano is to choose them.
      inputs: Column name -> column.
      target: The one column to predict.
      budget: Seconds that training may take: more models and settings are tried until then.
        None: the defaults, and what `search` asks for.
      store: SQL address of the store; None for SQLite in the wheel's folder.
    """

    version: Literal[1] = 1
    name: str = Field(min_length=1)
    data: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = ()
    inputs: Mapping[str, ColumnSpec] = Field(min_length=1)
    target: Mapping[str, ColumnSpec] = Field(min_length=1, max_length=1)
    clean: CleanSpec = CleanSpec()
    split: SplitSpec = SplitSpec()
    train: TrainSpec = TrainSpec()
    search: SearchSpec = SearchSpec()
    budget: Seconds | None = None
    compress: Annotated[CompressSpec | Literal["off"], BeforeValidator(_on_off)] = CompressSpec()
    gate: GateSpec = GateSpec()
    serve: ServeSpec = ServeSpec()
    store: str | None = None

    @property
    def kinds(self) -> dict[str, str]:
        """Column -> type, the target among them."""
        return {name: column.type for name, column in {**self.inputs, **self.target}.items()}

    @property
    def target_name(self) -> str:
        return next(iter(self.target))

    @property
    def target_column(self) -> ColumnSpec:
        return next(iter(self.target.values()))
