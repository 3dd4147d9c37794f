"""Baselines on odd inputs, and on Banking77 when it is at hand."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from volano.errors import AssetError, DataError
from volano.evaluation import BASELINES, baselines, majority, tfidf_svm


@pytest.mark.slow
@pytest.mark.skipif("VOLANO_DATA" not in os.environ, reason="VOLANO_DATA is unset: no Banking77")
def test_the_linear_baseline_reaches_912_in_1000_on_banking77():
    folder = Path(os.environ["VOLANO_DATA"]) / "banking77" / "banking_data"

    def read(split):
        with (folder / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [row["text"] for row in rows], [row["category"] for row in rows]

    (train_texts, train_names), (texts, names) = read("train"), read("test")
    code = {name: position for position, name in enumerate(sorted(set(train_names)))}
    baseline = tfidf_svm(train_texts, [code[name] for name in train_names], texts)
    accuracy = np.mean(baseline.predictions == [code[name] for name in names])
    assert 0.909 <= accuracy <= 0.916
    assert baseline.num_train_rows == len(train_texts)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_all_answer_alike(name):
    baseline = BASELINES[name](["yes yes", "no no", "yes"], [3, 1, 3], ["yes", "no"], seed=0)
    assert baseline.predictions.dtype == np.int64
    assert baseline.predictions.shape == (2,)
    assert baseline.num_train_rows == 3
    assert BASELINES[name](["a"], [0], []).predictions.shape == (0,)


def test_majority_takes_the_smallest_code_of_equals():
    assert majority(["a", "b"], [4, 2], ["c"]).predictions.tolist() == [2]


def test_one_class_is_answered_without_a_machine():
    assert tfidf_svm(["a", "b"], [5, 5], ["c"]).predictions.tolist() == [5]


def test_rows_without_words_are_told_apart_by_their_characters():
    texts = ["?!", "?!", "...", "..."]
    assert tfidf_svm(texts, [0, 0, 1, 1], ["?!", "..."]).predictions.tolist() == [0, 1]


def test_rows_without_anything_get_the_majority():
    assert tfidf_svm(["", " ", ""], [0, 1, 1], ["", "a"]).predictions.tolist() == [1, 1]


def test_classes_of_one_row_each():
    texts = ["alpha beta", "gamma delta", "epsilon zeta"]
    assert tfidf_svm(texts, [0, 1, 2], texts).predictions.tolist() == [0, 1, 2]


def test_a_script_without_spaces():
    texts = ["我的卡丢了怎么办", "卡丢了要补办", "汇率是多少呢", "今天的汇率如何"]
    answers = tfidf_svm(texts, [0, 0, 1, 1], ["我把卡弄丢了", "请问汇率"]).predictions
    assert answers.tolist() == [0, 1]


def test_bounds_keep_every_class_and_say_what_they_left_out(monkeypatch):
    monkeypatch.setattr(baselines, "MAX_TRAIN_ROWS", 20)
    monkeypatch.setattr(baselines, "MAX_TEXT_CHARACTERS", 8)
    texts = ["plenty of them"] * 99 + ["rare"]
    labels = [0] * 99 + [1]
    first, again = (tfidf_svm(texts, labels, ["plenty", "rare"]) for _ in range(2))
    assert first.predictions.tolist() == again.predictions.tolist() == [0, 1]
    assert first.num_train_rows == 20
    assert first.num_cut_texts == 19
    monkeypatch.setattr(baselines, "MAX_TRAIN_CHARACTERS", 44)
    assert tfidf_svm(texts, labels, ["rare"]).num_train_rows == 6  # 4 + 5 x 8 characters


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        ([], np.zeros(0, dtype=int), "0 training texts"),
        (["a"], [0, 1], "labels of shape (2,)"),
        (["a"], ["x"], "one int class code"),
        (["a"], [-1], "at least 0"),
    ],
)
def test_messages(texts, labels, said):
    for baseline in BASELINES.values():
        with pytest.raises(DataError, match="DATA-430") as caught:
            baseline(texts, labels, ["b"])
        assert said in str(caught.value)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(AssetError, match="ASSET-430") as caught:
        tfidf_svm(["a", "b"], [0, 1], ["c"])
    assert "pip install 'volano[train]'" in str(caught.value)
