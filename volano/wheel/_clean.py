"""`volano clean`: which turns' artifacts stay, and which go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from volano.errors import WheelError
from volano.store import Champion, Store, remove_unneeded, unneeded

__all__ = ["KEEP_CHAMPIONS", "CleanSummary", "clean_store", "line_of_champions"]

KEEP_CHAMPIONS = 3
"""Earlier champions that `rollback` can still go to after a `clean`."""


@dataclass(frozen=True)
class CleanSummary:
    """What `clean` removed, or would.

    Attributes:
      dry_run: Whether nothing was removed.
      artifacts: How many artifacts went.
      stages: Stage -> how many of them it had made; "unknown" for those that nothing records.
      leftovers: Temporary folders of killed runs that went.
      size_bytes: Bytes on disk that were freed.
      kept: How many artifacts stay.
      kept_turns: Turns whose bundle stays, so that it can be promoted.
    """

    dry_run: bool
    artifacts: int
    stages: dict[str, int]
    leftovers: int
    size_bytes: int
    kept: int
    kept_turns: list[int]


def line_of_champions(champions: Sequence[Champion]) -> list[Champion]:
    """The champions that rollback after rollback would lead to, the present one last.

    Args:
      champions: All of them, newest first.
    """
    # A rollback is a champion too; going back twice must not return to what was left.
    seen: list[Champion] = []
    for champion in reversed(champions):
        if champion.why.startswith("rolled back") and seen:
            seen.pop()
        else:
            seen.append(champion)
    return seen


def clean_store(store: Store, *, keep: int = KEEP_CHAMPIONS, dry_run: bool = False) -> CleanSummary:
    """Remove the artifacts that nothing needs and what killed runs left.

    What stays: all that the last turn and the champion's turn were made of, so that a turn finds
    its finished stages and a damaged bundle can be made again; the bundles of earlier champions;
    golden rows, predictions, feedback, the records and reports of all turns.

    Args:
      store: The wheel's store.
      keep: How many earlier champions stay, of those that `rollback` leads to.
      dry_run: Only say what would go.
    Raises:
      WheelError: A turn runs in another process (WHEEL-001); `keep` is negative (015).
    """
    if keep < 0:
        raise WheelError(15, f"keep is {keep}", expected="a number of champions, 0 or more")
    with store.turning(sweep=False):
        while True:
            needed = _needed(store, keep)
            found = unneeded(store, needed)
            # A promotion needs no turn, so one may have come between.
            if dry_run or remove_unneeded(store, found):
                break
    turns = [
        int(record["turn"])
        for record in store.turns()
        if record["artifacts"]["deploy"] not in found.artifacts
        and store.place(record["artifacts"]["deploy"]).is_dir()
    ]
    stages = Counter(found.artifacts.values())
    recorded = {store.place(digest) for digest in found.artifacts}
    stages["unknown"] = len([path for path in found.folders if path not in recorded])
    return CleanSummary(
        dry_run,
        stages.total(),
        dict(sorted((+stages).items())),
        len(found.leftovers),
        found.size_bytes,
        found.kept,
        turns,
    )


def _needed(store: Store, keep: int) -> set[str]:
    champions = store.champions()
    line = [champion.artifact.digest for champion in reversed(line_of_champions(champions))]
    needed = set(list(dict.fromkeys(line))[: 1 + keep])
    whole = [store.turn(champions[0].turn)] if champions else []
    last = store.last_turn()
    for record in [*whole, *([last] if last else [])]:
        needed |= set(record["artifacts"].values())
    return needed
