"""What the user declares: typed, strict, and hashed without what cannot change a result."""

from volano.spec._load import (
    ColumnOptions,
    changed_serve,
    digest,
    is_reserved,
    load_spec,
    parse_spec,
)
from volano.spec._model import (
    CleanSpec,
    ColumnSpec,
    CompressSpec,
    EndpointSpec,
    GateSpec,
    SearchSpec,
    ServeSpec,
    Spec,
    SplitSpec,
    TrainSpec,
)

__all__ = [
    "CleanSpec",
    "ColumnOptions",
    "ColumnSpec",
    "CompressSpec",
    "EndpointSpec",
    "GateSpec",
    "SearchSpec",
    "ServeSpec",
    "Spec",
    "SplitSpec",
    "TrainSpec",
    "changed_serve",
    "digest",
    "is_reserved",
    "load_spec",
    "parse_spec",
]
