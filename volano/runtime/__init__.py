"""Reads a bundle and answers: numpy, ONNX Runtime and tokenizers, nothing heavier."""

from volano.runtime._files import FORMAT, MANIFEST, BundleFiles, answering_digest, canonical, seal
from volano.runtime._model import (
    EncodedRows,
    Model,
    Prediction,
    available_cores,
    load,
    new_prediction_ids,
)

__all__ = [
    "FORMAT",
    "MANIFEST",
    "BundleFiles",
    "EncodedRows",
    "Model",
    "Prediction",
    "answering_digest",
    "available_cores",
    "canonical",
    "load",
    "new_prediction_ids",
    "seal",
]
