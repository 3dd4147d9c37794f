"""Models of tables as ONNX graphs: a few nodes each, written directly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volano.export._graph import TREE_DOMAIN, GraphWriter
from volano.models import LinearModel, TableFeature, TreesModel

__all__ = ["write_linear", "write_table_inputs", "write_trees"]


def write_table_inputs(writer: GraphWriter, features: Sequence[TableFeature]) -> dict[str, str]:
    """Declare each column's input; returns column -> value."""
    found = {}
    for feature in features:
        column = feature.column
        if feature.size:
            found[column] = writer.input(f"{column}.values", np.float32, ["rows", feature.size])
        else:
            found[column] = writer.input(f"{column}.codes", np.int64, ["rows"])
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
    return writer.node(
        "TreeEnsembleRegressor",
        [matrix],
        domain=TREE_DOMAIN,
        aggregate_function="SUM",
        base_values=[float(value) for value in model.base],
        n_targets=len(model.base),
        nodes_treeids=model.tree.tolist(),
        nodes_nodeids=within.tolist(),
        nodes_featureids=np.maximum(model.column, 0).tolist(),
        nodes_values=[float(value) for value in model.threshold],
        nodes_modes=["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf.tolist()],
        nodes_truenodeids=np.where(leaf, 0, model.left - first).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, model.right - first).tolist(),
        nodes_missing_value_tracks_true=model.missing_left.astype(int).tolist(),
        target_treeids=model.tree[leaf].tolist(),
        target_nodeids=within[leaf].tolist(),
        target_ids=model.output[leaf].tolist(),
        target_weights=[float(value) for value in model.value[leaf]],
        post_transform="NONE",
    )
