"""Models of tables as ONNX graphs: a few nodes each, written directly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from volano.export._graph import TREE_DOMAIN, GraphWriter
from volano.models import (
    EnsembleModel,
    FlatModel,
    LinearModel,
    TableFeature,
    TreesModel,
    WordTable,
    table_features,
)
from volano.models.ensemble import LEAST_CHANCE, LEAST_LOG, LEAST_SHARE

if TYPE_CHECKING:
    from volano.models import Network

__all__ = [
    "is_plain_table",
    "write_flat",
    "write_mixture",
    "write_table_inputs",
    "write_table_model",
]


def is_plain_table(model: Any) -> bool:
    """Whether a model takes numbers and names alone, so that its graph is written here."""
    if model.family == "ensemble":
        return all(is_plain_table(member.model) for member in model.members)
    return model.family in _WRITERS and not getattr(model, "columns", ())


def write_flat(writer: GraphWriter, model: FlatModel, values: Mapping[str, str]) -> str:
    """Add what makes numbers of texts, and the model over them.

    Args:
      writer: Gets the nodes.
      model: The model.
      values: Name of an input of the graph, such as ``"text.ids"`` -> its value.
    """
    columns = {}
    for feature in table_features(model.inputs):
        column = feature.column
        if column in model.words:
            ids, mask = values[f"{column}.ids"], values[f"{column}.mask"]
            columns[column] = _write_words(writer, model.words[column], ids, mask)
        else:
            columns[column] = values[f"{column}.{'values' if feature.size else 'codes'}"]
    return write_table_model(writer, model.model, columns)


def _write_words(writer: GraphWriter, table: WordTable, ids: str, mask: str) -> str:
    """See `WordTable`; (rows, size)."""
    one = writer.weight(np.array([1], np.int64))
    # What fills up a short row is no token.
    places = writer.node("Gather", [writer.weight(table.places), ids], axis=0)
    places = writer.node("Mul", [places, mask])
    zero = writer.weight(np.zeros((), np.int64))
    known = writer.cast(writer.node("Greater", [places, zero]), np.float32)
    number = writer.node("ReduceSum", [known, one], keepdims=1)
    number = writer.node("Max", [number, writer.weight(np.ones((), np.float32))])
    number = writer.node("Mul", [number, writer.weight(np.array(table.unit, np.float32))])
    vectors = writer.node("Gather", [writer.weight(table.vectors), places], axis=0)
    sums = writer.node("ReduceSum", [vectors, one], keepdims=0)
    return writer.node("Div", [sums, number])


def write_table_model(writer: GraphWriter, model: Any, values: dict[str, str]) -> str:
    """Add a model of a table; returns the value of its outputs, (rows, num_outputs).

    Args:
      writer: Gets the nodes.
      model: One such that `is_plain_table`.
      values: From `write_table_inputs`.
    """
    written: str = _WRITERS[model.family](writer, model, values)
    return written


def write_table_inputs(
    writer: GraphWriter, features: Sequence[TableFeature], sparse: Iterable[str] = ()
) -> dict[str, str]:
    """Declare each column's input; returns column -> value, of sparse ones that of the places."""
    found = {}
    for feature in features:
        column = feature.column
        if feature.size:
            found[column] = writer.input(f"{column}.values", np.float32, ["rows", feature.size])
        else:
            found[column] = writer.input(f"{column}.codes", np.int64, ["rows"])
    for place, column in enumerate(sparse):
        shape = ["rows", f"places_{place}"]
        found[column] = writer.input(f"{column}.places", np.int64, shape)
        writer.input(f"{column}.weights", np.float32, shape)
    return found


def _numbers(
    writer: GraphWriter, features: Sequence[TableFeature], values: dict[str, str]
) -> str | None:
    parts = [values[feature.column] for feature in features if feature.size]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else writer.node("Concat", parts, axis=1)


