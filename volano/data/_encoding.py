"""Bytes to lines of text, whatever the file was saved as, with every repair counted.

The encoding is decided once, from the file's first megabyte:

1. A byte-order mark is believed. Without one, NUL in nearly every other byte means UTF-16.
2. When at least half of the lines that go beyond ASCII are UTF-8, the file is UTF-8, and a line
   that is not is read as Windows-1252 and counted as a repair.
3. Otherwise the file is GB18030 if at least 95% of those lines decode as GB18030 and at least 80%
   of their bytes above 0x7F stand next to another such byte: Chinese comes in pairs of high
   bytes, while the accents of Western European text stand alone between letters.
4. Otherwise it is Windows-1252, with Latin-1 for the five bytes that Windows-1252 leaves open.

Cases 3 and 4 count each row that goes beyond ASCII as a repair, since the encoding is a guess.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from volano.data._sources import SourceFile, unreadable
from volano.data._table import MAX_CELL_BYTES, FileReport, Meter
from volano.errors import DataError

__all__ = ["LineBlock", "damaged_gzip", "read_blocks"]

BLOCK_BYTES = 2**20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(slots=True)
class LineBlock:
    """Lines that follow each other, with their line ends.

    Attributes:
      lines: As text.
      repaired: Position in lines -> what was put right.
      oversize: Positions of lines that were too long to keep; lines has only their start.
      final: Whether the file ends here.
    """

    lines: list[str]
    repaired: dict[int, str] = field(default_factory=dict)
    oversize: set[int] = field(default_factory=set)
    final: bool = False


def read_blocks(source: SourceFile, report: FileReport, meter: Meter) -> Iterator[LineBlock]:
    """The file's lines in blocks of about a megabyte; the last one is marked final.

    Raises:
      DataError: The file cannot be read (DATA-005), is a damaged or cut gzip (DATA-010), or is
        something other than its name says (DATA-012).
    """
    try:
        with source.path.open("rb") as raw:
            yield from _decoded(_opened(raw, source, report), report, lambda: meter(raw.tell()))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged_gzip(source.name, error, report.num_rows) from None
    except OSError as error:
        raise unreadable(source.name, error) from None


def damaged_gzip(name: str, error: Exception, num_rows: int) -> DataError:
    cut = isinstance(error, EOFError)
    return DataError(
        10,
        f"the gzip file {'is cut off' if cut else 'is damaged'} after {num_rows:,} rows "
        f"({error}); none of them is used",
        where=name,
        expected="a complete gzip file",
        fix=f"gzip -t {name}  # then copy or download it again",
    )


def _opened(raw: BinaryIO, source: SourceFile, report: FileReport) -> Callable[[int], bytes]:
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        if not source.gzipped:
            report.notes.append("is gzipped although its name does not end in .gz")
        return gzip.GzipFile(fileobj=raw).read
    if source.gzipped and magic:
        raise DataError(
            12,
            "the name ends in .gz, but the file is not gzipped",
            where=source.name,
            expected="a gzip file, or a name without .gz",
            fix=f"mv {source.name} {source.name.removesuffix('.gz')}",
        )
    for start, kind in ((b"PK\x03\x04", "a zip or Excel file"), (b"PAR1", "a Parquet file")):
        if magic == start:
            raise DataError(
                12,
                f"the name says {source.format}, but this is {kind}",
                where=source.name,
                expected=f"{source.format} text",
                fix="rename it to .parquet" if start == b"PAR1" else "export the table as CSV",
            )
    return raw.read


def _decoded(
    read: Callable[[int], bytes], report: FileReport, moved: Callable[[], None]
) -> Iterator[LineBlock]:
    data = read(BLOCK_BYTES)
    bom, encoding = _decide(data)
    report.encoding = encoding
    if encoding in ("cp1252", "gb18030"):
        shown = {"cp1252": "Windows-1252", "gb18030": "GB18030"}[encoding]
        report.notes.append(f"is not UTF-8 and was read as {shown}; save it as UTF-8 to be sure")
    convert: Callable[[bytes, bool], bytes] | None = None
    if encoding.startswith(("utf-16", "utf-32")):
        convert = _Transcoder(encoding, report)
    else:
        data = data[len(bom) :]

    rest = b""
    skipping = False
    ended = not data
    while True:
        following = b"" if ended else read(BLOCK_BYTES)
        ended = not following
        moved()
        if convert:
            data = convert(data, ended)
        oversize = False
        if skipping:
            # Inside a line that was too long: its start has been handed on, the rest is dropped.
            cut = _after_first_end(data)
            data = data[cut:] if cut else b""
            skipping = not cut
        data = rest + data
        rest = b""
        if not ended:
            # A \r at the very end may be the first half of \r\n, so it does not end a line yet.
            cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, max(len(data) - 1, 0))) + 1
            data, rest = data[:cut], data[cut:]
            if len(rest) > MAX_CELL_BYTES:
                data, rest, oversize, skipping = data + rest[:200] + b"\n", b"", True, True
        if data or ended:
            block = _block(data, encoding)
            if oversize:
                block.oversize.add(len(block.lines) - 1)
            block.oversize.update(
                index for index, line in enumerate(block.lines) if len(line) > MAX_CELL_BYTES
            )
            block.final = ended
            yield block
        if ended:
            return
        data = following


class _Transcoder:
    """UTF-16 or UTF-32 to UTF-8, so that lines can be split as bytes."""

    def __init__(self, encoding: str, report: FileReport) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._report = report
        self._noted = False

    def __call__(self, data: bytes, final: bool) -> bytes:
        text = self._decoder.decode(data, final)
        if not self._noted and "\ufffd" in text:
            self._noted = True
            self._report.notes.append("has characters that could not be read; they became \ufffd")
        return text.encode("utf-8", "replace")


def _after_first_end(data: bytes) -> int:
    ends = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
    return min(ends) + 1 if ends else 0


def _block(data: bytes, encoding: str) -> LineBlock:
    # bytes.splitlines knows \n, \r and \r\n and, unlike str.splitlines, nothing else.
    raw_lines = data.splitlines(keepends=True)
    repaired: dict[int, str] = {}
    if b"\0" in data:
        for index, line in enumerate(raw_lines):
            if b"\0" in line:
                raw_lines[index] = line.replace(b"\0", b"")
                repaired[index] = "NUL bytes were removed"
    if encoding in ("cp1252", "gb18030"):
        lines = []
        for index, line in enumerate(raw_lines):
            if not line.isascii():
                repaired.setdefault(index, f"read as {encoding}")
            lines.append(_forgiving(line, encoding))
        return LineBlock(lines, repaired)
    try:
        return LineBlock([line.decode() for line in raw_lines], repaired)
    except UnicodeDecodeError:
        pass
    lines = []
    for index, line in enumerate(raw_lines):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            lines.append(_forgiving(line, "cp1252"))
            repaired[index] = "bytes that are not UTF-8 were read as Windows-1252"
    return LineBlock(lines, repaired)


def _forgiving(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _decide(data: bytes) -> tuple[bytes, str]:
    """Byte-order mark and encoding of a file that starts with ``data``; see the module's rules."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return bom, encoding
    start = data[:4096]
    if len(start) >= 8:
        even, odd = start[0::2].count(0) / len(start[0::2]), start[1::2].count(0) / len(start[1::2])
        if max(even, odd) > 0.4 and min(even, odd) < 0.1:
            return b"", "utf-16-le" if odd > even else "utf-16-be"
    lines = [line for line in data.splitlines() if not line.isascii()]
    # The block may end in the middle of a character; its last line proves nothing.
    if len(lines) > 1 and len(data) >= BLOCK_BYTES:
        lines.pop()
    num_utf8 = sum(_decodes(line, "utf-8") for line in lines)
    if num_utf8 * 2 >= len(lines):
        return b"", "utf-8"
    num_gb = sum(_decodes(line, "gb18030") for line in lines)
    runs = [len(run) for line in lines for run in _HIGH_RUN.findall(line)]
    paired = sum(length for length in runs if length > 1) / max(sum(runs), 1)
    if num_gb >= 0.95 * len(lines) and paired >= 0.8:
        return b"", "gb18030"
    return b"", "cp1252"


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
