"""Requests per second: this service on an int8 bundle, and FastAPI around a transformers pipeline.

    python benchmarks/serving.py [--bundle BUNDLE --model FOLDER] [--texts FILE.csv]

Both sides run in turns, each in a process of its own on the loopback, under the same load: 64
keep-alive connections that each send one text and wait for its answer. Without arguments both
models are made here from the same MiniLM weights with a head of 77 classes that was not trained:
that costs as much as a trained one. What is measured:

- A: FastAPI with a `def` endpoint around `pipeline("text-classification")`, in fp32, as the
  documentation of either has one write it; it answers the best class and keeps no log.
- A': the same pipeline behind one queue, as in "Using pipelines for a webserver" of transformers.
- B: this service with its prediction log on, answering all 77 probabilities.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import write_result

ENDPOINT = """
import sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

app = FastAPI()
classify = pipeline("text-classification", model=sys.argv[1])


class Row(BaseModel):
    text: str


@app.post("/predict")
def predict(row: Row):
    return classify(row.text)[0]


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
"""

QUEUED = """
import asyncio
import sys
from contextlib import asynccontextmanager
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


async def server_loop(queue):
    classify = pipeline("text-classification", model=sys.argv[1])
    while True:
        text, answers = await queue.get()
        await answers.put(classify(text)[0])


@asynccontextmanager
async def lifespan(app):
    app.queue = asyncio.Queue()
    task = asyncio.create_task(server_loop(app.queue))
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


class Row(BaseModel):
    text: str


@app.post("/predict")
async def predict(row: Row):
    answers = asyncio.Queue()
    await app.queue.put((row.text, answers))
    return await answers.get()


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
"""

OURS = """
import sys
from volano.serving import open_model, run
from volano.spec import ServeSpec
from volano.store._database import open_database
from volano.store._log import PredictionLog

log = PredictionLog(open_database("sqlite:///" + sys.argv[3]))
run(open_model(sys.argv[1]), log=log, serve=ServeSpec(port=int(sys.argv[2])), name="benchmark")
"""

SCRIPT = """
local bodies, place = {}, 0
function init(args)
  for line in io.lines(args[1]) do bodies[#bodies + 1] = line end
  math.randomseed(1)
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
end
function request()
  place = place % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[place])
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Side:
    """One of the services: how it is started and asked."""

    name: str
    program: str
    path: str
    key: str


SIDES = (
    Side("A: FastAPI, pipeline in a def endpoint", ENDPOINT, "/predict", ""),
    Side("A': FastAPI, pipeline behind a queue", QUEUED, "/predict", ""),
    Side("B: volano serve, int8 bundle, log on", OURS, "/v1/predict", "row"),
)


@dataclass(frozen=True)
class Measured:
    """What one run under load gave."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    num_errors: int
    peak_mb: float
    start_s: float


def make_models(folder: Path, texts: list[str]) -> tuple[Path, Path]:
    """A transformers model and an int8 bundle of the same MiniLM, with 77 classes."""
    import numpy as np
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    from volano.columns.category import FittedCategory
    from volano.columns.text import TextColumn
    from volano.compression import Calibration
    from volano.compression.int8 import Int8Pass
    from volano.export import graph_of, write_bundle
    from volano.models import build_network, choose_encoder
    from volano.tasks.classification import Classification

    names = tuple(f"class_{number:02d}" for number in range(77))
    options = {"encoder": "minilm", "max_tokens": "auto", "vocabulary": 16_000}
    chosen = choose_encoder("text", options, texts, folder)
    column = TextColumn.fit("text", texts, options | chosen)
    network = build_network(
        {"text": column}, {"text": chosen}, 77, root=folder, num_rows=len(texts), seed=0
    ).eval()
    encoded = column.encode(texts[:512])
    order = np.argsort(encoded.arrays["ids"].lengths, kind="stable")
    batches = [column.collate(encoded, order[start : start + 32]) for start in range(0, 512, 32)]
    graph = Int8Pass().apply(graph_of(network, {"text": column}), Calibration(batches))
    target = FittedCategory("intent", names)
    write_bundle(
        folder / "bundle",
        name="benchmark",
        inputs={"text": column},
        target=target,
        task=Classification(names),
        graph=graph.SerializeToString(),
        details={"metrics": {}, "lineage": {}},
    )
    from volano.models import locate

    weights = locate("minilm", folder).folder
    set_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        weights, num_labels=77, id2label=dict(enumerate(names))
    )
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(weights).save_pretrained(folder / "model")
    return folder / "model", folder / "bundle"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ask(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return bytes(answer.read())


def measure(side: Side, model: Path, args: argparse.Namespace, folder: Path) -> Measured:
    """Start one side, warm it up, and put it under load."""
    port = free_port()
    program = folder / "program.py"
    program.write_text(side.program, encoding="utf-8")
    bodies = folder / f"bodies{side.key}"
    store = folder / f"log-{port}.db"
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, str(program), str(model), str(port), str(store)],
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}{side.path}"
        body = bodies.read_bytes().splitlines()[0]
        while True:
            try:
                ask(url, body)
                break
            except OSError:
                if server.poll() is not None:
                    raise RuntimeError(f"{side.name} does not start") from None
                time.sleep(0.01)
        start_s = time.perf_counter() - started
        load(args, url, bodies, args.warm_up)
        requests, seconds, p50, p99, errors = load(args, url, bodies, args.seconds)
        status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
        peak = int(status.split("VmHWM:")[1].split()[0]) / 1000
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    return Measured(requests / seconds, p50 * 1000, p99 * 1000, errors, peak, start_s)


def load(
    args: argparse.Namespace, url: str, bodies: Path, seconds: float
) -> tuple[int, float, float, float, int]:
    """Requests answered, seconds, median and 99th percentile in seconds, errors."""
    if args.client == "wrk":
        script = bodies.with_name("load.lua")
        script.write_text(SCRIPT, encoding="utf-8")
        command = ["wrk", "-t1", f"-c{args.connections}", f"-d{seconds}s", "--timeout", "30s"]
        command += ["-s", str(script), url, "--", str(bodies)]
    else:
        command = [sys.executable, __file__, "--be-client", url, str(bodies)]
        command += ["--connections", str(args.connections), "--seconds", str(seconds)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in said.splitlines() if line.startswith("RESULT"))
    requests, micros, p50, p99, errors = map(int, line.split()[1:])
    return requests, micros / 1e6, p50 / 1e6, p99 / 1e6, errors


async def be_client(url: str, bodies: Path, connections: int, seconds: float) -> None:
    """The load where there is no wrk: bare HTTP over asyncio streams."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, port = host.split(":")
    head = f"POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    packed = [
        f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies.read_bytes().splitlines()
    ]
    times: list[float] = []
    num_errors = 0
    end = time.perf_counter() + seconds

    async def connection(place: int) -> None:
        nonlocal num_errors
        reader, writer = await asyncio.open_connection(name, int(port))
        while (begin := time.perf_counter()) < end:
            writer.write(packed[place % len(packed)])
            place += connections
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().split(b"content-length: ")[1].split(b"\r")[0]
            await reader.readexactly(int(length))
            times.append(time.perf_counter() - begin)
            num_errors += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(connection(place) for place in range(connections)))
    micros = (time.perf_counter() - begin) * 1e6
    p50, p99 = (sorted(times)[int(len(times) * share)] * 1e6 for share in (0.5, 0.99))
    print(f"RESULT {len(times)} {micros:.0f} {p50:.0f} {p99:.0f} {num_errors}")


