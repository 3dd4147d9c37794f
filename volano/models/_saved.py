"""Models as a turn keeps them: a folder each, with the family that knows how to read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volano.columns import FittedColumn
from volano.models._table import table_features
from volano.models.flat import FlatModel
from volano.models.forecast import LinearForecast
from volano.models.linear import LinearModel
from volano.models.trees import TreesModel

__all__ = ["load_model", "save_model"]

_FILE = "family.json"


def save_model(model: Any, folder: Path) -> None:
    """Write a model and its family into a folder, which is made."""
    folder.mkdir(parents=True)
    model.save(folder)
    text = json.dumps({"family": model.family})
    (folder / _FILE).write_text(text + "\n", encoding="utf-8")


def load_model(folder: Path, inputs: Mapping[str, FittedColumn]) -> Any:
    """The model that `save_model` wrote."""
    family = json.loads((folder / _FILE).read_text(encoding="utf-8"))["family"]
    if family == "network":
        from volano.models._network import load_weights

        return load_weights(folder)
    if family == "ensemble":
        from volano.models.ensemble import EnsembleModel

        return EnsembleModel.load(folder, inputs, load_model)
    if family == "flat":
        return FlatModel.load(folder, inputs, load_model)
    if family == "forecaster":
        from volano.models.forecasters import Forecaster

        return Forecaster.load(folder)
    if family == LinearForecast.family:
        return LinearForecast.load(folder)
    kinds: dict[str, Any] = {"linear": LinearModel, "trees": TreesModel}
    return kinds[family].load(folder, table_features(inputs))
