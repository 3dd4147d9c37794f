"""Networks and where their pretrained parts come from. Importing this brings no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from volano.models._choose import check_encoder, choose_encoder, encoder_identity, fetch_encoder
from volano.models._context import ForecastContext
from volano.models._pretrained import Pretrained, locate
from volano.models._saved import load_model, save_model
from volano.models._table import (
    TableFeature,
    is_sparse,
    is_table,
    sparse_matrix,
    sparse_sizes,
    table_arrays,
    table_features,
)
from volano.models.ensemble import EnsembleModel, Member
from volano.models.flat import FlatModel, WordTable, flat_inputs, flat_split
from volano.models.forecast import LinearForecast, stacked_windows
from volano.models.linear import LinearModel
from volano.models.trees import TreesModel, tree_matrix

if TYPE_CHECKING:
    from volano.models._network import Network, build_network, load_weights, save_weights
    from volano.models.encoders._contract import Encoder, EncoderKind, encoder_kind
    from volano.models.encoders._factors import FactoredEmbedding, FactoredLinear
    from volano.models.encoders._heads import attention_layers, keep_heads
    from volano.models.encoders._pieces import PiecesEncoder
    from volano.models.encoders._words import WordsEncoder
    from volano.models.encoders.table import TableEncoder, table_encoder_from_config
    from volano.models.encoders.text import TextEncoder

__all__ = [
    "Encoder",
    "EncoderKind",
    "EnsembleModel",
    "FactoredEmbedding",
    "FactoredLinear",
    "FlatModel",
    "ForecastContext",
    "LinearForecast",
    "LinearModel",
    "Member",
    "Network",
    "PiecesEncoder",
    "Pretrained",
    "TableEncoder",
    "TableFeature",
    "TextEncoder",
    "TreesModel",
    "WordTable",
    "WordsEncoder",
    "attention_layers",
    "build_network",
    "check_encoder",
    "choose_encoder",
    "encoder_identity",
    "encoder_kind",
    "fetch_encoder",
    "flat_inputs",
    "flat_split",
    "is_sparse",
    "is_table",
    "keep_heads",
    "load_model",
    "load_weights",
    "locate",
    "save_model",
    "save_weights",
    "sparse_matrix",
    "sparse_sizes",
    "stacked_windows",
    "table_arrays",
    "table_encoder_from_config",
    "table_features",
    "tree_matrix",
]


_HOMES = {
    "Encoder": "volano.models.encoders._contract",
    "EncoderKind": "volano.models.encoders._contract",
    "FactoredEmbedding": "volano.models.encoders._factors",
    "FactoredLinear": "volano.models.encoders._factors",
    "Network": "volano.models._network",
    "PiecesEncoder": "volano.models.encoders._pieces",
    "TableEncoder": "volano.models.encoders.table",
    "TextEncoder": "volano.models.encoders.text",
    "WordsEncoder": "volano.models.encoders._words",
    "attention_layers": "volano.models.encoders._heads",
    "build_network": "volano.models._network",
    "encoder_kind": "volano.models.encoders._contract",
    "keep_heads": "volano.models.encoders._heads",
    "load_weights": "volano.models._network",
    "save_weights": "volano.models._network",
    "table_encoder_from_config": "volano.models.encoders.table",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'volano.models' has no attribute {name!r}")
