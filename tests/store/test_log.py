"""The log of predictions and feedback, on SQLite and, where there is a server, on PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volano.errors import StoreError
from volano.store import _tables
from volano.store._database import open_database
from volano.store._log import Correction, LoggedPrediction, PredictionLog


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'store.db'}"
    else:
        address = request.getfixturevalue("postgresql")
    engine = open_database(address)
    with engine.begin() as connection:
        connection.execute(_tables.predictions.delete())
        connection.execute(_tables.feedback.delete())
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine: sa.Engine) -> PredictionLog:
    return PredictionLog(engine)


def said(
    number: int, text: str | None = None, value: str = "good", gap: float | None = 0.5
) -> LoggedPrediction:
    text = f"text {number}" if text is None else text
    return LoggedPrediction(f"{number:032x}", "b" * 64, {"text": text}, value, 0.75, gap, 1000.0)


def id_of(number: int) -> str:
    return f"{number:032x}"


def test_what_is_recorded_is_found(log: PredictionLog) -> None:
    items = [said(number, text="a\u0000 « 漢字 🦜") for number in range(1200)]
    log.record(items)
    assert log.find([item.id for item in items] + ["unknown"]) == {item.id: item for item in items}
    assert log.num_predictions() == 1200


def test_predictions_come_in_pages(log: PredictionLog) -> None:
    log.record([said(number) for number in (3, 1, 2, 5, 4)])
    first = log.predictions(3)
    assert [item.id for item in first] == [id_of(1), id_of(2), id_of(3)]
    assert [item.id for item in log.predictions(3, first[-1].id)] == [id_of(4), id_of(5)]
    assert log.predictions(3, bundle="another") == []


def test_feedback_takes_the_inputs_of_its_prediction(log: PredictionLog) -> None:
    log.record([said(1, "awful")])
    assert log.feedback([Correction(id_of(1), "bad", "ada")]) == []
    (row,) = log.current_feedback()
    assert (row.inputs, row.value, row.prediction_id, row.who) == (
        {"text": "awful"}, "bad", id_of(1), "ada",
    )  # fmt: skip


def test_unknown_ids_are_returned_and_the_rest_recorded(log: PredictionLog) -> None:
    log.record([said(1)])
    unknown = log.feedback([Correction("x", "bad"), Correction(id_of(1), "bad")])
    assert unknown == ["x"]
    assert log.num_feedback() == 1


def test_strict_feedback_is_all_or_nothing(log: PredictionLog) -> None:
    log.record([said(1)])
    items = [Correction(id_of(1), "bad"), Correction("x", "bad")]
    assert log.feedback(items, strict=True) == ["x"]
    assert log.num_feedback() == 0


def test_feedback_may_come_with_its_prediction(log: PredictionLog) -> None:
    assert log.commit([said(1)], [[Correction(id_of(1), "bad")], [Correction("x", "a")]]) == [
        [],
        ["x"],
    ]
    assert log.num_feedback() == 1


def test_the_last_word_counts_and_all_are_kept(log: PredictionLog) -> None:
    log.record([said(1, "same"), said(2, "other"), said(3, "same")])
    for number, value in ((1, "a"), (2, "b"), (1, "c"), (3, "d")):
        log.feedback([Correction(id_of(number), value)])
    assert [(row.inputs["text"], row.value) for row in log.current_feedback()] == [
        ("other", "b"),
        ("same", "d"),
    ]
    assert log.num_feedback() == 4


def test_watermark_grows_with_each_feedback(log: PredictionLog) -> None:
    assert log.watermark() == 0
    log.record([said(1)])
    assert log.watermark() == 0
    log.feedback([Correction(id_of(1), "a")])
    first = log.watermark()
    log.add_labelled([({"text": "x"}, "b")], "import")
    assert log.watermark() > first > 0


def test_what_is_taken_back_counts_no_more(log: PredictionLog) -> None:
    log.record([said(number) for number in (1, 2, 3)])
    for number, value in ((1, "a"), (1, "b"), (2, "c")):
        log.feedback([Correction(id_of(number), value)])
    before = log.watermark()
    found = log.take_back([id_of(1), id_of(3), id_of(1)], "ada")
    assert (found.removed, found.without, found.unknown) == ([id_of(1)], [id_of(3)], [])
    assert [row.value for row in log.current_feedback()] == ["c"]
    assert log.watermark() > before
    again = log.take_back([id_of(1)])
    assert (again.removed, again.without) == ([], [id_of(1)])
    assert log.num_feedback() == 3
    log.feedback([Correction(id_of(1), "d")])
    assert [row.value for row in log.current_feedback()] == ["c", "d"]
    assert log.take_back([id_of(1)]).removed == [id_of(1)]
    assert [row.value for row in log.standing_feedback()] == ["c"]


def test_nothing_is_taken_back_when_one_id_is_unknown(log: PredictionLog) -> None:
    log.record([said(1)])
    log.feedback([Correction(id_of(1), "a")])
    found = log.take_back([id_of(1), "x"])
    assert (found.removed, found.unknown) == ([], ["x"])
    assert [row.value for row in log.current_feedback()] == ["a"]


def test_an_earlier_word_on_the_same_inputs_counts_again(log: PredictionLog) -> None:
    log.record([said(1, "same"), said(2, "same")])
    log.add_labelled([({"text": "same"}, "a")], "import")
    log.feedback([Correction(id_of(1), "b")])
    log.feedback([Correction(id_of(2), "c")])
    for number, value in ((1, "c"), (2, "a")):
        log.take_back([id_of(number)])
        assert [row.value for row in log.current_feedback()] == [value]


def test_the_word_null_is_a_value(log: PredictionLog) -> None:
    log.record([said(1)])
    log.feedback([Correction(id_of(1), "null")])
    assert [row.value for row in log.current_feedback()] == ["null"]
    assert log.num_feedback() == 1


def test_the_queue_asks_again_for_what_was_taken_back(log: PredictionLog) -> None:
    log.record([said(1, "Same"), said(2, "same"), said(3, "other")])
    log.feedback([Correction(id_of(1), "a"), Correction(id_of(3), "b")])
    assert log.queue(5) == []
    log.take_back([id_of(1)])
    assert [item.id for item in log.queue(5)] == [id_of(1)]
    log.feedback([Correction(id_of(1), "a")])
    assert log.queue(5) == []
    log.add_labelled([({"text": "other"}, "b")], "import")
    log.take_back([id_of(1), id_of(3)])
    assert [item.id for item in log.queue(5)] == [id_of(1)]


TAKES_BACK = """
import os, signal, sys
from sqlalchemy.engine.default import DefaultDialect
from volano.store import PredictionLog, open_database
log = PredictionLog(open_database(sys.argv[1]))
real = DefaultDialect.do_commit
def commit(*args):
    if sys.argv[3] == "after":
        real(*args)
    os.kill(os.getpid(), signal.SIGKILL)
