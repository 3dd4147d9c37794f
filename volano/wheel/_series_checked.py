"""What `volano check` says of a table in time order, up to what a turn would refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volano.data import OrderedTable, Snapshot
from volano.evaluation import AlphaSpending, minimum_rows
from volano.spec import Spec

__all__ = ["series_checked"]


def series_checked(
    spec: Spec, order: OrderedTable, snapshot: Snapshot, rows: NDArray[np.int64]
) -> dict[str, Any]:
    """Steps, what was mended, and what is worth a warning.

    Raises:
      DataError: The table is too short for its window and horizon (DATA-064), its season is longer
        than what trains (067), or nearly all rows share their dates (068).
    """
    panel = order.panel(snapshot, rows[rows < snapshot.num_source_rows])
    num_steps, window, horizon = panel.num_steps, order.window(panel.num_steps), order.horizon
    found: dict[str, Any] = {
        "steps": num_steps,
        "step": str(panel.step),
        "mended": panel.counts,
        "window": window,
        "horizon": horizon,
    }
    if order.group:
        found["groups"] = len(panel.groups)
    order.refuse_dates(panel)
    span = 0
    if not spec.test:
        share, most = spec.split.golden, spec.split.golden_max
        span = order.golden_span(num_steps, share=share, most=most)
    order.refuse_cut(num_steps - span, num_steps, spec.split.validation)
    found["warnings"] = []
    if span:
        units = span // horizon
        fewest = minimum_rows(AlphaSpending(spec.gate.alpha).level(1))
        if units < fewest:
            found["warnings"].append(
                f"{span} golden steps hold {units} forecasts of {horizon} steps that share none, "
                f"and the gate needs {fewest} to promote anything: lower horizon, or raise "
                "split.golden and split.golden_max"
            )
    return found
