"""golden: the rows that judge every bundle; chosen once and frozen for the life of the wheel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from volano.columns import column_kind
from volano.data import (
    GoldenRows,
    OrderedTable,
    Snapshot,
    choose_golden,
    golden_from_test,
    media_columns,
    resolve,
    write_rows,
)
from volano.evaluation import AlphaSpending, minimum_rows
from volano.spec import Spec
from volano.store import Run
from volano.wheel._stage import Context, Setting
from volano.wheel.stages.data import media_identity, plain_of, source_identity

__all__ = ["GoldenStage", "ordered_table"]

FILE = "golden.arrow"
FIX = "write the right path under test: in volano.yaml"


def ordered_table(spec: Spec) -> OrderedTable | None:
    """What the columns are in a table in time order; None where rows have no order."""
    column = spec.target_column
    if not getattr(column_kind(column.type), "in_order", False):
        return None
    return OrderedTable.of(spec.kinds, spec.target_name, column.options)


class GoldenStage:
    """The first snapshot, or the test table that the spec names -> golden rows."""

    name: ClassVar[str] = "golden"
    version: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("data",)

    def ingredients(self, setting: Setting, parents: Mapping[str, Run]) -> Mapping[str, Any]:
        del parents
        spec = setting.spec
        columns: dict[str, Any] = {"inputs": list(spec.inputs), "target": spec.target_name}
        order = ordered_table(spec)
        if order:
            # What is looked back at before the golden steps is frozen with them.
            columns |= {"window": order.options.get("window"), "horizon": order.horizon}
            columns |= {key: value for key, value in order.facts.items() if key != "date"}
        if spec.test:
            files = resolve(spec.test, root=setting.root, fix=FIX)
            named = [[file.name, source_identity(setting, file)] for file in files]
            stats = media_identity(spec, files)
            columns |= {"plain": plain} if (plain := sorted(plain_of(spec))) else {}
            return {**columns, "test": named, **({"media": stats} if stats else {})}
        return {**columns, "split": spec.split.model_dump(exclude={"validation"})}

    def run(self, context: Context) -> Mapping[str, Any]:
        spec = context.spec
        summary: dict[str, Any] = {}
        if spec.test:
            order = ordered_table(spec)
            found = golden_from_test(
                resolve(spec.test, root=context.root),
                inputs=tuple(spec.inputs),
                target=spec.target_name,
                out=context.out / FILE,
                kinds=spec.kinds,
                options=spec.target_column.options,
                plain=plain_of(spec),
                order={**order.facts, "context": 0, "span": None} if order else None,
            )
            summary = found.as_dict()
            if order:
                summary["independent"] = _num_steps(context.out / FILE, order) // order.horizon
        elif order := ordered_table(spec):
            snapshot = Snapshot.open(context.parent("data"))
            rows, facts, independent = order.choose_golden(
                snapshot, share=spec.split.golden, most=spec.split.golden_max
            )
            write_rows(snapshot, rows, context.out / FILE, order=facts)
            summary["independent"] = independent
        else:
            snapshot = Snapshot.open(context.parent("data"))
            rows = choose_golden(
                snapshot,
                share=spec.split.golden,
                max_rows=spec.split.golden_max,
                seed=spec.split.seed,
            )
            rows = _readable(context, snapshot, rows)
            write_rows(snapshot, rows, context.out / FILE)
        golden = GoldenRows.open(context.out / FILE)
        if "independent" in summary:
            fewest = minimum_rows(AlphaSpending(spec.gate.alpha).level(1))
            if summary["independent"] < fewest:
                context.progress.say(
                    f"    {summary['independent']} golden forecasts that share no step: the gate "
                    f"needs {fewest} to promote anything by itself; lower horizon, or raise "
                    "split.golden"
                )
        elif golden.num_rows < spec.gate.min_rows:
            # Said before the training, not after it.
            context.progress.say(
                f"    only {golden.num_rows} golden rows: fewer than gate.min_rows "
                f"({spec.gate.min_rows}), so nothing will be promoted by itself; raise "
                "split.golden or name a table of golden rows in test:"
            )
        return {**summary, "rows": golden.num_rows, "classes": len(set(golden.targets))}


def _num_steps(path: Path, order: OrderedTable) -> int:
    """Steps of a test table: of several groups those of the one that has most."""
    golden = GoldenRows.open(path)
    if order.group is None:
        return golden.num_rows
    return max(Counter(golden.column(order.group)).values())


def _readable(context: Context, snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those rows whose files can be read to their ends: a damaged one would judge for ever."""
    keep = np.ones(len(rows), bool)
    for name, kind in media_columns(context.spec.kinds, snapshot.summary.media).items():
        for place, value in enumerate(snapshot.values(name, rows)):
            keep[place] &= value is None or kind.problem(value) is None
    if lost := len(rows) - int(keep.sum()):
        context.progress.say(f"    {lost} rows cannot be golden: their files are damaged")
    return rows[keep]
