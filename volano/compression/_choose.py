"""Which of several bundles ships: the smallest that is not worse by more than the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.evaluation import judge, not_worse

__all__ = ["Candidate", "choose"]

ALPHA = 0.05
"""Level at which a loss beyond the margin would have to be ruled out to call it shown."""

ENSEMBLE_MARGINS = 2.0
"""By how many margins an ensemble has to be better than a single model to be worth its time."""


@dataclass
class Candidate:
    """One bundle that could ship.

    Attributes:
      name: ``fp32``, or the pass that made it.
      size_bytes: On disk.
      scores: Score of each validation row, higher is better; None when the pass failed.
      facts: What else is known: speed, metrics, error.
      likelihoods: For a bundle of another model than the first: a finer score of each row, higher
        is better, by which it must not be shown to be worse either. Names may be as often right
        and still be far less sure.
      ensemble: Whether several models answer for it, each of which takes its time.
    """

    name: str
    size_bytes: int
    scores: NDArray[np.float64] | None
    facts: dict[str, Any] = field(default_factory=dict)
    likelihoods: NDArray[np.float64] | None = None
    ensemble: bool = False


def choose(
    candidates: Sequence[Candidate], margin: float, *, rows: str = "validation rows"
) -> tuple[int, list[dict[str, Any]]]:
    """Choose among candidates; the first is the uncompressed reference, which always qualifies.

    Args:
      candidates: At least one; the first has scores.
      margin: The most that the mean score may fall; twice as much for a single model against an
        ensemble.
      rows: What the rows are called that they were scored on.
    Returns:
      The place of the chosen one, and for each candidate what was found, JSON-able.
    """
    reference = candidates[0].scores
    assert reference is not None
    found_rows: list[dict[str, Any]] = []
    chosen = 0
    for place, candidate in enumerate(candidates):
        row: dict[str, Any] = {"name": candidate.name, "size_bytes": candidate.size_bytes}
        row |= candidate.facts
        if candidate.scores is None:
            row |= {"passed": False}
        elif place == 0:
            row |= {"passed": True, "loss": 0.0, "score": _mean(candidate.scores)}
        else:
            row |= {"score": _mean(candidate.scores)}
            if len(reference):
                own = margin
                if candidates[0].ensemble and not candidate.ensemble:
                    own = min(0.5, ENSEMBLE_MARGINS * margin)
                found = not_worse(candidate.scores, reference, margin=own, alpha=ALPHA)
                row |= {
                    "passed": found.passed,
                    "shown": found.shown,
                    "loss": found.loss,
                    "upper": found.upper,
                    "differing": found.num_differing,
                }
                if not found.passed:
                    row["refused"] = (
                        f"loses {found.loss:.2%} (at most {found.upper:.2%}) "
                        f"on {len(reference)} {rows}, margin {own:.2%}"
                    )
                elif _less_likely(candidate, candidates[0]):
                    row |= {"passed": False, "refused": "another model, and shown to be worse"}
            else:
                row |= {"passed": False, "refused": f"there are no {rows} to compare on"}
        found_rows.append(row)
        if row["passed"] and candidate.size_bytes < candidates[chosen].size_bytes:
            chosen = place
    for place, row in enumerate(found_rows):
        row["chosen"] = place == chosen
    return chosen, found_rows


def _less_likely(candidate: Candidate, first: Candidate) -> bool:
    """Whether another model's answers are shown to be worse than the first's."""
    if candidate.likelihoods is None or first.likelihoods is None:
        return False
    found = judge(candidate.likelihoods, first.likelihoods, alpha=ALPHA)
    return found.effect < 0 and found.p_worse <= ALPHA


def _mean(scores: NDArray[np.float64]) -> float | None:
    return float(scores.mean()) if len(scores) else None