def write_linear(writer: GraphWriter, model: LinearModel, values: dict[str, str]) -> str:
    """Add a linear model; returns the value of its outputs, (rows, num_outputs)."""
    terms = []
    numbers = _numbers(writer, model.features, values)
    if numbers is not None:
        absent = writer.node("IsNaN", [numbers])
        zero = writer.weight(np.zeros((), np.float32))
        filled = writer.node("Where", [absent, zero, numbers])
        terms.append(writer.node("MatMul", [filled, writer.weight(model.weights)]))
        if model.missing.any():
            marks = writer.cast(absent, np.float32)
            terms.append(writer.node("MatMul", [marks, writer.weight(model.missing)]))
    named = [feature.column for feature in model.features if not feature.size]
    for column, table in zip(named, model.tables, strict=True):
        terms.append(writer.node("Gather", [writer.weight(table), values[column]], axis=0))
    for column, weights in model.sparse.items():
        # Only the places of a row are looked up: a row of zeros stands for the padding.
        table = np.concatenate([weights, np.zeros((1, weights.shape[1]), np.float32)])
        each = writer.node("Gather", [writer.weight(table), values[column]], axis=0)
        last = writer.weight(np.array([2], np.int64))
        times = writer.node("Unsqueeze", [f"{column}.weights", last])
        places = writer.weight(np.array([1], np.int64))
        product = writer.node("Mul", [each, times])
        terms.append(writer.node("ReduceSum", [product, places], keepdims=0))
    bias = writer.weight(model.bias)
    if not terms:
        raise AssertionError("a table without columns")
    total = terms[0]
    for term in [*terms[1:], bias]:
        total = writer.node("Add", [total, term])
    return total


def write_trees(writer: GraphWriter, model: TreesModel, values: dict[str, str]) -> str:
    """Add a sum of trees; returns the value of its outputs, (rows, num_outputs)."""
    numbers = _numbers(writer, model.features, values)
    parts = [numbers] if numbers is not None else []
    named = [feature.column for feature in model.features if not feature.size]
    for column, rank in zip(named, model.ranks, strict=True):
        found = writer.node("Gather", [writer.weight(rank[:, None]), values[column]], axis=0)
        parts.append(found)
    matrix = parts[0] if len(parts) == 1 else writer.node("Concat", parts, axis=1)
    starts = np.flatnonzero(np.diff(model.tree, prepend=-1))
    within = np.arange(len(model.tree)) - starts[model.tree] if len(starts) else model.tree
    first = starts[model.tree] if len(starts) else model.tree
    leaf = model.column < 0
    sums = writer.node(
        "TreeEnsembleRegressor",
        [matrix],
        domain=TREE_DOMAIN,
        aggregate_function="SUM",
        n_targets=len(model.base),
        nodes_treeids=model.tree.tolist(),
        nodes_nodeids=within.tolist(),
        nodes_featureids=np.maximum(model.column, 0).tolist(),
        nodes_values=[float(value) for value in model.threshold],
        nodes_modes=["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf.tolist()],
        nodes_truenodeids=np.where(leaf, 0, model.left - first).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, model.right - first).tolist(),
        nodes_missing_value_tracks_true=model.missing_left.astype(int).tolist(),
        target_treeids=model.tree[model.leaf].tolist(),
        target_nodeids=within[model.leaf].tolist(),
        target_ids=model.output.tolist(),
        target_weights=[float(value) for value in model.value],
        post_transform="NONE",
    )
    if model.base.any():
        # Not the operator's own base_values: ONNX Runtime forgets them for an output that none of
        # a row's leaves adds to.
        sums = writer.node("Add", [sums, writer.weight(model.base)])
    return writer.node("Log", [sums]) if model.shares else sums


