"""What benchmarks measured goes to `benchmarks/results/DATE-NAME.md`, with the machine."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

__all__ = ["hardware", "write_result"]

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def hardware() -> str:
    """Processor, cores and memory, in words."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    flags = next(line.split(":")[1] for line in lines if line.startswith("flags")).split()
    known = [flag for flag in FLAGS if flag in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{name} ({', '.join(known)}), {cores} cores, {memory:.0f} GiB of memory"


def write_result(name: str, title: str, lines: Sequence[str]) -> Path:
    """Write one dated result; an earlier one of the same day and name is replaced.

    Args:
      name: Part of the file's name.
      title: Its heading.
      lines: Markdown.
    """
    now = datetime.datetime.now(datetime.UTC)
    path = Path(__file__).parent / "results" / f"{now:%Y-%m-%d}-{name}.md"
    load = os.getloadavg()[0]
    head = [
        f"# {title}",
        "",
        f"{now:%Y-%m-%d %H:%M} UTC. {hardware()}. Python {platform.python_version()}. "
        f"Load average at the end: {load:.1f}.",
        "",
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return path
