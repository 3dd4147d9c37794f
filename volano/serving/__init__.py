"""The service: a bundle over HTTP, with its predictions and the feedback on them kept."""

from volano.serving._app import create_app
from volano.serving._server import run
from volano.serving._slot import ModelSlot, Watcher, logged, open_model, watch
from volano.serving._writer import LogWriter

__all__ = [
    "LogWriter",
    "ModelSlot",
    "Watcher",
    "create_app",
    "logged",
    "open_model",
    "run",
    "watch",
]
