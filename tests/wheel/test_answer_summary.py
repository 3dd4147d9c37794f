"""Which rows a summary of answers names."""

from __future__ import annotations

from volano.wheel._answers import FIRST_ROWS, AnswerSummary


def test_rows_without_an_answer_come_first_and_the_rest_is_counted() -> None:
    summary = AnswerSummary()
    for number in range(1, 5):
        summary.noted += 1
        summary.note(number, "cut")
    for number in range(5, 8):
        summary.unread += 1
        summary.note(number, "no photo", unread=True)
    assert summary.first == [
        "row 5: no photo", "row 6: no photo", "row 7: no photo", "row 1: cut", "row 2: cut",
    ]  # fmt: skip
    assert summary.more == 2
    for number in range(8, 12):
        summary.unread += 1
        summary.note(number, "no photo", unread=True)
    assert len(summary.first) == FIRST_ROWS
    assert summary.first[-1] == "row 9: no photo"
    assert summary.more == 6
