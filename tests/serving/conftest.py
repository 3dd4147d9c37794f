"""A tiny bundle, and the service around it: in this process, and as a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from volano.columns.category import FittedCategory
from volano.columns.text import FittedText, train_tokenizer
from volano.runtime import FORMAT, MANIFEST, Model, load, seal
from volano.serving import create_app
from volano.serving._app import App
from volano.spec import ServeSpec
from volano.store._database import open_database
from volano.store._log import PredictionLog

TEXTS = [
    f"{what} {how}"
    for what in ("the parcel", "this book", "my phone", "their tea", "a chair")
    for how in ("is good", "is bad", "was late", "broke at once", "works well", "is fine I think")
]


def build_bundle(
    folder: Path, *, names: tuple[str, ...] = ("bad", "fine", "good"), seed: int = 0
) -> Path:
    """A bundle whose graph adds up a vector of logits per token."""
    text = FittedText("text", train_tokenizer(TEXTS * 20, 300), 32)
    table = np.random.default_rng(seed).normal(size=(text.num_tokens, len(names)))
    nodes = [
        helper.make_node("Gather", ["table", "text.ids"], ["each"]),
        helper.make_node("Cast", ["text.mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask_"]),
        helper.make_node("Mul", ["each", "mask_"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in ("text.ids", "text.mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", len(names)])],
        [
            numpy_helper.from_array(table.astype(np.float32), "table"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for part in ("columns/text", "columns/mood"):
        (folder / part).mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    text.save(folder / "columns/text")
    FittedCategory("mood", names).save(folder / "columns/mood")
    seal_folder(folder, [("text", "text")], ("mood", "category"))
    return folder


def seal_folder(
    folder: Path,
    inputs: list[tuple[str, str]],
    target: tuple[str, str],
    task: tuple[str, dict[str, Any]] = ("classification", {"temperature": 1.0}),
) -> None:
    """Write the manifest of the files that lie in a folder."""
    files = {
        str(path.relative_to(folder)): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size_bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

    def column(name: str, kind: str) -> dict[str, Any]:
        return {"name": name, "type": kind, "version": 1, "folder": f"columns/{name}"}

    manifest = {
        "format": FORMAT,
        "name": "tiny",
        "inputs": [column(*item) for item in inputs],
        "target": column(*target),
        "task": {"type": task[0], "version": 1, "state": task[1]},
        "graph": {"file": "model.onnx"},
        "files": files,
        "metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}},
        "lineage": {"turn": 1},
    }
    (folder / MANIFEST).write_text(json.dumps(seal(manifest)), encoding="utf-8")


@pytest.fixture(scope="session")
def sealed() -> Callable[..., None]:
    """Writes the manifest of the files in a folder."""
    return seal_folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tmp_path_factory.mktemp("bundles") / "other", seed=1)


@pytest.fixture
def model(bundle: Path) -> Model:
    return load(bundle, threads=1)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def log(database: str) -> Iterator[PredictionLog]:
    engine = open_database(database)
    yield PredictionLog(engine)
    engine.dispose()


SERVER = """
import json, sys
from volano.serving import open_model, run
from volano.spec import ServeSpec
from volano.store._database import open_database
from volano.store._log import PredictionLog
from volano.errors import VolanoError

bundle, database, options = sys.argv[1:]
engine = open_database(database)
try:
    run(open_model(bundle), log=PredictionLog(engine),
        serve=ServeSpec(**{"port": 0, **json.loads(options)}), name="tiny")
except VolanoError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
finally:
    engine.dispose()
"""


class Server:
    """The service as a process of its own."""

    def __init__(self, bundle: Path, database: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(bundle), database, json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout
        self.line = self.process.stdout.readline()
        self.address = next((word for word in self.line.split() if word.startswith("http")), "")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit status and standard error."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60, trust_env=False)


@pytest.fixture
def serve(bundle: Path, database: str) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(**options: Any) -> Server:
        servers.append(Server(bundle, options.pop("database", database), **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


class Local:
    """The service in this process, without a socket: each call runs its event loop for a while."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._runner = asyncio.Runner()
        self._lifespan = app.lifespan()
        self._runner.run(self._lifespan.__aenter__())
        transport = httpx.ASGITransport(app=app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")

    def run(self, *requests: httpx.Request) -> list[httpx.Response]:
        """Send requests at the same time."""

        async def all_of_them() -> list[httpx.Response]:
            return await asyncio.gather(*(self._client.send(request) for request in requests))

        return self._runner.run(all_of_them())

    def request(self, method: str, path: str, **what: Any) -> httpx.Response:
        return self.run(self._client.build_request(method, path, **what))[0]

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.request("POST", path, json=body)

    def build(self, text: str) -> httpx.Request:
        return self._client.build_request("POST", "/v1/predict", json={"row": {"text": text}})

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.run(self._lifespan.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture
def service(model: Model, log: PredictionLog) -> Iterator[Callable[..., Local]]:
    """Makes services around the tiny model; options are those of ServeSpec."""
    made: list[Local] = []

    def make(model: Any = model, log: PredictionLog | None = log, **options: Any) -> Local:
        made.append(Local(create_app(model, log=log, serve=ServeSpec(**options), name="tiny")))
        return made[-1]

    yield make
    for local in made:
        local.close()


@pytest.fixture
def local(service: Callable[..., Local]) -> Local:
    return service()
