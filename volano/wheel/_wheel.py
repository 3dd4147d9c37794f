"""A wheel: the folder with a spec and a store, and all that can be done with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from volano.columns import column_options, column_uses
from volano.compression import pass_kinds
from volano.errors import BundleError, DataError, StoreError, VolanoError, WheelError, shorten
from volano.evaluation import evaluator, gate_metric
from volano.runtime import Model, Prediction
from volano.spec import Spec, changed_serve, load_spec
from volano.store import Champion, PredictionLog, Run, Store, TakenBack
from volano.tasks import task_for_target
from volano.wheel._clean import KEEP_CHAMPIONS, CleanSummary, clean_store
from volano.wheel._progress import Progress, SilentProgress
from volano.wheel._record import turn_state
from volano.wheel._stage import Setting, Stage, run_stage

__all__ = ["SPEC_FILE", "STORE_FOLDER", "Turn", "Wheel"]

SPEC_FILE = "volano.yaml"
STORE_FOLDER = ".volano"
BUNDLE = "bundle"


@dataclass(frozen=True)
class Turn:
    """One pass through the stages, or what an earlier one left when nothing has changed.

    Attributes:
      number: From 1.
      verdict: ``promoted``, ``rejected`` or ``inconclusive``.
      bundle: The candidate's folder; `Wheel.clean` may have removed it since.
      report: The report, an HTML file.
      record: All of it, JSON-able: what ``volano turn --json`` prints.
      unchanged: Whether nothing had changed since this turn, so that none was made.
    """

    number: int
    verdict: str
    bundle: Path
    report: Path
    record: Mapping[str, Any]
    unchanged: bool = False

    def __repr__(self) -> str:
        name = self.record.get("headline") or "accuracy"
        found = self.metrics.get(name)
        quality = f" {name}={found['value']:.4g}" if found else ""
        unchanged = " unchanged" if self.unchanged else ""
        return f"<volano.Turn {self.number} {self.verdict}{quality}{unchanged}: {self.bundle}>"

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metric -> value, low, high, on golden rows."""
        return dict(self.record["metrics"])


