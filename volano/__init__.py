"""Volano: from a table of data to a small model in production, and back.

>>> import volano                                          # doctest: +SKIP
>>> turn = volano.Wheel(".").turn()                        # doctest: +SKIP
>>> model = volano.load("reviews.volano")                  # doctest: +SKIP
>>> model.predict([{"text": "arrived broken"}])[0].value   # doctest: +SKIP
'negative'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volano.runtime import Model, Prediction, load
    from volano.wheel import Turn, Wheel

__all__ = ["Model", "Prediction", "Turn", "Wheel", "__version__", "load"]
__version__ = "0.1.0"

# Looked up when first used: `import volano` must cost nothing, and must never bring torch along.
_HOMES = {
    "Model": "volano.runtime",
    "Prediction": "volano.runtime",
    "load": "volano.runtime",
    "Turn": "volano.wheel",
    "Wheel": "volano.wheel",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'volano' has no attribute {name!r}")
