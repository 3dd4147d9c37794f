"""Students that learn their teacher's token vectors beside its answers."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from classroom import TEXTS, network

from volano.columns import EncodedSplit
from volano.columns.text import FittedText
from volano.compression._factors import factor_words
from volano.models import Network, keep_heads
from volano.spec import TrainSpec
from volano.training import distil_objective, fit, plan_training
from volano.training._matching import (
    TokenMatch,
    hidden_distance,
    matched_columns,
    relation_distance,
)
from volano.training._vocabulary import CompactVocabulary

ROWS = [*TEXTS, "tea", "the book", "bad lamp is good"] * 8


def taught() -> tuple[Network, Network, FittedText, EncodedSplit]:
    """A teacher, a student of one layer with short embeddings, and rows."""
    teacher, column = network(layers=2)
    torch.manual_seed(4)
    with torch.no_grad():
        for weight in teacher.encoders[0].parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.3)
    student = copy.deepcopy(teacher)
    transformer = student.encoders[0].transformer
    transformer.encoder.layer = transformer.encoder.layer[:1]
    transformer.config.num_hidden_layers = 1
    factor_words(student.encoders[0], np.ones(column.num_tokens, np.int64), 0.33)
    encoded = column.encode(ROWS)
    feed = column.collate(encoded, np.arange(len(ROWS)))
    with torch.no_grad():
        answers = teacher({name: torch.from_numpy(values) for name, values in feed.items()})
    unknown = np.full((len(ROWS), 1), -1.0)
    target = np.concatenate([answers.numpy(), unknown], axis=1).astype(np.float32)
    return teacher, student, column, EncodedSplit({"text": encoded}, target)


def learn(
    student: Network, column: FittedText, rows: EncodedSplit, teacher: Network | None, scratch: Path
) -> None:
    scratch.mkdir()
    again(student, column, rows, teacher, scratch)


def again(
    student: Network,
    column: FittedText,
    rows: EncodedSplit,
    teacher: Network | None,
    scratch: Path,
    match: str = "hidden",
) -> None:
    plan = plan_training(TrainSpec(epochs=4, precision="fp32"), num_rows=72, pretrained=True)
    plan = replace(plan, head_start=False, patience=0, dropout=0.0, batch_rows=12)
    fit(
        student,
        {"text": column},
        rows,
        rows,
        replace(plan, learning_rate=3e-3),
        aim=distil_objective("classification"),
        teacher=teacher,
        match=match,
        scratch=scratch,
    )


def test_the_distance_against_numpy() -> None:
    random = np.random.default_rng(0)
    s, t = random.normal(0, 3, (2, 4, 5, 6))
    mask = np.arange(5) < np.array([5, 3, 1, 2])[:, None]
    units = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (s, t)]
    each = np.square(units[0] - units[1]).sum(-1)
    found = hidden_distance(torch.tensor(s), torch.tensor(t), torch.tensor(mask.astype(np.int64)))
    assert float(found) == pytest.approx(each[mask].mean(), rel=1e-5)
    whole = hidden_distance(torch.tensor(s), torch.tensor(t), None)
    assert float(whole) == pytest.approx(each.mean(), rel=1e-5)
    assert float(hidden_distance(torch.tensor(s), 7 * torch.tensor(s), None)) < 1e-10
    assert float(hidden_distance(torch.tensor(s), torch.tensor(-s), None)) == pytest.approx(4)


def test_relations_against_numpy() -> None:
    random = np.random.default_rng(0)
    s, t = random.normal(0, 1, (3, 5, 4)), random.normal(0, 1, (3, 5, 12))
    lengths = np.array([5, 3, 1])
    mask = np.arange(5) < lengths[:, None]

    def relations(x: np.ndarray, heads: int) -> np.ndarray:
        cut = x.reshape(len(x), heads, -1)
        scores = np.einsum("akd,bkd->kab", cut, cut) / np.sqrt(cut.shape[-1])
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))

    each = []
    for row, length in enumerate(lengths):
        p, q = relations(t[row, :length], 2), relations(s[row, :length], 2)
        each.append((p * np.log(p / q)).sum(-1).mean(0))
    found = relation_distance(
        torch.tensor(s), torch.tensor(t), torch.tensor(mask.astype(np.int64)), 2
    )
    assert float(found) == pytest.approx(np.concatenate(each).mean(), rel=1e-5)
    assert float(relation_distance(torch.tensor(t), torch.tensor(t), None, 4)) < 1e-7


def test_relations_need_neither_the_same_width_nor_the_same_heads(tmp_path: Path) -> None:
    teacher, student, column, rows = taught()
    keep_heads(student.encoders[0].transformer.encoder.layer[0], [0, 2])
    assert matched_columns(student, teacher, "relations") == ["text"]
    plain = copy.deepcopy(student)
    learn(plain, column, rows, None, tmp_path / "plain")
    (tmp_path / "matched").mkdir()
    again(student, column, rows, teacher, tmp_path / "matched", match="relations")
    feed = column.collate(column.encode(ROWS), np.arange(len(ROWS)))
    batch = {name: torch.from_numpy(values) for name, values in feed.items()}
    cut = CompactVocabulary(
        copy.deepcopy(student).encoders[0].token_embedding(), np.arange(column.num_tokens)
    )
    apart = []
    for each in (plain, student):
        match = TokenMatch(each, teacher, {"text": cut}, torch.float32, "relations")
        assert match._heads == {"text": 4}
        with torch.no_grad():
            each(batch)
            apart.append(float(match.loss(batch)))
        match.close()
    assert apart[1] < 0.8 * apart[0]


def distance(student: Network, teacher: Network, column: FittedText) -> float:
    feed = column.collate(column.encode(ROWS), np.arange(len(ROWS)))
    ids, mask = torch.from_numpy(feed["text.ids"]), torch.from_numpy(feed["text.mask"])
    with torch.no_grad():
        hidden = [each.encoders[0].hidden(ids, mask) for each in (student, teacher)]
    return float(hidden_distance(hidden[0], hidden[1], mask))


def test_a_student_comes_nearer_to_its_teachers_tokens(tmp_path: Path) -> None:
    teacher, student, column, rows = taught()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    plain = copy.deepcopy(student)
    learn(plain, column, rows, None, tmp_path / "plain")
    learn(student, column, rows, teacher, tmp_path / "matched")
    assert distance(student, teacher, column) < 0.8 * distance(plain, teacher, column)
    assert not student.encoders[0].transformer._forward_hooks, "nothing of it stays behind"
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])


def test_places_in_a_cut_vocabulary_are_the_same_tokens() -> None:
    teacher, _, column, rows = taught()
    student = copy.deepcopy(teacher)
    used = np.unique(rows.columns["text"].arrays["ids"].flat)
    assert len(used) < column.num_tokens
    cut = CompactVocabulary(student.encoders[0].token_embedding(), used)
    match = TokenMatch(student, teacher, {"text": cut}, torch.float32)
    feed = column.collate(rows.columns["text"], np.arange(4))
    batch = {
        "text.ids": torch.from_numpy(cut.places(feed["text.ids"])),
        "text.mask": torch.from_numpy(feed["text.mask"]),
    }
    student(batch)
    assert float(match.loss(batch).detach()) < 1e-10, "a network is at no distance from itself"
    match.close()


def test_an_interrupted_student_ends_in_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    from volano.training import _loop

    teacher, student, column, rows = taught()
    whole, cut = copy.deepcopy(student), copy.deepcopy(student)
    learn(whole, column, rows, teacher, tmp_path / "whole")
    monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
    step = _loop._Run._step

    class Killed(Exception):
        pass

    def stopping(self, batch, number, num_steps):
        if number >= 9:
            raise Killed
        return step(self, batch, number, num_steps)

    with monkeypatch.context() as patch:
        patch.setattr(_loop._Run, "_step", stopping)
        with pytest.raises(Killed):
            learn(cut, column, rows, teacher, tmp_path / "cut")
    again(student, column, rows, teacher, tmp_path / "cut")
    found, wanted = student.state_dict(), whole.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_only_transformers_of_one_width_are_matched() -> None:
    teacher, student, _, _ = taught()
    assert matched_columns(student, teacher) == ["text"]
    student.encoders[0].width = 16
    assert matched_columns(student, teacher) == []
