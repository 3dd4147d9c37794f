"""Which number format this machine multiplies fastest: measured, never assumed."""

from __future__ import annotations

import functools
import time

import torch

from volano.runtime import available_cores

__all__ = ["fast_dtype", "release_cores", "use_cores"]

WORTH_IT = 0.7
"""bf16 must take at most this share of fp32's time, or its smaller precision buys nothing."""


def use_cores(most: int | None = None) -> int:
    """Give torch the cores that this process may use; returns how many.

    Args:
      most: More only wait for each other: 1 for a network of a table, whose products are small.
    """
    cores = min(available_cores(), most or available_cores())
    if torch.get_num_threads() != cores:
        torch.set_num_threads(cores)
    # Tiny numbers take some processors a hundred times longer than zero, and mean as little.
    torch.set_flush_denormal(True)
    return cores


def release_cores() -> None:
    """Take back what `use_cores` set for the whole thread beside the number of cores.

    A turn that goes on in another process computes without it, and must come to the same numbers
    in the stages that follow.
    """
    torch.set_flush_denormal(False)


@functools.cache
def fast_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16 where a transformer's multiplication is faster with it, else float32.

    Some processors only emulate bfloat16, at a hundredth of the speed.
    """

    def seconds(dtype: torch.dtype) -> float:
        left = torch.ones((256, 384), dtype=dtype, device=device)
        right = torch.ones((384, 384), dtype=dtype, device=device)
        best = float("inf")
        for _ in range(4):
            started = time.perf_counter()
            # item() waits for a GPU to finish.
            (left @ right).sum().item()
            best = min(best, time.perf_counter() - started)
        return best

    fp32 = seconds(torch.float32)
    return torch.bfloat16 if seconds(torch.bfloat16) < WORTH_IT * fp32 else torch.float32
