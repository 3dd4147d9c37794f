"""The search for smaller models: chains of passes, cheap looks first, each result measured.

Students are trained for a part of their time first. Those that another one of their kind beats in
quality, bytes and speed alike are given up; the others are trained to the end, the best of each
kind first, as long as there is time (Jamieson and Talwalkar, `Successive Halving
<https://arxiv.org/abs/1502.07943>`_, 2016).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volano.compression._contract import Compact, Makes, Pass, Settings
from volano.compression._kinds import compression_pass
from volano.compression._lessons import Lessons, OutOfTime

__all__ = ["Attempt", "Measured", "search"]

FIRST_LOOK = 0.25
"""Share of a student's epochs after which it is first measured."""

LOOKING = 0.5
"""Share of the time that looks may take."""

LOST = 0.002
"""Share of a model's quality: what changes its graph is worth learning to bear beyond it."""

SHORT = 0.5
"""Share of its epochs where nobody asked for a search: a turn should not wait for it."""


@dataclass(frozen=True)
class Measured:
    """What is known of a model as a bundle: quality (higher is better), bytes, milliseconds."""

    quality: float
    size_bytes: int
    row_ms: float

    def beats(self, other: Measured) -> bool:
        """Whether it is at least as good in everything."""
        return (
            self.quality >= other.quality
            and self.size_bytes <= other.size_bytes
            and self.row_ms <= other.row_ms
            and self != other
        )


@dataclass
class Attempt:
    """One chain of passes.

    Attributes:
      name: What reports call it.
      steps: Pass and settings, in order.
      made: The model; None where a pass failed.
      error: Why, in a line.
      seconds: What the last pass took.
      measured: As a bundle; None where it failed.
    """

    name: str
    steps: tuple[tuple[str, Settings], ...]
    made: Compact | None
    error: str | None = None
    seconds: float = 0.0
    measured: Measured | None = field(default=None)

    def as_dict(self) -> list[dict[str, Any]]:
        """The steps, JSON-able."""
        return [{"pass": name, **settings} for name, settings in self.steps]


Measure = Callable[[Attempt], Measured | None]


def search(
    teacher: Compact,
    work: Lessons,
    passes: Sequence[str],
    measure: Measure,
    *,
    known: Measured | None = None,
    reaches: Callable[[Measured], bool] = lambda found: True,
    long: bool,
) -> Iterator[Attempt]:
    """Everything that was tried, each as soon as it is measured.

    Args:
      teacher: The model as it was trained.
      work: What passes learn from; its deadline ends the search.
      passes: Those that may be used.
      measure: Makes a bundle and measures it; None where that fails.
      known: Of the teacher as a bundle.
      reaches: Whether a bundle is as small and fast as somebody asks; students that are come first.
      long: Whether there is time for more than the first setting of each pass.
    """
    known_passes = [compression_pass(name) for name in passes]
    trying = _Trying(teacher, work, known_passes, measure, reaches)
    yield from trying.finished(Attempt("", (), teacher, measured=known))
    for teaching in trying.passes:
        if teaching.makes != "student":
            continue
        if (refused := teaching.suits(teacher, work)) is not None:
            name = teaching.name
            yield Attempt(name, ((name, {}),), None, f"does not apply: {refused}")
            continue
        # Read here and not within a pass: an endpoint that does not answer ends the turn.
        if not work.num_rows:
            continue
        settings = list(teaching.settings(teacher, work))
        if long:
            yield from trying.halving(teaching, settings)
        else:
            yield from trying.student(teaching, _part(settings[0], SHORT))
    yield from trying.rest(long=long)


