"""What a person sees while the wheel turns: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Progress", "SilentProgress", "progress_for"]

BAR_AFTER_S = 2.0
"""Anything shorter needs no bar."""

LINE_EVERY_S = 10.0
"""How often plain output repeats how far a long step has come."""


class Progress(Protocol):
    """Where long work says how far it is. All of it goes to stderr: stdout is for results."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def step(self, label: str, done: float, total: float) -> None:
        """Work `label` has come to `done` of `total`; reaching the total ends it."""

    def close(self) -> None:
        """Remove what is still moving."""


class SilentProgress:
    """Says nothing: for use from Python."""

    def say(self, text: str) -> None:
        del text

    def step(self, label: str, done: float, total: float) -> None:
        del label, done, total

    def close(self) -> None:
        pass


class _Lines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._label = ""
        self._started = self._shown = 0.0

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def step(self, label: str, done: float, total: float) -> None:
        moment = time.monotonic()
        if label != self._label:
            self._label, self._started, self._shown = label, moment, moment
        if done < total and moment - self._shown >= LINE_EVERY_S:
            self._shown = moment
            left = (moment - self._started) * (total - done) / done if done else 0
            self.say(f"    {label}: {done / total:.0%}, about {_duration(left)} left")

    def close(self) -> None:
        pass


class _Bars:
    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._bars: RichProgress | None = None
        self._task: TaskID | None = None
        self._label = ""
        self._started = 0.0

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def step(self, label: str, done: float, total: float) -> None:
        if label != self._label:
            self.close()
            self._label, self._started = label, time.monotonic()
        if done >= total:
            self.close()
            return
        if self._bars is None:
            if time.monotonic() - self._started < BAR_AFTER_S:
                return
            self._bars = self._new_bars()
            self._task = self._bars.add_task(label, total=total)
        assert self._task is not None
        self._bars.update(self._task, completed=done, total=total)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._task, self._label = None, None, ""

    def _new_bars(self) -> RichProgress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bars = Progress(
            TextColumn("    {task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            transient=True,
        )
        bars.start()
        return bars


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def progress_for(stream: TextIO | None = None) -> Progress:
    """Bars when a person watches stderr, plain lines when not."""
    stream = stream or sys.stderr
    return _Bars() if stream is sys.stderr and stream.isatty() else _Lines(stream)
