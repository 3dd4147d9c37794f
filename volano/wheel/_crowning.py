"""Which bundle becomes the champion when a person says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volano.errors import WheelError, nearest
from volano.store import Champion, Run, Store
from volano.wheel._clean import line_of_champions
from volano.wheel._progress import Progress
from volano.wheel._stage import Setting, run_stage

__all__ = ["pick", "picked_by_hand", "picked_facts", "promoted", "rolled_back"]


def promoted(
    store: Store, record: Mapping[str, Any], candidate: str | None = None, picked: Run | None = None
) -> None:
    """Make a turn's bundle the champion, or another of its candidates.

    Args:
      store: The wheel's store.
      record: The turn's.
      candidate: The candidate; None for the one that compress chose.
      picked: What `pick` made of it.
    Raises:
      WheelError: It serves already (WHEEL-011), or its bundle is gone (014).
    """
    number = record["turn"]
    digest, why = record["artifacts"]["deploy"], f"promoted by hand; gate: {record['verdict']}"
    if picked is not None:
        digest, why = picked.artifact.digest, f"{candidate}, picked by hand"
    champion = store.champion()
    if champion is not None and champion.turn == number and champion.artifact.digest == digest:
        raise WheelError(
            11,
            f"turn {number} is the champion already",
            expected="another turn, or another of its candidates",
        )
    store.crown(number, digest, why)


def rolled_back(store: Store) -> None:
    """Make the champion before the present one serve again.

    Raises:
      WheelError: There was none (WHEEL-012), or its bundle is gone (014).
    """
    seen = line_of_champions(store.champions())
    if len(seen) < 2:
        raise WheelError(
            12,
            "there is no earlier champion to go back to",
            expected="at least two champions, one after the other",
            fix="volano history",
        )
    before, why = seen[-2], f"rolled back from turn {seen[-1].turn}"
    if left := picked_by_hand(store, seen[-1]):
        why += f", {left}"
    if name := picked_by_hand(store, before):
        why += f", to {name}"
    store.crown(before.turn, before.artifact.digest, why)


def picked_by_hand(store: Store, champion: Champion) -> str | None:
    """The candidate that a person picked for a champion; None where it is the turn's own choice."""
    run = store.run_of(champion.artifact.digest)
    picked = run.lineage["ingredients"].get("picked") if run is not None else None
    return str(picked) if picked else None


def picked_facts(store: Store, champion: Champion) -> dict[str, Any] | None:
    """Name and golden metrics of a champion that a person picked; None for a turn's own choice."""
    name = picked_by_hand(store, champion)
    run = store.run_of(champion.artifact.digest)
    if name is None or run is None:
        return None
    return {"name": name, "metrics": run.summary["metrics"]}


def pick(record: Mapping[str, Any], name: str, setting: Setting, progress: Progress) -> Run:
    """Make the bundle of a candidate ready to serve, as deploy does with the chosen one.

    Args:
      record: The turn's.
      name: The candidate.
      setting: The wheel's.
      progress: Where to say how far it is.
    Raises:
      WheelError: The turn has no such candidate with a bundle (WHEEL-017), or its bundles are gone
        (WHEEL-014).
    """
    from volano.wheel import stages

    turn = record["turn"]
    there = [row["name"] for row in record["candidates"] if row.get("kept", row["size_bytes"] > 0)]
    if name not in there:
        raise WheelError(
            17,
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