class _Trying:
    def __init__(
        self,
        teacher: Compact,
        work: Lessons,
        passes: Sequence[Pass],
        measure: Measure,
        reaches: Callable[[Measured], bool],
    ) -> None:
        self.passes = passes
        self._teacher, self._work, self._measure = teacher, work, measure
        self._reaches = reaches
        self._finished: list[Attempt] = []
        # By the name of a model: the worst of what became of its graph.
        self._worst: dict[str, float] = {}

    def finished(self, start: Attempt, *, look: bool = False) -> Iterator[Attempt]:
        """A model after the passes that need no teacher: with none of those that leave a model, and
        with more and more of them; each then after those that change its graph.

        Args:
          start: The model.
          look: Whether a first look at it is all that is wanted; else `rest` comes back to it.
        """
        models = [start]
        for each in self.passes:
            last = models[-1].made
            if each.makes != "model" or last is None:
                continue
            if (refused := each.suits(last, self._work)) is not None:
                if not start.name:
                    yield Attempt(each.name, ((each.name, {}),), None, f"does not apply: {refused}")
                continue
            attempt = self._tried(models[-1], each, each.settings(last, self._work)[0])
            yield attempt
            if attempt.made is not None:
                models.append(attempt)
        for model in models:
            yield from self._graphs(model)
        if not look:
            self._finished += models

    def rest(self, *, long: bool) -> Iterator[Attempt]:
        """What is tried last: what lost much by the passes that change its graph, after it has
        learned to bear them. All that was made after each of these passes, by itself; but for the
        one that a chain of all of them begins with. And the best model after the passes that leave
        one, in their other settings.

        Args:
          long: Whether in each setting, or in the first.
        """
        for start in self._finished if long else self._finished[:1]:
            yield from self._recovered(start)
        for start in self._finished:
            for place, each in enumerate(self._able(start, "graph")):
                yield from self._settings(start, each, first=place > 0, others=long)
        if long:
            start = self._finished[0]
            for each in self._able(start, "model"):
                for attempt in self._settings(start, each, first=False, others=True):
                    yield attempt
                    if attempt.made is not None:
                        yield from self._graphs(attempt)

    def _recovered(self, start: Attempt) -> Iterator[Attempt]:
        """A model after the passes that teach it to bear those that change its graph, and after
        these; nothing where it bears them as it is.
        """
        assert start.made is not None
        worst = self._worst.get(start.name, math.inf)
        quality = start.measured.quality if start.measured is not None else -math.inf
        for each in self.passes:
            if each.makes != "recovery":
                continue
            why = None
            if (refused := each.suits(start.made, self._work)) is not None:
                why = f"does not apply: {refused}"
            elif quality - worst <= LOST * abs(quality):
                most = f"more than {LOST:.1%} of its quality"
                why = f"not needed: no pass that changes the graph was seen to cost {most}"
            elif self._late():
                why = "not tried: the budget was spent"
            if why is not None:
                if not start.name:  # people expect that it is tried
                    yield Attempt(each.name, ((each.name, {}),), None, why)
                continue
            for attempt in self._settings(start, each, first=True, others=False):
                yield attempt
                if attempt.made is not None:
                    yield from self._graphs(attempt)

    def _able(self, start: Attempt, makes: Makes) -> list[Pass]:
        """The passes of a kind that can do something for a model."""
        made = start.made
        assert made is not None
        found = [each for each in self.passes if each.makes == makes]
        return [each for each in found if each.suits(made, self._work) is None]

    def _settings(
        self, start: Attempt, each: Pass, *, first: bool, others: bool
    ) -> Iterator[Attempt]:
        """A model after a pass in its first setting, in its others, or in all of them."""
        assert start.made is not None
        usual, *rest = each.settings(start.made, self._work)
        for setting in [*([usual] if first else []), *(rest if others else [])]:
            if self._late():
                return
            mark = "" if hasattr(each, "label") else _difference(usual, setting)
            yield self._tried(start, each, setting, mark)

    def _graphs(self, start: Attempt) -> Iterator[Attempt]:
        """A model after the passes that change its graph, one after the other."""
        last = start
        for each in self.passes:
            if each.makes != "graph" or last.made is None:
                continue
            refused = each.suits(last.made, self._work)
            if refused is not None:
                # People expect that it is tried on every model.
                name = "-".join(part for part in (last.name, each.name) if part)
                steps = (*last.steps, (each.name, {}))
                yield Attempt(name, steps, None, f"does not apply: {refused}")
                continue
            attempt = self._tried(last, each, each.settings(last.made, self._work)[0])
            yield attempt
            if attempt.measured is not None:
                worst = self._worst.get(start.name, math.inf)
                self._worst[start.name] = min(worst, attempt.measured.quality)
            if attempt.made is not None:
                last = attempt

    def student(self, teaching: Pass, settings: Settings, mark: str = "") -> Iterator[Attempt]:
        """A student, and what the other passes make of it."""
        attempt = self._tried(Attempt("", (), self._teacher), teaching, settings, mark)
        yield attempt
        if attempt.made is not None:
            yield from self.finished(attempt, look=bool(mark))

    def halving(self, teaching: Pass, settings: Sequence[Settings]) -> Iterator[Attempt]:
        """Students for a while, in half of the time; then those that are worth it to the end: first
        what is as small and fast as somebody asks, of it the best of each kind first; and what
        nobody has looked at with the time that is left.
        """
        half = time.monotonic() + LOOKING * (self._work.deadline - time.monotonic())
        looks: list[tuple[Settings, Measured]] = []
        unseen = _in_turns(settings)
        while unseen and time.monotonic() < half:
            each = unseen.pop(0)
            best: Measured | None = None
            first = _part(each, FIRST_LOOK)
            for attempt in self.student(teaching, first, "-look" if first != each else ""):
                if attempt.measured is not None:
                    best = attempt.measured
                yield attempt
            if best is not None:
                looks.append((each, best))
        left = [
            (each, found)
            for each, found in looks
            # Of its own kind alone: after a quarter of the time one kind is as good as it gets,
            # another has half of its way to go.
            if not any(
                other.beats(found) and rival.get("student") == each.get("student")
                for rival, other in looks
            )
            and _part(each, FIRST_LOOK) != each  # else the look was all there is
        ]
        small = [look for look in left if self._reaches(look[1])]
        large = [look for look in left if not self._reaches(look[1])]
        waiting = [*_by_kinds(small), *_by_kinds(large), *unseen]
        while waiting and not self._late():
            yield from self.student(teaching, waiting.pop(0))
        if waiting:
            names = ", ".join(_shown(teaching, each) for each in waiting)
            why = f"no time was left to train {names} to the end"
            yield Attempt(teaching.name, ((teaching.name, {}),), None, why)

    def _late(self) -> bool:
        return time.monotonic() > self._work.deadline

    def _tried(self, before: Attempt, each: Pass, settings: Settings, mark: str = "") -> Attempt:
        shown = _shown(each, settings) + mark
        steps = (*before.steps, (each.name, settings))
        attempt = Attempt("-".join(part for part in (before.name, shown) if part), steps, None)
        started = time.monotonic()
        self._work.at(f"{attempt.name}-{_digits(settings)}")
        try:
            assert before.made is not None
            attempt.made = each.apply(before.made, self._work, settings)
            attempt.seconds = time.monotonic() - started
            attempt.measured = self._measure(attempt)
        except OutOfTime:
            attempt.error = "the budget was spent"
        # A pass that fails on one model is a finding; the search goes on without it.
        except Exception as error:
            attempt.error = f"failed: {(str(error) or type(error).__name__).splitlines()[0][:300]}"
        if attempt.error is not None:
            attempt.made = None
        attempt.seconds = attempt.seconds or time.monotonic() - started
        return attempt


