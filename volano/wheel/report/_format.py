"""Numbers as a person writes them."""

from __future__ import annotations

import datetime
import math

__all__ = [
    "brief",
    "count",
    "day",
    "figures",
    "megabytes",
    "milliseconds",
    "moment",
    "percent",
    "plural",
    "points",
    "probability",
    "relative",
    "seconds",
    "signed",
]

THIN = "\u202f"  # narrow, and no line is broken at it
MINUS = "\u2212"
# Not strftime: its names change with the machine's language.
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage; never rounded to a certainty that it is not.

    Example:
      >>> percent(0.912).replace(THIN, " "), percent(0.9999).replace(THIN, " ")
      ('91.2 %', '> 99.9 %')
    """
    edge = 10.0 ** -(digits + 2)
    if 1 - edge / 2 < share < 1:
        return f">{THIN}{(1 - edge) * 100:.{digits}f}{THIN}%"
    if 0 < share < edge / 2:
        return f"<{THIN}{edge * 100:.{digits}f}{THIN}%"
    return f"{share * 100:.{digits}f}{THIN}%".replace("-", MINUS)


def points(difference: float, *, unit: bool = True) -> str:
    """A difference of two shares, in percentage points, with its sign.

    Example:
      >>> points(0.1).replace(THIN, " ")
      '+10.0 points'
    """
    return signed(difference * 100, 1) + (f"{THIN}points" if unit else "")


def signed(value: float, digits: int) -> str:
    """With a plus or a real minus; infinite ends in words."""
    if math.isinf(value):
        return "no upper bound" if value > 0 else "no lower bound"
    text = f"{value:+.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text[1:]


def relative(value: float, reference: float) -> str:
    """How much more or less than the reference, in per cent of it."""
    return f"{signed((value / reference - 1) * 100, 0)}{THIN}%"


def count(number: float) -> str:
    """A whole number, with thin spaces between thousands.

    Example:
      >>> count(1234567).replace(THIN, " ")
      '1 234 567'
    """
    return f"{int(number):,}".replace(",", THIN)


def figures(value: float, digits: int = 4) -> str:
    """A number with about as many figures; powers of ten only where there is no other way.

    Example:
      >>> [figures(v).replace(THIN, " ") for v in (45123.4, 0.12345, 2.0, 1.5e-9)]
      ['45 123', '0.1235', '2', '1.500 × 10⁻⁹']
    """
    if not math.isfinite(value):
        return "unbounded"
    if not value:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 12:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa}{THIN}×{THIN}10{raised}".replace("-", MINUS)
    text = f"{value:,.{max(0, digits - 1 - size)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", THIN).replace("-", MINUS)


def brief(value: float) -> str:
    """A number for an axis, where there is little room.

    Example:
      >>> [brief(v).replace(THIN, " ") for v in (250_000, 2.5e9, 0.25)]
      ['250 000', '2.5 × 10⁹', '0.25']
    """
    if not math.isfinite(value) or abs(value) < 1e7:
        return figures(value)
    mantissa, exponent = f"{value:.2e}".split("e")
    short = mantissa.rstrip("0").rstrip(".").replace("-", MINUS)
    raised = str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{short}{THIN}×{THIN}10{raised}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun.

    Example:
      >>> plural(1, "row"), plural(2, "class", "classes")
      ('1 row', '2 classes')
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def megabytes(size_bytes: float) -> str:
    """Bytes in MB (millions), or in kB where that reads better.

    Example:
      >>> megabytes(23_947_405).replace(THIN, " "), megabytes(3_200).replace(THIN, " ")
      ('23.9 MB', '3.2 kB')
    """
    if size_bytes < 1e6:
        return f"{size_bytes / 1e3:.{0 if size_bytes >= 1e4 else 1}f}{THIN}kB"
    size = size_bytes / 1e6
    return f"{size:.{0 if size >= 1000 else 1}f}{THIN}MB"


def milliseconds(value_ms: float) -> str:
    """Milliseconds, two or three figures."""
    return f"{value_ms:.{0 if value_ms >= 100 else 1 if value_ms >= 1 else 2}f}{THIN}ms"


def seconds(value_s: float) -> str:
    """Seconds, or minutes and seconds.

    Example:
      >>> seconds(157.7).replace(THIN, " ")
      '2 min 38 s'
    """
    if value_s < 59.95:
        return f"{value_s:.{1 if value_s < 10 else 0}f}{THIN}s"
    minutes, rest = divmod(round(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{THIN}h {minutes:02d}{THIN}min"
    return f"{minutes}{THIN}min {rest:02d}{THIN}s"


def probability(p: float) -> str:
    """A p-value or a level: two figures, and a power of ten where that is shorter.

    Example:
      >>> probability(0.0038461), probability(2.8e-7).replace(THIN, " ")
      ('0.0038', '2.8 × 10⁻⁷')
    """
    if p == 0 or p >= 1e-4:
        return f"{p:.2g}" if p < 0.995 else f"{p:.2f}"
    mantissa, exponent = f"{p:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}{THIN}×{THIN}10{raised}"


def moment(at: object) -> str:
    """An ISO 8601 time as people write it; anything else as it is.

    Example:
      >>> moment("2026-11-22T00:08:15+00:00")
      '22 November 2026, 00:08 UTC'
    """
    try:
        when = datetime.datetime.fromisoformat(str(at))
    except ValueError:
        return str(at)
    if when.tzinfo:
        when = when.astimezone(datetime.UTC)
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}, {when:%H:%M} UTC"


def day(at: object) -> str:
    """The day of an ISO 8601 time, in short; anything else as it is.

    Example:
      >>> day("2026-11-22T00:08:15+00:00")
      '22 Nov 2026'
    """
    words = moment(at).split(",")[0].split()
    return f"{words[0]} {words[1][:3]} {words[2]}" if len(words) == 3 else str(at)
