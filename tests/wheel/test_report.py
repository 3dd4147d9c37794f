"""The report: what is in it, in which order, and that no data can break it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from drawn import SCRIPT, artifacts, drawn, metric, record

from volano.evaluation import class_changes, judge
from volano.wheel.report import write_report


def test_what_a_person_wants_first_comes_first(tmp_path: Path) -> None:
    _, page = drawn(tmp_path, folders=artifacts(tmp_path / "a"))
    sections = [name for name in page.ids if not name.endswith("-title")]
    assert sections == [
        *("verdict", "ships", "metrics", "data", "training", "confusion", "classes"),
        *("reliability", "candidates", "mistakes", "history", "making"),
    ]
    assert page.text.index("better than the best simple baseline") < page.text.index("What ships")


def test_a_first_turn_says_what_to_do_and_how_alpha_is_spent(tmp_path: Path) -> None:
    _, page = drawn(tmp_path, folders=artifacts(tmp_path / "a"))
    for words in (
        "volano serve",
        "88.8 %",
        "78.8 %",
        "23.9 MB",
        "5.9 ms",
        "−74 %: smaller than uncompressed",
        "Over all turns together that chance stays under 5 %",
        "question 1",
        "best simple baseline, tfidf_svm",
    ):
        assert words in page.text, words


def test_a_later_turn_is_compared_with_its_champion(tmp_path: Path) -> None:
    first, second = record(1), record(2)
    first["metrics"] = first["metrics"] | {"accuracy": metric(0.851)}
    first["candidates"][1]["p50_ms"] = 11.8
    second["gate"] |= {"champion_turn": 1, "reference": "the champion of turn 1"}
    _, page = drawn(tmp_path, second, artifacts(tmp_path / "a"), [first, second])
    for words in (
        "better than the champion of turn 1",
        "volano rollback",
        "−50 %: faster than turn 1",
        "the same as turn 1",
        "85.1 %",
        "has served",
        "serves",
    ):
        assert words in page.text, words


@pytest.mark.parametrize(
    ("verdict", "headline", "command"),
    [
        ("rejected", "worse than the champion of turn 1", "volano feedback import corrections.csv"),
        ("inconclusive", "not shown to be better than the champion", "volano promote 2"),
    ],
)
def test_a_turn_that_does_not_ship(
    tmp_path: Path, verdict: str, headline: str, command: str
) -> None:
    second = record(2, verdict=verdict)
    second["gate"] |= {"champion_turn": 1, "reference": "the champion of turn 1"}
    _, page = drawn(tmp_path, second, history=[record(1), second])
    assert headline in page.text
    assert command in page.text
    assert "The champion of turn 1 keeps serving." in page.text
    assert "What would ship" in page.text
    assert "volano serve" not in page.text


def test_all_that_comes_from_data_is_escaped(tmp_path: Path) -> None:
    names = [SCRIPT, "</title><b onload=x>", '"><img onerror=1>']
    turn = record(name=SCRIPT, target=f"{SCRIPT}&amp;", reason=SCRIPT)
    turn["gate"]["reference"] = SCRIPT
    turn["verdict"] = SCRIPT
    text, page = drawn(tmp_path, turn, artifacts(tmp_path / "a", names=names))
    assert SCRIPT not in text
    assert "<img" not in text
    assert "<b onload" not in text
    assert "&amp;amp;" in text
    assert page.text.count("alert") > 40


def champion(turn: int, why: str = "the gate promoted it") -> dict[str, Any]:
    return {"turn": turn, "at": f"2026-11-{turn:02d}T01:00:00+00:00", "why": why}


def test_changes_of_each_class_against_the_champion(tmp_path: Path) -> None:
    turn = record(2)
    turn["gate"] |= {"champion_turn": 1, "reference": "the champion of turn 1"}
    folders = artifacts(tmp_path / "a", 30, 900)
    _, page = drawn(tmp_path, turn, folders, [record(1), turn])
    part = page.text.partition("Recall of each class, against the champion of turn 1")[2]
    assert part
    assert "30 classes were looked at: about 2 would seem to change by luck" in part
    assert "Holm, 5 %" in part
    changes = json.loads((folders["deploy"] / "class_changes.json").read_text())
    moved = [change for change in changes if change["effect"]]
    effects = [abs(change["effect"]) for change in moved]
    assert effects == sorted(effects, reverse=True)
    assert f"{len(moved) - 15} smaller changes" in part
    first, second = (part.index(moved[place]["name"]) for place in (0, 1))
    assert first < second


def test_no_class_has_changed(tmp_path: Path) -> None:
    folders = artifacts(tmp_path / "a")
    same = class_changes(["a", "b"], ["a", "b"], ["a", "a"])
    text = json.dumps([change.as_dict() for change in same])
    (folders["deploy"] / "class_changes.json").write_text(text)
    _, page = drawn(tmp_path, folders=folders)
    assert "Not one class has another recall than it had." in page.text
    (folders["deploy"] / "class_changes.json").unlink()
    _, page = drawn(tmp_path, folders=folders)
    assert "Recall of each class, against" not in page.text


def test_the_champions_so_far(tmp_path: Path) -> None:
    first, second, third = record(1, bundle_id="a" * 64), record(2, verdict="rejected"), record(3)
    third["champions"] = [champion(1), champion(2, f"promoted by hand {SCRIPT}"), champion(1)]
    third["gate"] |= {"champion_turn": 1}
    _, page = drawn(tmp_path, third, history=[first, second, third])
    part = page.text.partition("Champions, the last one first")[2]
    assert part
    lines = [part.index(words) for words in ("3 November", "1 November", "2 November")]
    assert lines == sorted(lines)
    assert "a" * 16 in part
    assert "88.8 % 86.8 to 90.8" in part
    assert f"promoted by hand {SCRIPT}" in part
    assert part.count("serves") == 2  # "serves since", and one champion


def test_champions_of_old_records_are_what_their_verdicts_say(tmp_path: Path) -> None:
    turns = [record(1), record(2, verdict="inconclusive"), record(3), record(4, verdict="rejected")]
    for turn, before in zip(turns, (None, 1, 2, 3), strict=True):
        turn["gate"] |= {"champion_turn": before}
    _, page = drawn(tmp_path, turns[-1], history=turns)
    part = page.text.partition("Champions, the last one first")[2]
    assert [part.index(f"{day} November") for day in (3, 1)] == sorted(
        part.index(f"{day} November") for day in (3, 1)
    )
    turn = record(1, verdict="inconclusive")
    _, page = drawn(tmp_path, turn)
    assert "No turn has served yet." in page.text


def test_times_are_taken_side_by_side(tmp_path: Path) -> None:
    first, second = record(1), record(2)
    second["gate"] |= {"champion_turn": 1}
    _, page = drawn(tmp_path, second, history=[first, second])
    assert "measured in its own turn, 1 November 2026, 00:08 UTC." in page.text
    speed = {"p50_ms": 4.0, "p99_ms": 5.0, "rows_per_s": 9.0, "rows_per_s_spread": [8.0, 10.0]}
    second["speed"] = {"rows": 256, "candidate": speed, "champion": speed | {"p50_ms": 8.0}}
    _, page = drawn(tmp_path, second, history=[first, second])
    assert "Both were timed in this turn, one after the other, on 256 golden rows." in page.text
    assert "faster than turn 1" in page.text
    assert "in its own turn" not in page.text


def test_a_mistake_says_where_it_stands_in_the_file(tmp_path: Path) -> None:
    folders = artifacts(tmp_path / "a")
    _, page = drawn(tmp_path, folders=folders)
    assert "train.csv row 558" in page.text
    path = folders["deploy"] / "mistakes.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["place"]
    path.write_text("\n".join(map(json.dumps, lines)))
    _, page = drawn(tmp_path, folders=folders)
    assert "golden row 7" in page.text


def test_labels_that_look_like_one_are_shown(tmp_path: Path) -> None:
    turn = record()
    turn["data"]["like_labels"] = [{"rows": {"Good": 30, SCRIPT: 4}, "fix": "write 'Good'"}]
    text, page = drawn(tmp_path, turn)
    assert "Good (30), " + SCRIPT + " (4): write 'Good'." in page.text
    assert SCRIPT not in text
    assert "Labels that look like one" not in drawn(tmp_path)[1].text


def test_the_policy_lets_only_our_script_run(tmp_path: Path) -> None:
    import base64
    import hashlib

    text, _ = drawn(tmp_path)
    script = re.findall("<script>(.*?)</script>", text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in text
    assert "default-src &#x27;none&#x27;" in text


def test_no_golden_rows(tmp_path: Path) -> None:
    turn = record(verdict="inconclusive", metrics={}, reason="0 golden rows are too few")
    turn["gate"] |= {"judgement": None, "scores": None, "reference": None, "golden_rows": 0}
    turn["baselines"] = {}
    _, page = drawn(tmp_path, turn)
    assert "There are no golden rows to judge on" in page.text
    assert "volano promote 1" in page.text
    assert "92.3 %" in page.text
    assert "there are no golden rows" in page.text


def test_too_few_golden_rows(tmp_path: Path) -> None:
    turn = record(verdict="inconclusive")
    turn["gate"] |= {"judgement": None, "golden_rows": 12}
    _, page = drawn(tmp_path, turn, artifacts(tmp_path / "a", num_rows=12))
    assert "There are too few golden rows to judge on: 12" in page.text


@pytest.mark.parametrize("num_classes", [1, 2, 12, 30, 31, 77, 500])
def test_any_number_of_classes(tmp_path: Path, num_classes: int) -> None:
    names = [f"a_rather_long_label_{code}" for code in range(num_classes)]
    folders = artifacts(tmp_path / "a", num_classes, 1500, names=names)
    text, page = drawn(tmp_path, folders=folders)
    assert len(text.encode()) < 400_000
    if num_classes == 1:
        assert "nothing was taken for anything else" in page.text
    elif num_classes > 30:
        assert "most confused pairs" in page.text
        assert f"The 25 of {num_classes} classes with most mistakes" in page.text
    if num_classes == 500:
        assert "300 of 500 classes, the worst; the others are in golden_report.json" in page.text


def test_no_mistakes_and_no_validation_rows(tmp_path: Path) -> None:
    folders = artifacts(tmp_path / "a")
    report = json.loads((folders["deploy"] / "golden_report.json").read_text())
    report["confusion"] = [[100, 0, 0], [0, 100, 0], [0, 0, 100]]
    (folders["deploy"] / "golden_report.json").write_text(json.dumps(report))
    (folders["deploy"] / "mistakes.jsonl").write_text("")
    turn = record(validation={})
    turn["training"] |= {"validation_rows": 0, "epochs": [{"epoch": 1, "train_loss": 0.5}]}
    turn["candidates"][1] |= {"score": None, "refused": "there are no validation rows"}
    turn["candidates"][1].pop("loss")
    _, page = drawn(tmp_path, turn, folders)
    assert "No golden row was answered wrongly." in page.text
    assert "There were no validation rows" in page.text


def test_judged_by_log_loss(tmp_path: Path) -> None:
    turn = record(2)
    judgement = judge([-0.1, -0.2] * 30, [-0.3, -0.5] * 30, alpha=0.01).as_dict()
    turn["gate"] |= {
        "metric": "log_loss",
        "champion_turn": 1,
        "judgement": judgement,
        "scores": {"candidate": -0.15, "reference": -0.4},
    }
    turn["candidates"][0]["score"] = -0.2
    turn["candidates"][1] |= {"score": -0.21, "loss": 0.0123, "upper": 0.0234}
    _, page = drawn(tmp_path, turn, history=[record(1), turn])
    assert "its log loss is 0.150" in page.text
    assert "log loss 0.200" in page.text
    assert "judged by log loss" in page.text
    assert "0.0123 (at most 0.0234)" in page.text


def test_an_interval_without_ends(tmp_path: Path) -> None:
    turn = record()
    turn["gate"]["judgement"] |= {"low": None, "high": None, "effect": 0.0}
    _, page = drawn(tmp_path, turn)
    assert "no lower bound to no upper bound" in page.text


@pytest.mark.parametrize("part", sorted(record()))
def test_any_part_may_be_missing(tmp_path: Path, part: str) -> None:
    turn = record()
    del turn[part]
    drawn(tmp_path, turn, artifacts(tmp_path / "a"), [turn])
    drawn(tmp_path, record() | {part: None}, artifacts(tmp_path / "a"))


def test_nothing_at_all_and_damaged_files(tmp_path: Path) -> None:
    drawn(tmp_path, {"turn": 1})
    folders = artifacts(tmp_path / "a")
    for path in (tmp_path / "a").rglob("*.json*"):
        path.write_bytes(b'{"names": [\xff')
    _, page = drawn(tmp_path, folders=folders)
    assert "88.8 %" in page.text


def test_other_scripts_and_unprintable_characters(tmp_path: Path) -> None:
    names = ["تم رفض البطاقة", "银行卡被拒绝", "a\x00b\ud800\x1b[31m"]
    text, page = drawn(tmp_path, folders=artifacts(tmp_path / "a", names=names))
    assert names[0] in page.text
    assert names[1] in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", text)
    assert "<bdi>" in text
    assert 'dir="auto"' in text


def test_a_long_history(tmp_path: Path) -> None:
    turns = []
    for number in range(1, 61):
        verdict = ("promoted", "inconclusive", "rejected")[number % 3]
        turns.append(record(number, verdict=verdict, at="2026-11-22T00:08:15+00:00"))
        turns[-1]["gate"] |= {"champion_turn": max(1, number // 3 * 3)}
    text, page = drawn(tmp_path, turns[-1], history=turns)
    assert "45 older turns" in page.text
    assert "Accuracy of every turn on the golden rows" in page.text
    assert len(text.encode()) < 400_000


def test_the_same_input_gives_the_same_bytes_and_is_left_alone(tmp_path: Path) -> None:
    turn, folders = record(), artifacts(tmp_path / "a", 40)
    before = copy.deepcopy(turn)
    one, _ = drawn(tmp_path, turn, folders)
    two, _ = drawn(tmp_path, turn, folders)
    assert one == two
    assert turn == before


def test_an_old_report_stays_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_report(path, record(), {}, [])
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_it_needs_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; import volano.wheel.report; "
        "print([n for n in ('torch', 'sklearn', 'transformers', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast() -> None:
    # WCAG 2: contrast = (brighter + 0.05) / (darker + 0.05), at least 4.5 for text.
    from volano.wheel.report._style import STYLE

    themes = re.findall(r":root\{([^}]*--paper[^}]*)\}", STYLE)
    assert len(themes) == 3  # light, dark, paper
    for theme in themes:
        colours = dict(re.findall(r"--(\w+):\s*(#[0-9a-f]{3,6})", theme))
        colours = {
            name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
            for name, value in colours.items()
        }
        for ground in ("paper", "card"):
            for name in ("ink", "soft", "ours", "bad", "theirs"):
                pair = sorted(_luminance(colours[key]) for key in (ground, name))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ground, name)
