"""The wheel's memory: artifacts by content, lineage, turns, champions, predictions, feedback."""

from volano.store._assets import fetch as fetch_asset
from volano.store._clean import Unneeded, remove_unneeded, unneeded
from volano.store._database import open_database
from volano.store._log import (
    Correction,
    LabelledRow,
    LoggedPrediction,
    PredictionLog,
    TakenBack,
)
from volano.store._store import (
    Artifact,
    Champion,
    Run,
    Store,
    disk_errors,
    file_digest,
    folder_digest,
)

__all__ = [
    "Artifact",
    "Champion",
    "Correction",
    "LabelledRow",
    "LoggedPrediction",
    "PredictionLog",
    "Run",
    "Store",
    "TakenBack",
    "Unneeded",
    "disk_errors",
    "fetch_asset",
    "file_digest",
    "folder_digest",
    "open_database",
    "remove_unneeded",
    "unneeded",
]
