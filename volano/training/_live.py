"""A teacher that is asked about rows as they are learned from, and not as they came.

Where a student sees a picture moved, or with a hole, what its teacher says of the whole one is not
what it would say of this one. Beyer et al., `Knowledge distillation: A good teacher is patient and
consistent <https://arxiv.org/abs/2106.05237>`_, 2022.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from volano.models import Network
from volano.models.encoders._residual import fold_norms
from volano.training._vocabulary import CompactVocabulary

__all__ = ["LiveTeacher"]


class LiveTeacher:
    """Answers in the place of those that were asked for before the run.

    Args:
      teacher: A trained network of the same columns; stays as it is.
      vocabularies: Column -> the student's cut vocabulary: its batches hold places in it.
      dtype: What the teacher computes in.
    """

    def __init__(
        self,
        teacher: Network,
        vocabularies: Mapping[str, CompactVocabulary],
        dtype: torch.dtype,
    ) -> None:
        self._teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        fold_norms(self._teacher)
        self._teacher.encoders.to(dtype)
        self._ids = {name: torch.from_numpy(each.used) for name, each in vocabularies.items()}

    def targets(self, batch: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        """Targets that begin with a teacher's outputs, with its answers to this batch instead."""
        mine = dict(batch)
        for name, used in self._ids.items():
            mine[f"{name}.ids"] = used[batch[f"{name}.ids"]]
        with torch.no_grad():
            answers = self._teacher(mine).float()
        return torch.cat([answers, targets[:, answers.shape[1] :]], dim=1)
