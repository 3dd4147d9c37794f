"""Which layer of an encoder a parameter belongs to, whatever the architecture."""

from __future__ import annotations

from torch import nn

__all__ = ["layer_places"]


def layer_places(encoder: nn.Module) -> tuple[dict[str, int], int]:
    """The place of each parameter between the bottom and the top of an encoder.

    Its layers are the list of modules that holds the most weights: a transformer's blocks, the
    stages of a residual net.

    Returns:
      Name -> place: the number of its layer from the bottom, -1 below the first (embeddings, a
      stem), and the number of layers above the last (a last norm); and the number of layers.
    """
    best, layers, most = "", None, 0
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList):
            size = sum(parameter.numel() for parameter in module.parameters())
            if size > most:
                best, layers, most = name, module, size
    if layers is None:
        return {name: -1 for name, _ in encoder.named_parameters()}, 0
    places: dict[str, int] = {}
    above = False
    for name, _ in encoder.named_parameters():
        if name.startswith(f"{best}."):
            places[name] = int(name.removeprefix(f"{best}.").partition(".")[0])
            above = True
        else:
            places[name] = len(layers) if above else -1
    return places, len(layers)