DefaultDialect.do_commit = commit
log.take_back([sys.argv[2]])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_taking_back(engine: sa.Engine, log: PredictionLog, moment: str) -> None:
    log.record([said(1)])
    log.feedback([Correction(id_of(1), "a")])
    address = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", TAKES_BACK, address, id_of(1), moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(list(log.current_feedback())) == (moment == "before")
    assert len(log.take_back([id_of(1)]).removed) == (moment == "before")
    assert list(log.current_feedback()) == []


def test_labelled_rows_come_without_a_prediction(log: PredictionLog) -> None:
    rows = (({"text": f"row {number}"}, "a") for number in range(1234))
    assert log.add_labelled(rows, "import") == 1234
    found = list(log.current_feedback())
    assert [row.inputs["text"] for row in found] == [f"row {number}" for number in range(1234)]
    assert {(row.prediction_id, row.who) for row in found} == {(None, "import")}


def test_equal_inputs_are_equal_whatever_the_order_of_the_columns(log: PredictionLog) -> None:
    log.add_labelled([({"a": "1", "b": "2"}, "x"), ({"b": "2", "a": "1"}, "y")], "import")
    assert [row.value for row in log.current_feedback()] == ["y"]


def test_a_failed_stream_of_rows_leaves_nothing(log: PredictionLog) -> None:
    def rows() -> Iterator[tuple[dict[str, str], str]]:
        yield from (({"text": str(number)}, "a") for number in range(1000))
        raise RuntimeError("the file ended")

    with pytest.raises(RuntimeError, match="the file ended"):
        log.add_labelled(rows(), "import")
    assert log.num_feedback() == 0


def test_the_queue_asks_for_the_closest_calls_first(log: PredictionLog) -> None:
    log.record([said(1, gap=0.9), said(2, gap=0.1), said(3, gap=None), said(4, gap=0.4)])
    assert [item.id for item in log.queue(3)] == [id_of(2), id_of(4), id_of(1)]
    assert [item.id for item in log.queue(9)] == [id_of(2), id_of(4), id_of(1), id_of(3)]
    assert log.queue(0) == []
    assert log.queue(5, "another bundle") == []


