"""Which of several bundles ships."""

from __future__ import annotations

import numpy as np

from volano.compression import Candidate, Goal, choose

RANDOM = np.random.default_rng(0)
RIGHT = (RANDOM.random(600) < 0.9).astype(float)


def flipped(share: float) -> np.ndarray:
    """Scores of a bundle that gets this share of the rows wrong beside those it had wrong."""
    scores = RIGHT.copy()
    scores[np.flatnonzero(RIGHT)[: round(share * 600)]] = 0
    return scores


def test_a_simpler_model_that_is_as_good_ships() -> None:
    likely = RANDOM.normal(-0.3, 0.1, 600)
    chosen, rows = choose(
        [
            Candidate("boosted", 900, RIGHT, likelihoods=likely),
            Candidate("linear", 100, RIGHT, likelihoods=likely + RANDOM.normal(0, 0.1, 600)),
        ],
        Goal(0.005),
    )
    assert chosen == 1
    assert [row["chosen"] for row in rows] == [False, True]


def test_a_model_that_is_as_often_right_and_less_sure_does_not() -> None:
    likely = RANDOM.normal(-0.3, 0.1, 600)
    chosen, rows = choose(
        [
            Candidate("boosted", 900, RIGHT, likelihoods=likely),
            Candidate("linear", 100, RIGHT, likelihoods=likely - 0.05 + RANDOM.normal(0, 0.1, 600)),
        ],
        Goal(0.005),
    )
    assert chosen == 0
    assert rows[1]["refused"] == "another model, and shown to be worse"
    assert not rows[1]["passed"]


def test_a_compressed_graph_need_only_be_as_often_right() -> None:
    chosen, _ = choose(
        [
            Candidate("fp32", 900, RIGHT, likelihoods=np.full(600, -0.3)),
            Candidate("int8", 300, RIGHT),
        ],
        Goal(0.005),
    )
    assert chosen == 1


def test_one_that_loses_more_than_the_margin_does_not_ship() -> None:
    candidates = [
        Candidate("boosted", 900, RIGHT),
        Candidate("linear", 100, flipped(0.05), likelihoods=np.zeros(600)),
        Candidate("failed", 0, None, {"refused": "failed: no"}),
    ]
    chosen, rows = choose(candidates, Goal(0.005))
    assert chosen == 0
    assert "margin 0.50%" in rows[1]["refused"]
    assert rows[2]["refused"] == "failed: no"
    assert choose(candidates, Goal(0.10))[0] == 1


def test_without_validation_rows_the_first_ships() -> None:
    none = np.zeros(0)
    chosen, rows = choose([Candidate("a", 9, none), Candidate("b", 1, none)], Goal(0.005))
    assert chosen == 0
    assert "no validation rows" in rows[1]["refused"]


def test_an_ensemble_has_to_be_worth_its_time() -> None:
    rng = np.random.default_rng(0)
    errors = rng.chisquare(1, 400)
    noise = rng.normal(0, 0.2, 400)
    better, single = -errors, -errors * (1.008 + noise - (noise * errors).mean() / errors.mean())
    scale = errors.mean()
    lost = float(better.mean() - single.mean()) / scale
    assert 0.005 < lost < 0.01
    for ensemble in (True, False):
        candidates = [
            Candidate("first", 900, better / scale, ensemble=ensemble),
            Candidate("single", 100, single / scale),
        ]
        chosen, table = choose(candidates, Goal(0.005))
        assert chosen == (1 if ensemble else 0), table


def test_one_that_is_as_often_right_and_answers_otherwise_does_not_ship() -> None:
    scores = np.array([1.0] * 80 + [0.0] * 20)
    other = scores[::-1].copy()
    facts = {"agreement": 0.6, "least_agreement": 0.8}
    found = [
        Candidate("fp32", 10, scores),
        Candidate("same", 5, other, {**facts, "agreement": 0.8}),
        Candidate("churned", 1, other, facts),
    ]
    chosen, table = choose(found, Goal(0.3))
    assert table[chosen]["name"] == "same"
    assert (
        table[2]["refused"] == "agrees by 60.0% with the model it was made of; 80.0% is the least"
    )


def test_times_that_differ_by_noise_are_the_same_on_the_front():
    """A candidate that is worse in all else does not stand there for being 2% faster today."""

    def timed(name: str, size: int, right: int, ms: float) -> Candidate:
        scores = np.array([1.0] * right + [0.0] * (500 - right))
        return Candidate(name, size, scores, {"p50_ms": ms})

    _, table = choose(
        [timed("first", 50, 490, 1.0), timed("noise", 60, 489, 0.98), timed("fast", 60, 489, 0.8)],
        Goal(0.01),
    )
    assert [row["front"] for row in table] == [True, False, True]
