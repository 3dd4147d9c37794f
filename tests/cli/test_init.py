"""`volano init`: a spec that loads, with the defaults as they are, for any names."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

import pytest

from volano.columns import column_options, column_uses
from volano.spec import Spec, load_spec


def _load(path: Path) -> Spec:
    return load_spec(path, column_options=column_options, column_types=column_uses())


def _table(path: Path, columns: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for number in range(40):
            label = "good" if number % 2 else "bad"
            table.writerow([f"a text of its own, number {number}, and it is {label}", label])
    return path


def test_the_spec_is_as_short_as_it_can_be(tmp_path: Path, tiny_reviews: Path, run: Any) -> None:
    table = tmp_path / "reviews.csv"
    table.write_bytes(tiny_reviews.read_bytes())
    done = run("init", "reviews.csv", "--target", "sentiment", cwd=tmp_path)
    assert done.status == 0
    assert "next: volano check" in done.out
    assert "2 names in 300 rows" in done.out
    text = (tmp_path / "volano.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert lines == [
        "name: reviews",
        "data: reviews.csv",
        "inputs:",
        "  text: text",
        "target:",
        "  sentiment: category",
    ]


def test_the_defaults_in_comments_are_the_defaults(
    tmp_path: Path, tiny_reviews: Path, run: Any
) -> None:
    assert run("init", tiny_reviews, "-C", tmp_path).status == 0
    path = tmp_path / "volano.yaml"
    text = path.read_text(encoding="utf-8")
    plain = _load(path)
    # Sections, and the keys below them: every comment that is a key of the spec.
    names = "|".join(Spec.model_fields)
    spelled = re.sub(rf"^# (({names}):\s+#)", r"\1", text, flags=re.M)
    spelled, num_keys = re.subn(r"^#   (\w+: )", r"  \1", spelled, flags=re.M)
    path.write_text(spelled, encoding="utf-8")
    assert _load(path) == plain
    fields = [
        field
        for section in ("clean", "split", "train", "search", "compress", "gate", "serve")
        for field in type(getattr(plain, section)).model_fields
    ]
    assert num_keys == len(fields)


def test_the_options_in_comments_can_be_used(tmp_path: Path, tiny_reviews: Path, run: Any) -> None:
    assert run("init", tiny_reviews, "-C", tmp_path).status == 0
    path = tmp_path / "volano.yaml"
    plain = _load(path)
    text = path.read_text(encoding="utf-8").replace("  text: text\n  # text:", "  text:")
    path.write_text(text, encoding="utf-8")
    assert _load(path) == plain


def test_a_spec_is_not_overwritten(tmp_path: Path, tiny_reviews: Path, run: Any) -> None:
    (tmp_path / "volano.yaml").write_text("mine\n", encoding="utf-8")
    done = run("init", tiny_reviews, "-C", tmp_path)
    assert done.status == 1
    assert "WHEEL-020" in done.err
    assert (tmp_path / "volano.yaml").read_text(encoding="utf-8") == "mine\n"
    assert run("init", tiny_reviews, "-C", tmp_path, "--force").status == 0
    assert _load(tmp_path / "volano.yaml").target_name == "sentiment"


def test_paths_are_from_the_wheel(tmp_path: Path, run: Any) -> None:
    """Addresses are given from where one stands, and written from where the wheel is."""
    _table(tmp_path / "wheel" / "rows.csv", ["text", "label"])
    _table(tmp_path / "elsewhere" / "gold.csv", ["text", "label"])
    words = ("init", "wheel/rows.csv", "--test", "elsewhere/gold.csv", "-C", "wheel")
    assert run(*words, cwd=tmp_path).status == 0
    spec = _load(tmp_path / "wheel" / "volano.yaml")
    assert spec.data == ("rows.csv",)
    assert Path(os.path.normpath(tmp_path / "wheel" / spec.test[0])) == (
        tmp_path / "elsewhere" / "gold.csv"
    )
    assert run("check", "-C", "wheel", cwd=tmp_path).status == 0


ODD = [
    "my text",
    'say "hi"',
    "it's",
    "a: b",
    "a:b",
    "key:",
    "# hash",
    "a # b",
    "yes",
    "no",
    "on",
    "off",
    "true",
    "null",
    "~",
    "1",
    "1.5",
    "1e5",
    "2020-01-01",
    "-",
    "- x",
    "?",
    "? x",
    "[a]",
    "{a}",
    "a, b",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "%",
    "@a",
    "`a`",
    "back\\slash",
    "=",
    "<<",
    "文本",
    "naïve",
    "текст",
    "نص",
    "text 🎉",
    "a" * 300,
    "type",
    "inputs",
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_come_through(name: str, tmp_path: Path, run: Any) -> None:
    _table(tmp_path / "rows.csv", [name, f"{name} label"])
    done = run("init", "rows.csv", "--target", f"{name} label", "--name", name, cwd=tmp_path)
    assert done.status == 0, done.err
    spec = _load(tmp_path / "volano.yaml")
    assert list(spec.inputs) == [name]
    assert spec.target_name == f"{name} label"
    assert spec.name == name
    _table(tmp_path / "rows.csv", [f"{name} text", name])
    done = run("init", "rows.csv", "--target", name, "--force", cwd=tmp_path)
    assert done.status == 0, done.err
    assert _load(tmp_path / "volano.yaml").target_name == name


@pytest.mark.parametrize("stem", ["null", "yes", "1", "my data", "a: b", "# a", "数据", "'a'"])
def test_odd_files_come_through(stem: str, tmp_path: Path, run: Any) -> None:
    _table(tmp_path / f"{stem}.csv", ["text", "label"])
    _table(tmp_path / stem / "more.csv", ["text", "label"])
    done = run("init", f"{stem}.csv", stem, "--target", "label", cwd=tmp_path)
    assert done.status == 0, done.err
    spec = _load(tmp_path / "volano.yaml")
    assert spec.data == (f"{stem}.csv", stem)
    assert isinstance(spec.name, str)
    done = run("check", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["cleaning"]["counts"]["read"]["rows"] == 80


def test_a_reserved_name_is_an_error_that_says_so(tmp_path: Path, run: Any) -> None:
    _table(tmp_path / "rows.csv", ["text", "value"])
    done = run("init", "rows.csv", "--target", "value", "--json", cwd=tmp_path)
    assert done.status == 1
    assert done.json["error"]["code"] == "DATA-513"
    assert not (tmp_path / "volano.yaml").exists()


def test_reserved_names_are_left_out(tmp_path: Path, run: Any) -> None:
    """Such as the answers of an earlier wheel: what init writes, check takes."""
    _table(tmp_path / "rows.csv", ["text", "label"])
    lines = (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()
    more = [f"{line},a note of its own {place},good" for place, line in enumerate(lines)]
    more[0] = "text,label,who,label_predicted"
    (tmp_path / "rows.csv").write_text("\n".join(more), encoding="utf-8")
    done = run("init", "rows.csv", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "who: left out: answers use this name themselves" in done.out
    spec = _load(tmp_path / "volano.yaml")
    assert (list(spec.inputs), spec.target_name) == (["text"], "label")
    assert run("check", cwd=tmp_path).status == 0


@pytest.mark.parametrize(
    ("labels", "piece"),
    [
        (["same"] * 40, "have the label 'same'"),
        (["nan"] * 40, "none of the first 40 rows has a target"),
    ],
)
def test_a_target_that_check_refuses_is_said(
    labels: list[str], piece: str, tmp_path: Path, run: Any
) -> None:
    lines = ["text,y", *(f"text number {place},{name}" for place, name in enumerate(labels))]
    (tmp_path / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    done = run("init", "rows.csv", "--target", "y", cwd=tmp_path)
    assert done.status == 0, done.err
    assert piece in done.out


def test_many_columns_are_not_all_listed(tmp_path: Path, run: Any) -> None:
    columns = [*(f"text {place}" for place in range(69)), "x" * 500]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, "label"])
        for number in range(20):
            row = [f"some words of text {number} {name[:9]}" for name in columns]
            table.writerow([*row, "ab"[number % 2]])
    done = run("init", "rows.csv", "--target", "label", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "and 21 more columns" in done.out
    assert "x" * 100 not in done.out


PREFLIGHT = {
    "no test file": ("test: gold.csv\n", "text", "DATA-001", "under test:"),
    "test is the data": ("test: ./rows.csv\n", "text", "DATA-503", "remove test:"),
    "no encoder": ("", "{type: text, encoder: nowhere}", "ASSET-101", "nowhere"),
    "empty encoder": ("", "{type: text, encoder: empty}", "ASSET-103", "config.json"),
    "no pass": ("compress: {passes: [int9]}\n", "text", "SPEC-040", "int8"),
}


@pytest.mark.parametrize("case", PREFLIGHT)
def test_check_says_what_would_stop_a_turn(case: str, tmp_path: Path, run: Any) -> None:
    more, column, code, piece = PREFLIGHT[case]
    _table(tmp_path / "rows.csv", ["text", "label"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "volano.yaml").write_text(
        f"name: a\ndata: rows.csv\ninputs: {{text: {column}}}\ntarget: {{label: category}}\n{more}",
        encoding="utf-8",
    )
    for command in ("check", "turn"):
        done = run(command, "--json", cwd=tmp_path)
        assert done.status == 1, done.err
        assert done.json["error"]["code"] == code
        assert piece in done.err
