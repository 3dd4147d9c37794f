"""How much of a pretrained encoder learns: all of it, its last layers, pairs beside them, nothing.

What does not learn is computed once where that is possible, and its gradients never.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from volano.errors import TrainError
from volano.models import Network, TextEncoder
from volano.training._feed import Feed
from volano.training._frozen import LARGEST_BYTES, FrozenLayers, layers_of
from volano.training._layers import layer_places
from volano.training._lora import adapt, merge
from volano.training._plan import TrainPlan

__all__ = ["Tuning"]

Step = Callable[[str, float, float], None]


class _Known(nn.Module):
    """Stands in the place of an encoder whose vectors are in the batch."""

    kind = "vector"
    keys = ("vector",)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, vector_BH: Tensor) -> Tensor:
        return vector_BH


class Tuning:
    """Encoders made ready to learn as much as the plan says, until `restore`.

    Args:
      network: Freshly built.
      plan: See `plan_training`.
      feeds: Get what frozen encoders and layers answer.
      step: Told how far that is.
      say: Told what is worth a line.
    Raises:
      TrainError: `lora`, and an encoder has no linear layers (TRAIN-031).
    """

    def __init__(
        self,
        network: Network,
        plan: TrainPlan,
        feeds: tuple[Feed, ...],
        step: Step,
        say: Callable[[str], None],
    ) -> None:
        self._network = network
        self._undo: list[Callable[[], object]] = []
        pretrained = [
            (place, name, encoder)
            for place, (name, encoder) in enumerate(
                zip(network.columns, network.encoders, strict=True)
            )
            if getattr(encoder, "pretrained", False)
        ]
        for place, name, encoder in pretrained:
            if plan.tune == "head":
                self._head_only(place, name, encoder, feeds, step)
            elif plan.tune == "lora":
                pairs = adapt(encoder, plan.lora_rank, plan.lora_alpha)
                if not pairs:
                    raise _no_linear(name)
                self._undo.append(lambda encoder=encoder: merge(encoder))  # type: ignore[misc]
                say(f"    {name}: pairs of rank {plan.lora_rank} beside {pairs} layers")
            elif plan.layers is not None:
                self._last_layers(name, encoder, plan.layers, feeds, step)
        if plan.tune == "head" and pretrained:
            say("    only the head learns: what pretrained encoders say is computed once")

    def restore(self) -> None:
        """Put everything back, with what was learned in its place."""
        for undo in self._undo:
            undo()

    def _head_only(
        self, place: int, name: str, encoder: nn.Module, feeds: tuple[Feed, ...], step: Step
    ) -> None:
        num_bytes = sum(feed.num_rows for feed in feeds) * encoder.width * 4  # type: ignore[operator]
        encoder.requires_grad_(False)
        self._undo.append(lambda: encoder.requires_grad_(True))
        if num_bytes > LARGEST_BYTES:
            return
        for feed in feeds:
            feed.answer_once(
                name, encoder, lambda done, total: step("reading with encoders", done, total)
            )
        self._network.encoders[place] = _Known(encoder.width)  # type: ignore[arg-type]
        self._undo.append(lambda: self._network.encoders.__setitem__(place, encoder))

    def _last_layers(
        self, name: str, encoder: nn.Module, num: int, feeds: tuple[Feed, ...], step: Step
    ) -> None:
        layers = layers_of(encoder) if isinstance(encoder, TextEncoder) else None
        if layers is None:
            self._freeze_below(encoder, num)
            return
        if num >= len(layers):
            return
        assert isinstance(encoder, TextEncoder)
        part = FrozenLayers(encoder, len(layers) - num)
        self._undo.append(part.restore)
        if not part.fits(sum(int(feed.widths.sum()) for feed in feeds)):
            part.freeze()
            return
        for feed in feeds:
            feed.start_above(
                name, part, lambda done, total: step("reading with frozen layers", done, total)
            )
        part.take_out()

    def _freeze_below(self, encoder: nn.Module, num: int) -> None:
        places, num_layers = layer_places(encoder)
        for name, parameter in encoder.named_parameters():
            if num_layers and places[name] < num_layers - num:
                parameter.requires_grad_(False)
        self._undo.append(lambda: encoder.requires_grad_(True))


def _no_linear(name: str) -> TrainError:
    return TrainError(
        31,
        f"the encoder of {name!r} has no linear layers to learn beside",
        expected="a transformer, or another way to tune a convolutional net",
        fix="train: {tune: gradual}",
    )
