"""Students: what they learn from, what they learn, and what a search makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from classroom import TEXTS, Classroom, network, run, wordpiece

from volano.columns import Encoded, EncodedSplit, Ragged
from volano.columns.text import FittedPieces, FittedText
from volano.compression import Calibration, Compact, compression_pass
from volano.compression._search import Measured, _by_kinds, _in_turns, search
from volano.compression._variants import varied
from volano.export import graph_of
from volano.models import Network, PiecesEncoder
from volano.spec import TrainSpec
from volano.training import distil_objective, fit, plan_training


def test_fewer_tokens_answer_the_same_where_none_was_lost() -> None:
    model, column = network()
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)
    work = Classroom(TEXTS)
    cut = compression_pass("vocabulary")
    assert cut.suits(teacher, work) is None
    made = cut.apply(teacher, work, cut.settings(teacher, work)[0])
    small = made.inputs["text"]
    assert isinstance(small, FittedText)
    assert small.num_tokens < column.num_tokens
    gone = column.num_tokens - small.num_tokens
    assert made.notes == [f"text: {gone} of {column.num_tokens} tokens are dropped"]
    np.testing.assert_allclose(run(made, TEXTS), run(teacher, TEXTS), atol=1e-5)
    known = json.loads(small.tokenizer_json)["model"]["vocab"]
    assert "never" not in known, "a token that no text has is gone"
    ids = small.encode(["never"]).arrays["ids"]
    assert isinstance(ids, Ragged)
    assert small.unknown_id not in ids.flat, "and its word is cut into letters"
    assert column.num_tokens == FittedText("text", wordpiece(), 24).num_tokens, "the given stays"


def test_a_student_keeps_the_first_and_the_last_layer() -> None:
    model, column = network(layers=3)
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)
    work = Classroom(TEXTS)
    distil = compression_pass("distil")
    settings = distil.settings(teacher, work)
    assert settings[0]["student"] == "pieces", "the quickest first"
    two = next(each for each in settings if each.get("layers") == 2 or each["student"] == "layers")
    made = distil.apply(teacher, work, {**two, "layers": 2, "epochs": 7})
    layers = made.model.encoders[0].transformer.encoder.layer
    old = model.encoders[0].transformer.encoder.layer
    assert len(layers) == 2
    assert len(old) == 3
    for new, wanted in zip(layers, (old[0], old[2]), strict=True):
        for a, b in zip(new.parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(a, b)
    assert work.trained == [7]


def test_neurons_that_matter_most_are_kept() -> None:
    model, column = network(layers=2)
    for layer in model.encoders[0].transformer.encoder.layer:
        with torch.no_grad():
            # Every other neuron says something that nobody hears.
            layer.output.dense.weight[:, ::2] *= 1e-6
    inputs = {"text": column}
    teacher, work = Compact(inputs, graph_of(model, inputs), model), Classroom(TEXTS)
    distil = compression_pass("distil")
    settings = [each for each in distil.settings(teacher, work) if each.get("neurons")]
    assert settings[0] == {**settings[0], "layers": 1, "neurons": 0.5}
    made = distil.apply(teacher, work, {**settings[0], "layers": 2})
    for layer in made.model.encoders[0].transformer.encoder.layer:
        assert layer.intermediate.dense.weight.shape == (32, 32)
        assert layer.output.dense.weight.shape == (32, 32)
    np.testing.assert_allclose(run(made, TEXTS), run(teacher, TEXTS), atol=1e-3)
    assert made.model.encoders[0].transformer.config.intermediate_size == 32
    assert made.graph.ByteSize() < teacher.graph.ByteSize()
    assert model.encoders[0].transformer.config.intermediate_size == 64, "the given stays"


def lesson(column: FittedPieces, texts: list[str], outputs: np.ndarray) -> EncodedSplit:
    codes = np.full((len(texts), 1), -1.0)
    codes[: len(texts) // 2] = outputs[: len(texts) // 2].argmax(1)[:, None]
    target = np.concatenate([outputs, codes], axis=1).astype(np.float32)
    encoded = column.encode(texts)
    return EncodedSplit({"text": Encoded(encoded.arrays)}, target)


def test_pieces_learn_what_a_teacher_answers_without_labels(tmp_path: Path) -> None:
    column = FittedPieces.of("text", TEXTS, 512)
    outputs = np.array([[2.0, -1.0] if "good" in text else [-1.0, 2.0] for text in TEXTS])
    student = Network(("text",), [PiecesEncoder(512, 16)], 2)
    split = lesson(column, TEXTS * 20, np.tile(outputs, (20, 1)))
    plan = plan_training(TrainSpec(epochs=30), num_rows=120, pretrained=False, pieces=True)
    inputs = {"text": column}
    fit(
        student,
        inputs,
        split,
        split,
        plan,
        aim=distil_objective("classification"),
        scratch=tmp_path,
    )
    made = Compact(inputs, graph_of(student, inputs), student)
    found = run(made, [*TEXTS, "good", ""])
    assert (found[: len(TEXTS)].argmax(1) == outputs.argmax(1)).all()
    assert found[len(TEXTS), 0] > found[len(TEXTS), 1], "one known word is enough"
    unknown = run(made, ["zzzz qqqq"])[0]
    np.testing.assert_allclose(unknown, student.head.bias.detach().numpy(), atol=0.6)
    small = compression_pass("int8")._graph(made.graph, _Calibration(column))
    compact = Compact(inputs, small)
    assert small.ByteSize() < made.graph.ByteSize() / 2
    np.testing.assert_allclose(run(compact, TEXTS), run(made, TEXTS), atol=0.15)


def _Calibration(column: FittedPieces):
    return Calibration([column.collate(column.encode(TEXTS), np.arange(len(TEXTS)))])


def test_soft_and_hard_targets_against_torch() -> None:
    random = np.random.default_rng(0)
    student, teacher = random.normal(0, 2, (2, 5, 3))
    codes = np.array([0, 2, -1, 1, -1])
    targets = np.concatenate([teacher, codes[:, None]], axis=1)
    aim = distil_objective("classification")
    found = float(aim.loss(None, torch.tensor(student).float(), aim.targets(targets)))

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    p, q = softmax(teacher / 2), softmax(student / 2)
    soft = 4 * (p * np.log(p / q)).sum(1)
    hard = -np.log(softmax(student)[np.arange(5), np.maximum(codes, 0)])
    share = np.where(codes >= 0, 0.7, 1.0)
    assert found == pytest.approx(float((share * soft + (1 - share) * hard).mean()), rel=1e-5)


def test_variants_are_other_texts_and_the_same_each_time() -> None:
    texts = [f"row {place} has quite a few words to lose or move" for place in range(50)]
    made = varied(texts, 1)
    assert made == varied(texts, 1)
    assert made != varied(texts, 2)
    assert sum(a != b for a, b in zip(made, texts, strict=True)) > 40
    assert all(made)
    assert varied(["", "一", "ab"], 0) == ["", "一", "ab"], "too short to change"
    chinese = "这个酒店的服务非常好房间也很干净"
    assert all(len(varied([chinese], seed)[0]) > 3 for seed in range(8))


def test_a_search_looks_briefly_and_goes_on_with_what_nothing_beats() -> None:
    model, column = network()
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)
    work = Classroom(TEXTS)
    quality = {"pieces": 0.9, "words": 0.4, "layers": 0.5}

    def measure(attempt):
        student = next((s.get("student") for name, s in attempt.steps if name == "distil"), "")
        size = attempt.made.graph.ByteSize()
        # Of one kind the larger are no better: they are beaten, and not trained to the end.
        return Measured(quality.get(student, 1.0), size, size / 1e3)

    found = list(search(teacher, work, ["distil", "vocabulary"], measure, long=True))
    looks = [each.name for each in found if "-look" in each.name]
    whole = [each.name for each in found if "-look" not in each.name]
    assert any(name.startswith("pieces") for name in looks)
    assert sum(name.startswith("pieces") for name in whole) == 1
    assert "vocabulary" in whole
    assert all(each.error is None for each in found)


class Rounding:
    """Changes a graph alone, once."""

    version, makes = 1, "graph"

    def __init__(self, name: str, *settings: dict[str, object]) -> None:
        self.name, self._settings = name, settings

    def suits(self, model, work):
        return "done" if self.name in model.graph.producer_name else None

    def settings(self, model, work):
        return self._settings

    def apply(self, model, work, settings):
        graph = type(model.graph)()
        graph.CopyFrom(model.graph)
        graph.producer_name += self.name
        return Compact(model.inputs, graph)


@pytest.mark.parametrize("long", [False, True])
def test_passes_on_the_graph_follow_each_other_and_stand_alone(
    long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = {
        "one": Rounding("one", {}, {"by": 2}),
        "two": Rounding("two", {"by": 1}, {"by": 3}),
    }
    monkeypatch.setattr("volano.compression._search.compression_pass", passes.__getitem__)
    model, column = network()
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)
    found = search(
        teacher, Classroom(TEXTS), ["one", "two"], lambda _: Measured(1.0, 1, 1.0), long=long
    )
    names = [each.name for each in found]
    assert names == ["one", "one-two", *(["one-2", "two", "two-3"] if long else ["two"])]


def test_what_reaches_the_goal_is_finished_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Teaching(Rounding):
        makes = "student"

        def label(self, settings):
            return f"s{settings['size']}"

        def apply(self, model, work, settings):
            return Compact(model.inputs, model.graph)

    students = Teaching("distil", *({"size": size, "epochs": 8} for size in (1, 2, 3)))
    monkeypatch.setattr("volano.compression._search.compression_pass", lambda name: students)
    model, column = network()
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)

    def measure(attempt):
        size = dict(attempt.steps)["distil"]["size"]
        return Measured(size / 10, size, 1.0)

    tried = search(
        teacher,
        Classroom(TEXTS),
        ["distil"],
        measure,
        reaches=lambda found: found.size_bytes <= 2,
        long=True,
    )
    whole = [each.name for each in tried if "-look" not in each.name]
    assert whole == ["s2", "s1", "s3"], "the largest is the best, and larger than was asked for"


def test_the_first_of_each_kind_is_looked_at_first() -> None:
    kinds = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5), ("c", 6)]
    found = _in_turns([{"student": kind, "size": size} for kind, size in kinds])
    assert [each["size"] for each in found] == [1, 4, 6, 2, 5, 3]


def test_the_best_of_each_kind_is_finished_first() -> None:
    looks = [
        ({"student": "a", "size": 1}, Measured(0.9, 1, 1.0)),
        ({"student": "a", "size": 2}, Measured(0.95, 1, 1.0)),
        ({"student": "b", "size": 3}, Measured(0.5, 1, 1.0)),
        ({"student": "a", "size": 4}, Measured(0.8, 1, 1.0)),
        ({"student": "b", "size": 5}, Measured(0.4, 1, 1.0)),
    ]
    assert [each["size"] for each in _by_kinds(looks)] == [2, 3, 1, 5, 4]


def test_looks_take_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what nobody has looked at is trained to the end with what is left."""
    clock = [0.0]
    monkeypatch.setattr("volano.compression._search.time.monotonic", lambda: clock[0])

    class Teaching(Rounding):
        makes = "student"

        def label(self, settings):
            return f"s{settings['size']}"

        def apply(self, model, work, settings):
            clock[0] += settings["epochs"]
            return Compact(model.inputs, model.graph)

    students = Teaching("distil", *({"size": size, "epochs": 8} for size in range(5)))
    monkeypatch.setattr("volano.compression._search.compression_pass", lambda name: students)
    model, column = network()
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)
    work = Classroom(TEXTS)
    work.deadline = 12.0
    tried = search(
        teacher,
        work,
        ["distil"],
        lambda attempt: Measured(dict(attempt.steps)["distil"]["size"], 1, 1.0),
        long=True,
    )
    found = list(tried)
    assert [each.name for each in found] == ["s0-look", "s1-look", "s2-look", "s2", "distil"]
    assert found[-1].error == "no time was left to train s3, s4 to the end"


def test_a_pass_that_fails_is_a_finding() -> None:
    model, column = network()
    teacher = Compact({"text": column}, graph_of(model, {"text": column}), model)

    class Failing(Classroom):
        def train(self, model, inputs, *, epochs: int) -> None:
            raise RuntimeError("no such operator\nat all")

    found = list(
        search(teacher, Failing(TEXTS), ["distil", "vocabulary"], lambda _: None, long=False)
    )
    assert [(each.name, each.error) for each in found] == [
        ("vocabulary", None),
        (found[1].name, "failed: no such operator"),
    ]
