"""Trials: bad ones are stopped, a budget is kept, and a killed search goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.test_tables import job_of
from volano.training import Fit, Job, compete
from volano.training import _contest as contest_module


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stub(clock: Clock, seconds: float, *, patient: bool = False) -> Any:
    """A learner whose one setting is how wrong it is, and which learns for so many seconds."""

    class Stub:
        name, version = "stub", 1

        @staticmethod
        def suits(job: Job) -> str | None:
            return None

        @staticmethod
        def defaults(job: Job) -> list[dict[str, float]]:
            return [{"offset": 10.0}, {"offset": 20.0}]

        @staticmethod
        def space(job: Job) -> dict[str, Any]:
            from optuna.distributions import FloatDistribution

            return {"offset": FloatDistribution(1.0, 100.0)}

        @staticmethod
        def fit(job: Job) -> Fit:
            offset = float(job.settings["offset"])
            for step in range(1, 11):
                clock.now += seconds / 10
                job.step("learning", step, 10)
                # Looked at at odd places, as a learner does whose rate is its own.
                job.watch(100 * step + int(offset), offset**2 * (1 + 1 / step))
                if job.late and not patient:
                    break
            from volano.training import learner

            fit = learner("linear").fit(replace(job, settings={"penalty": 0.1}))
            target = np.asarray(job.validation.target, np.float32)
            return Fit(fit.model, (target + np.float32(offset))[:, None])

    return Stub


def use(monkeypatch: pytest.MonkeyPatch, **kinds: Any) -> None:
    known: Callable[[str], Any] = contest_module.learner
    monkeypatch.setattr(
        contest_module, "learner", lambda name: kinds[name] if name in kinds else known(name)
    )


def large(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A table that is not cross-fitted."""
    monkeypatch.setattr(contest_module, "FEW_ROWS", 10)
    return replace(job_of(folder, "regression"), clock=clock)


def test_a_bad_trial_is_stopped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    use(monkeypatch, stub=stub(clock, 10.0))
    found = compete(large(tmp_path, clock, monkeypatch), ("stub",), trials=14).trials
    assert len(found) == 16
    pruned = [trial for trial in found if trial.state == "pruned"]
    whole = [trial for trial in found if trial.state == "complete"]
    assert len(pruned) + len(whole) == 16
    assert 1 <= len(pruned) < 14
    # Not before four were finished, and only where the others' median was better.
    assert all(trial.number >= 4 for trial in pruned)
    for trial in pruned:
        before = [one.settings["offset"] for one in whole if one.number < trial.number]
        assert trial.settings["offset"] > np.median(before)
        assert trial.loss is None
        assert trial.spread is None
        assert trial.seconds < 10.0
    assert all(trial.seconds == pytest.approx(10.0) for trial in whole)
    assert all(trial.spread is not None for trial in whole)


def test_a_bad_trial_is_stopped_between_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    use(monkeypatch, stub=stub(clock, 10.0))
    job = replace(job_of(tmp_path, "regression"), clock=clock)
    found = compete(job, ("stub",), trials=14).trials
    pruned = [trial for trial in found if trial.state == "pruned"]
    assert pruned
    # Two of five folds, and not the last fit with all rows.
    assert all(trial.seconds == pytest.approx(20.0) for trial in pruned)
    whole = [trial.seconds for trial in found if trial.state == "complete"]
    assert whole == pytest.approx([60.0] * len(whole))


@pytest.mark.parametrize("seconds", [7.0, 45.0])
def test_a_budget_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = Clock()
    use(monkeypatch, stub=stub(clock, seconds), slow=stub(clock, 10 * seconds))
    job = large(tmp_path, clock, monkeypatch)
    contest = compete(job, ("linear", "stub", "slow"), budget_s=300.0)
    taken = clock.now - 1000.0
    # Used to the end, as far as half a trial fits in, and passed by a look at the clock at most.
    assert 300 - seconds <= taken <= 300 + seconds
    assert {"linear", "stub"} <= set(contest.fits)


def test_what_an_interrupted_run_took_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    use(monkeypatch, stub=stub(clock, 10.0))
    job = large(tmp_path, clock, monkeypatch)
    compete(job, ("stub",), budget_s=100.0)
    before = clock.now
    compete(job, ("stub",), budget_s=130.0)
    assert clock.now - before == pytest.approx(30.0, abs=10.0)


def test_folds_of_a_table_keep_a_budget_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    use(monkeypatch, stub=stub(clock, 10.0, patient=True))
    job = replace(job_of(tmp_path, "regression"), clock=clock)
    found = compete(job, ("stub",), budget_s=200.0).trials
    # The one that was being cross-fitted when time was over is no trial to judge by.
    assert clock.now - 1000.0 <= 220.0
    assert all(trial.seconds == pytest.approx(60.0) for trial in found if trial.loss is not None)


PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from dataclasses import replace
sys.path.insert(0, sys.argv[3])
from tests.training.test_tables import job_of
from volano.training import boosted, compete

boosted.MAX_TREES_OF_FEW = 20
folder, fits = Path(sys.argv[1]), int(sys.argv[2])
fit = boosted.BoostedLearner.fit
done = 0

def dying(job):
    global done
    done += 1
    if fits and done > fits:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit(job)

boosted.BoostedLearner.fit = staticmethod(dying)
job = replace(job_of(folder / str(os.getpid()), "regression"), scratch=folder / "scratch")
contest = compete(job, ("linear", "boosted"), trials=4)
shown = [trial.as_dict() for trial in contest.trials]
for item in shown:
    del item["seconds"]
outputs = contest.fits["boosted"].outputs.tolist()
print(json.dumps({"trials": shown, "outputs": outputs, "fits": done}))
"""


def searched(folder: Path, fits: int) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(fits), str(root)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_models(tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    wanted = json.loads(whole.stdout)
    # In the middle of the folds of the third setting of trees.
    killed = searched(tmp_path / "killed", 25)
    assert killed.returncode == -signal.SIGKILL
    kept = list((tmp_path / "killed" / "scratch" / "trials").glob("*/trial.json"))
    assert 2 <= len(kept) < len(wanted["trials"])
    again = searched(tmp_path / "killed", 0)
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert found["trials"] == wanted["trials"]
    assert found["outputs"] == wanted["outputs"]
    # What was finished is not done again.
    assert found["fits"] == wanted["fits"] - 22
