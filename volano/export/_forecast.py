"""Forecasts as ONNX graphs."""

from __future__ import annotations

import numpy as np
import onnx

from volano.export._graph import GraphWriter
from volano.models import LinearForecast

__all__ = ["linear_forecast_graph"]


def linear_forecast_graph(model: LinearForecast) -> onnx.ModelProto:
    """y = m + W (x - m) + s b, as (rows, horizon, series); see `LinearForecast`."""
    writer = GraphWriter()
    _, width, horizon = model.weights.shape
    one = writer.weight(np.array([1], np.int64))
    parts = []
    for name in model.columns:
        window = writer.input(f"{name}.values", np.float32, ["rows", width])
        parts.append(writer.node("Unsqueeze", [window, one]))
    x = parts[0] if len(parts) == 1 else writer.node("Concat", parts, axis=1)
    mean = writer.node("ReduceMean", [x], axes=[2], keepdims=1)
    centred = writer.node("Sub", [x, mean])
    squares = writer.node("Mul", [centred, centred])
    spread = writer.node("Sqrt", [writer.node("ReduceMean", [squares], axes=[2], keepdims=1)])
    if len(model.weights) == 1:
        steps = writer.node("MatMul", [centred, writer.weight(model.weights[0])])
    else:
        two = writer.weight(np.array([2], np.int64))
        rows = writer.node("Unsqueeze", [centred, two])
        product = writer.node("MatMul", [rows, writer.weight(model.weights)])
        steps = writer.node("Squeeze", [product, two])
    shift = writer.node("Mul", [spread, writer.weight(model.bias)])
    total = writer.node("Add", [writer.node("Add", [steps, mean]), shift])
    outputs = writer.node("Transpose", [total], perm=[0, 2, 1])
    shape = ["rows", horizon, len(model.columns)]
    return writer.model({"outputs": (outputs, np.float32, shape)})
