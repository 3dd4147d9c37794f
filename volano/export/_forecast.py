"""Forecasts as ONNX graphs."""

from __future__ import annotations

import numpy as np
import onnx

from volano.export._graph import GraphWriter
from volano.models import ForecastContext, LinearForecast
from volano.models._context import LARGEST

__all__ = ["linear_forecast_graph"]


def linear_forecast_graph(model: LinearForecast) -> onnx.ModelProto:
    """y = m + W (x - m) + s (b + C z), as (rows, horizon, series); see `LinearForecast`."""
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
    known = writer.weight(model.bias)
    if model.extra.any():
        z = _context(writer, model.context)
        # (1, rows, Z) x (K, Z, H), and the rows first again.
        beside = writer.node("Unsqueeze", [z, writer.weight(np.array([0], np.int64))])
        product = writer.node("MatMul", [beside, writer.weight(model.extra)])
        known = writer.node("Add", [writer.node("Transpose", [product], perm=[1, 0, 2]), known])
    shift = writer.node("Mul", [spread, known])
    total = writer.node("Add", [writer.node("Add", [steps, mean]), shift])
    outputs = writer.node("Transpose", [total], perm=[0, 2, 1])
    shape = ["rows", horizon, len(model.columns)]
    return writer.model({"outputs": (outputs, np.float32, shape)})


def _context(writer: GraphWriter, context: ForecastContext) -> str:
    """z, (rows, size); see `ForecastContext.array`."""
    parts = []

    def cut(value: str) -> str:
        for operator, end in (("Max", -LARGEST), ("Min", LARGEST)):
            value = writer.node(operator, [value, writer.weight(np.array(end, np.float32))])
        return value

    def slice_of(value: str, start: int, stop: int) -> str:
        ends = [writer.weight(np.array([at], np.int64)) for at in (start, stop, 1)]  # of axis 1
        return writer.node("Slice", [value, *ends])

    window, whole = context.window, context.window + context.horizon
    for name in context.ahead:
        values = writer.input(f"{name}.values", np.float32, ["rows", whole])
        past = writer.node("ReduceMean", [slice_of(values, 0, window)], axes=[1], keepdims=1)
        parts.append(cut(writer.node("Sub", [slice_of(values, window, whole), past])))
    zero = writer.weight(np.zeros((), np.float32))
    for feature in context.numbers:
        values = writer.input(f"{feature.column}.values", np.float32, ["rows", feature.size])
        absent = writer.node("IsNaN", [values])
        parts.append(cut(writer.node("Where", [absent, zero, values])))
    one = writer.weight(np.array([1], np.int64))
    for feature in context.names:
        codes = writer.input(f"{feature.column}.codes", np.int64, ["rows"])
        places = writer.weight(np.arange(feature.num_codes, dtype=np.int64))
        same = writer.node("Equal", [writer.node("Unsqueeze", [codes, one]), places])
        parts.append(writer.cast(same, np.float32))
    return parts[0] if len(parts) == 1 else writer.node("Concat", parts, axis=1)
