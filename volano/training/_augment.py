"""Changes to rows that leave their targets as they are, drawn anew each time a row is learned from.

Every draw follows from the seed and the step alone, so that a resumed run draws the same. Whole
batches are changed at once, as the columns made them: bytes of pictures, samples of
sound, tokens of texts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from torch import Tensor, from_numpy

from volano.columns import FittedColumn
from volano.models import Network
from volano.training._plan import TrainPlan
from volano.training._vocabulary import CompactVocabulary

__all__ = ["Augmentation", "Mixed", "augmentation"]

Batch = dict[str, Tensor]
Change = Callable[..., None]
"""Changes a column's arrays (by key, in place of the old ones) in the ways that are named:
``(arrays, names, random)``, and ``facts`` where its module has ``facts_of``."""

_KINDS = {
    "audio": "volano.training._augment_audio",
    "image": "volano.training._augment_image",
    "text": "volano.training._augment_text",
}
"""Column type -> module with ``NAMES``, ``defaults(column)`` and ``change``; with ``mix`` where
rows can be mixed; and with ``facts_of(column, vocabulary)`` where more must be known of a column,
which is None where nothing can be changed."""

MIXING = ("cutmix", "mixup")


@dataclass(frozen=True)
class Mixed:
    """Rows that hold a part of another row of their batch, whose target counts as well.

    Attributes:
      partner: The other row's place in the batch, int64, (B,).
      share: Part of the row that is its own.
    """

    partner: Tensor
    share: float


class Augmentation:
    """What is done to the batches of one run.

    Args:
      columns: Column -> (its module's name, what is done to it).
      mixing: What is done to pairs of rows; only where one column is all there is.
      seed: Decides every draw, together with the step.
      facts: Column -> what its module must know of it.
    """

    def __init__(
        self,
        columns: Mapping[str, tuple[str, tuple[str, ...]]],
        mixing: tuple[str, ...],
        seed: int,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._facts = {name: {"facts": known} for name, known in facts.items()}
        self.columns = dict(columns)
        self.mixing = mixing
        self._seed = seed
        self._modules = {
            name: importlib.import_module(module) for name, (module, _) in columns.items()
        }

    def __call__(self, batch: Batch, step: int) -> tuple[Batch, Mixed | None]:
        """The batch with its rows changed, and who was mixed with whom."""
        random = np.random.default_rng([self._seed, step, 0xA06])
        found = dict(batch)
        mixed = None
        for name, (_, names) in self.columns.items():
            start = f"{name}."
            arrays = {
                key.removeprefix(start): value.numpy()
                for key, value in batch.items()
                if key.startswith(start)
            }
            module = self._modules[name]
            if names:  # else only mixing is asked of it, or nothing while another column changes
                cast("Change", module.change)(arrays, names, random, **self._facts.get(name, {}))
            # After a fit without mixing, half of the batches are left as they are.
            if self.mixing and random.random() < 0.5:
                way = self.mixing[int(random.integers(len(self.mixing)))]
                num_rows = len(next(iter(arrays.values())))
                partner = random.permutation(num_rows)
                share = module.mix(arrays, way, partner, random)
                mixed = Mixed(from_numpy(partner), share)
            found |= {
                start + key: from_numpy(np.ascontiguousarray(value))
                for key, value in arrays.items()
            }
        return found, mixed


def augmentation(
    network: Network,
    inputs: Mapping[str, FittedColumn],
    plan: TrainPlan,
    vocabularies: Mapping[str, CompactVocabulary] = MappingProxyType({}),
    say: Callable[[str], None] = lambda text: None,
) -> Augmentation | None:
    """What the plan asks for, as far as the columns allow it; None when that is nothing.

    Args:
      network: What learns.
      inputs: Its fitted input columns.
      plan: See `plan_training`.
      vocabularies: Column -> its cut vocabulary, where tokens come as places in one.
      say: Told of what is left out.
    """
    if plan.augment == "off":
        return None
    columns: dict[str, tuple[str, tuple[str, ...]]] = {}
    facts: dict[str, Any] = {}
    mixes = False
    for name, encoder in zip(network.columns, network.encoders, strict=True):
        place = _KINDS.get(str(encoder.kind))
        if place is None:
            continue
        module = importlib.import_module(place)
        wanted = module.defaults(inputs[name]) if plan.augment == "auto" else plan.augment
        names = tuple(each for each in wanted if each in module.NAMES)
        if hasattr(encoder, "masks"):
            encoder.masks = tuple(each for each in names if each.endswith("_mask"))  # type: ignore[assignment]
        if names and hasattr(module, "facts_of"):
            facts[name] = module.facts_of(
                inputs[name],
                vocabularies.get(name),
                names,
                getattr(encoder, "masked_model", None),
                say,
            )
            if facts[name] is None:
                continue
        columns[name] = (place, names)
        mixes = mixes or hasattr(module, "mix")
    if isinstance(plan.augment, tuple):
        done = {name for _, names in columns.values() for name in names}
        if idle := [name for name in plan.augment if name not in {*done, *MIXING}]:
            say(f"    nothing here is changed by {', '.join(idle)}")
    alone = len(network.encoders) == 1 and network.table is None
    mixing = tuple(each for each in MIXING if each in plan.augment) if alone and mixes else ()
    if not mixing and not any(names for _, names in columns.values()):
        return None
    return Augmentation(columns, mixing, plan.seed, facts)
