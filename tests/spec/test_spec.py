"""The spec: strict, typed, and everything that is wrong with it reported at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from volano.columns import column_options, column_uses
from volano.errors import SpecError, SpecErrors
from volano.spec import CompressSpec, ServeSpec, Spec, changed_serve, digest, load_spec, parse_spec

GOOD = "name: a\ndata: a.csv\ninputs: {text: text}\ntarget: {label: category}\n"


def parse(text: str) -> Spec:
    return parse_spec(
        text, column_options=column_options, column_types=column_uses(), passes=["int8"]
    )


def wrong(text: str) -> list[SpecError]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    found = caught.value
    return list(found.errors) if isinstance(found, SpecErrors) else [found]


# What is added to (or put in the place of) the good spec -> code, line, a piece of the message.
WRONG = {
    "unknown key": (GOOD + "lerning: 1\n", "SPEC-010", 5, "unknown key 'lerning'"),
    "nearest key": (GOOD + "trian: {}\n", "SPEC-010", 5, "Did you mean train?"),
    "nearest nested key": (
        GOOD + "train:\n  lerning_rate: 1\n",
        "SPEC-010",
        6,
        "Did you mean learning_rate?",
    ),
    "two words": (GOOD + "train: {epochs: many}\n", "SPEC-012", 5, "train.epochs is 'many'"),
    "whole number": (GOOD + "train: {lora_rank: 1.5}\n", "SPEC-011", 5, "a whole number"),
    "number as text": (GOOD + "train: {lora_rank: '1'}\n", "SPEC-011", 5, "a whole number"),
    "true for a number": (GOOD + "train: {lora_rank: true}\n", "SPEC-011", 5, "a whole number"),
    "loss of numbers": (GOOD + "train: {loss: huber}\n", "SPEC-045", 5, "cross_entropy, focal"),
    "loss of names": (
        GOOD.replace("label: category", "label: number") + "train: {loss: focal}\n",
        "SPEC-045",
        5,
        "squared, absolute",
    ),
    "exact without squares": (
        GOOD.replace("label: category", "label: number")
        + "train: {solver: exact, loss: absolute}\n",
        "SPEC-046",
        5,
        "the loss absolute has no exact solution",
    ),
    "exact with corners": (
        GOOD.replace("label: category", "label: {type: number}")
        + "train: {solver: exact, penalty: l1}\n",
        "SPEC-046",
        5,
        "the penalty l1",
    ),
    "exact for names": (GOOD + "train: {solver: exact}\n", "SPEC-046", 5, "names have no exact"),
    "choice": (GOOD + "clean: {duplicates: dorp}\n", "SPEC-012", 5, "Did you mean drop?"),
    "section as list": (GOOD + "train: [1]\n", "SPEC-011", 5, "a mapping"),
    "passes alone": (GOOD + "compress: [int4]\n", "SPEC-012", 5, "compress: {passes: [int4]}"),
    "section as text": (GOOD + "gate: high\n", "SPEC-011", 5, "a mapping"),
    "fraction too large": (GOOD + "gate: {alpha: 120%}\n", "SPEC-012", 5, "less than 1"),
    "fraction zero": (GOOD + "gate: {alpha: 0}\n", "SPEC-012", 5, "greater than 0"),
    "fraction text": (GOOD + "gate: {alpha: five%}\n", "SPEC-011", 5, "a number"),
    "not a number": (GOOD + "gate: {alpha: .nan}\n", "SPEC-012", 5, "gate.alpha"),
    "infinite": (GOOD + "serve: {max_wait_ms: .inf}\n", "SPEC-012", 5, "serve.max_wait_ms"),
    "bytes": (GOOD + "serve: {max_request_bytes: 2TB}\n", "SPEC-011", 5, "a whole number"),
    "duration": (GOOD + "serve: {max_wait_ms: 2 days}\n", "SPEC-011", 5, "a number"),
    "port": (GOOD + "serve: {port: 70000}\n", "SPEC-012", 5, "65535"),
    "compress on": (GOOD + "compress: on\n", "SPEC-012", 5, "compress"),
    "pass": (GOOD + "compress: {passes: [int9]}\n", "SPEC-040", 5, "Did you mean int8?"),
    "pass twice": (GOOD + "compress:\n  passes:\n  - int8\n  - int8\n", "SPEC-041", 8, "twice"),
    "pass type": (GOOD + "compress: {passes: [8]}\n", "SPEC-011", 5, "text"),
    "no name": (GOOD.replace("name: a\n", ""), "SPEC-013", 1, "the key 'name' is missing"),
    "empty name": (GOOD.replace("name: a", "name: ''"), "SPEC-012", 1, "name is ''"),
    "name is a number": (GOOD.replace("name: a", "name: 5"), "SPEC-011", 1, "text"),
    "no data": (GOOD.replace("data: a.csv\n", ""), "SPEC-013", 1, "data: reviews.csv"),
    "empty data": (GOOD.replace("a.csv", "[]"), "SPEC-012", 2, "data is []"),
    "no inputs": (GOOD.replace("{text: text}", "{}"), "SPEC-012", 3, "inputs"),
    "two targets": (
        GOOD.replace("{label: category}", "{a: category, b: category}"),
        "SPEC-012",
        4,
        "target",
    ),
    "column type": (GOOD.replace("text: text", "text: txet"), "SPEC-015", 3, "Did you mean text?"),
    "column without type": (GOOD.replace("text: text", "text: 5"), "SPEC-014", 3, "no type"),
    "column type is null": (GOOD.replace("text: text", "text:"), "SPEC-014", 3, "no type"),
    "boolean as target": (
        GOOD.replace("label: category", "label: boolean"),
        "SPEC-016",
        4,
        "cannot be the target",
    ),
    "end of an interval": (
        "name: a\ndata: a.csv\ninputs: {p_low: number}\ntarget: {p: number}\n",
        "SPEC-031",
        3,
        "'p_low' is one that answers use",
    ),
    "text as target": (
        GOOD.replace("label: category", "label: text"),
        "SPEC-016",
        4,
        "cannot be the target",
    ),
    "column option": (
        GOOD.replace("text: text", "text: {type: text, max_tokenz: 5}"),
        "SPEC-010",
        3,
        "Did you mean max_tokens?",
    ),
    "column option value": (
        GOOD.replace("text: text", "text: {type: text, max_tokens: 2}"),
        "SPEC-012",
        3,
        "inputs.text.max_tokens is 2",
    ),
    "same column": (GOOD.replace("label:", "text:"), "SPEC-030", 3, "both an input and the target"),
    "reserved name": (GOOD.replace("label:", "prediction_id:"), "SPEC-031", 4, "another name"),
    "reserved ending": (
        GOOD.replace("text: text", "x_predicted: text"),
        "SPEC-031",
        3,
        "x_predicted",
    ),
    "test and golden": (
        GOOD + "test: t.csv\nsplit: {golden: 10%}\n",
        "SPEC-032",
        6,
        "remove split.golden",
    ),
    "store": (GOOD + "store: mysql://x\n", "SPEC-033", 5, "postgresql://"),
    "version": (GOOD + "version: 2\n", "SPEC-012", 5, "version is 2"),
    "key twice": (GOOD + "name: b\n", "SPEC-004", 5, "first on line 1"),
    "nested key twice": (GOOD + "train:\n  seed: 1\n  seed: 2\n", "SPEC-004", 7, "line 6"),
    "not YAML": ("name: [\n", "SPEC-002", 2, "not YAML"),
    "tab": ("name:\n\t- a\n", "SPEC-002", 2, "not YAML"),
    "control character": ("name: \x00\n", "SPEC-002", None, "not YAML"),
    "list": ("- a\n- b\n", "SPEC-003", None, "not a mapping"),
    "empty": ("", "SPEC-003", None, "the spec is empty"),
    "only comments": ("# nothing\n", "SPEC-003", None, "the spec is empty"),
    "bad date": (GOOD + "split: {seed: 2024-13-45}\n", "SPEC-011", 5, "a whole number"),
    "date": (GOOD + "split: {seed: 2024-01-05}\n", "SPEC-011", 5, "seed is '2024-01-05'"),
    "empty path": (GOOD.replace("a.csv", "''"), "SPEC-012", 2, "a path, or a list of paths"),
    "blank path": (GOOD.replace("a.csv", "[a.csv, ' ']"), "SPEC-012", 2, "data.1 is ' '"),
    "empty test": (GOOD + "test: ''\n", "SPEC-012", 5, "a path, or a list of paths"),
    "data is a number": (GOOD.replace("a.csv", "5"), "SPEC-011", 2, "a path, or a list of paths"),
    "null": (GOOD + "gate: {alpha: }\n", "SPEC-011", 5, "gate.alpha is empty"),
    "half a character": (GOOD.replace("text:", '"\\ud800":'), "SPEC-002", 3, "half a character"),
    "half a value": (GOOD.replace("a.csv", '"\\udfff.csv"'), "SPEC-002", 2, "half a character"),
    "exponent for a whole number": (GOOD + "train: {epochs: 1e-1}\n", "SPEC-012", 5, "epochs"),
    "tag": (GOOD + "split: {seed: !!bool perhaps}\n", "SPEC-002", 5, "cannot be read"),
    "object tag": (GOOD + "name2: !!python/object:os.system x\n", "SPEC-002", 5, "cannot be read"),
    "refers to itself": ("name: &a [*a]\n", "SPEC-002", None, "refers to itself"),
    "nested deeply": ("name: " + "[" * 3000 + "]" * 3000, "SPEC-002", None, "nested too deeply"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_spec_says_where_and_what(case: str) -> None:
    text, code, line, piece = WRONG[case]
    found = [error for error in wrong(text) if error.code == code]
    assert found, [str(error) for error in wrong(text)]
    assert piece in str(found[0])
    if line is not None:
        assert found[0].where == f"<spec>:{line}"


def test_aliases_that_stand_for_too_much_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too many values" in str(wrong("\n".join(lines))[0])


def test_all_errors_come_together_in_the_order_of_the_file() -> None:
    found = wrong(
        "name: 5\ndata: a.csv\ninputs: {text: txet}\ntarget: {y: category}\n"
        "train: {epochs: 0, sead: 1}\ngate: {alpha: 2}\nbogus: 1\n"
    )
    assert [error.code for error in found] == [
        "SPEC-011",
        "SPEC-015",
        "SPEC-012",
        "SPEC-010",
        "SPEC-012",
        "SPEC-010",
    ]
    lines = [int(str(error.where).rsplit(":", 1)[1]) for error in found]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0.5%", 0.005), ("0.005", 0.005), ("' 2.5 % '", 0.025), ("0", 0.0), (".5%", 0.005)],
)
def test_fractions(text: str, wanted: float) -> None:
    compress = parse(GOOD + f"compress: {{margin: {text}}}\n").compress
    assert isinstance(compress, CompressSpec)
    assert compress.margin == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2MB", 2_000_000), ("10 kB", 10_000), ("1.5GB", 1_500_000_000), ("7B", 7), ("9", 9)],
)
def test_sizes(text: str, wanted: int) -> None:
    assert parse(GOOD + f"serve: {{max_request_bytes: {text}}}\n").serve.max_request_bytes == wanted


@pytest.mark.parametrize(
    ("text", "wanted"), [("5ms", 5.0), ("2s", 2000.0), ("0.5 s", 500.0), ("3.5", 3.5)]
)
def test_durations(text: str, wanted: float) -> None:
    assert parse(GOOD + f"serve: {{max_wait_ms: {text}}}\n").serve.max_wait_ms == wanted


@pytest.mark.parametrize("case", WRONG)
def test_messages_speak_of_the_file(case: str) -> None:
    """Not of the library that checks it, and not of Python."""
    for error in wrong(WRONG[case][0]):
        for word in ("Dictionary", "Tuple", "String should", "datetime.", "None", "validation"):
            assert word not in str(error).replace("category, datetime, number", "")


@pytest.mark.parametrize(
    ("text", "wanted"), [("1e-4", 1e-4), ("5E-1", 0.5), (".5", 0.5), ("1.5e-3", 1.5e-3), ("1e0", 1)]
)
def test_numbers_with_an_exponent(text: str, wanted: float) -> None:
    assert parse(GOOD + f"train: {{learning_rate: {text}}}\n").train.learning_rate == wanted


def test_whole_numbers_with_an_exponent() -> None:
    spec = parse(GOOD + "train: {epochs: 1e2}\nserve: {max_request_bytes: 1E6}\n")
    assert (spec.train.epochs, spec.serve.max_request_bytes) == (100, 1_000_000)


def test_dates_and_quoted_numbers_are_names() -> None:
    assert parse(GOOD.replace("name: a", "name: 2024-01-05")).name == "2024-01-05"
    assert parse(GOOD.replace("name: a", "name: '1e5'")).name == "1e5"


@pytest.mark.parametrize("changes", [{"port": 99999}, {"port": -1}, {"host": 5}, {"prot": 80}])
def test_changes_of_serve_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(SpecErrors, match="serve"):
        changed_serve(ServeSpec(), **changes)
    assert changed_serve(ServeSpec(), port=0).port == 0


@pytest.mark.parametrize("word", ["off", "'off'", '"off"'])
def test_compression_can_be_off(word: str) -> None:
    assert parse(GOOD + f"compress: {word}\n").compress == "off"


def test_names_may_be_in_any_script() -> None:
    spec = parse(
        "name: 评论 🙂\ndata: 数据.csv\ninputs: {评论文本: text}\ntarget: {情感: category}\n"
    )
    assert spec.target_name == "情感"
    assert list(spec.inputs) == ["评论文本"]


def test_keys_are_names_even_where_yaml_reads_something_else() -> None:
    spec = parse("name: a\ndata: a.csv\ninputs: {on: text, 5: text}\ntarget: {yes: category}\n")
    assert list(spec.inputs) == ["5", "on"]
    assert spec.target_name == "yes"


def test_the_digest_does_not_see_order_comments_or_form() -> None:
    one = parse(
        "name: a\ndata: a.csv\ninputs: {b: text, a: text}\ntarget: {y: category}\n"
        "gate: {alpha: 5%}\n"
    )
    other = parse(
        "# a comment\ntarget:\n  y: {type: category}\ngate:\n  alpha: 0.05   # same\n"
        "inputs:\n  a: text\n  b: {type: text, encoder: auto}\ndata: [a.csv]\nname: 'a'\n"
    )
    assert digest(one) == digest(other)
    assert list(one.inputs) == list(other.inputs)


def test_the_digest_sees_values() -> None:
    assert digest(parse(GOOD)) != digest(parse(GOOD + "train: {seed: 1}\n"))


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(GOOD).name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "code"), [(None, "SPEC-001"), (b"name: \xff\xfe\n", "SPEC-002"), (b"", "SPEC-003")]
)
def test_files(tmp_path: Path, content: bytes | None, code: str) -> None:
    path = tmp_path / "volano.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_spec(path, column_options=column_options, column_types=column_uses())
    assert caught.value.code == code


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "volano.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_spec(path, column_options=column_options, column_types=column_uses()).name == "a"


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["text", "category", "auto", "off", "int8", "5%", "2MB", "!!bool x", "*a", "&a b"]
    ),
)
_KEYS = st.sampled_from(
    [
        "name",
        "data",
        "test",
        "inputs",
        "target",
        "clean",
        "split",
        "train",
        "compress",
        "gate",
        "serve",
        "store",
        "version",
        "type",
        "epochs",
        "passes",
        "alpha",
        "text",
        "y",
        "",
        "?",
        "<<",
    ]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


def _write(value: object) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{key or repr(key)}: {_write(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_write(item) for item in value) + "]"
    return str(value)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_KEYS, _VALUES, max_size=8))
def test_whatever_is_written_a_spec_or_a_spec_error_comes_out(value: dict[str, object]) -> None:
    text = "\n".join(f"{key}: {_write(item)}" for key, item in value.items())
    # Nothing but a SpecError may come out.
    with contextlib.suppress(SpecError):
        parse(text)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60))
@example("a: !!timestamp x")
@example("? [a, b]\n: c")
@example("a: !!int ''")
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError):
        parse(text)


def test_one_model_needs_no_list() -> None:
    assert parse(GOOD + "train: {models: linear}\n").train.models == ("linear",)
    assert parse(GOOD + "train: {models: auto}\n").train.models == "auto"
    assert parse(GOOD + "train: {models: [linear, boosted]}\n").train.models == (
        "linear",
        "boosted",
    )


def test_an_exact_solution_of_squares_is_taken() -> None:
    numbers = GOOD.replace("label: category", "label: number")
    for train in ("{solver: exact}", "{solver: exact, loss: squared, penalty: l2}"):
        assert parse(numbers + f"train: {train}\n").train.solver == "exact"
