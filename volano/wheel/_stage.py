"""What a stage is, and how one is run: only when what goes into it has changed."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import volano
from volano.spec import Spec, digest
from volano.store import Artifact, Run, Store, disk_errors
from volano.wheel._progress import Progress

__all__ = ["Context", "Setting", "Stage", "key_of", "run_stage"]


@dataclass(frozen=True)
class Setting:
    """What a stage may look at to say what goes into it.

    Attributes:
      spec: The whole spec; a stage names the parts that can change its result.
      root: The wheel's folder; relative paths in the spec start here.
      store: The wheel's store.
    """

    spec: Spec
    root: Path
    store: Store


@dataclass(frozen=True)
class Context:
    """What a running stage works with.

    Attributes:
      parents: Name of an earlier stage -> its run.
      ingredients: What the stage said goes in.
      out: An empty folder that becomes the stage's artifact.
      scratch: A folder that outlives a killed run with the same key: checkpoints go here.
    """

    setting: Setting
    parents: Mapping[str, Run]
    ingredients: Mapping[str, Any]
    out: Path
    scratch: Path
    progress: Progress

    @property
    def spec(self) -> Spec:
        """The wheel's spec."""
        return self.setting.spec

    @property
    def root(self) -> Path:
        """The wheel's folder."""
        return self.setting.root

    def parent(self, stage: str) -> Path:
        """The folder of an earlier stage's artifact."""
        return self.parents[stage].artifact.path


class Stage(Protocol):
    """A pure step from artifacts to an artifact.

    `version` goes into the key: raise it whenever the same ingredients would give another result.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    needs: ClassVar[tuple[str, ...]]

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        """All that can change the result beside the parents, as JSON-able values."""

    def run(self, context: Context) -> Mapping[str, Any]:
        """Do the work; returns the summary, as JSON-able values."""


def key_of(
    stage: Stage, ingredients: Mapping[str, Any], parents: Mapping[str, Artifact]
) -> tuple[str, dict[str, Any]]:
    """The digest of all that goes into a stage, and the same in readable form."""
    lineage = {
        "stage": stage.name,
        "version": stage.version,
        "ingredients": dict(ingredients),
        "parents": {name: artifact.digest for name, artifact in parents.items()},
    }
    return digest(lineage), lineage


def run_stage(
    stage: Stage,
    setting: Setting,
    runs: Mapping[str, Run],
    progress: Progress,
    *,
    ingredients: Mapping[str, Any] | None = None,
) -> Run:
    """The finished run of a stage: found in the store, or done now and put there.

    Args:
      stage: What to run.
      setting: What it may look at.
      runs: Stage -> run, for at least the stages that it needs.
      progress: Where to say how far it is.
      ingredients: Those of an earlier run whose artifact was lost; None asks the stage.
    """
    parents = {name: runs[name] for name in stage.needs}
    if ingredients is None:
        ingredients = stage.ingredients(setting, parents)
    key, lineage = key_of(stage, ingredients, {name: run.artifact for name, run in parents.items()})
    store = setting.store
    known = store.finished(key)
    if known is not None:
        return known
    progress.say(f"  {stage.name}")
    started = time.perf_counter()
    scratch = store.scratch(key)
    with store.new_folder() as out, disk_errors(store.folder):
        scratch.mkdir(parents=True, exist_ok=True)
        context = Context(setting, parents, ingredients, out, scratch, progress)
        try:
            summary = stage.run(context)
        finally:
            progress.close()
        artifact = store.keep(out, stage.name)
    lineage["code"] = {"volano": volano.__version__, "python": platform.python_version()}
    run = Run(key, stage.name, artifact, lineage, summary, time.perf_counter() - started)
    store.record(run)
    return run