def test_the_queue_asks_once_for_texts_that_are_equal_up_to_case_and_space(
    log: PredictionLog,
) -> None:
    log.record([said(1, "Too late", gap=0.2), said(2, " too  LATE", gap=0.1), said(3, "x")])
    assert [item.id for item in log.queue(5)] == [id_of(2), id_of(3)]


def test_the_queue_leaves_out_what_has_feedback(log: PredictionLog) -> None:
    log.record([said(1, "Too late"), said(2, "too late"), said(3, "x"), said(4, "y")])
    log.feedback([Correction(id_of(1), "bad")])
    assert [item.id for item in log.queue(5)] == [id_of(3), id_of(4)]
    log.add_labelled([({"text": "Y"}, "bad")], "import")
    assert [item.id for item in log.queue(5)] == [id_of(3)]


def test_one_class_does_not_fill_the_queue(log: PredictionLog) -> None:
    log.record([said(number, value="a", gap=number / 1000) for number in range(100)])
    log.record([said(100 + number, value="b", gap=0.5) for number in range(4)])
    log.record([said(200 + number, value="c", gap=0.6) for number in range(40)])
    counts = Counter(item.value for item in log.queue(12))
    assert counts == {"a": 8, "b": 4}
    counts = Counter(item.value for item in log.queue(30))
    assert counts["a"] == 20
    assert counts["b"] == 4
    assert [item.gap for item in log.queue(30)] == sorted(item.gap for item in log.queue(30))
    assert len(log.queue(1000)) == 144


def test_an_id_twice_is_refused_and_nothing_of_it_is_kept(log: PredictionLog) -> None:
    log.record([said(1)])
    with pytest.raises(StoreError, match="recorded before") as caught:
        log.record([said(2), said(1)])
    assert caught.value.code == "STORE-054"
    assert log.num_predictions() == 1


def test_many_threads_lose_nothing(log: PredictionLog) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 20):
            log.record([said(number)])
            log.feedback([Correction(id_of(number), "x")])

    threads = [threading.Thread(target=work, args=(1000 * place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.num_predictions() == log.num_feedback() == 160
    assert len(list(log.current_feedback())) == 160


def test_the_probe_writes(log: PredictionLog) -> None:
    log.probe()
    log.probe()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    words=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=12),
)
def test_current_feedback_is_the_last_word_on_each_text(
    tmp_path_factory: pytest.TempPathFactory, words: list[tuple[str, str]]
) -> None:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('log') / 'store.db'}")
    log = PredictionLog(engine)
    for text, value in words:
        log.add_labelled([({"text": text}, value)], "someone")
    found = {row.inputs["text"]: row.value for row in log.current_feedback()}
    engine.dispose()
    assert found == dict(words)


# What can be wrong with the store. SQLite only: it is a file that tests can spoil.


@pytest.fixture
def spoiled(tmp_path: Path) -> Iterator[tuple[Path, PredictionLog]]:
    path = tmp_path / "store.db"
    open_database(f"sqlite:///{path}").dispose()
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    yield path, PredictionLog(engine)
    engine.dispose()


def test_a_locked_store_says_so(spoiled: tuple[Path, PredictionLog]) -> None:
    path, log = spoiled
    holder = sa.create_engine(f"sqlite:///{path}")
    with holder.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process") as caught:
            log.record([said(1)])
        connection.rollback()
    holder.dispose()
    assert caught.value.code == "STORE-050"
    assert caught.value.fix
    log.record([said(1)])


def test_a_full_disk_says_so_and_what_was_acknowledged_stays(
    spoiled: tuple[Path, PredictionLog],
) -> None:
    path, _ = spoiled
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def _limit(connection: object, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=60").close()  # type: ignore[attr-defined]

    log = PredictionLog(engine)
    log.record([said(1)])
    with pytest.raises(StoreError, match="disk is full") as caught:
        log.record([said(number, "x" * 4000) for number in range(2, 200)])
    assert caught.value.code == "STORE-051"
    assert log.num_predictions() == 1
    engine.dispose()


def test_a_read_only_store_says_so(spoiled: tuple[Path, PredictionLog]) -> None:
    path, _ = spoiled
    engine = sa.create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(StoreError, match="read-only") as caught:
        PredictionLog(engine).record([said(1)])
    engine.dispose()
    assert caught.value.code == "STORE-052"


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, whatever its name " * 100)
    engine = sa.create_engine(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="cannot be read") as caught:
        PredictionLog(engine).num_feedback()
    engine.dispose()
    assert caught.value.code == "STORE-053"


def test_a_store_without_tables_says_so(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with pytest.raises(StoreError, match="no such table: predictions") as caught:
        PredictionLog(engine).record([said(1)])
    engine.dispose()
    assert caught.value.code == "STORE-059"
