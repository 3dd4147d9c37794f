"""From a trained network to an ONNX graph that answers the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from volano.columns import FittedColumn
from volano.export._bert import is_bert_shaped, write_bert_features
from volano.export._forecast import linear_forecast_graph
from volano.export._graph import GraphWriter
from volano.export._table import is_plain_table, write_table_inputs, write_table_model
from volano.models import table_features

if TYPE_CHECKING:
    from volano.models import Network

__all__ = ["graph_of"]


def graph_of(model: Any, inputs: Mapping[str, FittedColumn]) -> onnx.ModelProto:
    """A model in fp32: what the columns' `collate` gives in, ``outputs`` out.

    Args:
      model: A network in evaluation mode, or a model of tables.
      inputs: The fitted input columns.
    """
    if model.family in _GRAPHS:
        made: onnx.ModelProto = _GRAPHS[model.family](model)
        return made
    if is_plain_table(model):
        writer = GraphWriter()
        values = write_table_inputs(writer, table_features(inputs))
        outputs = write_table_model(writer, model, values)
        return writer.model({"outputs": (outputs, np.float32, ["rows", "outputs_per_row"])})
    if (
        model.table is None
        and model.fusion is None
        and all(_is_bert(encoder) for encoder in model.encoders)
    ):
        return _bert_graph(model)
    # Here and not above: torch takes seconds to import, and models of tables do without it.
    from volano.export._traced import traced_graph

    return traced_graph(model, inputs)


def _is_bert(encoder: Any) -> bool:
    transformer = getattr(encoder, "transformer", None)
    if encoder.kind != "text" or transformer is None or encoder.pooling != "average":
        return False
    return is_bert_shaped(transformer.config)


def _bert_graph(network: Network) -> onnx.ModelProto:
    configs = [encoder.transformer.config for encoder in network.encoders]  # type: ignore[union-attr]
    writer = GraphWriter()
    features = []
    for place, (column, config) in enumerate(zip(network.columns, configs, strict=True)):
        prefix = f"encoders.{place}.transformer."
        weights = {
            name.removeprefix(prefix): value.detach().float().numpy()
            for name, value in network.state_dict().items()
            if name.startswith(prefix)
        }
        shape = ["rows", f"tokens_{place}"]
        ids = writer.input(f"{column}.ids", np.int64, shape)
        mask = writer.input(f"{column}.mask", np.int64, shape)
        features.append(write_bert_features(writer, ids, mask, weights, config))
    joined = features[0] if len(features) == 1 else writer.node("Concat", features, axis=-1)
    head = network.head
    product = writer.node(
        "MatMul", [joined, writer.weight(head.weight.detach().float().numpy().T, "head")]
    )
    outputs = writer.node("Add", [product, writer.weight(head.bias.detach().float().numpy())])
    scale, shift = network.scale.float().numpy(), network.shift.float().numpy()  # type: ignore[operator]
    if (scale != 1).any() or shift.any():
        outputs = writer.node("Mul", [outputs, writer.weight(scale)])
        outputs = writer.node("Add", [outputs, writer.weight(shift)])
    return writer.model({"outputs": (outputs, np.float32, ["rows", head.out_features])})


_GRAPHS: dict[str, Any] = {"linear_forecast": linear_forecast_graph}
