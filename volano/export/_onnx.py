"""From a trained network to an ONNX graph that answers the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        and all(_writes(each) is not None for each in model.encoders)
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


Writer = Callable[[GraphWriter, "Network", int, Mapping[str, FittedColumn]], str]


def _writes(encoder: Any) -> Writer | None:
    """What writes an encoder node by node; None where there is nothing that does."""
    if _is_bert(encoder):
        return _write_bert
    return {"pieces": _write_pieces, "words": _write_words}.get(getattr(encoder, "recipe", ""))


def _written_graph(network: Network, inputs: Mapping[str, FittedColumn]) -> onnx.ModelProto:
    writer = GraphWriter()
    features = []
    for place, encoder in enumerate(network.encoders):
        write = _writes(encoder)
        assert write is not None
        features.append(write(writer, network, place, inputs))
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


def _write_pieces(
    writer: GraphWriter, network: Network, place: int, inputs: Mapping[str, FittedColumn]
) -> str:
    # s E[p] : (B, 1, P) x (B, P, H)
    del inputs
    column, shape = network.columns[place], ["rows", f"pieces_{place}"]
    pieces = writer.input(f"{column}.pieces", np.int64, shape)
    shares = writer.input(f"{column}.shares", np.float32, shape)
    table = network.encoders[place].embeddings.detach().float().numpy()  # type: ignore[operator]
    one = writer.weight(np.array([1], np.int64))
    vectors_BPH = writer.node("Gather", [writer.weight(table, "pieces"), pieces])
    sum_B1H = writer.node("MatMul", [writer.node("Unsqueeze", [shares, one]), vectors_BPH])
    return writer.node("Squeeze", [sum_B1H, one])


def _write_words(
    writer: GraphWriter, network: Network, place: int, inputs: Mapping[str, FittedColumn]
) -> str:
    """See `volano.models.WordsEncoder`; (B, width)."""
    del inputs
    column, shape = network.columns[place], ["rows", f"tokens_{place}"]
    ids = writer.input(f"{column}.ids", np.int64, shape)
    mask_BT = writer.cast(writer.input(f"{column}.mask", np.int64, shape), np.float32)
    encoder: Any = network.encoders[place]
    table = writer.weight(encoder.embeddings.weight.detach().float().numpy(), "words")
    vectors_BTE = writer.node("Gather", [table, ids])
    one = writer.weight(np.array([1], np.int64))
    mask_B1T = writer.node("Unsqueeze", [mask_BT, one])
    if not encoder.filters:
        count_B1 = writer.node("ReduceSum", [mask_BT, one], keepdims=1)
        count_B1 = writer.node("Max", [count_B1, writer.weight(np.array(1, np.float32))])
        shares_BT = writer.node("Div", [mask_BT, writer.node("Sqrt", [count_B1])])
        shares_B1T = writer.node("Unsqueeze", [shares_BT, one])
        return writer.node("Squeeze", [writer.node("MatMul", [shares_B1T, vectors_BTE]), one])
    vectors_BET = writer.node("Transpose", [vectors_BTE], perm=[0, 2, 1])
    vectors_BET = writer.node("Mul", [vectors_BET, mask_B1T])
    found = []
    for convolution in encoder.convolutions:
        span = convolution.kernel_size[0]
        kernel, bias = (
            writer.weight(part.detach().float().numpy(), "kernel")
            for part in (convolution.weight, convolution.bias)
        )
        pads = [(span - 1) // 2, span // 2]
        h_BHT = writer.node("Conv", [vectors_BET, kernel, bias], pads=pads)
        h_BHT = writer.node("Mul", [writer.node("Relu", [h_BHT]), mask_B1T])
        found.append(writer.node("ReduceMax", [h_BHT], axes=[2], keepdims=0))
    return writer.node("Concat", found, axis=1)


_GRAPHS: dict[str, Any] = {"linear_forecast": linear_forecast_graph}
