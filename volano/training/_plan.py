"""Every number that training needs, from the spec where it says so and from the data otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from volano.spec import TrainSpec

__all__ = ["TrainPlan", "plan_training"]

TABLE_STEPS = 1500

SCRATCH_STEPS = 400
"""At least so many for a net from scratch: a few dozen rows make epochs of two or three steps, and
three of those without progress would be no reason to stop."""

SGD_FACTOR = 50.0
"""How much higher the rates of SGD are than those of Adam."""

CONVOLUTION_ROWS = 700_000
"""Whole pictures, or as much of small ones as costs the same, that a convolutional net learns from
in all, repeated as often as it takes."""

PIECES_ROWS = 80_000
"""As `CONVOLUTION_ROWS`, for sums over pieces of text."""


@dataclass(frozen=True)
class TrainPlan:
    """How one network is fitted.

    Attributes:
      epochs: Epochs at the most.
      passes: Passes over the training rows that make an epoch; more than one where rows are few.
      learning_rate: Highest rate of the encoder's top layer.
      head_rate: Highest rate of the head.
      layer_decay: A layer's rate as a share of the rate of the layer above it.
      weight_decay: Of weight matrices, per step and unit of learning rate.
      warmup: Share of the steps in which the rate rises.
      clip: Largest length of the gradient.
      batch_rows: Rows of a step.
      batch_tokens: Cells of a step at the most, padding included.
      layers: Layers of a pretrained encoder that learn, from the top; None for all.
      dropout: Share of the hidden values that are dropped.
      memory: What the average of the weights remembers, as a share of all steps.
      average_every: Steps between two updates of the average.
      patience: Epochs without progress after which training stops; 0 for never.
      head_start: Whether the head starts from a logistic regression.
      label_smoothing: Share of the target that is spread over all classes.
      balanced: Whether each class counts the same.
      precision: Number format, or ``auto``.
      optimiser: ``adam``, ``adamw`` or ``sgd``.
      augment: What is done to rows each time they are learned from; ``auto``, ``off``, or names.
      seed: Decides every random choice.
      tune: What of pretrained encoders learns.
      lora_rank: Inner width of the pairs of ``lora``.
      lora_alpha: What they weigh, times their rank.
      loss: What errors cost, as the spec has it.
      quantile: Which one the loss of that name aims at.
    """

    epochs: int
    learning_rate: float
    head_rate: float
    weight_decay: float
    warmup: float
    clip: float
    batch_rows: int
    batch_tokens: int
    memory: float
    patience: int
    seed: int
    passes: int = 1
    layer_decay: float = 1.0
    layers: int | None = None
    dropout: float = 0.0
    average_every: int = 4
    head_start: bool = False
    label_smoothing: float = 0.0
    balanced: bool = False
    precision: Literal["auto", "bf16", "fp32"] = "fp32"
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    augment: tuple[str, ...] | Literal["auto", "off"] = "auto"
    tune: Literal["all", "head", "gradual", "lora"] = "all"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    loss: str = "auto"
    quantile: float = 0.5

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-able fields."""
        return asdict(self)