def _in_turns(settings: Sequence[Settings]) -> list[Settings]:
    """The first of each kind of student, then the second of each, and so on: a short time is not to
    be over before some kinds were looked at.
    """
    places: dict[Any, int] = {}
    order = []
    for each in settings:
        kind = each.get("student")
        places[kind] = places.get(kind, -1) + 1
        order.append((places[kind], each))
    return [each for _, each in sorted(order, key=lambda item: item[0])]


def _by_kinds(looks: Sequence[tuple[Settings, Measured]]) -> list[Settings]:
    """The best of each kind of student, the best kind first; then the second of each, and so on."""
    places: dict[Any, int] = {}
    order = []
    for each, found in sorted(looks, key=lambda item: -item[1].quality):
        kind = each.get("student")
        places[kind] = places.get(kind, -1) + 1
        order.append((places[kind], -found.quality, each))
    return [each for *_, each in sorted(order, key=lambda item: item[:2])]


def _shown(each: Pass, settings: Settings) -> str:
    """What reports call a pass in some setting."""
    label = getattr(each, "label", None)
    return str(label(settings)) if label is not None else each.name


def _part(settings: Settings, share: float) -> Settings:
    """With so many of its epochs; all of one that does not learn by epochs."""
    if "epochs" not in settings:
        return settings
    return {**settings, "epochs": max(1, math.floor(settings["epochs"] * share))}


def _difference(usual: Settings, settings: Settings) -> str:
    """What other settings than the usual ones are known by: ``-entropy`` with
    {"ranges": "entropy"}.
    """
    found = sorted(settings.items() - usual.items())
    return "".join(f"-{value}" for _, value in found)


def _digits(settings: Mapping[str, Any]) -> str:
    return "-".join(f"{key}{value}" for key, value in sorted(settings.items()))
