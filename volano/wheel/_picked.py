"""A candidate of an earlier turn, picked by hand: judged on golden rows, without training again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volano.errors import WheelError, nearest
from volano.store import Run
from volano.wheel._progress import Progress
from volano.wheel._stage import Setting, run_stage

__all__ = ["picked"]


def picked(record: Mapping[str, Any], name: str, setting: Setting, progress: Progress) -> Run:
    """Make the bundle of a candidate ready to serve, as deploy does with the chosen one.

    Args:
      record: The turn's.
      name: The candidate.
      setting: The wheel's.
      progress: Where to say how far it is.
    Raises:
      WheelError: The turn has no such candidate with a bundle (WHEEL-015), or its bundles are gone
        (WHEEL-014).
    """
    from volano.wheel import stages

    turn = record["turn"]
    there = [row["name"] for row in record["candidates"] if row.get("kept", row["size_bytes"] > 0)]
    if name not in there:
        raise WheelError(
            15,
            f"turn {turn} has no candidate {name!r} with a bundle",
            expected="one of " + ", ".join(there),
            nearest=nearest(name, there),
            fix=f"volano show {turn}",
        )
    store = setting.store
    deploy = store.run_of(record["artifacts"]["deploy"])
    parents = {}
    if deploy is not None:
        parents = {
            stage: store.run_of(digest) for stage, digest in deploy.lineage["parents"].items()
        }
    whole = {stage: run for stage, run in parents.items() if run is not None}
    if deploy is None or len(whole) < len(parents) or not whole["compress"].artifact.path.is_dir():
        raise WheelError(
            14,
            f"the candidates of turn {turn} are no longer there, as after 'volano clean'",
            expected="a turn whose bundles were kept",
            fix="volano turn",
        )
    ingredients = {**deploy.lineage["ingredients"], "picked": name, "test_number": None}
    return run_stage(stages.DeployStage(), setting, whole, progress, ingredients=ingredients)
