"""The training loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from volano.columns import EncodedSplit, FittedColumn, Ragged
from volano.errors import TrainError
from volano.models import Network
from volano.training._augment import Augmentation, augmentation
from volano.training._batches import epoch_batches, ordered_batches
from volano.training._checkpoint import read_checkpoint, write_checkpoint
from volano.training._dropout import DropoutPool, replace_dropout
from volano.training._feed import INFERENCE_ROWS, INFERENCE_TOKENS, Feed
from volano.training._head_start import HeadAim, start_head
from volano.training._live import LiveTeacher
from volano.training._matching import TokenMatch
from volano.training._objective import Objective, objective
from volano.training._optimiser import (
    FlatOptimiser,
    moving_statistics,
    parameter_groups,
    schedule,
    unfrozen,
)
from volano.training._plan import TrainPlan
from volano.training._precision import fast_dtype, keep_memory, use_cores
from volano.training._tuning import Tuning
from volano.training._vocabulary import CompactVocabulary

__all__ = ["TrainResult", "fit", "network_logits"]

CHECKPOINT_EVERY_S = 60.0
HEAD_START_ROWS = 30_000
OBSERVED_ROWS = 2000

Step = Callable[[str, float, float], None]


@dataclass
class TrainResult:
    """What a run left beside the network's weights.

    Attributes:
      curves: One entry per epoch: step, losses, accuracy on validation rows.
      head_start: Accuracy on validation rows before the encoder was touched; None without.
      best_epoch: The epoch whose weights, or their average, were kept; 0: those before it all.
      num_steps: Optimiser steps done.
      rows_per_s: Training rows per second of this process, measured over its steps.
      precision: The number format that was used.
    """

    curves: list[dict[str, Any]] = field(default_factory=list)
    head_start: float | None = None
    best_epoch: int = 0
    num_steps: int = 0
    rows_per_s: float = 0.0
    precision: str = "fp32"


def fit(
    network: Network,
    inputs: Mapping[str, FittedColumn],
    train: EncodedSplit,
    validation: EncodedSplit,
    plan: TrainPlan,
    *,
    task: str = "classification",
    aim: Objective | None = None,
    teacher: Network | None = None,
    match: str = "hidden",
    scratch: Path,
    step: Step = lambda label, done, total: None,
    say: Callable[[str], None] = lambda text: None,
    watch: Callable[[int, float], None] = lambda epoch, loss: None,
    gone: Callable[[], float] = lambda: 0.0,
) -> TrainResult:
    """Fit a network in place, and leave it with the best weights, in float32.

    The same network, rows and plan on the same machine give the same weights bit by bit, whether
    the run was interrupted and resumed from `scratch` or not.

    Args:
      network: Freshly built.
      inputs: Fitted input columns.
      train: Rows to learn from.
      validation: Rows that choose the epoch; may be none, then the last one is kept.
      plan: See `plan_training`.
      task: What the target asks for.
      aim: What is to be learned; None for the task's own objective.
      teacher: A trained network of the same columns: what it says of tokens is learned as well,
        and where rows are changed, its answers to what they became; targets begin with its
        outputs. None for nobody's.
      match: What of its tokens is learned: ``hidden``, their vectors, or their ``relations``.
      scratch: Where checkpoints are kept and looked for.
      step: Told how far the run is.
      say: Told what is worth a line.
      watch: Told after each epoch of its number, from 1, and the loss on validation rows; may raise
        `Pruned`.
      gone: The share of its time that is over; at 1 it comes to an end with what there is. A run
        that will not reach its last step must not learn from what is small to the end.
    Raises:
      TrainError: The loss is no longer a number (TRAIN-001).
    """
    use_cores(_cores(network))
    torch.manual_seed(plan.seed)
    vocabularies = _cut_vocabularies(network, inputs, (train, validation))
    if aim is None:
        aim = objective(task)(train.target, network.output_shape[-1], plan)
    aim.prepare(network)
    train_feed = Feed(inputs, train, vocabularies, network, aim)
    validation_feed = Feed(inputs, validation, vocabularies, network, aim)
    _observe(network, train_feed)
    saved = read_checkpoint(scratch)
    dtype = _dtype(network, plan, saved[1] if saved else {}, say)
    pool = DropoutPool(plan.dropout, plan.seed, dtype) if plan.dropout else None
    replaced = replace_dropout(network, pool)
    feeds = (train_feed, validation_feed)
    tuning = Tuning(network, plan, feeds, step, say)
    change = augmentation(network, inputs, plan, vocabularies, say)
    convolves = any(isinstance(module, _BatchNorm) for module in network.modules())
    tokens = live = None
    if teacher is not None:
        tokens = TokenMatch(network, teacher, vocabularies, dtype, match)
        live = LiveTeacher(teacher, vocabularies, dtype) if change is not None else None
    run = _Run(
        network,
        change,
        feeds,
        plan,
        aim,
        tokens,
        live,
        dtype,
        pool,
        scratch,
        step,
        say,
        watch,
        gone,
    )
    try:
        with keep_memory() if convolves else contextlib.nullcontext():
            run.go()
    finally:
        network.float()
        if tokens is not None:
            tokens.close()
        tuning.restore()
        for parent, name, module in replaced:
            setattr(parent, name, module)
    network.float().eval()
    for vocabulary in vocabularies.values():
        vocabulary.restore()
    # The parameters were views of long vectors; from here on each stands by itself.
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
        parameter.grad = None
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            _release(module)
    return run.result


def _release(norm: _BatchNorm) -> None:
    for name in ("running_mean", "running_var"):
        if getattr(norm, name) is not None:
            setattr(norm, name, getattr(norm, name).clone())
    # How many batches went by decides nothing, and a resumed run has seen fewer.
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.zero_()


def _cores(network: Network) -> int | None:
    """One for a network whose products are small; None for all there are."""
    small = all(getattr(encoder, "small", False) for encoder in network.encoders)
    return 1 if getattr(network, "small", small) else None


def _observe(network: Network, feed: Feed) -> None:
    """Show rows at even distances to encoders that want to see some before they learn."""
    rows = np.unique(np.linspace(0, feed.num_rows - 1, OBSERVED_ROWS).astype(np.int64))
    for name, encoder in zip(network.columns, network.encoders, strict=True):
        if hasattr(encoder, "observe"):
            batch = feed.batch(rows)
            encoder.observe(*(batch[f"{name}.{key}"] for key in encoder.keys))  # type: ignore[operator, union-attr]


def _dtype(
    network: Network, plan: TrainPlan, saved: Mapping[str, Any], say: Callable[[str], None]
) -> torch.dtype:
    """The number format; a resumed run keeps its own, whatever a new measurement would say."""
    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        if plan.precision == "bf16":
            say("    fp32 in the place of bf16: this network has batch norms, which need it")
        return torch.float32  # the means that norms gather need more digits than bf16 has
    if any(isinstance(module, nn.RNNBase) for module in network.modules()):
        if plan.precision == "bf16":
            say("    fp32 in the place of bf16: this network is a recurrent one, and faster in it")
        return torch.float32
    if any(getattr(encoder, "small", False) for encoder in network.encoders):
        return torch.float32  # converting costs more than shorter numbers save
    precision = plan.precision if plan.precision != "auto" else saved.get("precision")
    if precision is None:
        return fast_dtype()
    return torch.bfloat16 if precision.startswith("b") else torch.float32


def _cut_vocabularies(
    network: Network, inputs: Mapping[str, FittedColumn], splits: tuple[EncodedSplit, ...]
) -> dict[str, CompactVocabulary]:
    vocabularies = {}
    for name, encoder in zip(network.columns, network.encoders, strict=True):
        if "ids" not in encoder.keys:  # type: ignore[operator]
            continue
        used = [np.array([inputs[name].pad_id])]  # type: ignore[attr-defined]
        for split in splits:
            ids = split.columns[name].arrays["ids"]
            assert isinstance(ids, Ragged)
            used.append(np.unique(ids.flat))
        embedding = encoder.token_embedding()  # type: ignore[operator]
        vocabularies[name] = CompactVocabulary(embedding, np.concatenate(used).astype(np.int64))
    return vocabularies


class _Run:
    """One run of `fit`, with what it must remember from step to step."""

    def __init__(
        self,
        network: Network,
        change: Augmentation | None,
        feeds: tuple[Feed, Feed],
        plan: TrainPlan,
        aim: Objective,
        tokens: TokenMatch | None,
        live: LiveTeacher | None,
        dtype: torch.dtype,
        pool: DropoutPool | None,
        scratch: Path,
        step: Step,
        say: Callable[[str], None],
        watch: Callable[[int, float], None],
        gone: Callable[[], float],
    ) -> None:
        self._network = network
        self._watch, self._gone = watch, gone
        self._train, self._validation = feeds
        self._change, self._tokens, self._live = change, tokens, live
        self._plan, self._aim, self._dtype, self._pool = plan, aim, dtype, pool
        self._scratch, self._report, self._say = scratch, step, say
        self.result = TrainResult(
            precision=str(dtype).removeprefix("torch.").replace("float", "fp")
        )
        self._best: list[Tensor] | None = None
        self._best_score = (-float("inf"), -float("inf"))
        self._stale = 0

    def go(self) -> None:
        plan, network = self._plan, self._network
        saved = read_checkpoint(self._scratch)
        if plan.head_start and isinstance(self._aim, HeadAim) and saved is None:
            self._start_head(self._aim)
        network.encoders.to(self._dtype)
        groups = parameter_groups(
            network,
            learning_rate=plan.learning_rate,
            head_rate=plan.head_rate,
            layer_decay=plan.layer_decay,
            weight_decay=plan.weight_decay,
            gradual=plan.tune == "gradual",
        )
        groups += moving_statistics(network)
        num_steps = sum(len(self._epoch(epoch)) for epoch in range(plan.epochs))
        memory = plan.memory * num_steps / plan.average_every
        self._optimiser = FlatOptimiser(groups, clip=plan.clip, memory=memory, kind=plan.optimiser)
        if self.result.head_start is not None:
            # The pretrained encoder as it is, under its regression, is the first to beat.
            self._best_score, _ = self._validate()
            self._best = [group.master.clone() for group in groups]
        step = self._resume(saved)
        losses: list[float] = list(saved[1]["losses"]) if saved else []
        self._last_saved = time.monotonic()
        started, rows_done = time.perf_counter(), 0
        stop = 0
        growing = [each for each in network.encoders if getattr(each, "cost", 1.0) < 1]
        if growing and step == 0:
            self._say("    small at first: whole validation rows come out badly until that is over")
        for epoch in range(plan.epochs):
            if plan.patience and self._stale >= plan.patience:
                self._say(f"    no progress for {self._stale} epochs: stopping")
                break
            batches = self._epoch(epoch)
            first, stop = stop, stop + len(batches)
            if len(self.result.curves) > epoch:
                continue  # finished before the run was interrupted
            network.train()
            for place, rows in enumerate(batches):
                if first + place < step:
                    continue
                self._optimiser.unfreeze(unfrozen(step, num_steps, self._optimiser.depth))
                for encoder in growing:
                    encoder.progress(max(step / num_steps, self._gone()))  # type: ignore[operator]
                losses.append(self._step(rows, step, num_steps))
                rows_done += len(rows)
                step += 1
                self._report("training", step, num_steps)
                if self._gone() >= 1:
                    break
                if time.monotonic() - self._last_saved > CHECKPOINT_EVERY_S:
                    self._save(step, losses)
            if self._gone() >= 1 and self._best is not None:
                # Half an epoch more, at a rate that has not fallen, is seldom better.
                self._say("    time is over: stopping")
                break
            self._end_epoch(epoch, step, losses)
            losses = []
            self._save(step, losses)
            if self._gone() >= 1:
                self._say("    time is over: stopping")
                break
        self._report("training", num_steps, num_steps)
        self.result.num_steps = step
        self.result.rows_per_s = rows_done / max(1e-9, time.perf_counter() - started)
        assert self._best is not None
        for group, best in zip(self._optimiser.groups, self._best, strict=True):
            group.work.copy_(best)

    def _epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        plan = self._plan
        return [
            batch
            for turn in range(epoch * plan.passes, (epoch + 1) * plan.passes)
            for batch in epoch_batches(
                self._train.widths,
                rows=plan.batch_rows,
                tokens=plan.batch_tokens,
                seed=plan.seed,
                epoch=turn,
            )
        ]

    def _step(self, rows: NDArray[np.int64], step: int, num_steps: int) -> float:
        if self._pool:
            self._pool.start_step(step)
        # For encoders that draw random numbers by themselves: a resumed run draws the same.
        torch.manual_seed(self._plan.seed * 1_000_003 + step)
        batch, targets = self._train.batch(rows), self._train.targets[rows]
        mixed = None
        if self._change is not None:
            batch, mixed = self._change(batch, step)
        if self._live is not None:
            targets = self._live.targets(batch, targets)
        logits = self._network(batch)
        loss = self._aim.loss(self._network, logits, targets)
        if mixed is not None:
            other = self._aim.loss(self._network, logits, targets[mixed.partner])
            loss = mixed.share * loss + (1 - mixed.share) * other
        if self._tokens is not None:
            loss = loss + self._tokens.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        value = loss.item()
        if not np.isfinite(value):
            raise self._diverged(f"the loss is {value} at step {step + 1} of {num_steps}")
        self._optimiser.step(schedule(step, num_steps, self._plan.warmup))
        if (step + 1) % self._plan.average_every == 0:
            self._optimiser.update_average()
        return value

    def _diverged(self, what: str) -> TrainError:
        rate = self._plan.learning_rate / 4
        return TrainError(
            1,
            what,
            expected="a finite loss",
            fix=f"train: {{learning_rate: {rate:g}}}   (or precision: fp32)",
        )

    def _end_epoch(self, epoch: int, step: int, losses: list[float]) -> None:
        """Measure the weights and their average on validation rows, and remember the best."""
        entry: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": step,
            "train_loss": float(np.mean(losses)) if losses else None,
        }
        score, found = self._validate()
        self._optimiser.swap_average()
        average_score, average_found = self._validate()
        self._optimiser.swap_average()
        # Early on the average is far better, in the end often not: the rate's decay averages too.
        averaged = average_score > score
        if averaged:
            score, found = average_score, average_found
        entry |= {**found, "averaged": averaged}
        if found:
            shown = ", ".join(
                f"{name.replace('_', ' ')} {value:.4g}" for name, value in found.items()
            )
            self._say(
                f"    epoch {epoch + 1} of {self._plan.epochs}: "
                f"train loss {entry['train_loss']:.4g}, {shown}"
            )
        else:
            score = (float(epoch + 1), 0.0)
        if score > self._best_score:
            groups = self._optimiser.groups
            source = self._optimiser.average if averaged else [group.master for group in groups]
            self._best = [values.clone() for values in source]
            self._best_score, self._stale = score, 0
            self.result.best_epoch = epoch + 1
        else:
            self._stale += 1
        self.result.curves.append(entry)
        if "validation_loss" in found:
            self._watch(epoch + 1, found["validation_loss"])

    def _validate(self) -> tuple[tuple[float, float], dict[str, float]]:
        """What the present weights are worth, the larger the better, and the same by name; empty
        without rows.
        """
        known = self._aim.known(self._validation.targets)
        if not known.any():
            return (0.0, 0.0), {}
        outputs = _outputs(self._network, self._validation)[known]
        score, loss, found = self._aim.score(outputs, self._validation.targets[known])
        if not np.isfinite(loss):
            raise self._diverged(f"the loss on validation rows is {loss}")
        return score, found

    def _start_head(self, aim: HeadAim) -> None:
        """Fit the head to what the encoder says of the rows before it is trained."""
        rows = np.arange(len(self._train.targets), dtype=np.int64)
        rows = rows[:: -(-len(rows) // HEAD_START_ROWS)]
        known = self._aim.known(self._validation.targets)
        validation = np.flatnonzero(known.numpy()).astype(np.int64)
        self.result.head_start = start_head(
            self._network.head,
            (self._features(self._train, rows), self._train.targets[rows]),
            (self._features(self._validation, validation), self._validation.targets[validation]),
            aim,
        )
        if self.result.head_start is not None:
            self._say(f"    before fine-tuning: {aim.quality} {self.result.head_start:.1%}")

    def _features(self, feed: Feed, rows: NDArray[np.int64]) -> Tensor:
        self._network.eval()
        found = torch.zeros((len(rows), self._network.head.in_features))
        batches = ordered_batches(feed.widths[rows], rows=INFERENCE_ROWS, tokens=INFERENCE_TOKENS)
        with torch.no_grad():
            for done, places in enumerate(batches):
                self._report("reading features", done, len(batches))
                found[places] = self._network.features(feed.batch(rows[places])).float()
        return found

    def _save(self, step: int, losses: list[float]) -> None:
        tensors = self._optimiser.tensors()
        for place, best in enumerate(self._best or []):
            tensors[f"best.{place}"] = best
        state = {
            "step": step,
            "losses": losses,
            "curves": self.result.curves,
            "head_start": self.result.head_start,
            "best_epoch": self.result.best_epoch,
            "best_score": list(self._best_score),
            "stale": self._stale,
            "precision": self.result.precision,
        }
        write_checkpoint(self._scratch, tensors, state)
        self._last_saved = time.monotonic()

    def _resume(self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None) -> int:
        if saved is None:
            return 0
        tensors, state = saved
        self._optimiser.restore(tensors)
        best = [f"best.{place}" for place in range(len(self._optimiser.groups))]
        if best[0] in tensors:
            self._best = [tensors[name] for name in best]
        self.result.curves = state["curves"]
        self.result.head_start = state["head_start"]
        self.result.best_epoch = state["best_epoch"]
        self._best_score = (state["best_score"][0], state["best_score"][1])
        self._stale = state["stale"]
        self._say(f"    going on from step {state['step']}")
        return int(state["step"])


def _outputs(network: Network, feed: Feed) -> Tensor:
    network.eval()
    found = torch.zeros((feed.num_rows, *network.output_shape))
    with torch.no_grad():
        for rows in feed.batches():
            found[rows] = network(feed.batch(rows)).float()
    return found


def network_logits(
    network: Network, inputs: Mapping[str, FittedColumn], split: EncodedSplit
) -> NDArray[np.float32]:
    """A network's outputs for every row of a split, in order; shape (num_rows, num_outputs)."""
    use_cores(_cores(network))
    return np.asarray(_outputs(network, Feed(inputs, split, {}, network)).numpy())
