"""Which of several bundles ships: the smallest that is not worse by more than the margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.errors import shown_size
from volano.evaluation import judge, not_worse

__all__ = ["Candidate", "Goal", "choose"]

ALPHA = 0.05
"""Level at which a loss beyond the margin would have to be ruled out to call it shown."""

ENSEMBLE_MARGINS = 2.0
"""By how many margins an ensemble has to be better than a single model to be worth its time."""

SLICE_LOSS = 0.1
"""A slice that is shown to lose more than this has died, whatever the average says."""


SAME_TIME = 1.05
"""Times of a row that differ by less are the same: so far they differ from run to run."""


@dataclass(frozen=True)
class Goal:
    """What ships should be like.

    Attributes:
      margin: The most that the mean score may fall; twice as much for a single model against an
        ensemble.
      size_bytes: The most that it may take on disk; None for any.
      row_ms: The most that one row may take, median; None for any.
    """

    margin: float
    size_bytes: int | None = None
    row_ms: float | None = None


@dataclass
class Candidate:
    """One bundle that could ship.

    Attributes:
      name: ``fp32``, or the passes that made it.
      size_bytes: On disk.
      scores: Score of each validation row, higher is better; None when it could not be made.
      facts: What else is known: speed, metrics, error; ``agreement`` with the model that it was
        made of, and ``least_agreement``, what that has to be.
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
    candidates: Sequence[Candidate],
    goal: Goal,
    slices: Mapping[str, NDArray[np.bool_]] | None = None,
    *,
    held_out: str = "validation rows",
) -> tuple[int, list[dict[str, Any]]]:
    """Choose among candidates; the first is the uncompressed reference, which always qualifies.

    Of those that qualify and reach the goal the smallest ships; where none reaches it, the smallest
    of those that qualify, or the fastest where the goal is speed alone.

    Args:
      candidates: At least one; the first has scores.
      goal: What ships should be like.
      slices: Parts of the rows that must each hold up: name -> whether a row is in it.
      held_out: What the rows are called that they were scored on.
    Returns:
      The place of the chosen one, and for each candidate what was found, JSON-able: ``passed``;
      ``front``, whether no other is at least as good in quality, bytes and speed; ``kept``,
      whether its bundle is worth keeping; ``missed``, what of the goal it does not reach.
    """
    reference = candidates[0].scores
    assert reference is not None
    rows: list[dict[str, Any]] = []
    for candidate in candidates:
        row: dict[str, Any] = {"name": candidate.name, "size_bytes": candidate.size_bytes}
        row |= candidate.facts
        row |= _judged(candidate, candidates[0], goal.margin, slices or {}, held_out)
        row["missed"] = _missed(candidate, goal)
        rows.append(row)
    for row in rows:
        row["front"] = row["size_bytes"] > 0 and not any(_beats(other, row) for other in rows)
    reaching = [place for place, row in enumerate(rows) if row["passed"] and not row["missed"]]
    passing = [place for place, row in enumerate(rows) if row["passed"]]
    # Where speed alone is asked for and not reached, the fastest is what was meant.
    fast = not reaching and goal.row_ms is not None and goal.size_bytes is None
    first = "p50_ms" if fast else "size_bytes"
    chosen = min(reaching or passing, key=lambda place: (rows[place].get(first, 0.0), place))
    for place, row in enumerate(rows):
        row["chosen"] = place == chosen
        row["kept"] = row["front"] or row["chosen"] or place == 0
    return chosen, rows


def _judged(
    candidate: Candidate,
    reference: Candidate,
    margin: float,
    slices: Mapping[str, NDArray[np.bool_]],
    held_out: str,
) -> dict[str, Any]:
    """Whether a candidate is good enough to ship, and why not."""
    scores, wanted = candidate.scores, reference.scores
    if scores is None or wanted is None:
        return {"passed": False}
    row: dict[str, Any] = {"score": _mean(scores)}
    if candidate is reference:
        return {**row, "passed": True, "loss": 0.0}
    if not len(wanted):
        return {**row, "passed": False, "refused": f"there are no {held_out} to compare on"}
    twice = ""
    if reference.ensemble and not candidate.ensemble:
        margin = min(0.5, ENSEMBLE_MARGINS * margin)
        twice = ", doubled against an ensemble"
    found = not_worse(scores, wanted, margin=margin, alpha=ALPHA)
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
            f"on {len(wanted)} {held_out}, margin {margin:.2%}{twice}"
        )
        return row
    agreed, least = candidate.facts.get("agreement"), candidate.facts.get("least_agreement", 0.0)
    if agreed is not None and agreed < least:
        why = f"agrees by {agreed:.1%} with the model it was made of; {least:.1%} is the least"
        return {**row, "passed": False, "refused": why}
    if _less_likely(candidate, reference):
        return {**row, "passed": False, "refused": "another model, and shown to be worse"}
    for name, mask in slices.items():
        lost = judge(scores[mask], wanted[mask] - SLICE_LOSS, alpha=ALPHA / len(slices))
        if lost.effect < 0 and lost.p_worse <= ALPHA / len(slices):
            fell = float((wanted - scores)[mask].mean())
            why = f"{name}: falls by {fell:.1%} on {int(mask.sum())} rows"
            return {**row, "passed": False, "refused": why}
    return row


def _missed(candidate: Candidate, goal: Goal) -> list[str]:
    missed = []
    if goal.size_bytes is not None and candidate.size_bytes > goal.size_bytes:
        most = shown_size(goal.size_bytes)
        missed.append(f"{shown_size(candidate.size_bytes)} of at most {most}")
    took = candidate.facts.get("p50_ms")
    if goal.row_ms is not None and took is not None and took > goal.row_ms:
        missed.append(f"{took:.3g} ms of at most {goal.row_ms:g}")
    return missed


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether it is at least as good in everything, and better in something; times that differ by
    no more than they do from run to run are the same.
    """
    if one.get("score") is None or other.get("score") is None:
        return False
    ours = (one["score"], -one["size_bytes"])
    theirs = (other["score"], -other["size_bytes"])
    mine_ms, its_ms = one.get("p50_ms", 0.0), other.get("p50_ms", 0.0)
    if mine_ms > SAME_TIME * its_ms or any(a < b for a, b in zip(ours, theirs, strict=True)):
        return False
    return ours != theirs or SAME_TIME * mine_ms < its_ms


def _less_likely(candidate: Candidate, first: Candidate) -> bool:
    """Whether another model's answers are shown to be worse than the first's."""
    if candidate.likelihoods is None or first.likelihoods is None:
        return False
    found = judge(candidate.likelihoods, first.likelihoods, alpha=ALPHA)
    return found.effect < 0 and found.p_worse <= ALPHA


def _mean(scores: NDArray[np.float64]) -> float | None:
    return float(scores.mean()) if len(scores) else None
