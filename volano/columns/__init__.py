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
    cell_of,
    facts_of,
    schema_of,
)
from volano.columns._kinds import (
    column_kind,
    column_kinds,
    column_options,
    column_uses,
    media_kind,
    plain_cells,
)
from volano.columns._media import LARGEST_MEDIA_BYTES, CheckedMedia, MediaKind, media_bytes

__all__ = [
    "LARGEST_MEDIA_BYTES",
    "CheckedMedia",
    "Column",
    "Encoded",
    "EncodedSplit",
    "FittedColumn",
    "Inference",
    "MediaKind",
    "Ragged",
    "Use",
    "Windows",
    "cell_of",
    "column_kind",
    "column_kinds",
    "column_options",
    "column_uses",
    "facts_of",
    "media_bytes",
    "media_kind",
    "plain_cells",
    "schema_of",
]
