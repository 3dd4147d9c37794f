"""feedback: what production taught, frozen for this turn. The wheel's last stage and its first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from volano.store import PredictionLog, Run
from volano.wheel._stage import Context, Setting

__all__ = ["FeedbackStage", "read_feedback"]

FILE = "feedback.jsonl"


class FeedbackStage:
    """The prediction log -> the latest right value of each prediction."""

    name: ClassVar[str] = "feedback"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        del parents
        return {"watermark": PredictionLog(setting.store.engine).watermark()}

    def run(self, context: Context) -> Mapping[str, Any]:
        log = PredictionLog(context.setting.store.engine)
        num_rows = 0
        with (context.out / FILE).open("w", encoding="utf-8") as file:
            for item in log.current_feedback():
                line = {
                    "inputs": item.inputs,
                    "value": item.value,
                    "prediction_id": item.prediction_id,
                }
                file.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")
                num_rows += 1
        return {"rows": num_rows}


def read_feedback(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows that a feedback artifact holds."""
    with (folder / FILE).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
