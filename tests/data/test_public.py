"""What the room shows, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import volano.data


def test_public_names() -> None:
    assert volano.data.__all__ == [
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
    assert volano.data.__all__ == sorted(volano.data.__all__)
    assert all(hasattr(volano.data, name) for name in volano.data.__all__)


def test_importing_is_light() -> None:
    code = "import sys, volano.data; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "pyarrow",
        "torch",
        "polars",
        "pandas",
        "sklearn",
        "scipy",
        "sqlalchemy",
        "onnxruntime",
    }
    assert not heavy & set(done.stdout.split())
