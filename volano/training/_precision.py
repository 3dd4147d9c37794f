"""Which number format this machine multiplies fastest: measured, never assumed."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import time
from collections.abc import Iterator

import torch

from volano.runtime import available_cores

__all__ = ["fast_dtype", "keep_memory", "release_cores", "use_cores"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20
"""The largest that glibc takes on 64 bits."""

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


@contextlib.contextmanager
def keep_memory() -> Iterator[None]:
    """Let the process keep the memory that a step frees, for the next step.

    The values between the layers of a convolutional net are megabytes each. The C library hands
    such pieces back to the system when they are freed, and the system clears each page anew when
    the next layer asks for it: up to a fifth of a step. Where there is another library than
    glibc, nothing is done.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "gnu_get_libc_version"):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    try:
        yield
    finally:
        libc.mallopt(_M_TRIM_THRESHOLD, 1 << 17)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 17)
        libc.malloc_trim(0)


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
