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
from volano.export._table import (
    is_plain_table,
    write_flat,
    write_mixture,
    write_table_inputs,
    write_table_model,
)
from volano.models import FlatModel, sparse_sizes, table_features

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
        values = write_table_inputs(writer, table_features(inputs), sparse_sizes(inputs))
        outputs = write_table_model(writer, model, values)
        return writer.model({"outputs": (outputs, np.float32, ["rows", "outputs_per_row"])})
    if model.family in ("flat", "ensemble"):
        writer = GraphWriter()
        outputs = _written(writer, model, inputs, {})
        return writer.model({"outputs": (outputs, np.float32, ["rows", "outputs_per_row"])})
    if (
        model.family == "network"
        and model.table is None
        and model.fusion is None
        and all(_is_bert(each) or _sums(each) for each in model.encoders)
    ):
        return _written_graph(model, inputs)
    # Here and not above: torch takes seconds to import, and models of tables do without it.
    from volano.export._traced import traced_graph

    return traced_graph(model, inputs)


def _written(
    writer: GraphWriter, model: Any, inputs: Mapping[str, FittedColumn], values: dict[str, str]
) -> str:
    """Add a model of rows that have more than numbers and names; returns its outputs.

    Args:
      writer: Gets the nodes.
      model: The model.
      inputs: The fitted input columns.
      values: Inputs of the graph that were declared already; those of the model are added.
    """
    if model.family == "ensemble":
        found = [_written(writer, member.model, inputs, values) for member in model.members]
        return write_mixture(writer, model, found)
    if model.family == "flat":
        _declare(writer, model, values)
        return write_flat(writer, model, values)
    return writer.take_in(graph_of(model, inputs), values)[0]


def _declare(writer: GraphWriter, model: FlatModel, values: dict[str, str]) -> None:
    for feature in table_features(model.inputs):
        column = feature.column
        wanted: list[tuple[str, Any, list[str | int]]]
        if column in model.words:
            shape: list[str | int] = ["rows", f"tokens of {column}"]
            wanted = [("ids", np.int64, shape), ("mask", np.int64, shape)]
        elif feature.size:
            wanted = [("values", np.float32, ["rows", feature.size])]
        else:
            wanted = [("codes", np.int64, ["rows"])]
        for key, dtype, shape in wanted:
            name = f"{column}.{key}"
            if name not in values:
                values[name] = writer.input(name, dtype, shape)


def _is_bert(encoder: Any) -> bool:
    transformer = getattr(encoder, "transformer", None)
    if encoder.kind != "text" or transformer is None or encoder.pooling != "average":
        return False
    return is_bert_shaped(transformer.config)


def _sums(encoder: Any) -> bool:
    return getattr(encoder, "recipe", "") == "pieces"


def _written_graph(network: Network, inputs: Mapping[str, FittedColumn]) -> onnx.ModelProto:
    writer = GraphWriter()
    features = [
        _write_bert(writer, network, place, inputs)
        if _is_bert(encoder)
        else _write_pieces(writer, network, place)
        for place, encoder in enumerate(network.encoders)
    ]
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


def _write_bert(
    writer: GraphWriter, network: Network, place: int, inputs: Mapping[str, FittedColumn]
) -> str:
    prefix = f"encoders.{place}.transformer."
    weights = {
        name.removeprefix(prefix): value.detach().float().numpy()
        for name, value in network.state_dict().items()
        if name.startswith(prefix)
    }
    column, shape = network.columns[place], ["rows", f"tokens_{place}"]
    ids = writer.input(f"{column}.ids", np.int64, shape)
    mask = writer.input(f"{column}.mask", np.int64, shape)
    config = network.encoders[place].transformer.config  # type: ignore[union-attr]
    most = inputs[column].max_tokens  # type: ignore[attr-defined]
    return write_bert_features(writer, ids, mask, weights, config, most)


def _write_pieces(writer: GraphWriter, network: Network, place: int) -> str:
    # s E[p] : (B, 1, P) x (B, P, H)
    column, shape = network.columns[place], ["rows", f"pieces_{place}"]
    pieces = writer.input(f"{column}.pieces", np.int64, shape)
    shares = writer.input(f"{column}.shares", np.float32, shape)
    table = network.encoders[place].embeddings.detach().float().numpy()  # type: ignore[operator]
    one = writer.weight(np.array([1], np.int64))
    vectors_BPH = writer.node("Gather", [writer.weight(table, "pieces"), pieces])
    sum_B1H = writer.node("MatMul", [writer.node("Unsqueeze", [shares, one]), vectors_BPH])
    return writer.node("Squeeze", [sum_B1H, one])


_GRAPHS: dict[str, Any] = {"linear_forecast": linear_forecast_graph}
