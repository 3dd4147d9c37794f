"""What a compression pass is: one small step from a graph to a smaller one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

__all__ = ["Calibration", "Pass"]


@dataclass(frozen=True)
class Calibration:
    """Rows that a pass may run a graph on to see what flows through it.

    Attributes:
      batches: Inputs of the graph, by name, for some training rows; no batch is padded much.
    """

    batches: Sequence[Mapping[str, NDArray[Any]]]


class Pass(Protocol):
    """A step ``graph -> graph``. Raise `version` when the same graph would come out otherwise."""

    name: ClassVar[str]
    version: ClassVar[int]

    def apply(self, graph: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        """A compressed copy; the graph that was given stays as it is."""
