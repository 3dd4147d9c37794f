"""How much a transformer's answers hang on each head, and on each inner neuron.

    I = mean over rows of (sum over its tokens of g a)^2,   g = d log p(y) / d a

a is what a part says, p the answer as students are taught it, softened, and y is drawn from p. By
the first terms of Taylor's series, leaving the part out changes log p(y) by - g a, and the answer
by

    KL(p || p without it) ~ I / 2

so that those go first whose loss the student has least to make up for. For numbers p is a normal
distribution about the output, and g its derivative.

Michel et al., `Are Sixteen Heads Really Better than One? <https://arxiv.org/abs/1905.10650>`_,
2019; Molchanov et al., `Importance Estimation for Neural Network Pruning
<https://arxiv.org/abs/1906.10771>`_, 2019. Where we differ: y is not the right answer but the
network's own, so that rows need no label, and rows that it has learned by heart still say
something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Importance", "importances"]

# Legend: B rows, T tokens, K heads, D numbers of a head, N inner neurons.

TEMPERATURE = 2.0
"""That of the students' loss."""


@dataclass(frozen=True)
class Importance:
    """Of the parts of one layer.

    Attributes:
      heads: Of its heads, float32, (K,).
      neurons: Of its inner neurons, float32, (N,).
    """

    heads: Any
    neurons: Any


def importances(
    network: Any,
    layers: Sequence[Any],
    batches: Sequence[Mapping[str, Any]],
    *,
    task: str,
    seed: int,
) -> list[Importance]:
    """Measure the parts of some layers.

    Args:
      network: What the layers are part of; stays as it is.
      layers: As BERT's are.
      batches: Of the training rows, as the columns collate them.
      task: ``classification`` or ``regression``.
      seed: Decides which answers are drawn.
    """
    import torch

    said: dict[Any, Any] = {}
    places = [
        part for layer in layers for part in (layer.attention.output.dense, layer.output.dense)
    ]

    def keep(part: Any, given: tuple[Any, ...]) -> None:
        said[part] = given[0]

    hooks = [part.register_forward_pre_hook(keep) for part in places]
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    totals = [torch.zeros(part.in_features) for part in places]
    sizes = [layer.attention.self.attention_head_size for layer in layers]
    heads = [
        torch.zeros(total.numel() // size) for total, size in zip(totals[::2], sizes, strict=True)
    ]
    neurons, num_rows = totals[1::2], 0
    with torch.enable_grad():
        for batch in batches:
            outputs = network({name: torch.from_numpy(values) for name, values in batch.items()})
            num_rows += len(outputs)
            gradients = torch.autograd.grad(
                _drawn(outputs, task, generator), [said[part] for part in places]
            )
            moved = [
                (gradient * said[part].detach()).sum(1)
                for part, gradient in zip(places, gradients, strict=True)
            ]
            for place, size in enumerate(sizes):
                moved_BK = moved[2 * place].unflatten(1, (-1, size)).sum(2)
                heads[place] += moved_BK.square().sum(0)
                neurons[place] += moved[2 * place + 1].square().sum(0)
    for hook in hooks:
        hook.remove()
    return [
        Importance(heads_K / max(1, num_rows), neurons_N / max(1, num_rows))
        for heads_K, neurons_N in zip(heads, neurons, strict=True)
    ]


def _drawn(outputs: Any, task: str, generator: Any) -> Any:
    """The sum over rows of log p(y), up to what does not depend on the network."""
    import torch

    if task == "regression":
        # Each output at a random sign: their products with each other come out as 0 on the mean.
        signs = torch.randint(0, 2, outputs.shape, generator=generator) * 2 - 1
        return (outputs * signs).sum()
    logs = torch.log_softmax(outputs / TEMPERATURE, dim=1)
    drawn = torch.multinomial(logs.detach().exp(), 1, generator=generator)
    return logs.gather(1, drawn).sum()
