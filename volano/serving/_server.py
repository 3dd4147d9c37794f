"""Runs the service: takes the port, says where it is, and stops without losing an answer."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from volano.errors import WheelError, shorten
from volano.runtime import Model
from volano.serving._app import create_app
from volano.serving._protocol import LimitedProtocol
from volano.serving._slot import ModelSlot, watch
from volano.spec import ServeSpec
from volano.store._log import PredictionLog

__all__ = ["run"]

DRAIN_S = 5
"""How long requests under way may take once the service was told to stop."""

BACKLOG = 2048


def run(
    model: Model | ModelSlot,
    *,
    log: PredictionLog | None = None,
    serve: ServeSpec | None = None,
    name: str,
    newest: Callable[[], tuple[str, Path] | None] | None = None,
    every_s: float = 5.0,
    announce: Callable[[str], Any] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then answer what is under way, and return.

    Args:
      model: What answers, best opened with `open_model`.
      log: Where predictions and feedback are kept.
      serve: Address, limits and batching.
      name: What the service is called.
      newest: Gives the champion's bundle id and path; looked at every `every_s` seconds, and
        served as soon as it is another one.
      announce: Gets one line with the address when the service is ready; None prints it.
    Raises:
      WheelError: The port is in use (WHEEL-080), may not be taken (081), or the host has no
        address here (082).
    """
    serve = serve or ServeSpec()
    slot = model if isinstance(model, ModelSlot) else ModelSlot(model)
    listener = _listen(serve.host, serve.port)
    try:
        port = listener.getsockname()[1]
        host = f"[{serve.host}]" if ":" in serve.host else serve.host
        line = (
            f"Serving {name}, bundle {slot.current.id[:12]}, at http://{host}:{port}"
            f"  (try it: http://{host}:{port}/docs)"
        )
        config = uvicorn.Config(
            create_app(slot, log=log, serve=serve, name=name),
            http=LimitedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=DRAIN_S,
        )
        server = _Server(config, lambda: (announce or _print)(line))
        watcher = watch(slot, newest, every_s=every_s) if newest else None
        try:
            server.run(sockets=[listener])
        finally:
            if watcher:
                watcher.stop()
    finally:
        listener.close()


def _print(line: str) -> None:
    print(line, flush=True)


class _Server(uvicorn.Server):
    """uvicorn, which raises the signal again when it has stopped: then the exit is not 0."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], Any]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        # A second signal: whoever stops it does not want to wait.
        self.force_exit = self.should_exit
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken here so that a port in use is one clear error."""
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise WheelError(
            82,
            f"the host {shorten(host)} has no address ({error.strerror or error})",
            where="serve.host",
            expected="a name or address of this machine, such as 127.0.0.1",
            fix="volano serve --host 127.0.0.1",
        ) from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _refused(error, where, host, port) from error
    return listener


def _refused(error: OSError, where: str, host: str, port: int) -> WheelError:
    if error.errno == errno.EADDRINUSE:
        return WheelError(
            80,
            f"port {port} is in use by another program",
            where=where,
            expected="a free port",
            fix="volano serve --port 0   # any free port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return WheelError(
            81,
            f"this user may not listen on port {port}",
            where=where,
            expected="a port from 1024 to 65535",
            fix="volano serve --port 8080",
        )
    return WheelError(
        82,
        f"the host {shorten(host)} cannot be listened on ({error.strerror})",
        where=where,
        expected="an address of this machine, such as 127.0.0.1",
        fix="volano serve --host 127.0.0.1",
    )