class Wheel:
    """A project folder with ``volano.yaml`` and its store.

    Args:
      root: The folder.
      progress: Where to say how far work is; nowhere by default.
    Raises:
      SpecErrors: When the spec is first needed and is wrong.
    Example:
      >>> wheel = Wheel("reviews")                         # doctest: +SKIP
      >>> wheel.turn().verdict                             # doctest: +SKIP
      'promoted'
    """

    def __init__(self, root: str | Path = ".", *, progress: Progress | None = None) -> None:
        self.root = Path(root)
        self.progress = progress or SilentProgress()

    def __repr__(self) -> str:
        # Nothing is opened to say it: a folder without a spec has a repr as well.
        return f"<volano.Wheel {shorten(str(self.root.resolve()), 120)}>"

    @cached_property
    def spec(self) -> Spec:
        """The wheel's spec, read when first asked for."""
        return load_spec(
            self.root / SPEC_FILE,
            column_options=column_options,
            column_types=column_uses(),
            passes=pass_kinds(),
        )

    @cached_property
    def store(self) -> Store:
        """The wheel's store, opened when first asked for.

        Raises:
          WheelError: Something else has the name of its folder (WHEEL-021).
        """
        folder = self.root / STORE_FOLDER
        if folder.exists() and not folder.is_dir():
            raise WheelError(
                21,
                "this is a file, and the store's folder must be here",
                where=str(folder),
                expected="a folder, or nothing",
                fix=f"mv {folder} {folder}.old",
            )
        return Store(self.root / STORE_FOLDER, self.spec.store)

    @property
    def log(self) -> PredictionLog:
        """Predictions and feedback."""
        return PredictionLog(self.store.engine)

    def close(self) -> None:
        """Let go of the store."""
        if "store" in self.__dict__:
            self.store.close()

    def __enter__(self) -> Wheel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Turning -----------------------------------------------------------------------------------

    def turn(self) -> Turn:
        """data -> prepare -> train -> evaluate -> compress -> deploy, as far as anything changed.

        Returns:
          The new turn; or the last one, with `unchanged`, when nothing has changed since.
        Raises:
          VolanoError: What stopped it, in words. What was finished is kept and used next time.
        """
        from volano.wheel import stages

        started = time.perf_counter()
        with self.store.turning():
            runs: dict[str, Run] = {}
            self._discard_damaged()
            self._preflight()
            self._fetch_encoders()
            self._run(stages.FeedbackStage(), runs)
            self._run(stages.DataStage(), runs)
            notes = self._golden(runs)
            for stage in (
                stages.PrepareStage(),
                stages.TrainStage(),
                stages.EvaluateStage(),
                stages.CompressStage(),
            ):
                self._run(stage, runs)
            last = self.store.last_turn()
            if last and last["state"] == turn_state(self.spec, runs):
                self._restore(last["artifacts"]["deploy"])
                turn = self._turn_of(last, unchanged=True)
                if not turn.report.exists():
                    self._write_report(turn)
                return turn
            champion = self.store.champion()
            if champion is not None:
                self._restore(champion.artifact.digest)
            self._run(stages.DeployStage(), runs)
            return self._finish(runs, notes, time.perf_counter() - started)

    def _preflight(self) -> None:
        """Say what would stop a turn later, before any data is read.

        Raises:
          AssetError: An encoder is not there or lacks something.
          DataError: The test table is not there, or is all of the data (DATA-503).
        """
        from volano.data import resolve
        from volano.models import check_encoder
        from volano.wheel import stages

        spec = self.spec
        stages.PrepareStage().ingredients(self._setting, {})
        stages.check_spec(self._setting)
        judge = evaluator(task_for_target(spec.target_column.type).kind)
        gate_metric(spec.gate.metric, judge, spec.train.quantile)
        for column in spec.inputs.values():
            check_encoder(column.type, column.options, self.root)
        if not spec.test or self.store.golden() is not None:
            return
        stages.GoldenStage().ingredients(self._setting, {})
        data, test = (
            {file.path.resolve() for file in resolve(addresses, root=self.root)}
            for addresses in (spec.data, spec.test)
        )
        if data <= test:
            raise DataError(
                503,
                "the rows to judge on are the very rows to learn from",
                where=str(self.root / SPEC_FILE),
                expected="a test table with rows of its own",
                fix="remove test: from volano.yaml; some of the data are set aside then",
            )

    def _fetch_encoders(self) -> None:
        from volano.models import fetch_encoder

        for column in self.spec.inputs.values():
            fetch_encoder(column.type, column.options, self.root, say=self.progress.say)

    @property
    def _setting(self) -> Setting:
        return Setting(self.spec, self.root, self.store)

    def _run(self, stage: Stage, runs: dict[str, Run]) -> None:
        runs[stage.name] = run_stage(stage, self._setting, runs, self.progress)

    def _golden(self, runs: dict[str, Run]) -> list[str]:
        """Golden rows: those frozen at the first turn, or chosen and frozen now.

        Returns:
          What of the spec no longer counts because they are frozen, in words.
        """
        from volano.wheel import stages

        frozen = self.store.golden()
        if frozen is None:
            self._run(stages.GoldenStage(), runs)
            self.store.freeze_golden(runs["golden"].artifact.digest)
            return []
        golden = self._frozen(frozen)
        runs["golden"] = golden
        then = golden.lineage["ingredients"]
        try:
            now = stages.GoldenStage().ingredients(self._setting, {})
        except VolanoError:
            # The test table was read when the rows were frozen; it need not be there any more.
            now = then
        part = "test" if self.spec.test else "split.golden"
        if now == then:
            return []
        note = (
            f"'{part}' does not change the golden rows: "
            f"{golden.summary['rows']} were frozen at the first turn, for good"
        )
        self.progress.say(f"    {note}")
        return [note]

    def _frozen(self, digest: str) -> Run:
        """The run that made the frozen golden rows, for a spec that still has their columns."""
        golden = self._restore(digest)
        then = golden.lineage["ingredients"]
        for part, now in (("inputs", list(self.spec.inputs)), ("target", self.spec.target_name)):
            if then[part] != now:
                raise WheelError(
                    33,
                    f"the golden rows were frozen with the {part} {_listed(then[part])}, "
                    f"and the spec now has {_listed(now)}",
                    where=str(self.root / SPEC_FILE),
                    expected="the same columns for the life of the wheel, or bundles could not be "
                    "compared",
                    fix=f"put {_listed(then[part])} back, or start another wheel: "
                    "volano init DATA -C ANOTHER_FOLDER",
                )
        return golden

    def _discard_damaged(self) -> None:
        """Look at every byte of what serves, and drop what is damaged, so that it is made again.

        The golden rows stay, whatever they hold: nothing but a backup could replace them.
        """
        champion = self.store.champion()
        digests = [champion.artifact.digest] if champion else []
        golden = self.store.golden()
        while digests:
            digest = digests.pop()
            if digest == golden or self.store.verify(digest):
                continue
            self.store.discard(digest)
            run = self.store.run_of(digest)
            if run is not None:
                self.progress.say(f"    what {run.stage} made is damaged or missing")
                digests += run.lineage["parents"].values()

    def _restore(self, digest: str) -> Run:
        """The run that made an artifact; where the artifact was lost, it is made again.

        Raises:
          WheelError: What it was made from is lost too, or gives something else (WHEEL-031).
        """
        from volano.wheel import stages

        run = self.store.run_of(digest)
        try:
            self.store.artifact(digest)
        except StoreError as error:
            if error.code != "STORE-020":
                raise
            lost: VolanoError = error
        else:
            assert run is not None
            return run
        if run is not None:
            stage = next(stage for stage in stages.ALL if stage.name == run.stage)
            parents = {name: self.store.run_of(key) for name, key in run.lineage["parents"].items()}
            whole = {name: parent for name, parent in parents.items() if parent is not None}
            if len(whole) == len(parents):
                try:
                    ingredients = run.lineage["ingredients"]
                    made = run_stage(
                        stage(), self._setting, whole, self.progress, ingredients=ingredients
                    )
                    if made.artifact.digest == digest:
                        return made
                except (VolanoError, OSError) as error:
                    self.progress.say(f"    {run.stage} cannot be made again: {error}")
        what = "golden rows" if run and run.stage == "golden" else "bundle"
        raise WheelError(
            31,
            f"the {what} of this wheel cannot be made again: {lost.what}",
            where=lost.where,
            expected="the folder that an earlier turn wrote",
            fix="restore it from a backup, "
            + ("or start another wheel" if what == "golden rows" else "or volano rollback"),
        )

    def _finish(self, runs: Mapping[str, Run], notes: Sequence[str], seconds: float) -> Turn:
        from volano.wheel._crowning import picked_facts
        from volano.wheel._record import turn_record

        deploy = runs["deploy"]
        champions = self.store.champions()
        champion_turn = champions[0].turn if champions else None
        record = turn_record(
            self.spec,
            runs,
            champion_turn,
            seconds,
            champions=champions,
            picked=picked_facts(self.store, champions[0]) if champions else None,
            notes=notes,
        )
        promoted = record["verdict"] == "promoted"
        number = self.store.add_turn(
            verdict=record["verdict"],
            artifact=deploy.artifact.digest,
            record=record,
            why="the gate promoted it" if promoted else None,
        )
        turn = self._turn_of(self.store.turn(number))
        self._write_report(turn)
        return turn

    def _write_report(self, turn: Turn) -> None:
        from volano.wheel.report import write_report

        digests = turn.record["artifacts"]
        folders = {name: self.store.artifact(digest).path for name, digest in digests.items()}
        turn.report.parent.mkdir(parents=True, exist_ok=True)
        write_report(turn.report, turn.record, folders, self.store.turns())

    def _turn_of(self, record: Mapping[str, Any], *, unchanged: bool = False) -> Turn:
        number = int(record["turn"])
        bundle = self.store.place(record["artifacts"]["deploy"]) / BUNDLE
        report = self.store.folder / "turns" / f"{number:04d}" / "report.html"
        full = {
            **record,
            "bundle": str(bundle) if bundle.is_dir() else None,
            "report": str(report),
            "unchanged": unchanged,
        }
        return Turn(number, str(record["verdict"]), bundle, report, full, unchanged)

    def check(self) -> dict[str, Any]:
        """What is wrong with the data, as a turn would find it; trains nothing.

        Returns:
          ``data``; ``cleaning``, for each kind of finding its count, action and first rows;
          ``labels`` with their rows; ``like_labels``, which may be one class; ``target``, which for
          numbers has their range; ``columns``, what could not be read of each input.
        """
        from volano.data import GoldenRows, Snapshot, clean, like_labels
        from volano.wheel import stages
        from volano.wheel._checked import columns_checked, target_checked, warnings_of

        with self.store.turning():
            runs: dict[str, Run] = {}
            self._preflight()
            self._run(stages.FeedbackStage(), runs)
            self._run(stages.DataStage(), runs)
        snapshot = Snapshot.open(runs["data"].artifact.path)
        frozen = self.store.golden()
        golden = None
        if frozen is not None:
            golden = GoldenRows.open(self._frozen(frozen).artifact.path / stages.GOLDEN_FILE)
            if golden.order is not None:
                golden = None  # steps are held out by their time, not by what is in a row
        selection = clean(snapshot, self.spec.clean, golden=golden)
        labels = snapshot.label_rows()
        return {
            "data": dict(runs["data"].summary),
            "cleaning": selection.as_dict(),
            "labels": labels,
            "like_labels": [found.as_dict() for found in like_labels(labels)],
            "target": target_checked(self.spec, snapshot, selection.rows),
            "columns": columns_checked(self.spec, snapshot, selection.rows),
            "warnings": warnings_of(self.spec, snapshot, selection.rows),
        }

    # History -----------------------------------------------------------------------------------

    def history(self) -> list[dict[str, Any]]:
        """The records of all turns, oldest first."""
        return self.store.turns()

    def show(self, number: int) -> Turn:
        """One turn.

        Raises:
          WheelError: There is none of that number (WHEEL-010).
        """
        return self._turn_of(self.store.turn(number))

    def promote(self, number: int, candidate: str | None = None) -> Champion:
        """Make a turn's bundle the champion, whatever the gate said.

        Args:
          number: The turn.
          candidate: Another of its candidates than the chosen one; nothing is trained again.
        Raises:
          WheelError: There is no such turn (WHEEL-010) or candidate (017), it serves already
            (011), or `clean` has removed its bundle (014).
        """
        from volano.wheel._crowning import pick, promoted

        record = self.show(number).record
        if candidate is None:
            promoted(self.store, record)
        else:
            picked = pick(record, candidate, self._setting, self.progress)
            promoted(self.store, record, candidate, picked)
        return self.champion()

    def rollback(self) -> Champion:
        """Make the champion before the present one serve again.

        Raises:
          WheelError: There was none (WHEEL-012), or its bundle is gone (014).
        """
        from volano.wheel._crowning import rolled_back

        rolled_back(self.store)
        return self.champion()

    def clean(self, *, keep: int = KEEP_CHAMPIONS, dry_run: bool = False) -> CleanSummary:
        """Remove the artifacts that no turn needs any more, and what killed runs left.

        Everything of the last turn and of the champion's turn stays, the bundles of earlier
        champions, golden rows, predictions, feedback, and the record and report of every turn.

        Args:
          keep: How many earlier champions stay, of those that `rollback` leads to.
          dry_run: Only say what would go.
        Raises:
          WheelError: A turn runs in another process (WHEEL-001); `keep` is negative (015).
        """
        return clean_store(self.store, keep=keep, dry_run=dry_run)

    def champion(self) -> Champion:
        """What serves.

        Raises:
          WheelError: Nothing does yet (WHEEL-013).
        """
        champion = self.store.champion()
        if champion is not None:
            return champion
        last = self.store.last_turn()
        raise WheelError(
            13,
            "this wheel has no champion yet"
            + (f": turn {last['turn']} was {last['verdict']}" if last else ""),
            where=str(self.root.resolve()),
            expected="a turn that the gate promoted",
            fix=f"volano promote {last['turn']}" if last else "volano turn",
        )

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Say what to do when the champion's bundle is damaged: no other one can be exported."""
        try:
            yield
        except BundleError as error:
            champion = self.champion()
            raise WheelError(
                32,
                f"the bundle of turn {champion.turn}, which serves, cannot be used: {error.what}",
                where=error.where or str(champion.artifact.path),
                expected=error.expected,
                fix="volano turn   (it makes the bundle again), or volano rollback",
            ) from error

    @property
    def champion_bundle(self) -> Path:
        """The folder of the bundle that serves.

        Raises:
          WheelError: Nothing does yet (WHEEL-013).
        """
        return self.champion().artifact.path / BUNDLE

    # Using -------------------------------------------------------------------------------------

    def model(self) -> Model:
        """The champion, ready to answer.

        Raises:
          WheelError: Its bundle is damaged or missing (WHEEL-032).
        """
        from volano.runtime import load

        with self._opening():
            return load(self.champion_bundle)

    def predict(
        self, rows: Sequence[Mapping[str, Any]], *, model: Model | None = None
    ) -> list[Prediction]:
        """Answer rows with the champion and log the answers, so that feedback can join them."""
        from volano.serving import logged

        predictions = (model or self.model()).predict(rows)
        self.log.record(
            [logged(prediction, row) for prediction, row in zip(predictions, rows, strict=True)]
        )
        return predictions

    def remove_feedback(self, ids: Sequence[str], *, who: str = "") -> TakenBack:
        """Take back the corrections of predictions, so that no later turn learns from them.

        Args:
          ids: Of predictions. One that has no correction, or none any more, is no error.
          who: Who says so.
        Raises:
          WheelError: An id is of no prediction; nothing is taken back then (WHEEL-016).
        """
        from volano.wheel._corrections import remove_feedback

        return remove_feedback(self.log, ids, who=who)

    def export(self, path: str | Path) -> int:
        """Pack the champion into one `.volano` file; returns its size in bytes."""
        from volano.export import export_bundle

        with self._opening():
            return export_bundle(self.champion_bundle, Path(path), name=self.spec.name)

    def serve(self, *, announce: Callable[[str], None] = print, **changes: Any) -> None:
        """Serve the champion over HTTP until the process is told to stop.

        Args:
          announce: Told the address once it is ready.
          changes: Fields of the spec's ``serve`` section to use instead, such as ``port``.
        Raises:
          SpecErrors: A change is not one that the spec could hold.
        """
        from volano.serving import open_model, run

        settings = changed_serve(self.spec.serve, **changes)
        seen: dict[str, str] = {}

        def newest() -> tuple[str, Path] | None:
            champion = self.store.champion()
            if champion is None:
                return None
            digest = champion.artifact.digest
            path = champion.artifact.path / BUNDLE
            if digest not in seen:
                from volano.runtime import BundleFiles

                files = BundleFiles(path)
                seen[digest] = files.manifest["id"]
                files.close()
            return seen[digest], path

        with self._opening():
            model = open_model(self.champion_bundle)
        run(
            model,
            log=self.log,
            serve=settings,
            name=self.spec.name,
            newest=newest,
            announce=announce,
        )


def _listed(names: object) -> str:
    return names if isinstance(names, str) else ", ".join(names)  # type: ignore[arg-type]
