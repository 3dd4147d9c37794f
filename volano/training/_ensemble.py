"""Which models of a turn make the best ensemble.

    start from nothing; as often as it is told, take in the model that makes the mean best, again
    and again the same one if need be; the weights are how often each was taken

Caruana et al., `Ensemble Selection from Libraries of Models
<https://doi.org/10.1145/1015330.1015432>`_, 2004. Models are chosen on the rows that also say how
good the ensemble is, so that what is said of a row comes from weights that were chosen on the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.models import EnsembleModel, Member
from volano.models.ensemble import LEAST_CHANCE, LEAST_SHARE
from volano.spec import TrainSpec

__all__ = ["Judge", "ensemble_of", "select"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROUNDS = 30
"""Models taken in, with repeats: weights are multiples of a thirtieth."""

LEAST_WEIGHT = 0.05
"""A member with less costs more time than it is worth."""

PARTS = 5
"""Of the rows, to judge the ensemble by weights that were chosen without the row."""


class Judge:
    """Losses of outputs on rows with known targets.

    Args:
      targets: Class codes, or numbers, shape (num_rows,); of labels see `FittedLabels.targets`.
      classes: Whether they are codes.
      several: Whether they are labels.
      spec: Names the loss of numbers.
    """

    def __init__(
        self, targets: NDArray[Any], spec: TrainSpec, *, classes: bool, several: bool = False
    ) -> None:
        self.classes, self.several = classes, several
        self._all = targets
        if several:
            self.known = np.arange(len(targets))
            self._targets = np.asarray(targets[:, :-1] > 0)
        else:
            self.known = np.flatnonzero(targets >= 0 if classes else ~np.isnan(targets))
            self._targets = targets[self.known]
        self._spec = spec

    def part(self, rows: Ints, outputs: NDArray[Any]) -> float:
        """Mean loss on some rows, of the outputs for these, shape (len(rows), num_outputs)."""
        judge = Judge(self._all[rows], self._spec, classes=self.classes, several=self.several)
        return judge.loss(outputs)

    def temperature(self, outputs: NDArray[Any]) -> float:
        """What outputs are divided by to be as sure as they should; 1 for numbers."""
        if not (self.classes or self.several) or len(np.unique(self._targets)) < 2:
            return 1.0
        # Golden-section search in log T; the loss has one minimum in T.
        low, high = np.log(0.05), np.log(20.0)
        ratio = (5**0.5 - 1) / 2
        scaled = np.asarray(outputs, np.float64)[self.known]

        def loss(place: float) -> float:
            return float(self._log_loss(self._sure(scaled / np.exp(place))).mean())

        for _ in range(30):
            first, second = high - ratio * (high - low), low + ratio * (high - low)
            if loss(first) < loss(second):
                high = second
            else:
                low = first
        return float(np.exp((low + high) / 2))

    def values(self, outputs: NDArray[Any], temperature: float) -> Floats:
        """What is averaged, of the known rows: shares of classes, chances of labels, or numbers."""
        scaled = np.asarray(outputs, np.float64)[self.known]
        return self.shares(scaled, temperature)

    def shares(self, outputs: Floats, temperature: float) -> Floats:
        """The same of any rows."""
        return self._sure(outputs / temperature) if self.classes or self.several else outputs

    def unshared(self, shares: Floats) -> NDArray[np.float32]:
        """Outputs whose `shares` at temperature 1 are these."""
        if self.classes:
            shares = np.log(np.maximum(shares, LEAST_SHARE))
        elif self.several:
            shares = np.clip(shares, LEAST_CHANCE, 1 - LEAST_CHANCE)
            shares = np.log(shares / (1 - shares))
        return shares.astype(np.float32)

    def _sure(self, logits: Floats) -> Floats:
        if self.several:
            return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))), np.float64)
        return _shares(logits)

    def losses(self, values: Floats, rows: Ints | slice = slice(None)) -> Floats:
        """Loss of each of some rows, of what `values` gives for these."""
        if self.classes or self.several:
            return self._log_loss(values, rows)
        error = values[:, 0] - self._targets[rows]
        if self._spec.loss == "absolute":
            return np.asarray(np.abs(error), np.float64)
        if self._spec.loss == "quantile":
            level = self._spec.quantile
            return np.asarray(np.maximum(-level * error, (1 - level) * error), np.float64)
        return np.asarray(error**2, np.float64)

    def loss(self, outputs: NDArray[Any]) -> float:
        """Mean loss at the best temperature; infinite without rows."""
        if not len(self.known):
            return float("inf")
        return float(self.losses(self.values(outputs, self.temperature(outputs))).mean())

    def spread(self, outputs: NDArray[Any]) -> float:
        """Standard error of `loss`: how far the mean over other such rows would stray from it."""
        if len(self.known) < 2:
            return float("inf")
        losses = self.losses(self.values(outputs, self.temperature(outputs)))
        return float(losses.std(ddof=1) / len(losses) ** 0.5)

    def _log_loss(self, shares: Floats, rows: Ints | slice = slice(None)) -> Floats:
        if self.several:
            each = np.where(self._targets[rows], shares, 1 - shares)
            return np.asarray(-np.log(np.maximum(each, LEAST_CHANCE)).sum(axis=1), np.float64)
        right = shares[np.arange(len(shares)), self._targets[rows]]
        return np.asarray(-np.log(np.maximum(right, LEAST_SHARE)), np.float64)


def _shares(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)


def _greedy(judge: Judge, values: Sequence[Floats], rows: Ints) -> Floats:
    """Weight of each model, shape (num_models,), by the loss on some rows."""
    num_models = len(values)
    some = [value[rows] for value in values]
    taken = np.zeros(num_models)
    total = np.zeros_like(some[0])
    best, kept = np.inf, taken
    for step in range(1, ROUNDS + 1):
        losses = [float(judge.losses((total + value) / step, rows).mean()) for value in some]
        winner = int(np.argmin(losses))
        total += some[winner]
        taken[winner] += 1
        # A long way may lead through a worse place: the best one is kept.
        if losses[winner] < best - 1e-12:
            best, kept = losses[winner], taken / step
    kept = np.where(kept >= LEAST_WEIGHT, kept, 0.0)
    return np.asarray(kept / kept.sum(), np.float64)


def select(
    judge: Judge, outputs: Sequence[NDArray[Any]], seed: int
) -> tuple[Floats, tuple[float, ...], NDArray[np.float32]] | None:
    """The weights of the best mean of some models.

    Args:
      judge: Rows that none of the models was fitted on.
      outputs: What each model answers to them, shape (num_rows, num_outputs).
      seed: Divides the rows.
    Returns:
      Weights, shape (num_models,); temperatures; and what is to be expected of the mean on each
      row, float32, shape (num_rows, num_outputs). None where one model alone does best.
    """
    if len(outputs) < 2 or len(judge.known) < 4 * PARTS:
        return None
    temperatures = tuple(judge.temperature(output) for output in outputs)
    values = [
        judge.values(output, temperature)
        for output, temperature in zip(outputs, temperatures, strict=True)
    ]
    num_rows = len(judge.known)
    weights = _greedy(judge, values, np.arange(num_rows))
    if (weights > 0).sum() < 2:
        return None
    part = np.random.default_rng(seed).permutation(num_rows) % PARTS
    # A row of unknown class is answered with the weights of all.
    stacked = np.stack([np.asarray(output, np.float64) for output in outputs])
    stacked = np.stack([judge.shares(one, t) for one, t in zip(stacked, temperatures, strict=True)])
    expected = np.tensordot(weights, stacked, axes=1)
    for fold in range(PARTS):
        others = _greedy(judge, values, np.flatnonzero(part != fold))
        mine = judge.known[part == fold]
        expected[mine] = np.tensordot(others, stacked[:, mine], axes=1)
    return weights, temperatures, judge.unshared(expected)


def ensemble_of(
    names: Sequence[str],
    models: Sequence[Any],
    weights: Floats,
    temperatures: Sequence[float],
    *,
    classes: bool,
    several: bool = False,
) -> EnsembleModel:
    """The ensemble of the models that have a weight."""
    members = [
        Member(name, model, float(weight), float(temperature))
        for name, model, weight, temperature in zip(
            names, models, weights, temperatures, strict=True
        )
        if weight > 0
    ]
    return EnsembleModel(tuple(members), classes, several=several)
