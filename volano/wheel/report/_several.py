"""Several names at once: how sure each decision is, from where on a name is given, how many are."""

from __future__ import annotations

from collections.abc import Sequence

from volano.wheel.report._charts import Bin, reliability
from volano.wheel.report._evidence import Evidence, interval, mapping, number, rows
from volano.wheel.report._format import count, percent, plural
from volano.wheel.report._markup import Child, data_text, el
from volano.wheel.report._tables import Cell, Column, Section, facts, figure, table

__all__ = ["decisions"]

SHOWN_UNKNOWN = 20


def decisions(evidence: Evidence) -> Section:
    """Whether probabilities hold, label by label; thresholds; labels to a row; unknown ones."""
    title = "How labels are decided"
    found = evidence.golden
    if not found:
        text = "There are no golden rows, so there is nothing to show here."
        return Section("decisions", title, None, [el("p", text)])
    bins = []
    for item in rows(found.get("reliability")):
        sure, right = number(item.get("confidence")), interval(item.get("accuracy"))
        size = int(number(item.get("num_rows")) or 0)
        if sure is not None and right is not None and size:
            bins.append(Bin(size, sure, right))
    drawing: Child = None
    if bins:
        words = (
            "All decisions of at least 5 %, in groups of like probability. On the dashed line, of "
            "the labels given 80 %, 80 of 100 are right."
        )
        drawing = figure(reliability(bins), words)
    per_row = mapping(found.get("labels_per_row"))
    pairs: list[tuple[str, Child]] = [
        (name, f"{value:.2f}")
        for name, key in (("Labels to a row, right", "right"), ("Labels to a row, given", "given"))
        if (value := number(per_row.get(key))) is not None
    ]
    pairs += [
        (name, count(value))
        for name, key in (
            ("Rows without a label, right", "none_right"),
            ("Rows without a label, given", "none_given"),
        )
        if (value := number(per_row.get(key))) is not None
    ]
    temperature = number(evidence.record.get("temperature"))
    if temperature is not None:
        pairs.append(("Temperature", f"{temperature:.2f}"))
    lead = (
        "Each label is a decision of its own: it is given where its probability reaches a "
        "threshold that the validation rows chose. One temperature for all of them makes "
        "probabilities match frequencies."
    )
    body: list[Child] = [
        el("div", drawing, facts(pairs), class_="two") if drawing else facts(pairs),
        _thresholds(evidence),
        _unknown(evidence),
    ]
    return Section("decisions", title, lead, body)


def _thresholds(evidence: Evidence) -> Child:
    lines: list[Sequence[Cell | Child]] = [
        [data_text(name, 60), Cell(percent(value, 1), value)]
        for name, item in mapping(evidence.golden.get("thresholds")).items()
        if (value := number(item)) is not None
    ]
    if not lines:
        return None
    columns = [Column("Label", "name"), Column("given from", "n")]
    return table(
        columns,
        lines,
        caption=f"Thresholds of {plural(len(lines), 'label')}",
        sortable=True,
        tall=len(lines) > 15,
    )


def _unknown(evidence: Evidence) -> Child:
    """Labels of golden rows that the model cannot give."""
    found = mapping(evidence.golden.get("unknown"))
    if not found:
        return None
    names: list[Child] = []
    for name, size in list(found.items())[:SHOWN_UNKNOWN]:
        names += [", " if names else "", data_text(name, 60), f" ({count(number(size) or 0)})"]
    more = ", ..." if len(found) > SHOWN_UNKNOWN else ""
    say = "Labels that golden rows have and no training row: they count as never found. "
    return el("p", say, names, more, class_="small")
