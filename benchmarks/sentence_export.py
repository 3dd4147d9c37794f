"""What a turn ships against sentence-transformers' own ONNX export, in 8 bits, of the same model.

    python benchmarks/sentence_export.py --wheel FOLDER --python OTHER [--rounds 5]

`--wheel` is one that `compression.py banking77 --wheel FOLDER` has made; `--python` the interpreter
of another environment, with sentence-transformers and optimum-onnx. Both sides have the encoder
that the turn trained and its head. Windows of 640 test rows in turns, each side in a process of its
own, which batches them as it does by default (sentence-transformers: 32 rows of like length); rows
per second, medians with the lowest and the highest. `VOLANO_DATA` names the folder with the data.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from compression import JOBS, THREADS, WINDOW_ROWS, turned
from results import write_result

import volano
from volano.models import load_model

HERE = Path(__file__).parent


def artifact(wheel: Path, record: dict[str, Any], stage: str) -> Path:
    """The folder of what a stage of the turn made."""
    (place,) = (wheel / ".volano" / "artifacts").glob(f"{record['artifacts'][stage][:40]}*")
    return place


def write_encoder(wheel: Path, record: dict[str, Any], bundle: volano.Model, folder: Path) -> None:
    """The trained encoder as the hub has them, and its head."""
    (model,) = (artifact(wheel, record, "train") / "models").iterdir()
    network: Any = load_model(model, bundle.inputs)
    network.encoders[0].transformer.save_pretrained(folder)
    column: Any = bundle.inputs["text"]
    (folder / "tokenizer.json").write_text(column.tokenizer_json, encoding="utf-8")
    # By hand: the other environment may have another version of transformers.
    names = ("pad", "unk", "cls", "sep", "mask")
    tokens = {f"{name}_token": f"[{name.upper()}]" for name in names}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": column.max_tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | tokens), encoding="utf-8")
    head = network.head
    np.savez(
        folder / "head.npz",
        weight=head.weight.detach().numpy(),
        bias=head.bias.detach().numpy(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--python", required=True, help="interpreter of the other environment")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print("\n".join(compared(options.wheel, options.python, options.rounds, Path(name))))


def compared(wheel: Path, python: str, rounds: int, folder: Path) -> list[str]:
    """The lines of the result, which are written as well."""
    job = JOBS["banking77"](folder)
    record = turned(job, "10m", wheel)  # nothing has changed: what is there is shown
    rows = [row for row in record["candidates"] if row["kept"] and row["size_bytes"]]
    place = artifact(wheel, record, "compress") / "candidates"
    models = {row["name"]: volano.load(place / row["name"], threads=THREADS) for row in rows}
    texts = [row["text"] for row in job.rows]
    encoder = folder / "encoder"
    write_encoder(wheel, record, models[rows[0]["name"]], encoder)
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    side = subprocess.Popen(
        [python, str(HERE / "sentence_side.py"), str(encoder), str(folder / "texts.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert side.stdin
    assert side.stdout
    their_bytes = json.loads(side.stdout.readline())["bytes"]
    speeds: dict[str, list[float]] = {name: [] for name in models}
    theirs: list[float] = []
    random = np.random.default_rng(0)
    for turn in range(rounds + 1):
        some = random.permutation(len(texts))[:WINDOW_ROWS].tolist()
        side.stdin.write(json.dumps(some) + "\n")
        side.stdin.flush()
        found = float(side.stdout.readline())
        mine = {}
        for label, model in models.items():
            started = time.perf_counter()
            model.predict([{"text": texts[row]} for row in some])
            mine[label] = len(some) / (time.perf_counter() - started)
        if turn:  # the first is a warm-up
            theirs.append(found)
            for label, value in mine.items():
                speeds[label].append(value)
    side.stdin.close()
    side.wait()
    right = np.array(job.right)
    names = np.array(models[rows[0]["name"]].target.names)  # type: ignore[attr-defined]
    accuracy = float((names[np.load(encoder / "answers.npy").argmax(1)] == right).mean())
    lines = [
        "| | test accuracy | bytes | rows/s (lowest to highest) | times theirs |",
        "|---|---|---|---|---|",
        f"| sentence-transformers, int8 (avx2) | {accuracy:.2%} | {their_bytes:,} "
        f"| {statistics.median(theirs):,.0f} ({min(theirs):,.0f} to {max(theirs):,.0f}) | 1 |",
    ]
    for label, model in models.items():
        given = [answer.value for answer in model.predict([{"text": text} for text in texts])]
        good = float((np.array(given) == right).mean())
        times = [a / b for a, b in zip(speeds[label], theirs, strict=True)]
        values = speeds[label]
        size = next(row["size_bytes"] for row in rows if row["name"] == label)
        lines.append(
            f"| {label} | {good:.2%} | {size:,} | {statistics.median(values):,.0f} "
            f"({min(values):,.0f} to {max(values):,.0f}) | {statistics.median(times):.1f} "
            f"({min(times):.1f} to {max(times):.1f}) |"
        )
    path = write_result("sentence-export", "Against sentence-transformers' int8 export", lines)
    return [*lines, str(path)]


if __name__ == "__main__":
    main()
