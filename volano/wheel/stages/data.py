"""data: the labelled rows and the feedback, read once, as one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from volano.columns import column_kind, plain_cells
from volano.data import (
    FeedbackRow,
    ReadReport,
    Snapshot,
    SourceFile,
    as_text,
    grouping_columns,
    like_labels,
    media_columns,
    read_batches,
    resolve,
    stat_digest,
    take_snapshot,
)
from volano.errors import DataError
from volano.spec import Spec
from volano.store import Run
from volano.wheel._stage import Context, Setting
from volano.wheel.stages.feedback import read_feedback

__all__ = ["DataStage", "media_identity", "plain_of", "source_identity"]


class DataStage:
    """Sources and feedback -> `Snapshot`."""

    name: ClassVar[str] = "data"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("feedback",)

    def __init__(self) -> None:
        self._files: Sequence[SourceFile] = ()

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        del parents
        spec = setting.spec
        files = self._files = resolve(spec.data, root=setting.root)
        return {
            "files": _identity(setting, files),
            "inputs": {name: column.type for name, column in spec.inputs.items()},
            "target": {name: column.type for name, column in spec.target.items()},
            **_reading(spec),
            **({"plain": plain} if (plain := sorted(plain_of(spec))) else {}),
            **({"group": group} if (group := grouping_columns(spec.inputs)) else {}),
            "broken": spec.clean.broken,
            "empty": spec.clean.empty,
        }

    def run(self, context: Context) -> Mapping[str, Any]:
        spec = context.spec
        # Those of the key, where it was just made: to list many photos takes seconds.
        files = self._files or resolve(spec.data, root=context.root)
        summary = take_snapshot(
            files,
            inputs=tuple(spec.inputs),
            target=spec.target_name,
            out=context.out,
            kinds=spec.kinds,
            options=spec.target_column.options,
            plain=plain_of(spec),
            group=grouping_columns(spec.inputs),
            feedback=_feedback(context),
            on_broken=spec.clean.broken,
            on_empty=spec.clean.empty,
            progress=lambda done, total: context.progress.step("reading rows", done, total),
        )
        now = resolve(spec.data, root=context.root)
        if _identity(context.setting, now) != context.ingredients["files"]:
            raise DataError(
                500,
                "a data file was changed while it was read",
                where=", ".join(file.name for file in files)[:200],
                fix="volano turn",
            )
        snapshot = Snapshot.open(context.out)
        for found in like_labels(snapshot.label_rows()):
            context.progress.say(f"    {found}")
        return summary.as_dict()


def _reading(spec: Spec) -> dict[str, Any]:
    """Options of the target by which its cells are read, and so decide the rows."""
    column = spec.target_column
    read = getattr(column_kind(column.type), "canonical", None)
    return {} if read is None else {"options": dict(column.options)}


def plain_of(spec: Spec) -> dict[str, Callable[[str], str]]:
    """Column -> what makes its cells such as all later steps read them; see `plain_cells`."""
    columns = {**spec.inputs, **spec.target}
    return plain_cells({name: (column.type, column.options) for name, column in columns.items()})


def source_identity(setting: Setting, source: SourceFile) -> str:
    """A digest of a file's bytes; of a folder, of the names, sizes and times of what is in it."""
    return source.digest() if source.is_folder else setting.store.fingerprint(source.path)


def media_identity(spec: Spec, files: Sequence[SourceFile]) -> str | None:
    """A digest of the sizes and times of the photos that tables name; None where they name none."""
    media = list(media_columns(spec.kinds, tuple(spec.inputs)))
    tables = [file for file in files if not file.is_folder]
    if not media or not tables:
        return None
    batches = read_batches(tables, columns=media, report=ReadReport())
    return stat_digest(batches, lambda file: tables[file].base)


def _identity(setting: Setting, files: Sequence[SourceFile]) -> list[list[Any]]:
    """What of the files decides the rows."""
    media = media_identity(setting.spec, files)
    return [
        *([["media", media]] if media else []),
        *[[file.name, file.format, file.gzipped, source_identity(setting, file)] for file in files],
    ]


def _feedback(context: Context) -> Iterator[FeedbackRow]:
    inputs = tuple(context.spec.inputs)
    for item in read_feedback(context.parent("feedback")):
        # Feedback that was given under an earlier spec may lack a column of today's.
        if all(name in item["inputs"] for name in inputs):
            yield FeedbackRow(
                # A number that was not given came as null, which is an empty cell of a table.
                {name: as_text(item["inputs"][name]) or "" for name in inputs},
                as_text(item["value"]) or "",
                item["prediction_id"] or "",
            )
