"""Memory of a `volano turn` on a million rows of short text, stage by stage.

    python benchmarks/million_rows.py [--rows 1000000] [--encoder auto|FOLDER] [--minutes 20]

The texts are made: words of a Zipf-like vocabulary, 4 to 16 of them, with two classes that some
words give away. With the default encoder an epoch over a million rows takes hours on two cores, so
a turn that is not through after ``--minutes`` is ended (by Ctrl-C, as a person would) and the
result says how far it came: by then every stage before training has run in full, and training
keeps no more in memory in its last hour than in its first minutes. ``--encoder tiny`` writes a
one-layer encoder with MiniLM's tokenizer, with which the turn runs to its end.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from results import write_result

from volano.models import locate

VOCABULARY = 30_000
MB = 2**20


def write_table(path: Path, num_rows: int) -> None:
    """Rows of ``text,label``."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(random.choice(letters, size)) for size in random.integers(2, 9, VOCABULARY)]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["text", "label"])
        for number in range(num_rows):
            places = np.minimum(random.zipf(1.3, int(random.integers(4, 17))), VOCABULARY) - 1
            good = bool(random.random() < 0.5)
            chosen = [words[place] for place in places] + [words[100 + 2 * (number % 40) + good]]
            table.writerow([" ".join(chosen), "good" if good else "bad"])


def write_tiny(folder: Path) -> None:
    """One small layer under MiniLM's own tokenizer."""
    from transformers import BertConfig, BertModel

    minilm = locate("minilm", Path())
    config = BertConfig(
        vocab_size=minilm.config()["vocab_size"],
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(minilm.tokenizer_json(), encoding="utf-8")


def resident(pid: int) -> tuple[int, int]:
    """Resident bytes of a process and its children: all, and those not backed by files."""
    whole = anonymous = 0
    waiting = [pid]
    while waiting:
        number = waiting.pop()
        try:
            status = Path(f"/proc/{number}/status").read_text(encoding="utf-8")
            children = Path(f"/proc/{number}/task/{number}/children").read_text(encoding="utf-8")
        except OSError:
            continue
        waiting += [int(child) for child in children.split()]
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                whole += int(line.split()[1]) * 1024
            elif line.startswith("RssAnon:"):
                anonymous += int(line.split()[1]) * 1024
    return whole, anonymous


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--minutes", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "rows.csv", options.rows)
        encoder = options.encoder
        if encoder == "tiny":
            write_tiny(folder / "tiny")
            encoder = "tiny"
        spec = {
            "name": "million",
            "data": "rows.csv",
            "inputs": {"text": {"type": "text", "encoder": encoder}},
            "target": {"label": "category"},
        }
        (folder / "volano.yaml").write_text(json.dumps(spec), encoding="utf-8")
        turn = subprocess.Popen(
            [sys.executable, "-m", "volano", "turn", "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peaks: dict[str, list[float]] = {}
        state = {"stage": "start", "line": ""}

        def listen() -> None:
            assert turn.stderr
            for line in turn.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                if line.startswith("  ") and not line.startswith("   "):
                    state["stage"] = line.strip()
                state["line"] = line.strip()

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        started = time.monotonic()
        ended = False
        while turn.poll() is None:
            found = [value / MB for value in resident(turn.pid)]
            entry = peaks.setdefault(state["stage"], [0.0, 0.0, 0.0])
            entry[0], entry[1] = max(entry[0], found[0]), max(entry[1], found[1])
            entry[2] = time.monotonic() - started
            if time.monotonic() - started > options.minutes * 60 and not ended:
                turn.send_signal(signal.SIGINT)
                ended = True
            time.sleep(0.2)
        listener.join(timeout=5)
        lines = [
            f"{options.rows:,} rows, encoder {options.encoder}; "
            + (
                f"ended after {options.minutes:g} minutes at: {state['line']}"
                if ended
                else f"the turn ended by itself with exit code {turn.returncode}"
            ),
            "",
            "| stage | peak resident, MB | of it not backed by files, MB | until second |",
            "|---|---|---|---|",
        ]
        before = 0.0
        for stage, (whole, anonymous, until) in peaks.items():
            lines.append(f"| {stage} | {whole:.0f} | {anonymous:.0f} | {until:.0f} |")
            before = max(before, whole)
        lines += ["", f"Peak: {before:.0f} MB (bar 4,096)."]
    print(write_result("million-rows", "A turn on a million rows", lines))


if __name__ == "__main__":
    main()
