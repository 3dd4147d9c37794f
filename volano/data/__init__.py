"""Tables in, frozen rows out: reading, cleaning, and choosing which rows are held out."""

from volano.data._came import Came
from volano.data._cleaning import Count, Selection, clean
from volano.data._form import TableForm
from volano.data._golden import GoldenRows, TestSummary, golden_from_test, write_rows
from volano.data._golden_windows import GoldenWindows, moment_text, open_golden
from volano.data._jsonl import as_text
from volano.data._keyed import grouping_columns
from volano.data._keys import fold
from volano.data._labels import LikeLabels, check_labels, is_missing, like_labels
from volano.data._media import embedded, media_columns, stat_digest
from volano.data._ordered import OrderedTable
from volano.data._panel import GroupLine, Panel, flags, panel_of
from volano.data._prepared import Prepared, encode_split, save_columns
from volano.data._read import Sample, read_batches, read_rows, sample
from volano.data._snapshot import FeedbackRow, SnapshotSummary, take_snapshot
from volano.data._snapshot_file import Snapshot
from volano.data._sources import SourceFile, resolve
from volano.data._splits import choose_golden, split_snapshot, split_validation
from volano.data._table import BrokenRow, FileReport, ReadReport, Row, places_by_file
from volano.data._timeline import Step, Timeline, regular_dates, time_line, time_step
from volano.data._unlabelled import Unlabelled, known_rows, rows_of, unlabelled
from volano.data._windows import WindowSplits, window_splits
from volano.data._workers import encode_rows

__all__ = [
    "BrokenRow",
    "Came",
    "Count",
    "FeedbackRow",
    "FileReport",
    "GoldenRows",
    "GoldenWindows",
    "GroupLine",
    "LikeLabels",
    "OrderedTable",
    "Panel",
    "Prepared",
    "ReadReport",
    "Row",
    "Sample",
    "Selection",
    "Snapshot",
    "SnapshotSummary",
    "SourceFile",
    "Step",
    "TableForm",
    "TestSummary",
    "Timeline",
    "Unlabelled",
    "WindowSplits",
    "as_text",
    "check_labels",
    "choose_golden",
    "clean",
    "embedded",
    "encode_rows",
    "encode_split",
    "flags",
    "fold",
    "golden_from_test",
    "grouping_columns",
    "is_missing",
    "known_rows",
    "like_labels",
    "media_columns",
    "moment_text",
    "open_golden",
    "panel_of",
    "places_by_file",
    "read_batches",
    "read_rows",
    "regular_dates",
    "resolve",
    "rows_of",
    "sample",
    "save_columns",
    "split_snapshot",
    "split_validation",
    "stat_digest",
    "take_snapshot",
    "time_line",
    "time_step",
    "unlabelled",
    "window_splits",
    "write_rows",
]
