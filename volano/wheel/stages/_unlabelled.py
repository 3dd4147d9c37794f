"""Rows without a label that a student may learn from: tables, and what the service was asked."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from volano.columns import FittedColumn, media_kind
from volano.compression import Endpoint, Told
from volano.data import (
    GoldenRows,
    Prepared,
    Snapshot,
    TableForm,
    Unlabelled,
    as_text,
    known_rows,
    resolve,
    rows_of,
    unlabelled,
)
from volano.errors import RequestError, SpecError
from volano.spec import EndpointSpec, Spec
from volano.store import PredictionLog
from volano.wheel._stage import Context, Setting
from volano.wheel.stages.data import plain_of, source_identity
from volano.wheel.stages.golden import FILE as GOLDEN_FILE

__all__ = ["check_compress", "told_of", "unlabelled_identity", "unlabelled_rows"]

PREDICTIONS = "predictions"
"""In the place of a path: what the service was asked."""

MOST_ROWS = 200_000

FIX = "write the right path under compress.unlabelled in volano.yaml"

_PAGE = 1000


def check_compress(setting: Setting) -> None:
    """Refuse what compress would refuse after all the training.

    Raises:
      DataError: A path of ``unlabelled`` leads nowhere, or a table there lacks an input (DATA-008).
      SpecError: An input is a photo or a recording (SPEC-049).
    """
    compress = setting.spec.compress
    if isinstance(compress, str) or not compress.unlabelled:
        return
    _refuse_media(setting.spec)
    files = resolve(_paths(compress.unlabelled), root=setting.root, fix=FIX)
    next(iter(rows_of(files, tuple(setting.spec.inputs))), None)


def unlabelled_identity(setting: Setting, addresses: Sequence[str]) -> list[Any]:
    """What decides which rows there are.

    Raises:
      DataError: A path leads nowhere.
    """
    found: list[Any] = []
    if PREDICTIONS in addresses:
        found.append(PredictionLog(setting.store.engine).num_predictions())
    for file in resolve(_paths(addresses), root=setting.root, fix=FIX):
        found.append([file.name, source_identity(setting, file)])
    return found


def unlabelled_rows(context: Context, addresses: Sequence[str]) -> Unlabelled:
    """What can be asked of a teacher beside the turn's own rows; none of the golden rows."""
    spec = context.spec
    snapshot = Snapshot.open(context.parent("data"))
    golden = GoldenRows.open(context.parent("golden") / GOLDEN_FILE)
    form = TableForm.of(snapshot.inputs, spec.target_name, spec.kinds, spec.target_column.options)
    inputs = Prepared.open(context.parent("prepare")).inputs
    same = {name: functools.partial(_as_logged, column) for name, column in inputs.items()}
    known = known_rows(snapshot, golden, form, same)
    found = unlabelled(
        _rows(context, addresses), form, known, plain=plain_of(spec), same=same, most=MOST_ROWS
    )
    counts = found.counts
    context.progress.say(
        f"    {counts['kept']:,} rows without a label, of {counts['read']:,}: "
        f"{counts['known']:,} repeat others, {counts['empty'] + counts['broken']:,} say nothing"
    )
    return found


def told_of(
    context: Context, endpoint: EndpointSpec, rows: Unlabelled, names: Sequence[str], cache: Path
) -> Told:
    """What an endpoint calls the first of the rows, as many as the spec allows.

    Raises:
      AssetError: It has no key (ASSET-109), or does not answer (110).
    """
    num_rows = min(endpoint.rows, rows.counts["kept"])
    asked = [
        {name: rows.columns[name][row] for name in endpoint.columns} for row in range(num_rows)
    ]
    found = Endpoint(endpoint, names, cache, step=context.progress.step).label(asked)
    counts = found.counts
    context.progress.say(
        f"    {endpoint.model} at {endpoint.url} labelled {counts['asked'] - counts['unusable']:,} "
        f"of {counts['asked']:,} rows, {counts['cached']:,} of them before; "
        f"{counts['requests']:,} requests, {counts['tokens_in']:,} tokens sent, "
        f"{counts['tokens_out']:,} received"
    )
    return found


def _rows(context: Context, addresses: Sequence[str]) -> Iterator[Mapping[str, str | None] | None]:
    files = resolve(_paths(addresses), root=context.root, fix=FIX)
    yield from rows_of(files, tuple(context.spec.inputs))
    if PREDICTIONS not in addresses:
        return
    log = PredictionLog(context.setting.store.engine)
    last = ""
    while page := log.predictions(_PAGE, last):
        last = page[-1].id
        for item in page:
            yield {name: as_text(value) for name, value in item.inputs.items()}


def _as_logged(column: FittedColumn, cell: str) -> str:
    """A cell as the prediction log has it, which keeps values and not how they were written."""
    try:
        return as_text(column.check(cell)) or ""
    except RequestError:
        return cell


def _paths(addresses: Sequence[str]) -> list[str]:
    return [address for address in addresses if address != PREDICTIONS]


def _refuse_media(spec: Spec) -> None:
    media = [name for name, column in spec.inputs.items() if media_kind(column.type)]
    if media:
        raise SpecError(
            49,
            f"compress.unlabelled is given, and {media[0]} is a column of files",
            where="compress.unlabelled",
            expected="rows of texts, numbers and names",
            fix="leave compress.unlabelled out",
        )
