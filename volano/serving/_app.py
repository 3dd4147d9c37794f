"""The HTTP service as an ASGI application.

Plain ASGI and not a framework: each body is read and checked here anyway, since its columns are
the bundle's, and a framework's import alone takes a third of the time to the first answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from volano.columns import FittedColumn, facts_of
from volano.errors import RequestError, StoreError, nearest, shorten
from volano.runtime import Model
from volano.serving._batcher import Batcher
from volano.serving._body import Gone, Receive, Scope, ask, header, read_json, whole_number
from volano.serving._docs import PAGE
from volano.serving._feedback import corrections
from volano.serving._openapi import describe
from volano.serving._reply import HTML, Send, failure, reply, reply_json
from volano.serving._slot import ModelSlot, example_row, num_workers
from volano.serving._writer import LogWriter
from volano.spec import ServeSpec
from volano.store._log import PredictionLog

__all__ = ["App", "create_app"]

PROBE_S = 1.0
"""How long an answer of /readyz holds: who asks more often is answered from memory."""

LONGEST_QUEUE = 1000

LARGE_BYTES = 50_000
"""A body from which on its values are checked beside the event loop."""

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


def create_app(
    model: Model | ModelSlot,
    *,
    log: PredictionLog | None = None,
    serve: ServeSpec | None = None,
    name: str,
) -> App:
    """The service around a model.

    Args:
      model: What answers; a `ModelSlot` when it may be replaced while serving.
      log: Where predictions and feedback are kept; None keeps neither, and refuses feedback.
      serve: Limits and batching; its host and port are the server's part.
      name: What the service is called, in `/v1/model` and the docs.
    Returns:
      An ASGI application. It starts its threads with the first event of its event loop, and stops
      them at the lifespan's end.
    """
    return App(
        model if isinstance(model, ModelSlot) else ModelSlot(model), log, serve or ServeSpec(), name
    )


class _WrongMethod(RequestError):
    def __init__(self, path: str, method: str, allowed: str) -> None:
        self.allowed = allowed
        super().__init__(
            51, f"{path} does not take {shorten(method)}", status=405, expected=allowed
        )


class App:
    """The service. Made by `create_app`.

    Attributes:
      slot: Holds the model that serves.
    """

    def __init__(
        self, slot: ModelSlot, log: PredictionLog | None, serve: ServeSpec, name: str
    ) -> None:
        self.slot = slot
        self._log = log
        self._serve = serve
        self._name = name
        self._batcher: Batcher | None = None
        self._writer: LogWriter | None = None
        self._probed: tuple[float, StoreError | None] = (0.0, None)
        self._routes: Mapping[str, Mapping[str, Handler]] = {
            "/v1/predict": {"POST": self._predict},
            "/v1/feedback": {"POST": self._feedback},
            "/v1/model": {"GET": self._model},
            "/v1/queue": {"GET": self._queue},
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/docs": {"GET": self._docs},
            "/openapi.json": {"GET": self._openapi},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        assert scope["type"] == "http", scope["type"]
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._handler(scope)(scope, receive, watched)
        except Gone:
            pass
        except Exception as error:
            if started:
                raise
            allow = ((b"allow", error.allowed.encode()),) if isinstance(error, _WrongMethod) else ()
            await failure(scope, send, error, allow)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Starts the threads; at the end answers and logs what waits, and stops them."""
        self._start()
        try:
            yield
        finally:
            batcher, writer = self._batcher, self._writer
            self._batcher = self._writer = None
            if batcher:
                await asyncio.to_thread(batcher.close)
            if writer:
                await asyncio.to_thread(writer.close)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> Batcher:
        if self._log is not None and self._writer is None:
            self._writer = LogWriter(self._log)
        if self._batcher is None:
            self._batcher = Batcher(
                self._writer,
                num_workers=num_workers(self.slot.current),
                max_batch_rows=self._serve.max_batch_rows,
                max_wait_ms=self._serve.max_wait_ms,
            )
        return self._batcher

    def _handler(self, scope: Scope) -> Handler:
        path = scope["path"]
        if root := scope.get("root_path"):
            # Mounted below another application's path.
            path = path.removeprefix(root)
        methods = self._routes.get(path)
        if methods is None:
            raise RequestError(
                50,
                f"there is nothing at {shorten(path)}",
                status=404,
                expected="one of " + ", ".join(self._routes),
                nearest=nearest(path, self._routes),
            )
        method = scope["method"]
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            raise _WrongMethod(scope["path"], method, allowed)
        return handler

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        top: int | None = None
        if scope["query_string"]:
            wanted = ask(scope, ("top",))
            if "top" in wanted:
                top = whole_number(wanted["top"], "top", 0, 999_999_999)
        body = await read_json(scope, receive, self._serve.max_request_bytes)
        model = self.slot.current
        rows = self._rows(body, model)
        if int(header(scope, b"content-length") or LARGE_BYTES) < LARGE_BYTES:
            columns = model.check(rows)
        else:
            # Checking a photo decodes it: others are answered meanwhile.
            columns = await asyncio.to_thread(model.check, rows)
        batcher = self._batcher or self._start()
        rendered = await batcher.answer(model, columns, top)
        await reply(scope, send, b'{"predictions":[' + b",".join(rendered) + b"]}")

    def _rows(self, body: Any, model: Model) -> list[Any]:
        if isinstance(body, dict) and len(body) == 1:
            if "rows" in body:
                rows = body["rows"]
                if not isinstance(rows, list) or not rows:
                    raise RequestError(
                        52,
                        f"rows is {shorten(rows)}",
                        status=422,
                        expected="a list with at least one row",
                    )
                if len(rows) > self._serve.max_request_rows:
                    raise RequestError(
                        53,
                        f"there are {len(rows)} rows",
                        status=413,
                        expected=f"at most {self._serve.max_request_rows}",
                        fix="send fewer rows at once, or raise serve.max_request_rows",
                    )
                return rows
            if "row" in body and isinstance(body["row"], dict):
                return [body["row"]]
        example = json.dumps({"row": example_row(model) or {}}, ensure_ascii=False)
        raise RequestError(
            54,
            f"the body is {shorten(body)}",
            status=422,
            expected='{"rows": [...]} or {"row": {...}}, and nothing else',
            fix=f"send {example}",
        )

    async def _feedback(self, scope: Scope, receive: Receive, send: Send) -> None:
        ask(scope, ())
        self._needs_log()
        body = await read_json(scope, receive, self._serve.max_request_bytes)
        items, notes = corrections(body, self.slot.current.target, self._serve.max_request_rows)
        self._start()
        assert self._writer
        unknown = await asyncio.wrap_future(self._writer.feedback(items))
        if unknown:
            raise RequestError(
                57,
                f"there is no prediction {shorten(unknown[0])}"
                + (f", nor {len(unknown) - 1} more of these" if len(unknown) > 1 else "")
                + ": nothing was recorded",
                status=404,
                expected="the id of an answer of this service",
            )
        await reply_json(scope, send, {"recorded": len(items), "notes": notes})

    async def _queue(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        log = self._needs_log()
        wanted = ask(scope, ("limit",))
        limit = whole_number(wanted.get("limit", "20"), "limit", 1, LONGEST_QUEUE)
        found = await asyncio.to_thread(log.queue, limit)
        queue = [
            {
                "prediction_id": item.id,
                "inputs": item.inputs,
                "value": item.value,
                "probability": item.probability,
                "gap": item.gap,
                "bundle": item.bundle,
                "at": item.at,
            }
            for item in found
        ]
        await reply_json(scope, send, {"queue": queue})

    async def _model(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        ask(scope, ())
        served = self.slot.served
        model, manifest = served.model, served.model.manifest
        answer: dict[str, Any] = {
            "name": self._name,
            "bundle": model.id,
            "since": served.since,
            "inputs": [_about(item) for item in model.inputs.values()],
            "target": _about(model.target),
            "task": model.task.kind,
            "classes": list(getattr(model.target, "names", ())),
            "metrics": manifest.get("metrics", {}),
            "lineage": manifest.get("lineage", {}),
        }
        if self.slot.problem:
            answer["problem"] = self.slot.problem
        await reply_json(scope, send, answer)

    async def _healthz(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        await reply_json(scope, send, {"status": "ok"})

    async def _readyz(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if self._log is not None:
            self._start()
            at, error = self._probed
            if time.monotonic() - at >= PROBE_S or error is not None:
                error = await self._probe()
                self._probed = (time.monotonic(), error)
            if error is not None:
                raise error
        await reply_json(scope, send, {"status": "ready", "bundle": self.slot.current.id})

    async def _probe(self) -> StoreError | None:
        assert self._writer
        try:
            await asyncio.wrap_future(self._writer.probe())
        except StoreError as error:
            return error
        return None

    async def _docs(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        await reply(scope, send, PAGE, (HTML,))

    async def _openapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        await reply_json(scope, send, describe(self.slot.current, self._name, self._serve))

    def _needs_log(self) -> PredictionLog:
        if self._log is None:
            raise RequestError(
                58,
                "this service keeps no log, so there is no feedback and no queue",
                status=404,
                fix="start it with volano serve in the wheel's folder",
            )
        return self._log


def _about(column: FittedColumn) -> dict[str, Any]:
    """A column as `/v1/model` shows it."""
    return {"name": column.name, "type": column.kind, **facts_of(column)}
