"""Students that read the teacher's tokens without attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from classroom import wordpiece
from transformers import BertConfig, BertModel

import volano
from volano.columns import Encoded, EncodedSplit
from volano.columns.category import FittedCategory
from volano.columns.number import NumberColumn
from volano.columns.text import FittedText
from volano.compression import Calibration, Compact, compression_pass
from volano.compression._lessons import student_plan
from volano.compression._words import shortened
from volano.export import graph_of, write_bundle
from volano.models import (
    Network,
    TableEncoder,
    TextEncoder,
    WordsEncoder,
    encoder_kind,
    load_weights,
    save_weights,
    table_features,
)
from volano.spec import TrainSpec
from volano.tasks.classification import Classification
from volano.testing import check_encoder
from volano.training import distil_objective, fit

THINGS = ("tea", "lamp", "book", "chair")
TEXTS = [f"the {thing} is {word}" for thing in THINGS for word in ("good", "not good", "bad")]
GOOD = np.array([0, 1, 1] * len(THINGS))


def tokenizer() -> str:
    words = sorted({word for text in TEXTS for word in text.split()})
    return wordpiece([*words, *(f"{word}s" for word in words)])


def teacher(layers: int = 3) -> Compact:
    torch.manual_seed(0)
    column = FittedText("text", tokenizer(), 16)
    config = BertConfig(
        vocab_size=column.num_tokens,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=16,
        pad_token_id=column.pad_id,
    )
    encoder = TextEncoder(BertModel(config, add_pooling_layer=False))
    model = Network(("text",), [encoder], 2).eval()
    inputs = {"text": column}
    return Compact(inputs, graph_of(model, inputs), model)


class Classroom:
    """`Work` whose teacher knows that `not good` is bad."""

    task, seed, num_rows = "classification", 0, 40 * len(TEXTS)

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def texts(self, column: str) -> list[str]:
        assert column == "text"
        return TEXTS

    def graph(self, model: Any, inputs: Any) -> Any:
        return graph_of(model, inputs)

    def calibration(self, inputs: Any) -> Calibration:
        return Calibration([batch(inputs["text"], TEXTS)])

    def train(self, model: Any, inputs: Any, *, epochs: int) -> None:
        if self._folder is None:
            model.eval()
            return
        self._folder.mkdir()
        answers = np.where(GOOD[:, None] == [0, 1], 2.0, -1.0)
        target = np.concatenate([answers, np.full((len(TEXTS), 1), -1.0)], axis=1)
        encoded = inputs["text"].encode(TEXTS * 40)
        rows = np.tile(target, (40, 1)).astype(np.float32)
        split = EncodedSplit({"text": Encoded(encoded.arrays)}, rows)
        plan = student_plan(model, split.num_rows, epochs=epochs, train=TrainSpec(seed=0))
        aim = distil_objective("classification")
        fit(model, inputs, split, split, plan, aim=aim, scratch=self._folder)


def batch(column: FittedText, texts: list[str]) -> dict[str, np.ndarray]:
    return column.collate(column.encode(texts), np.arange(len(texts)))


def run(made: Compact, texts: list[str]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        made.graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    column = made.inputs["text"]
    assert isinstance(column, FittedText)
    return np.asarray(session.run(None, batch(column, texts))[0])


def slow(encoder: WordsEncoder, ids: list[int]) -> list[float]:
    """One row, one number after the other."""
    vectors = encoder.embeddings.weight.detach().numpy()[ids].astype(np.float64)
    if not encoder.filters:
        return (vectors.sum(0) / np.sqrt(len(ids))).tolist()
    found = []
    for span, convolution in zip((3, 4, 5), encoder.convolutions, strict=True):
        kernel = convolution.weight.detach().numpy()
        bias = convolution.bias.detach().numpy()
        for place in range(encoder.filters):
            best = 0.0
            for at in range(len(ids)):
                total = float(bias[place])
                for k in range(span):
                    token = at + k - (span - 1) // 2
                    if 0 <= token < len(ids):
                        total += float(kernel[place, :, k] @ vectors[token])
                best = max(best, total)
            found.append(best)
    return found


@pytest.mark.parametrize("filters", [5, 0])
def test_an_encoder_against_one_number_after_the_other(filters: int) -> None:
    torch.manual_seed(0)
    encoder = WordsEncoder(30, vector=8, filters=filters).eval()
    rows = [[3], [4, 9, 2, 7, 7, 1, 29], [5, 6]]
    ids, mask = torch.full((3, 7), 11), torch.zeros(3, 7, dtype=torch.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)], mask[place, : len(row)] = torch.tensor(row), 1
    with torch.no_grad():
        found = encoder(ids, mask).numpy()
        alone = encoder(ids[1:2], None).numpy()
    wanted = np.array([slow(encoder, row) for row in rows])
    assert found.shape == (3, encoder.width)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone, wanted[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filters", [4, 0])
def test_the_promises_of_an_encoder_are_kept(filters: int) -> None:
    class Words:
        @staticmethod
        def build_encoder(column: Any, details: Any, root: Path, num_rows: int) -> WordsEncoder:
            return WordsEncoder(column.num_tokens, vector=8, filters=filters)

        encoder_from_config = staticmethod(encoder_kind("text").encoder_from_config)

    column = FittedText("text", tokenizer(), 16)
    check_encoder(Words, column, ["good", *TEXTS[:3]])  # type: ignore[arg-type]


@pytest.mark.parametrize("filters", [16, 0])
def test_a_graph_answers_as_the_network(filters: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    column = teacher(1).inputs["text"]
    assert isinstance(column, FittedText)
    encoder = WordsEncoder(column.num_tokens, vector=64, filters=filters)
    network = Network(("text",), [encoder], 3).eval()
    save_weights(network, tmp_path)
    again = load_weights(tmp_path)
    made = Compact({"text": column}, graph_of(again, {"text": column}), again)
    texts = [*TEXTS, "tea", ""]
    with torch.no_grad():
        given = {name: torch.from_numpy(value) for name, value in batch(column, texts).items()}
        wanted = network(given).numpy()
    np.testing.assert_allclose(run(made, texts), wanted, atol=1e-5)
    np.testing.assert_allclose(run(made, ["tea"]), wanted[-2:-1], atol=1e-5)
    calibration = Calibration([batch(column, texts)])
    small = compression_pass("int8")._graph(made.graph, calibration)  # type: ignore[attr-defined]
    assert small.ByteSize() < 0.5 * made.graph.ByteSize()
    found = run(Compact(made.inputs, small), texts)
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.1 * wanted.std()


def test_vectors_keep_what_the_teachers_told_apart() -> None:
    from sklearn.decomposition import PCA

    random = np.random.default_rng(0)
    known = random.normal(3, 1, (50, 12)) * random.lognormal(0, 1, 12)
    known = known.astype(np.float32)
    counts = random.integers(0, 3, 50)
    found = shortened(known, counts, 5)
    wanted = PCA(5).fit(known[counts > 0]).transform(known)
    ratio = found / wanted
    np.testing.assert_allclose(np.abs(ratio), np.abs(ratio[0, 0]), rtol=1e-3)
    np.testing.assert_allclose(found[counts > 0].std(), 1, rtol=1e-4)
    np.testing.assert_allclose(found[counts > 0].mean(0), 0, atol=1e-5)
    np.testing.assert_array_equal(shortened(known, counts, 5), found)
    one = shortened(known, np.eye(50, dtype=np.int64)[7], 5)
    assert np.isfinite(one).all(), "one token alone spreads nowhere"


def test_students_start_from_the_teachers_tokens() -> None:
    model, work = teacher(), Classroom()
    distil = compression_pass("distil")
    settings = [each for each in distil.settings(model, work) if each["student"] == "words"]
    sizes = [(each["vector"], each["filters"]) for each in settings]
    assert sizes[:2] == [(64, 64), (64, 0)]
    assert [distil.label(each) for each in settings[:2]] == ["words64-64", "words64"]  # type: ignore[attr-defined]
    made = distil.apply(model, work, settings[1])
    old = model.model.encoders[0].token_embedding().weight.detach().numpy()
    new = made.model.encoders[0].token_embedding().weight.detach().numpy()
    # As many numbers as before: the directions are others, the distances the same in their unit.
    ratio = np.linalg.norm(new[1:] - new[:-1], axis=1) / np.linalg.norm(old[1:] - old[:-1], axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    assert made.inputs == model.inputs, "the teacher's own tokens"


@pytest.mark.parametrize("place", [0, 1], ids=["convolution", "sum"])
def test_a_student_learns_and_its_tokens_are_cut(place: int, tmp_path: Path) -> None:
    model, work = teacher(), Classroom(tmp_path / "scratch")
    distil, cut = compression_pass("distil"), compression_pass("vocabulary")
    settings = [each for each in distil.settings(model, work) if each["student"] == "words"]
    before = model.model.state_dict()
    made = distil.apply(model, work, settings[place])
    assert made.graph.ByteSize() < 0.6 * model.graph.ByteSize()
    assert (run(made, TEXTS).argmax(1) == GOOD).all()
    for name, value in teacher().model.state_dict().items():
        torch.testing.assert_close(before[name], value, msg="the teacher stays")
    assert cut.suits(made, work) is None
    small = cut.apply(made, work, cut.settings(made, work)[0])
    assert small.graph.ByteSize() < made.graph.ByteSize()
    np.testing.assert_allclose(run(small, TEXTS), run(made, TEXTS), atol=1e-5)
    int8 = compression_pass("int8")
    least = int8.apply(small, work, {})
    assert least.graph.ByteSize() < small.graph.ByteSize()
    assert (run(least, TEXTS).argmax(1) == GOOD).all()
    names = FittedCategory("mood", ("good", "bad"))
    write_bundle(
        tmp_path / "bundle",
        name="mood",
        inputs=least.inputs,
        target=names,
        task=Classification(names.names, 1.0),
        graph=least.graph.SerializeToString(),
        details={"precision": "words"},
    )
    said = volano.load(tmp_path / "bundle").predict([{"text": text} for text in TEXTS])
    assert [each.value for each in said] == [names.names[code] for code in GOOD]


def test_numbers_may_stand_beside_the_text() -> None:
    model = teacher(4)
    price = NumberColumn.fit("price", ["1", "2", "5"], {}, "input")
    inputs = {**model.inputs, "price": price}
    table = TableEncoder(table_features({"price": price}), width=16)
    network = Network(("text",), list(model.model.encoders), 2, table).eval()
    distil, work = compression_pass("distil"), Classroom()
    both = Compact(inputs, model.graph, network)
    settings = [each for each in distil.settings(both, work) if each["student"] == "words"]
    made = distil.apply(both, work, settings[0])
    session = onnxruntime.InferenceSession(
        made.graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    column = inputs["text"]
    assert isinstance(column, FittedText)
    feed = batch(column, ["tea", *TEXTS[:4]])
    feed |= price.collate(price.encode(["1", "2", "3", "", "5"]), np.arange(5))
    with torch.no_grad():
        wanted = made.model({name: torch.from_numpy(value) for name, value in feed.items()})
    np.testing.assert_allclose(session.run(None, feed)[0], wanted.numpy(), atol=1e-5)


def test_it_says_where_there_is_no_such_student() -> None:
    from volano.compression import _words

    model = teacher()
    assert _words.suits(Compact(model.inputs, model.graph)) == "it is no network"
    small = Network(("text",), [WordsEncoder(80, vector=4, filters=0)], 2)
    assert "few numbers" in str(_words.suits(Compact(model.inputs, model.graph, small)))
    empty = Compact({}, model.graph, Network((), (), 2, _table()))
    assert "not every column is a text" in str(_words.suits(empty))


def _table() -> TableEncoder:
    price = NumberColumn.fit("price", ["1", "2", "5"], {}, "input")
    return TableEncoder(table_features({"price": price}), width=16)
