"""Requests are answered together, apart when one is poisoned, and not at all when too many wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from volano.errors import StoreError
from volano.runtime import EncodedRows, Model, load
from volano.serving import LogWriter, ModelSlot
from volano.serving._batcher import Batcher, Overloaded
from volano.store._log import Correction, LoggedPrediction, PredictionLog


class Gate:
    """Holds the graph's runs back until it is opened, and keeps how many rows each had."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running = threading.Semaphore(0)
        self.open = threading.Event()
        self.sizes: list[int] = []
        answers = model.answers

        def held(encoded: EncodedRows) -> Any:
            self.sizes.append(encoded.num_rows)
            self.running.release()
            assert self.open.wait(60)
            return answers(encoded)

        monkeypatch.setattr(model, "answers", held)


@pytest.fixture
def gate(model: Model, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(model, monkeypatch)


def texts(*values: str) -> dict[str, list[str]]:
    return {"text": list(values)}


async def settle(*tasks: asyncio.Task[Any]) -> None:
    """Let tasks run until each of them waits."""
    del tasks
    for _ in range(5):
        await asyncio.sleep(0)


def batcher(writer: LogWriter | None = None, **options: Any) -> Batcher:
    usual = {"num_workers": 1, "max_batch_rows": 64, "slice_s": 3600.0}
    return Batcher(writer, **(usual | options))


def test_what_arrives_while_the_graph_runs_is_answered_together(model: Model, gate: Gate) -> None:
    async def scenario() -> None:
        made = batcher()
        first = asyncio.create_task(made.answer(model, texts("a")))
        await asyncio.to_thread(gate.running.acquire)
        others = [asyncio.create_task(made.answer(model, texts("b", "c"))) for _ in range(5)]
        await settle(*others)
        gate.open.set()
        answers = await asyncio.gather(first, *others)
        assert [len(item) for item in answers] == [1, 2, 2, 2, 2, 2]
        made.close()

    asyncio.run(scenario())
    assert gate.sizes == [1, 10]


def test_a_batch_has_no_more_rows_than_it_may(model: Model, gate: Gate) -> None:
    async def scenario() -> None:
        made = batcher(max_batch_rows=4, max_queue_rows=100)
        first = asyncio.create_task(made.answer(model, texts("a")))
        await asyncio.to_thread(gate.running.acquire)
        rest = asyncio.create_task(made.answer(model, texts(*"abcdefghij")))
        await settle(rest)
        gate.open.set()
        assert len(await rest) == 10
        await first
        made.close()

    asyncio.run(scenario())
    assert gate.sizes == [1, 4, 4, 2]


def test_a_small_request_is_not_stuck_behind_a_large_one(model: Model, gate: Gate) -> None:
    async def scenario() -> list[str]:
        made = batcher(max_batch_rows=4, max_queue_rows=1000)
        finished: list[str] = []
        first = asyncio.create_task(made.answer(model, texts("a")))
        await asyncio.to_thread(gate.running.acquire)
        large = asyncio.create_task(made.answer(model, texts(*["x"] * 100)))
        await settle(large)
        small = asyncio.create_task(made.answer(model, texts("b")))
        large.add_done_callback(lambda _: finished.append("large"))
        small.add_done_callback(lambda _: finished.append("small"))
        await settle(small)
        gate.open.set()
        await asyncio.gather(first, large, small)
        await settle()
        made.close()
        return finished

    assert asyncio.run(scenario()) == ["small", "large"]


def test_a_batch_is_kept_short_when_rows_take_long(model: Model, gate: Gate) -> None:
    async def scenario() -> None:
        made = batcher(slice_s=1e-9)
        first = asyncio.create_task(made.answer(model, texts("a")))
        await asyncio.to_thread(gate.running.acquire)
        rest = asyncio.create_task(made.answer(model, texts(*"abcde")))
        await settle(rest)
        gate.open.set()
        assert len(await rest) == 5
        await first
        made.close()

    asyncio.run(scenario())
    assert gate.sizes == [1] * 6


def test_workers_share_what_waits(model: Model, gate: Gate) -> None:
    async def scenario() -> None:
        made = batcher(num_workers=2)
        task = asyncio.create_task(made.answer(model, texts(*["x"] * 20)))
        await asyncio.to_thread(gate.running.acquire)
        await asyncio.to_thread(gate.running.acquire)
        gate.open.set()
        assert len(await task) == 20
        made.close()

    asyncio.run(scenario())
    assert gate.sizes == [10, 10]


def test_too_much_waiting_is_refused_and_the_rest_is_answered(model: Model, gate: Gate) -> None:
    async def scenario() -> None:
        made = batcher(max_queue_rows=5)
        first = asyncio.create_task(made.answer(model, texts("a")))
        await asyncio.to_thread(gate.running.acquire)
        second = asyncio.create_task(made.answer(model, texts(*"abcd")))
        await settle(second)
        with pytest.raises(Overloaded) as caught:
            await made.answer(model, texts("x", "y"))
        assert caught.value.status == 503
        third = asyncio.create_task(made.answer(model, texts("z")))
        await settle(third)
        gate.open.set()
        assert [len(item) for item in await asyncio.gather(first, second, third)] == [1, 4, 1]
        made.close()

    asyncio.run(scenario())


def test_a_request_larger_than_the_queue_is_answered_when_nothing_waits(model: Model) -> None:
    async def scenario() -> None:
        made = batcher(max_batch_rows=2, max_queue_rows=4)
        assert len(await made.answer(model, texts(*["x"] * 50))) == 50
        made.close()

    asyncio.run(scenario())


def test_overload_is_503_with_retry_after(
    service: Callable[..., Any], model: Model, gate: Gate
) -> None:
    local = service(max_batch_rows=1)
    # One row runs on each worker, 16 wait, and every other one is refused.
    timer = threading.Thread(target=lambda: (gate.running.acquire(), gate.open.set()))

    async def scenario() -> list[Any]:
        requests = [local._client.send(local.build(f"text {number}")) for number in range(64)]
        tasks = [asyncio.create_task(request) for request in requests]
        while not any(task.done() for task in tasks):
            await asyncio.sleep(0)
        timer.start()
        return await asyncio.gather(*tasks)

    answers = local._runner.run(scenario())
    timer.join()
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    assert len(refused) <= 64 - 16
    for answer in refused:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "REQUEST-060"


def test_a_poisoned_row_does_not_fail_its_neighbours(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = model.run
    started, go = threading.Event(), threading.Event()

    def poisoned(encoded: EncodedRows, rows: Any) -> Any:
        started.set()
        assert go.wait(60)
        outputs = run(encoded, rows)
        widths = encoded.widths()[rows]
        if (widths >= 20).any():
            raise RuntimeError("the graph broke")
        return outputs

    monkeypatch.setattr(model, "run", poisoned)

    async def scenario() -> list[Any]:
        made = batcher()
        first = asyncio.create_task(made.answer(model, texts("a")))
        await asyncio.to_thread(started.wait)
        tasks = [
            asyncio.create_task(made.answer(model, texts(text)))
            for text in ("good", "poison " * 40, "bad", "fine")
        ]
        await settle(*tasks)
        go.set()
        answers = await asyncio.gather(first, *tasks, return_exceptions=True)
        made.close()
        return answers

    first, good, poison, bad, fine = asyncio.run(scenario())
    assert isinstance(poison, RuntimeError)
    assert [len(item) for item in (first, good, bad, fine)] == [1, 1, 1, 1]


def test_outputs_that_are_not_numbers_are_an_error_and_not_json(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "outputs", lambda rows: np.full((rows.num_rows, 3), np.nan))

    async def scenario() -> None:
        made = batcher()
        with pytest.raises(ValueError, match="Out of range float"):
            await made.answer(model, texts("a"))
        made.close()

    asyncio.run(scenario())


def test_a_cancelled_request_is_not_run(model: Model, gate: Gate) -> None:
    async def scenario() -> None:
        made = batcher()
        first = asyncio.create_task(made.answer(model, texts("a")))
        await asyncio.to_thread(gate.running.acquire)
        second = asyncio.create_task(made.answer(model, texts("b", "c")))
        await settle(second)
        second.cancel()
        await settle(second)
        gate.open.set()
        await first
        assert len(await made.answer(model, texts("d"))) == 1
        made.close()

    asyncio.run(scenario())
    assert gate.sizes == [1, 1]


def test_it_waits_for_others_when_told_to(model: Model, gate: Gate) -> None:
    gate.open.set()

    async def scenario() -> None:
        made = batcher(max_batch_rows=3, max_wait_ms=60_000)
        await asyncio.gather(*(made.answer(model, texts(text)) for text in "abc"))
        made.close()

    asyncio.run(scenario())
    assert gate.sizes == [3]


def test_closing_answers_what_waits(model: Model, gate: Gate) -> None:
    async def scenario() -> None:
        made = batcher(max_batch_rows=1, max_wait_ms=60_000)
        tasks = [asyncio.create_task(made.answer(model, texts(text))) for text in "abcd"]
        await settle(*tasks)
        gate.open.set()
        await asyncio.to_thread(made.close)
        assert [len(item) for item in await asyncio.gather(*tasks)] == [1] * 4
        with pytest.raises(Overloaded):
            await made.answer(model, texts("x"))

    asyncio.run(scenario())


def test_a_swap_drops_no_request_and_no_row_is_answered_by_the_wrong_model(
    service: Callable[..., Any], model: Model, other_bundle: Any
) -> None:
    other = load(other_bundle, threads=1)
    slot = ModelSlot(model)
    local = service(model=slot)
    rows = [f"text {number}" for number in range(200)]
    expected = {
        which.id: [item.probability for item in which.predict([{"text": row} for row in rows])]
        for which in (model, other)
    }

    async def scenario() -> list[Any]:
        tasks = []
        for number, row in enumerate(rows):
            tasks.append(asyncio.create_task(local._client.send(local.build(row))))
            if number == 100:
                await settle()
                slot.swap(other)
        return await asyncio.gather(*tasks)

    answers = local._runner.run(scenario())
    bundles = set()
    for number, answer in enumerate(answers):
        assert answer.status_code == 200
        (found,) = answer.json()["predictions"]
        bundles.add(found["bundle"])
        assert found["probability"] == pytest.approx(expected[found["bundle"]][number], abs=1e-5)
    assert bundles == {model.id, other.id}
    assert local.get("/v1/model").json()["bundle"] == other.id


class SlowLog(PredictionLog):
    """Commits wait for a gate; keeps how many rows each had."""

    def __init__(self, log: PredictionLog) -> None:
        super().__init__(log._engine)
        self.open, self.running = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def commit(
        self,
        predictions: Sequence[LoggedPrediction],
        corrections: Sequence[Sequence[Correction]],
        *,
        strict: bool = True,
    ) -> list[list[str]]:
        self.sizes.append(len(predictions) + sum(map(len, corrections)))
        self.running.set()
        assert self.open.wait(60)
        return super().commit(predictions, corrections, strict=strict)


def entry(number: int) -> LoggedPrediction:
    return LoggedPrediction(f"{number:032x}", "b", {"text": str(number)}, "good", 0.9, 0.8, 1.0)


def test_what_waits_for_the_log_is_committed_together(log: PredictionLog) -> None:
    slow = SlowLog(log)
    writer = LogWriter(slow)
    futures: list[Future[list[str]]] = [writer.record([entry(0)])]
    assert slow.running.wait(60)
    futures += [writer.record([entry(number)]) for number in range(1, 50)]
    futures.append(writer.feedback([Correction(entry(3).id, "bad")]))
    assert not any(future.done() for future in futures)
    slow.open.set()
    assert [future.result(60) for future in futures] == [[]] * 51
    assert slow.sizes == [1, 50]
    assert log.num_predictions() == 50
    writer.close()


def test_one_callers_rows_do_not_fail_anothers(log: PredictionLog) -> None:
    slow = SlowLog(log)
    writer = LogWriter(slow)
    first = writer.record([entry(0)])
    assert slow.running.wait(60)
    again, third = writer.record([entry(0)]), writer.record([entry(1)])
    feedback = writer.feedback([Correction("unknown", "bad")])
    slow.open.set()
    assert first.result(60) == third.result(60) == []
    assert feedback.result(60) == ["unknown"]
    with pytest.raises(StoreError, match="recorded before"):
        again.result(60)
    assert log.num_predictions() == 2
    writer.close()


def test_closing_writes_what_waits_and_takes_no_more(log: PredictionLog) -> None:
    writer = LogWriter(log)
    futures = [writer.record([entry(number)]) for number in range(20)]
    writer.close()
    writer.close()
    assert all(future.done() for future in futures)
    assert log.num_predictions() == 20
    with pytest.raises(StoreError, match="is stopping"):
        writer.record([entry(21)])
