"""prepare: clean the rows, split them, fit the columns, encode every row once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import FittedColumn, column_kind, media_kind
from volano.data import (
    GoldenRows,
    OrderedTable,
    Snapshot,
    clean,
    encode_rows,
    encode_split,
    save_columns,
    split_snapshot,
    window_splits,
)
from volano.errors import DataError
from volano.models import choose_encoder, encoder_identity
from volano.store import Run
from volano.wheel._stage import Context, Setting
from volano.wheel.stages import golden as golden_stage

__all__ = ["PrepareStage"]

FIT_ROWS = 200_000
"""Training rows that a column is fitted on at the most, taken at even distances."""

FIT_FILES = 4000
"""The same of columns whose values are files: a few thousand photos have all sizes there are."""

BATCH_ROWS = 8192


MANY_UNKNOWN = 0.2
"""Share of a text's tokens beyond which an encoder that does not know them is a wrong choice."""


class PrepareStage:
    """Snapshot and golden rows -> fitted columns and encoded splits."""

    name: ClassVar[str] = "prepare"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("data", "golden")

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        del parents
        spec = setting.spec
        columns = {**spec.inputs, **spec.target}
        return {
            "clean": spec.clean.model_dump(exclude={"broken", "empty"}),
            "validation": spec.split.validation,
            "seed": spec.split.seed,
            "columns": {
                name: [
                    column.type,
                    column_kind(column.type).version,
                    dict(column.options),
                    encoder_identity(
                        column.type,
                        column.options,
                        setting.root,
                        fingerprint=setting.store.fingerprint,
                    ),
                ]
                for name, column in columns.items()
            },
        }

    def run(self, context: Context) -> Mapping[str, Any]:
        spec, out, say = context.spec, context.out, context.progress.say
        snapshot = Snapshot.open(context.parent("data"))
        golden = GoldenRows.open(context.parent("golden") / golden_stage.FILE)
        order = golden_stage.ordered_table(spec)
        if order:
            return _prepare_windows(context, order, snapshot, golden)
        selection = clean(snapshot, spec.clean, golden=golden, findings=out / "findings.jsonl")
        train, validation = split_snapshot(
            snapshot, selection.rows, share=spec.split.validation, seed=spec.split.seed
        )
        if len(train) == 0:
            raise _nothing_left(snapshot)
        details: dict[str, Any] = {}
        inputs: dict[str, FittedColumn] = {}
        for name, column in spec.inputs.items():
            most = FIT_FILES if media_kind(column.type) else FIT_ROWS
            values = snapshot.values(name, train[:: -(-len(train) // most)])
            chosen = choose_encoder(
                column.type, column.options, values[:2000], context.root, say=say
            )
            options = {**column.options, **chosen}
            inputs[name] = column_kind(column.type).fit(name, values, options)
            details[name] = {key: chosen[key] for key in ("encoder", "reason") if key in chosen}
        target = self._target(context, snapshot, np.concatenate([train, validation]))
        save_columns(out, inputs, target, details)
        lost: dict[str, dict[str, int]] = {name: {} for name in inputs}
        done = 0
        total = len(train) + len(validation) + golden.num_rows

        def step(rows: int) -> None:
            nonlocal done
            done += rows
            context.progress.step("encoding", done, total)

        kept = {"train": train, "validation": validation}
        unreadable = []
        for split, rows in kept.items():
            found = encode_rows(out / split, out, inputs, target, snapshot, rows, progress=step)
            for name, own in found.counts.items():
                for key, count in own.items():
                    lost[name][key] = lost[name].get(key, 0) + count
            kept[split] = np.delete(rows, found.lost)
            unreadable += snapshot.places(rows[found.lost])
            np.save(out / split / "rows.npy", kept[split])
            if snapshot.groups is not None:
                np.save(out / split / "groups.npy", snapshot.groups[kept[split]])
        train, validation = kept["train"], kept["validation"]
        if len(train) == 0:
            raise _nothing_left(snapshot)
        encode_split(
            out / "golden", inputs, target, _golden_batches(golden, inputs), keep_lost=True
        )
        step(golden.num_rows)
        if unreadable:
            with (out / "findings.jsonl").open("a", encoding="utf-8") as file:
                for place in unreadable:
                    line = {"kind": "unreadable", "action": "dropped", "place": place}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
            say(
                f"    {len(unreadable)} rows are left out: their files are damaged, such as "
                f"{unreadable[0]}"
            )
        for told in _unknown_lines(lost):
            say(told)
        summary = {
            "train_rows": len(train),
            "validation_rows": len(validation),
            "golden_rows": golden.num_rows,
            "classes": len(getattr(target, "names", ())),
            "cleaning": selection.as_dict(),
            "columns": {name: {**details[name], **lost[name]} for name in inputs},
        }
        (out / "summary.json").write_text(
            json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8"
        )
        return summary

    def _target(
        self, context: Context, snapshot: Snapshot, rows: NDArray[np.int64]
    ) -> FittedColumn:
        """The target column, fitted on all rows that training sees."""
        spec = context.spec
        kind, options = column_kind(spec.target_column.type), spec.target_column.options
        if snapshot.summary.several:
            batches = snapshot.batches(rows, [snapshot.target], num_rows=FIT_ROWS)
            every = (value for batch in batches for value in batch[snapshot.target])
            least = spec.clean.rare_below if spec.clean.rare == "drop" else 1
            column = kind.fit(spec.target_name, every, {**options, "min_rows": least}, "target")
            if not getattr(column, "names", ()):
                raise DataError(
                    506,
                    f"no label is left to learn in {len(rows):,} rows",
                    expected="at least one label that some rows have and others have not",
                    fix="volano check",
                )
            return column
        if not kind.names:
            some = rows[:: -(-len(rows) // FIT_ROWS)]
            values = snapshot.column(snapshot.target, some)
            return kind.fit(spec.target_name, values, options, "target")
        names = [snapshot.labels[code] for code in np.unique(snapshot.codes(rows)).tolist()]
        if len(names) < 2:
            raise DataError(
                502,
                f"after cleaning, every row has the target {names[0]!r}",
                expected="at least two different values to tell apart",
                fix="volano check",
            )
        return kind.fit(spec.target_name, names, options, "target")


def _nothing_left(snapshot: Snapshot) -> DataError:
    return DataError(
        501,
        f"no rows are left to train on, of {snapshot.num_rows} read",
        expected="rows that are neither empty, doubled nor golden, with files that can be read",
        fix="volano check",
    )


def _prepare_windows(
    context: Context, order: OrderedTable, snapshot: Snapshot, golden: GoldenRows
) -> Mapping[str, Any]:
    """As `PrepareStage.run`, where rows are steps in time and examples are windows of them."""
    spec, out = context.spec, context.out
    selection = clean(snapshot, spec.clean, findings=out / "findings.jsonl")
    rows = selection.rows[selection.rows < snapshot.num_source_rows]
    made = window_splits(out, order, snapshot, rows, golden, share=spec.split.validation)
    save_columns(out, made.inputs, made.target, {name: {} for name in made.inputs})
    cleaning = selection.as_dict()
    cleaning["counts"]["golden"] |= {"rows": made.golden_steps, "action": "dropped"}
    cleaning["counts"]["kept"]["rows"] -= made.golden_steps
    facts = made.facts
    context.progress.say(
        f"    {facts['steps']} steps of {facts['step'] or 'one row'}, season {facts['season']}, "
        f"window {facts['window']}, horizon {facts['horizon']}; mended: {facts['gaps']} gaps, "
        f"{facts['repeated']} repeated, {facts['out_of_order']} out of order"
        + (f"; {facts['groups']} groups" if "groups" in facts else "")
    )
    for name, count in facts.get("changing", {}).items():
        context.progress.say(
            f"    {name} is said to stay the same, and changes in {count} rows: its first value "
            "counts"
        )
    summary = {
        "train_rows": made.rows["train"],
        "validation_rows": made.rows["validation"],
        "golden_rows": made.rows["golden"],
        "classes": 0,
        "cleaning": cleaning,
        "columns": {name: {} for name in made.inputs},
        "series": facts,
    }
    text = json.dumps(summary, ensure_ascii=False, indent=1)
    (out / "summary.json").write_text(text, encoding="utf-8")
    return summary


def _golden_batches(
    golden: GoldenRows, inputs: Mapping[str, FittedColumn]
) -> Iterator[dict[str, list[Any]]]:
    values = {golden.target: golden.targets, **{name: golden.values(name) for name in inputs}}
    for start in range(0, golden.num_rows, BATCH_ROWS):
        yield {name: column[start : start + BATCH_ROWS] for name, column in values.items()}


def class_counts(codes: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Rows of each class, shape (num_classes,)."""
    return np.bincount(codes[codes >= 0], minlength=num_classes)


def _unknown_lines(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What to say of texts that their encoders cannot read.

    Args:
      counts: Column -> what was counted when it was encoded.
    """
    for name, found in counts.items():
        unknown = found.get("unknown_tokens", 0) / max(1, found.get("tokens", 0))
        if unknown > MANY_UNKNOWN:
            yield (
                f"    {name}: {unknown:.0%} of its tokens say nothing to its encoder; "
                f"'{name}: {{type: text, encoder: scratch}}' learns them from these rows"
            )