def report(args: argparse.Namespace, found: dict[str, list[Measured]]) -> list[str]:
    """The result as Markdown."""

    def cell(values: list[float], digits: int = 0) -> str:
        middle = statistics.median(values)
        return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

    lines = [
        f"Load: {args.client}, {args.connections} keep-alive connections on the loopback, on the",
        f"same cores as the service; {args.warm_up} s to warm up, then {args.seconds} s; "
        f"{args.rounds} rounds in turns. Median (lowest to highest).",
        "",
        f"Texts: {args.num_texts} of {Path(args.texts).name if args.texts else 'made up'}. "
        f"Models: {'given' if args.bundle else 'MiniLM with an untrained head of 77 classes'}.",
        "",
        "| service | requests/s | p50 ms | p99 ms | peak memory MB | first answer s | errors |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        lines.append(
            f"| {name} | {cell([run.requests_per_s for run in runs])} "
            f"| {cell([run.p50_ms for run in runs])} | {cell([run.p99_ms for run in runs])} "
            f"| {cell([run.peak_mb for run in runs])} | {cell([run.start_s for run in runs], 2)} "
            f"| {sum(run.num_errors for run in runs)} |"
        )
    rates = {
        name: statistics.median(run.requests_per_s for run in runs) for name, runs in found.items()
    }
    ours = rates[SIDES[-1].name]
    best = max(rate for name, rate in rates.items() if name != SIDES[-1].name)
    lines += ["", f"B answers **{ours / best:.1f} times** the requests of the better A."]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--model", type=Path, help="the same weights for transformers")
    parser.add_argument("--texts", type=Path, help="a CSV file with a column called text")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="the letter of one side")
    parser.add_argument("--be-client", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be_client:
        url, bodies = args.be_client
        asyncio.run(be_client(url, Path(bodies), args.connections, args.seconds))
        return
    args.client = "wrk" if shutil.which("wrk") else "asyncio client in a process of its own"
    texts = read_texts(args.texts)
    args.num_texts = len(texts)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for key in {side.key for side in SIDES}:
            rows: list[Any] = [{"text": text} for text in texts]
            lines = [json.dumps({key: row} if key else row) for row in rows]
            (folder / f"bodies{key}").write_text("\n".join(lines), encoding="utf-8")
        model, bundle = args.model, args.bundle
        if not (model and bundle):
            model, bundle = make_models(folder, texts)
        sides = [side for side in SIDES if not args.only or side.name.startswith(args.only + ":")]
        found: dict[str, list[Measured]] = {side.name: [] for side in sides}
        for number in range(args.rounds):
            for side in sides:
                taken = bundle if side.key else model
                found[side.name].append(measure(side, taken, args, folder))
                print(f"round {number + 1}: {side.name}: {found[side.name][-1]}", flush=True)
    if args.only:
        return
    lines = report(args, found)
    print("\n".join(lines))
    print(write_result("serving", "Serving: requests per second", lines))


def read_texts(path: Path | None) -> list[str]:
    """Texts as people write to a bank."""
    if path:
        with path.open(encoding="utf-8", newline="") as file:
            return [row["text"] for row in csv.DictReader(file)]
    parts = (
        ("I still have not received", "Why was I charged for", "How do I change", "Where is"),
        ("my new card", "a cash withdrawal", "my PIN", "the transfer from last week", "a refund"),
        ("", " that I ordered over a week ago", " abroad, and what does it cost me?", ", please?"),
    )
    return [a + " " + b + c for a in parts[0] for b in parts[1] for c in parts[2]]


if __name__ == "__main__":
    main()
