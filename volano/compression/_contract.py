"""What a compression pass is: one small step from a model to a smaller one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from numpy.typing import NDArray

from volano.columns import EncodedSplit, FittedColumn

if TYPE_CHECKING:
    import onnx

__all__ = ["Calibration", "Compact", "Makes", "Pass", "Settings", "Work"]

Makes = Literal["student", "model", "recovery", "graph"]
"""What comes out of a pass: another network that has learned from this one, the same one made
smaller and still fit for training, the same one after it has learned to bear the passes that change
its graph, or a graph alone."""

Settings = Mapping[str, Any]
"""A pass's parameters by name, JSON-able."""


@dataclass(frozen=True)
class Calibration:
    """Rows that a pass may run a graph on to see what flows through it.

    Attributes:
      batches: Inputs of the graph, by name, for some training rows; no batch is padded much.
    """

    batches: Sequence[Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Compact:
    """A model on its way to a bundle: what a pass takes and gives.

    Attributes:
      inputs: The fitted columns that encode for it. A student may read its rows otherwise than the
        teacher does.
      graph: What would ship.
      model: What the graph was made from, while it can still be trained; None after a pass that
        changes the graph alone.
      notes: What the last pass found that is worth telling a person, a line each.
    """

    inputs: Mapping[str, FittedColumn]
    graph: onnx.ModelProto
    model: Any = None
    notes: Sequence[str] = ()


class Work(Protocol):
    """What a pass may look at and learn from.

    Attributes:
      task: The task's kind.
      seed: Decides every random choice.
    """

    @property
    def task(self) -> str: ...

    @property
    def seed(self) -> int: ...

    def calibration(self, inputs: Mapping[str, FittedColumn]) -> Calibration:
        """Some training rows, as these columns encode them."""

    def lessons(self, inputs: Mapping[str, FittedColumn]) -> tuple[EncodedSplit, EncodedSplit]:
        """Rows to learn from and rows to steer by, with what the teacher answers to them.

        The target of a row is the teacher's outputs, followed by the right answer as a number: a
        class's code, -1 where it is not known, or the number itself, NaN where it is not.

        Args:
          inputs: The columns that encode them.
        """

    @property
    def num_rows(self) -> int:
        """Rows that there are to learn from, those without a label among them."""

    def watch(self, label: str, done: float, total: float) -> None:
        """Tell how far something is; raises when the time is over."""

    def texts(self, column: str) -> Sequence[str]:
        """The raw values of a text column in the rows to learn from."""

    def graph(self, model: Any, inputs: Mapping[str, FittedColumn]) -> onnx.ModelProto:
        """A trained model in fp32, as it would ship."""

    def train(
        self,
        model: Any,
        inputs: Mapping[str, FittedColumn],
        *,
        epochs: int,
        teacher: Any = None,
        match: str = "hidden",
    ) -> None:
        """Teach a network in place what the teacher answers; a killed run goes on where it was.

        Args:
          model: The network.
          inputs: The columns that encode for it.
          epochs: Passes over the rows.
          teacher: A network of the same columns that it is to learn from as well: what it says of
            tokens, and its answers to rows that were changed; None for the answers alone.
          match: ``hidden``, the vectors of tokens, or ``relations`` between them.
        """


class Pass(Protocol):
    """A step ``model -> model``. Raise `version` when the same model would come out otherwise.

    Attributes:
      name: In specs and reports.
      makes: What comes out. All but ``graph`` need a model that can still be trained. The settings
        of a ``student`` may have ``epochs``, of which a first look takes a part.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    makes: ClassVar[Makes]

    def suits(self, model: Compact, work: Work) -> str | None:
        """Why it can do nothing for this model, in words; None when it can."""

    def settings(self, model: Compact, work: Work) -> Sequence[Settings]:
        """Those worth trying; the first is the one to try where there is time for one."""

    def apply(self, model: Compact, work: Work, settings: Settings) -> Compact:
        """A smaller copy; what was given stays as it is."""
