"""ETTh1, multivariate, by the standard split: test MSE and MAE of the bundle that ships.

    python benchmarks/forecasts.py [96 192 336 720]

The first 12 months train, the next 4 validate, the next 4 are golden; series are scaled by the
training months, 336 hours are looked at. For each horizon a wheel turns on these 20 months, with
the split and the sizes in its spec and all else by default. Then the bundle, loaded as the service
loads it, answers every window of the 4 golden months, and its answers, taken from the forecasts'
own units back to the scale, are compared with what came. `VOLANO_DATA` names the folder of data.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from results import write_result

import volano
from volano.wheel import Wheel

DATA = Path(os.environ.get("VOLANO_DATA", ".")) / "ett" / "ETTh1.csv"
MONTH = 30 * 24
TRAIN, VALIDATION, ROWS = 12 * MONTH, 4 * MONTH, 20 * MONTH
WINDOW = 336
BARS = {96: 0.375, 192: 0.413, 336: 0.435, 720: 0.455}
BATCH = 64

SPEC = """\
name: etth1
data: etth1.csv
inputs: {{date: datetime, {others}}}
target: {{OT: {{type: series, horizon: {horizon}, window: {window}, also: [{also}]}}}}
split: {{golden: {golden}, golden_max: 2880, validation: {validation}}}
"""


def measure(horizon: int, rows: list[list[str]]) -> tuple[str, bool]:
    """One line of the table of results, and whether the bar is met."""
    names = rows[0][1:]
    others = [name for name in names if name != "OT"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with (root / "etth1.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows[: ROWS + 1])
        spec = SPEC.format(
            others=", ".join(f"{name}: number" for name in others),
            also=", ".join(others),
            horizon=horizon,
            window=WINDOW,
            golden=VALIDATION / ROWS,
            validation=VALIDATION / (TRAIN + VALIDATION),
        )
        (root / "volano.yaml").write_text(spec, encoding="utf-8")
        started = time.perf_counter()
        with Wheel(root) as wheel:
            turn = wheel.turn()
        seconds = time.perf_counter() - started
        model = volano.load(turn.bundle)
        values = np.array([row[1:] for row in rows[1 : ROWS + 1]], np.float64)
        scaled = (values - values[:TRAIN].mean(axis=0)) / values[:TRAIN].std(axis=0)
        square = absolute = 0.0
        starts = list(range(TRAIN + VALIDATION, ROWS - horizon + 1))
        for begin in range(0, len(starts), BATCH):
            some = starts[begin : begin + BATCH]
            requests = [
                {name: values[at - WINDOW : at, place] for place, name in enumerate(names)}
                for at in some
            ]
            answers = model.predict(requests)
            for at, answer in zip(some, answers, strict=True):
                steps = np.stack([answer.value[name] for name in names], axis=1)
                steps = (steps - values[:TRAIN].mean(axis=0)) / values[:TRAIN].std(axis=0)
                error = steps - scaled[at : at + horizon]
                square += float((error**2).mean())
                absolute += float(np.abs(error).mean())
        mse, mae = square / len(starts), absolute / len(starts)
        record = turn.record
        chosen = next(item for item in record["candidates"] if item["chosen"])
        line = (
            f"| {horizon} | {mse:.4f} | {BARS[horizon]:.3f} | {mae:.4f} | "
            f"{record['metrics']['mse']['value']:.4f} | "
            f"{record['metrics']['interval_coverage']['value']:.1%} | {turn.verdict} | "
            f"{record['training']['best']} | {chosen['size_bytes'] / 1e6:.1f} | "
            f"{chosen['p50_ms']:.1f} | {seconds:.0f} |"
        )
        return line, mse <= BARS[horizon]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("horizons", nargs="*", type=int, default=list(BARS))
    horizons = parser.parse_args().horizons
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    lines = [
        "| horizon | MSE | bar | MAE | MSE by the turn | 90% interval holds | verdict | model | MB "
        "| ms | turn, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    met = True
    for horizon in horizons:
        line, good = measure(horizon, rows)
        print(line, flush=True)
        lines.append(line)
        met &= good
    if list(horizons) == list(BARS):
        print(write_result("forecasts", "Forecasts of ETTh1", lines))
    print("all bars met" if met else "a bar is missed")


if __name__ == "__main__":
    main()
