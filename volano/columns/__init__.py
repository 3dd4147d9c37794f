"""Column types, one file each: how a column's values are read, checked and encoded."""

from volano.columns._contract import (
    Column,
    Encoded,
    EncodedSplit,
    FittedColumn,
    Inference,
    Ragged,
    Use,
    Windows,
    facts_of,
    schema_of,
)
from volano.columns._kinds import column_kind, column_kinds, column_options, column_uses

__all__ = [
    "Column",
    "Encoded",
    "EncodedSplit",
    "FittedColumn",
    "Inference",
    "Ragged",
    "Use",
    "Windows",
    "column_kind",
    "column_kinds",
    "column_options",
    "column_uses",
    "facts_of",
    "schema_of",
]
