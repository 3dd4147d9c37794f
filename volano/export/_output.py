"""Where a command writes to, looked at before any work and replaced in one step at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from volano.errors import WheelError, shorten
from volano.store import disk_errors

__all__ = ["output_place", "written"]


def output_place(output: Path) -> Path:
    """The file that an output really goes to: links are followed, devices and pipes stay.

    Raises:
      WheelError: It is a folder, or no file can be there (WHEEL-040).
    """
    try:
        if output.is_dir():
            raise _no_place(output, "this is a folder")
        if output.exists() and not output.is_file():
            return output
        place = output.resolve()
        # The longest name that a folder takes is found out here, not when the work is done.
        place.exists()
        above = next(folder for folder in place.parents if folder.exists())
    except (OSError, RuntimeError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise _no_place(output, f"no file can be here ({what})") from None
    if not above.is_dir():
        raise _no_place(output, f"{shorten(str(above))} is a file, not a folder")
    return place


def _no_place(output: Path, what: str) -> WheelError:
    where = str(output)
    return WheelError(
        40,
        what,
        where=where if len(where) <= 120 else shorten(where, 120),
        expected="the name of a file to write",
    )


@contextlib.contextmanager
def written(output: Path) -> Iterator[Path]:
    """A path to write, which takes the output's name only when it is whole.

    A device or a pipe is written as it is: nothing may take its place.

    Raises:
      WheelError: As `output_place`.
      StoreError: The disk is full (STORE-010) or may not be written (STORE-011).
    """
    place = output_place(output)
    with disk_errors(place):
        if place.exists() and not place.is_file():
            yield place
            return
        # A short name of its own: the output's may be as long as names can be.
        partial = place.with_name(f".volano-{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            if place.exists():
                shutil.copymode(place, partial)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