def write_network(writer: GraphWriter, network: Network, values: dict[str, str]) -> str:
    """Add a network of a table; see `models.encoders.table` for what it does."""
    from volano.models.encoders.table import LARGEST_NUMBER

    table = network.table
    assert table is not None
    weights = {name: value.detach().float().numpy() for name, value in network.state_dict().items()}
    parts = []
    numbers = _numbers(writer, table.features, values)
    if numbers is not None:
        absent = writer.node("IsNaN", [numbers])
        zero = writer.weight(np.zeros((), np.float32))
        filled = writer.node("Where", [absent, zero, numbers])
        for operator, end in (("Max", -LARGEST_NUMBER), ("Min", LARGEST_NUMBER)):
            filled = writer.node(operator, [filled, writer.weight(np.array(end, np.float32))])
        parts += [filled, writer.cast(absent, np.float32)]
        if table.waves:
            parts.append(_write_waves(writer, filled, weights))
    named = [feature.column for feature in table.features if not feature.size]
    for place, column in enumerate(named):
        vectors = writer.weight(weights[f"table.tables.{place}.weight"])
        parts.append(writer.node("Gather", [vectors, values[column]], axis=0))
    found = parts[0] if len(parts) == 1 else writer.node("Concat", parts, axis=1)
    for place in range(len(table.hidden)):
        name = f"table.layers.{3 * place}"
        found = _write_affine(writer, found, weights[f"{name}.weight"], weights[f"{name}.bias"])
        if table.activation == "gelu":
            found = writer.fused("Gelu", [found])
        else:
            found = writer.node(table.activation.capitalize(), [found])
    scale, shift = weights["scale"], weights["shift"]
    # The unit of the answer, taken into the last layer.
    last, bias = weights["head.weight"] * scale[:, None], weights["head.bias"] * scale + shift
    return _write_affine(writer, found, last, bias)


def _write_affine(writer: GraphWriter, value: str, weight: Any, bias: Any) -> str:
    product = writer.node("MatMul", [value, writer.weight(weight.T)])
    return writer.node("Add", [product, writer.weight(bias)])


def _write_waves(writer: GraphWriter, filled: str, weights: dict[str, Any]) -> str:
    turned = writer.node("Transpose", [filled], perm=[1, 0])
    column = writer.node("Unsqueeze", [turned, writer.weight(np.array([2], np.int64))])
    frequencies = (2 * np.pi * weights["table.frequencies"]).astype(np.float32)
    angle = writer.node("Mul", [column, writer.weight(frequencies[:, None, :])])
    parts = [writer.node("Cos", [angle]), writer.node("Sin", [angle])]
    waves = writer.node("Concat", parts, axis=2)
    mixed = writer.node("MatMul", [waves, writer.weight(weights["table.mixing"])])
    mixed = writer.node("Add", [mixed, writer.weight(weights["table.mixing_bias"])])
    back = writer.node("Transpose", [writer.node("Relu", [mixed])], perm=[1, 0, 2])
    return writer.node("Flatten", [back], axis=1)


def write_ensemble(writer: GraphWriter, model: EnsembleModel, values: dict[str, str]) -> str:
    """Add the members, and how they are mixed."""
    found = [write_table_model(writer, member.model, values) for member in model.members]
    return write_mixture(writer, model, found)


def write_mixture(writer: GraphWriter, model: EnsembleModel, outputs: Sequence[str]) -> str:
    """Mix what the members answer; see `EnsembleModel`."""
    total = None
    for member, found in zip(model.members, outputs, strict=True):
        if model.classes:
            divisor = writer.weight(np.array(member.temperature, np.float32))
            found = writer.node("Div", [found, divisor])
            if model.bias:
                found = writer.node("LogSoftmax", [found], axis=1)
                least = writer.weight(np.array(LEAST_LOG, np.float32))
                found = writer.node("Max", [found, least])
            else:
                found = writer.node("Softmax", [found], axis=1)
        elif model.several:
            divisor = writer.weight(np.array(member.temperature, np.float32))
            found = writer.node("Sigmoid", [writer.node("Div", [found, divisor])])
        found = writer.node("Mul", [found, writer.weight(np.array(member.weight, np.float32))])
        total = found if total is None else writer.node("Add", [total, found])
    assert total is not None
    if model.bias:
        return writer.node("Add", [total, writer.weight(np.array(model.bias, np.float32))])
    if model.classes:
        least = writer.weight(np.array(LEAST_SHARE, np.float32))
        total = writer.node("Log", [writer.node("Max", [total, least])])
    elif model.several:
        ends = [
            writer.weight(np.array(end, np.float32)) for end in (LEAST_CHANCE, 1 - LEAST_CHANCE)
        ]
        total = writer.node("Min", [writer.node("Max", [total, ends[0]]), ends[1]])
        rest = writer.node("Sub", [writer.weight(np.ones((), np.float32)), total])
        total = writer.node("Log", [writer.node("Div", [total, rest])])
    return total


_WRITERS: dict[str, Any] = {
    "ensemble": write_ensemble,
    "linear": write_linear,
    "network": write_network,
    "trees": write_trees,
}
