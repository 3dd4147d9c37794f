"""The data: what was found, what was lost, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volano.data import places_by_file
from volano.wheel.report._evidence import Evidence, mapping, number, rows
from volano.wheel.report._format import count, percent, plural
from volano.wheel.report._lost import lost
from volano.wheel.report._markup import Child, Markup, data_text, el, raw
from volano.wheel.report._tables import Cell, Column, Section, folded, share_bar, table

__all__ = ["data"]

# Kind -> what the reader calls it, and why it matters.
FINDINGS = {
    "broken": ("broken", "could not be parsed"),
    "empty": ("empty", "no inputs, or no target"),
    "golden": ("set aside as golden rows", "they judge, and never train"),
    "golden_repeats": (
        "the same as a golden row",
        "up to case, space and punctuation; learning them would flatter the model",
    ),
    "golden_groups": (
        "of a golden row's group",
        "the same id as a row that judges; learning it would flatter the model",
    ),
    "superseded": ("replaced by a correction", "somebody gave a newer answer for the same inputs"),
    "duplicates": ("repeated", "same inputs and target as an earlier row"),
    "conflicts": ("in conflict", "same inputs, different targets: at least one of them is wrong"),
    "rare": ("of a rare class", "too few rows to learn the class from"),
    "repaired": ("repaired", "odd bytes, spaces around a label, empty surplus fields"),
}
MANY_CLASSES = 30
ENDS = 10
"""Classes shown at either end when there are many."""


def data(evidence: Evidence) -> Section:
    """Read, dropped by reason, used; findings by row; text that did not fit; class balance."""
    found = mapping(evidence.record.get("data"))
    body: list[Child] = [
        _flow(evidence, found),
        _findings(evidence, found),
        _columns(found),
        lost(evidence, found),
    ]
    body.append(_balance(evidence))
    body.append(_like_labels(found))
    notes = found.get("notes")
    if isinstance(notes, list) and notes:
        body.append(el("ul", [el("li", data_text(note, 300)) for note in notes], class_="small"))
    body.append(_files(found))
    lead = "Every row that was read, and what became of it. Nothing is lost without being counted."
    return Section("data", "The data", lead, body)


def _flow(evidence: Evidence, found: Mapping[str, Any]) -> Markup:
    training = mapping(evidence.record.get("training"))
    total = number(found.get("rows")) or 0.0
    lines: list[Child] = []

    def line(name: Child, size: float, start: float, kind: str, class_: str = "part") -> None:
        bar = share_bar(size / total, kind, start=start / total) if total else ""
        lines.append([el("span", name, class_=class_), bar, el("span", count(size), class_="n")])

    corrections = number(found.get("feedback_rows")) or 0.0
    line("Rows read", total, 0, "theirs", "sum")
    if corrections:
        line("of these, corrections from people", corrections, total - corrections, "ours")
    left = total
    for kind, size in mapping(found.get("dropped_because")).items():
        rows_lost = number(size) or 0.0
        left -= rows_lost
        name = FINDINGS.get(str(kind), (str(kind), ""))[0]
        line(f"− {name}", rows_lost, max(left, 0), "theirs" if kind == "golden" else "bad")
    train = number(training.get("rows")) or 0.0
    validation = number(training.get("validation_rows")) or 0.0
    line("Left to learn from", left, 0, "theirs", "sum")
    line("training rows", train, 0, "ours")
    line("validation rows, which steer it", validation, train, "ours")
    golden = number(found.get("golden_rows")) or 0.0
    kept_back = number(mapping(found.get("dropped_because")).get("golden")) or 0.0
    if kept_back:
        rows_set = plural(int(golden), "golden row")
        say = f"The {rows_set} that judge were set aside and frozen at the first turn."
    elif golden:
        say = f"{plural(int(golden), 'golden row')}, from a table of their own, judge the result."
    else:
        say = "There are no golden rows."
    return raw(el("div", lines, class_="flow"), el("p", say))


def _findings(evidence: Evidence, found: Mapping[str, Any]) -> Markup | None:
    counts = mapping(mapping(found.get("cleaning")).get("counts"))
    lines: list[Sequence[Cell | Child]] = []
    for kind, (name, why) in FINDINGS.items():
        entry = mapping(counts.get(kind))
        size = int(number(entry.get("rows")) or 0)
        if not size or kind == "golden":
            continue
        places = entry.get("first")
        shown = places if isinstance(places, list) else []
        lines.append(
            [
                [name[:1].upper() + name[1:], " ", el("span", why, class_="soft")],
                Cell(count(size), size),
                str(entry.get("action", "")),
                _places([str(place) for place in shown], size),
            ]
        )
    if not lines:
        return el("p", "No row was broken, empty, repeated, in conflict or repaired.")
    columns = [
        Column("Rows that are"),
        Column("rows", "n"),
        Column("were"),
        Column("where", "text"),
    ]
    digests = mapping(evidence.record.get("artifacts"))
    where = [
        [
            " and " if place else "",
            el("code", f"artifacts/{str(digests[stage])[:40]}/findings.jsonl"),
        ]
        for place, stage in enumerate(stage for stage in ("data", "prepare") if stage in digests)
    ]
    return raw(
        el("h3", "Found in the rows"),
        table(columns, lines, caption="Findings", stack=True),
        _details(evidence),
        el(
            "p",
            "Row 1 is the first below the header. ",
            ["All of them, with their lines: ", where, "."] if where else None,
            class_="small soft wrap",
        ),
    )


def _details(evidence: Evidence) -> Markup | None:
    """What exactly was wrong with the first rows that could not be read as they were."""
    lines: list[Sequence[Cell | Child]] = [
        [
            [data_text(item.get("file", ""), 60), _row(item.get("row", ""))],
            FINDINGS.get(str(item.get("kind")), (str(item.get("kind", "")), ""))[0],
            data_text(item["detail"], 200),
        ]
        for item in evidence.findings
        if item.get("detail")
    ]
    if not lines:
        return None
    heads = [Column("Where", "name"), Column("is"), Column("because", "text")]
    drawn = table(heads, lines, caption="What was wrong, row by row", stack=True)
    return folded(f"What was wrong with the first {len(lines)}", drawn)


def _row(row: object) -> str:
    """A photo or a recording of a folder is a row by itself."""
    return "" if row is None else f" row {row}"


def _places(places: Sequence[str], total: int) -> list[Child]:
    """``train.csv rows 370, 465``: by file, in the order found."""
    parts: list[Child] = []
    for name, numbers in places_by_file(places).items():
        word = " row " if len(numbers) == 1 else " rows "
        parts += ["; " if parts else "", data_text(name, 60)]
        parts += [word, ", ".join(numbers)] if numbers else []
    rest = total - len(places)
    if rest > 0 and places:
        parts.append(el("span", f" and {count(rest)} more", class_="soft"))
    return parts


def _columns(found: Mapping[str, Any]) -> Markup | None:
    """Tokens that were cut off or not known, column by column."""
    lines: list[Sequence[Cell | Child]] = []
    for name, entry in mapping(found.get("columns")).items():
        column = mapping(entry)
        tokens = number(column.get("tokens"))
        if tokens is None:
            continue
        cut_rows = number(column.get("truncated_rows")) or 0.0
        cut = number(column.get("truncated_tokens")) or 0.0
        unknown = number(column.get("unknown_tokens")) or 0.0
        lines.append(
            [
                [
                    data_text(name, 60),
                    " ",
                    el("span", str(column.get("encoder", "")), class_="soft"),
                ],
                count(tokens),
                count(cut_rows),
                [count(cut), f" ({percent(cut / tokens, 2)})" if tokens else ""],
                [count(unknown), f" ({percent(unknown / tokens, 2)})" if tokens else ""],
            ]
        )
    if not lines:
        return None
    heads = ("Text column", "tokens", "rows cut short", "tokens cut off", "tokens unknown")
    columns = [Column(head, "n" if place else "") for place, head in enumerate(heads)]
    note = el(
        "p",
        "A token is a word or a piece of one. What is cut off or unknown, the model cannot see. "
        "Counted over training and validation rows.",
        class_="small soft",
    )
    return raw(el("h3", "Read by the model"), table(columns, lines, caption="Tokens"), note)


def _balance(evidence: Evidence) -> Markup | None:
    sizes = [
        (str(item.get("label", "")), int(number(item.get("rows")) or 0)) for item in evidence.labels
    ]
    total = sum(size for _, size in sizes)
    if not total:
        return None
    golden = {
        str(row.get("name")): number(row.get("support")) or 0.0
        for row in rows(evidence.golden.get("per_class"))
    }
    num_golden = sum(golden.values())
    sizes.sort(key=lambda item: (-item[1], item[0]))
    largest = [size / total for _, size in sizes[:1]]
    top = max(*largest, *(share / num_golden for share in golden.values() if num_golden), 0.0)

    def line(name: str, size: int) -> Child:
        tick = golden.get(name, 0.0) / num_golden / top if num_golden else None
        bar = share_bar(size / total / top, "ours", mark=tick)
        return [
            data_text(name, 40),
            bar,
            el("span", f"{count(size)} · {percent(size / total)}", class_="n"),
        ]

    many = len(sizes) > MANY_CLASSES
    shown = sizes[:ENDS] if many else sizes
    middle = sizes[len(sizes) // 2][1]
    if sizes[-1][1] == sizes[0][1]:
        about = f"{count(len(sizes))} classes of {count(middle)} rows each."
    else:
        about = (
            f"{count(len(sizes))} classes of {count(sizes[-1][1])} to {count(sizes[0][1])} rows, "
            f"half of them with {count(middle)} or more."
        )
    tick_note = " The tick is the class's share of the golden rows." if num_golden else ""
    parts: list[Child] = [
        el("h3", "Rows of each class, as read"),
        el("p", about, tick_note, class_="small soft"),
        el("div", [line(*item) for item in shown], class_="flow classes"),
    ]
    if many:
        parts += [
            _ranked([size for _, size in sizes]),
            el("h3", f"The {ENDS} smallest"),
            el("div", [line(*item) for item in sizes[-ENDS:]], class_="flow classes"),
        ]
    return raw(parts)


def _like_labels(found: Mapping[str, Any]) -> Markup | None:
    """Labels that may be one class, written in several ways."""
    lines = []
    for group in rows(found.get("like_labels")):
        parts: list[Child] = []
        for label, size in mapping(group.get("rows")).items():
            comma = ", " if parts else ""
            parts += [comma, data_text(label, 60), f" ({count(number(size) or 0)})"]
        lines.append(el("li", parts, ": ", data_text(group.get("fix", ""), 200), "."))
    if not lines:
        return None
    say = "Labels that differ only by case, space or punctuation. They were learned as several."
    return raw(el("h3", "Labels that look like one"), el("p", say), el("ul", lines))


def _ranked(sizes: Sequence[int]) -> Markup:
    """All classes from the largest to the smallest, as one falling area."""
    step = max(1, len(sizes) // 300)
    spots = [(place, sizes[place]) for place in range(0, len(sizes), step)]
    edge = "".join(
        f"L{100 * place / len(sizes):.2f} {30 - 30 * size / sizes[0]:.1f}"
        f"H{100 * min(place + step, len(sizes)) / len(sizes):.2f}"
        for place, size in spots
    )
    words = f"Rows of all {len(sizes)} classes, from the largest to the smallest"
    drawing = el(
        "svg",
        el("title", words),
        el("path", class_="area ours", d=f"M0 30{edge}V30Z"),
        viewBox="0 0 100 30",
        preserveAspectRatio="none",
        role="img",
        aria_label=words,
        style="height:3.2rem",
    )
    return el("figure", drawing, el("figcaption", words, "."))


def _files(found: Mapping[str, Any]) -> Markup | None:
    lines: list[Sequence[Cell | Child]] = []
    for item in rows(found.get("files"))[:50]:
        notes = item.get("notes")
        lines.append(
            [
                data_text(item.get("name", ""), 80),
                f"{item.get('format', '')} {item.get('encoding', '')}",
                count(number(item.get("num_rows")) or 0),
                count(number(item.get("num_broken")) or 0),
                count(number(item.get("num_repaired")) or 0),
                data_text("; ".join(map(str, notes)), 300) if isinstance(notes, list) else "",
            ]
        )
    if not lines:
        return None
    heads = [
        Column("File"),
        Column("format"),
        Column("rows", "n"),
        Column("broken", "n"),
        Column("repaired", "n"),
        Column("notes", "text"),
    ]
    return folded(
        plural(len(rows(found.get("files"))), "file"), table(heads, lines, caption="Files read")
    )