def plan_training(
    spec: TrainSpec,
    *,
    num_rows: int,
    pretrained: bool,
    table: bool = False,
    convolution: bool = False,
    mixed: bool = False,
    pieces: bool = False,
    cost: float = 1.0,
) -> TrainPlan:
    """Fill in what the spec leaves to us.

    Args:
      spec: The spec's ``train`` section.
      num_rows: Training rows.
      pretrained: Whether encoders bring weights; one from scratch has everything to learn.
      table: Whether all columns are numbers and names: rows cost next to nothing.
      convolution: Whether there is a convolutional net from scratch.
      mixed: Whether beside pretrained encoders there are others that learn from nothing.
      pieces: Whether all there is is sums over pieces of text.
      cost: What a row costs the convolutional net on the mean, as a share of a whole one.
    """
    if convolution:
        return _convolution(spec, num_rows, cost)
    if pieces:
        return _pieces(spec, num_rows)
    tune = "head" if spec.tune == "all" and spec.layers == 0 else spec.tune
    tune = tune if pretrained else "all"
    # With known vectors at its feet a head costs next to nothing either.
    light = table or (tune == "head" and not mixed)
    rows: int = 32 if num_rows < 200_000 else 64
    if spec.batch_rows != "auto":
        rows = spec.batch_rows
    elif table:
        rows = min(1024, max(8, num_rows // 50))
    passes = 1
    patience = 3 if spec.patience == "auto" else spec.patience
    epochs = spec.epochs
    if epochs == "auto":
        epochs = _epochs(num_rows, pretrained)
        if light:
            # At least so many steps, however few the rows.
            steps = -(-num_rows // rows)
            epochs = 30
            passes = max(1, TABLE_STEPS // (epochs * steps))
        elif not pretrained:
            passes = max(1, SCRATCH_STEPS // (epochs * -(-num_rows // rows)))
    optimiser = "adamw" if spec.optimiser == "auto" else spec.optimiser
    rate = spec.learning_rate
    head_rate = 1e-3
    if rate == "auto":
        rate = _rate(pretrained, tune)
        if optimiser == "sgd":
            # Adam divides a gradient by its own size, which is far below 1.
            rate, head_rate = SGD_FACTOR * rate, SGD_FACTOR * head_rate
    elif optimiser == "sgd" or not pretrained:
        head_rate = rate
    return TrainPlan(
        epochs=epochs,
        passes=passes,
        learning_rate=rate,
        head_rate=head_rate,
        layer_decay=0.9 if pretrained and tune != "lora" else 1.0,
        weight_decay=0.01,
        warmup=0.1,
        clip=1.0,
        batch_rows=rows,
        batch_tokens=max(4096, rows) if table else 4096,
        layers=None if spec.layers == "all" or not pretrained or tune != "all" else spec.layers,
        dropout=0.0 if light else 0.1,
        memory=0.1,
        patience=2 * patience if light else patience,
        head_start=pretrained and not mixed,
        precision=spec.precision,
        optimiser=optimiser,
        tune=tune,
        lora_rank=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        **_as_asked(spec),
    )


def _as_asked(spec: TrainSpec) -> dict[str, Any]:
    """What a plan takes from the spec as it stands."""
    return {
        "balanced": spec.class_weights == "balanced",
        "seed": spec.seed,
        "augment": spec.augment,
        "loss": spec.loss,
        "quantile": spec.quantile,
    }


def _rate(pretrained: bool, tune: str) -> float:
    if tune == "lora":
        return 5e-4  # new matrices learn, and few of them
    return 1e-4 if pretrained else 1e-3


def _convolution(spec: TrainSpec, num_rows: int, cost: float) -> TrainPlan:
    """A net from scratch on pictures or sound: few steps at a high rate.

    Smith and Topin, `Super-Convergence <https://arxiv.org/abs/1708.07120>`_, 2018: a rate that
    rises high and falls to zero learns in a tenth of the steps.
    """
    rows: int = min(64, max(8, num_rows // 30))
    if spec.batch_rows != "auto":
        rows = spec.batch_rows
    epochs: int = spec.epochs if spec.epochs != "auto" else 0
    if not epochs:
        epochs = max(8, min(80, round(CONVOLUTION_ROWS / cost / max(1, num_rows))))
    optimiser = "sgd" if spec.optimiser == "auto" else spec.optimiser
    rate = spec.learning_rate
    if rate == "auto":
        rate = 0.1 if optimiser == "sgd" else 3e-3
    return TrainPlan(
        epochs=epochs,
        learning_rate=rate,
        head_rate=rate,
        weight_decay=5e-4 if optimiser == "sgd" else 0.01,
        warmup=0.2,
        clip=5.0,
        batch_rows=rows,
        batch_tokens=1 << 16,
        memory=0.02,
        # The last epochs, in which the rate falls, bring the most.
        patience=0 if spec.patience == "auto" else spec.patience,
        label_smoothing=0.1,
        # Batch norms want it, and convolutions gain little from less.
        precision="fp32",
        optimiser=optimiser,
        **_as_asked(spec),
    )


def _pieces(spec: TrainSpec, num_rows: int) -> TrainPlan:
    """Sums over pieces of text: a step costs next to nothing, and vectors that start at zero have
    a long way to go.
    """
    rows: int = 64 if spec.batch_rows == "auto" else spec.batch_rows
    epochs: int = spec.epochs if spec.epochs != "auto" else 0
    if not epochs:
        epochs = max(3, min(30, round(PIECES_ROWS / max(1, num_rows))))
    rate = 3e-3 if spec.learning_rate == "auto" else spec.learning_rate
    return TrainPlan(
        epochs=epochs,
        learning_rate=rate,
        head_rate=rate,
        weight_decay=0.0,
        warmup=0.02,
        clip=10.0,
        batch_rows=rows,
        batch_tokens=1 << 16,
        memory=0.05,
        patience=3 if spec.patience == "auto" else spec.patience,
        label_smoothing=0.05,
        **_as_asked(spec),
    )


def _epochs(num_rows: int, pretrained: bool) -> int:
    """Fewer passes over more rows: about the same number of steps, within bounds."""
    if pretrained:
        return max(1, min(5, round(36_000 / max(1, num_rows))))
    return max(2, min(20, round(150_000 / max(1, num_rows))))
