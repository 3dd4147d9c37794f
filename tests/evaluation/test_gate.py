"""The gate: its tests against scipy, its intervals and its promises by simulation."""

from __future__ import annotations

import json
import math
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from volano.errors import DataError
from volano.evaluation import AlphaSpending, judge, minimum_rows, not_worse
from volano.evaluation.gate import (
    _binomial_tail,
    _clopper_pearson_low,
    _sign_flip_p,
    _t_quantile,
)


def from_counts(num_better, num_worse, num_rows):
    """0/1 scores of a candidate and a reference that differ on so many rows."""
    candidate, reference = np.ones(num_rows), np.ones(num_rows)
    reference[:num_better] = 0
    candidate[num_better : num_better + num_worse] = 0
    return candidate, reference


# On 0/1 scores a judgement depends on these counts alone, so that simulations can remember it.
@cache
def judged(num_better, num_worse, num_rows, alpha, margin=0.0):
    return judge(*from_counts(num_better, num_worse, num_rows), alpha=alpha, margin=margin)


class TestExactMcNemar:
    @pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 3), (1, 0), (7, 2), (40, 60), (300, 250)])
    def test_it_is_scipys_binomial(self, b, c):
        judgement = judged(b, c, 1000, 0.05)
        assert judgement.test == "exact McNemar"
        counts = (judgement.num_better, judgement.num_worse, judgement.num_differing)
        assert counts == (b, c, b + c)
        assert judgement.effect == pytest.approx((b - c) / 1000)
        for p, hits in ((judgement.p_better, b), (judgement.p_worse, c)):
            expected = 1.0
            if b + c:
                expected = stats.binomtest(hits, b + c, 0.5, alternative="greater").pvalue
            assert p == pytest.approx(expected, rel=1e-9)

    def test_verdicts(self):
        assert judged(5, 0, 50, 0.05).verdict == "promoted"
        assert judged(4, 0, 50, 0.05).verdict == "inconclusive"
        assert judged(0, 5, 50, 0.05).verdict == "rejected"
        assert judged(0, 0, 50, 0.05).verdict == "inconclusive"

    def test_a_rejection_may_use_the_unspent_level(self):
        scores = from_counts(1, 9, 100)
        assert judge(*scores, alpha=0.001).verdict == "inconclusive"
        assert judge(*scores, alpha=0.001, nominal_alpha=0.05).verdict == "rejected"
        scores = from_counts(9, 1, 100)
        assert judge(*scores, alpha=0.001, nominal_alpha=0.05).verdict == "inconclusive"

    def test_many_rows_stay_exact(self):
        expected = stats.binom.sf(50_499, 100_000, 0.5)
        assert _binomial_tail(50_500, 100_000, 0.5) == pytest.approx(expected, rel=1e-8)

    @pytest.mark.parametrize(("hits", "trials"), [(1, 10), (30, 1000), (10, 10)])
    def test_clopper_pearson_is_scipys(self, hits, trials):
        expected = stats.beta.ppf(0.005, hits, trials - hits + 1)
        assert _clopper_pearson_low(hits, trials, 0.005) == pytest.approx(expected, rel=1e-6)


class TestMargin:
    def test_a_gain_must_exceed_it(self):
        assert judged(40, 5, 1000, 0.05).verdict == "promoted"
        assert judged(40, 5, 1000, 0.05, 0.01).verdict == "promoted"
        assert judged(40, 5, 1000, 0.05, 0.03).verdict == "inconclusive"
        assert judged(5, 40, 1000, 0.05, 0.03).verdict == "rejected"

    def test_p_grows_with_it(self):
        values = [judged(40, 5, 1000, 0.05, margin).p_better for margin in (0, 0.01, 0.02, 0.2)]
        assert values == sorted(values)

    @pytest.mark.parametrize(("differing", "num_rows"), list(product((0.03, 0.1, 0.5), (50, 1000))))
    def test_a_gain_of_just_the_margin_is_rarely_promoted(self, differing, num_rows):
        margin = 0.02
        rates = [(differing + margin) / 2, (differing - margin) / 2, 1 - differing]
        counts = np.random.default_rng(0).multinomial(num_rows, rates, size=2000)
        promoted = [
            judged(int(b), int(c), num_rows, 0.05, margin).verdict == "promoted"
            for b, c, _ in counts
        ]
        assert np.mean(promoted) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


class TestTango:
    def test_the_published_example(self):
        # Tango 1998, the crossover study of soft contact lenses: 44 pairs, one of them discordant.
        judgement = judged(0, 1, 44, 0.05)
        assert judgement.low == pytest.approx(-0.118, abs=1e-3)

    @pytest.mark.parametrize(
        ("b", "c", "n"), [(5, 2, 30), (0, 4, 90), (12, 12, 24), (300, 220, 9000)]
    )
    def test_its_ends_solve_the_score_equation(self, b, c, n):
        judgement = judged(b, c, n, 0.05)
        for end in (judgement.low, judgement.high):
            # The likeliest p_worse given the difference, by brute force instead of the formula.
            q = np.linspace(max(0.0, -end), (1 - end) / 2, 200_001)[1:-1]
            with np.errstate(divide="ignore", invalid="ignore"):
                fit = c * np.log(q) + b * np.log(q + end) + (n - b - c) * np.log(1 - 2 * q - end)
            q = q[np.nanargmax(fit)]
            z = (b - c - n * end) / math.sqrt(n * (2 * q + end * (1 - end)))
            assert abs(z) == pytest.approx(1.96, abs=0.01)

    def test_nothing_differs(self):
        judgement = judged(0, 0, 100, 0.05)
        spread = stats.norm.ppf(0.975) ** 2
        assert judgement.high == pytest.approx(spread / (100 + spread))
        assert judgement.low == -judgement.high

    def test_everything_differs(self):
        judgement = judged(20, 0, 20, 0.05)
        assert 0.6 < judgement.low < judgement.effect == pytest.approx(judgement.high) == 1.0

    @pytest.mark.parametrize(
        ("rates", "num_rows"),
        [((0.02, 0.01), 60), ((0.05, 0.05), 40), ((0.3, 0.1), 25), ((0.01, 0.0), 500)],
    )
    def test_it_covers_the_truth(self, rates, num_rows):
        counts = np.random.default_rng(1).multinomial(num_rows, [*rates, 1 - sum(rates)], size=2000)
        truth = rates[0] - rates[1]
        covered = 0
        for b, c, _ in counts:
            judgement = judged(int(b), int(c), num_rows, 0.05)
            covered += judgement.low <= truth <= judgement.high
        assert covered / 2000 >= 0.94


class TestSignFlip:
    def test_few_rows_are_enumerated(self):
        rng = np.random.default_rng(0)
        difference = rng.normal(size=11)
        judgement = judge(difference, np.zeros(11), alpha=0.05)
        sums = np.array(list(product((1, -1), repeat=11))) @ difference
        assert judgement.test == "exact sign-flip"
        assert judgement.p_better == (sums >= difference.sum() - 1e-9).mean()
        assert judgement.p_worse == (sums <= difference.sum() + 1e-9).mean()

    def test_equal_differences_tie(self):
        assert judge([0.1 + 0.2] * 6, [0.0] * 6, alpha=0.05).p_better == 2**-6
        assert judge([0.5] * 5, [0.5] * 5, alpha=0.05).p_better == 1.0

    def test_many_rows_are_sampled_and_agree_with_scipy(self):
        rng = np.random.default_rng(1)
        candidate = rng.normal(0.15, 1, size=200)
        judgement = judge(candidate, np.zeros(200), alpha=0.05)
        expected = stats.permutation_test(
            (candidate,), np.mean, permutation_type="samples", alternative="greater",
            n_resamples=20_000, rng=np.random.default_rng(0),
        ).pvalue  # fmt: skip
        assert judgement.test == "sampled sign-flip"
        assert judgement.p_better == pytest.approx(expected, abs=0.006)
        assert judgement == judge(candidate, np.zeros(200), alpha=0.05)
        assert judgement.p_better != judge(candidate, np.zeros(200), alpha=0.05, seed=1).p_better

    def test_a_small_level_gets_enough_flips(self):
        judgement = judge(np.full(300, 1.5), np.zeros(300), alpha=1e-4)
        assert judgement.p_better == pytest.approx(5e-6)
        assert judgement.verdict == "promoted"

    def test_many_rows_are_flipped_in_blocks(self):
        difference = np.random.default_rng(2).normal(0.01, 1, size=100_000)
        p, is_exact = _sign_flip_p(difference, alpha=0.01, seed=0)
        assert not is_exact
        assert p == pytest.approx(
            stats.ttest_1samp(difference, 0, alternative="greater").pvalue, abs=0.003
        )

    def test_it_keeps_its_level_on_skewed_log_losses(self):
        rng = np.random.default_rng(3)
        promoted = 0
        for seed in range(400):
            difference = rng.exponential(size=60) - rng.exponential(size=60)
            promoted += _sign_flip_p(difference, alpha=0.05, seed=seed)[0] <= 0.05
        assert promoted / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)

    @pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 199, 200, 201, 3000])
    @pytest.mark.parametrize("level", [0.025, 0.05, 0.001])
    def test_students_quantile_is_scipys(self, freedom, level):
        assert _t_quantile(level, freedom) == pytest.approx(stats.t.isf(level, freedom), rel=1e-6)

    def test_the_interval_is_the_paired_t_interval(self):
        rng = np.random.default_rng(4)
        candidate, reference = rng.normal(size=(2, 35))
        judgement = judge(candidate, reference, alpha=0.05)
        expected = stats.ttest_rel(candidate, reference).confidence_interval()
        assert (judgement.low, judgement.high) == pytest.approx((expected.low, expected.high))

    def test_a_margin_is_taken_off_each_difference(self):
        difference = np.random.default_rng(5).normal(0.5, 1, size=18)
        judgement = judge(difference, np.zeros(18), alpha=0.05, margin=0.4)
        plain = judge(difference - 0.4, np.zeros(18), alpha=0.05)
        assert judgement.p_better == plain.p_better
        assert judgement.effect == pytest.approx(plain.effect + 0.4)

    def test_one_row_says_nothing(self):
        judgement = judge([0.3], [0.1], alpha=0.05)
        assert judgement.verdict == "inconclusive"
        assert (judgement.low, judgement.high) == (-math.inf, math.inf)
        assert json.loads(json.dumps(judgement.as_dict(), allow_nan=False))["low"] is None


class TestInvariances:
    scores = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60).map(
        lambda pairs: np.array(pairs).T
    )

    @settings(max_examples=80, deadline=None)
    @given(scores=scores, seed=st.integers(0, 99))
    def test_the_order_of_rows_does_not_matter(self, scores, seed):
        order = np.random.default_rng(seed).permutation(scores.shape[1])
        assert judge(*scores, alpha=0.05) == judge(*scores[:, order], alpha=0.05)

    @settings(max_examples=80, deadline=None)
    @given(scores=scores, alpha=st.floats(0.001, 0.4))
    def test_swapping_the_two_mirrors_the_judgement(self, scores, alpha):
        there, back = judge(*scores, alpha=alpha), judge(*scores[::-1], alpha=alpha)
        assert back.effect == -there.effect
        assert (back.p_better, back.p_worse) == (there.p_worse, there.p_better)
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)
        mirror = {"promoted": "rejected", "rejected": "promoted", "inconclusive": "inconclusive"}
        assert back.verdict == mirror[there.verdict]
        assert -1 <= there.low <= there.effect + 1e-9
        assert there.effect <= there.high + 1e-9 <= 1 + 2e-9
        if there.verdict == "promoted":
            assert there.effect > 0

    @settings(max_examples=80, deadline=None)
    @given(scores=scores, num_more=st.integers(1, 50))
    def test_rows_on_which_both_agree_leave_the_p_values(self, scores, num_more):
        there = judge(*scores, alpha=0.05)
        more = judge(*np.concatenate([scores, np.ones((2, num_more))], axis=1), alpha=0.05)
        assert (more.p_better, more.p_worse) == (there.p_better, there.p_worse)

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100))
    def test_the_unit_of_real_scores_does_not_matter(self, seed, scale):
        candidate, reference = np.random.default_rng(seed).normal(size=(2, 12))
        there = judge(candidate, reference, alpha=0.05)
        scaled = judge(candidate * scale, reference * scale, alpha=0.05)
        assert scaled.p_better == pytest.approx(there.p_better)
        assert scaled.effect == pytest.approx(there.effect * scale)


class TestAlphaSpending:
    @settings(max_examples=60, deadline=None)
    @given(
        alpha=st.floats(1e-4, 0.49), half_after=st.integers(1, 100), num_tests=st.integers(0, 500)
    )
    def test_the_levels_sum_to_less_than_alpha(self, alpha, half_after, num_tests):
        spending = AlphaSpending(alpha, half_after=half_after)
        levels = [spending.level(k) for k in range(1, num_tests + 1)]
        assert sum(levels) == pytest.approx(spending.spent(num_tests))
        assert spending.spent(num_tests) < alpha
        assert levels == sorted(levels, reverse=True)

    def test_half_is_spent_after_half_after(self):
        assert AlphaSpending(0.05, half_after=12).spent(12) == pytest.approx(0.025)

    def test_minimum_rows_is_where_a_perfect_candidate_is_promoted(self):
        for alpha in (0.4, 0.25, 0.05, 1 / 32, 0.001, 1e-9):
            num_rows = minimum_rows(alpha)
            assert judged(num_rows, 0, num_rows, alpha).verdict == "promoted"
            assert judged(num_rows - 1, 0, num_rows, alpha).verdict == "inconclusive"


NUM_WHEELS = 2000
NUM_TURNS = 30
NUM_GOLDEN = 400
SPENDING = AlphaSpending(0.05)


def share_of_wheels_with_a_false_promotion(next_candidate, *, spend=True, seed=0):
    """Run many wheels of 30 turns on frozen golden rows, and count those that ever err.

    ``next_candidate(rng, champion, champion_gain, difficulty)`` gives the candidates' answers
    (right or wrong, shape (wheels, rows)) and their true gain over the first champion. To promote
    a candidate whose true gain is not above the champion's is an error.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.beta(4, 1, size=(NUM_WHEELS, NUM_GOLDEN))
    champion = rng.random(difficulty.shape) < difficulty
    gain = np.zeros(NUM_WHEELS)
    erred, num_promoted = np.zeros(NUM_WHEELS, dtype=bool), 0
    for turn in range(1, NUM_TURNS + 1):
        candidate, candidate_gain = next_candidate(rng, champion, gain, difficulty)
        better = (candidate & ~champion).sum(axis=1)
        worse = (champion & ~candidate).sum(axis=1)
        alpha = SPENDING.level(turn) if spend else SPENDING.alpha
        promoted = np.array([
            judged(int(b), int(c), NUM_GOLDEN, alpha).verdict == "promoted"
            for b, c in zip(better, worse, strict=True)
        ])  # fmt: skip
        erred |= promoted & (candidate_gain <= gain)
        num_promoted += int(promoted.sum())
        champion = np.where(promoted[:, None], candidate, champion)
        gain = np.where(promoted, candidate_gain, gain)
    return erred.mean(), num_promoted


def independent(rng, champion, gain, difficulty):
    return rng.random(difficulty.shape) < difficulty, np.zeros(len(gain))


def retrained(rng, champion, gain, difficulty):
    """Nine answers in ten are the champion's own: warm starts, luck on golden rows included."""
    fresh = rng.random(difficulty.shape) < difficulty
    return np.where(rng.random(difficulty.shape) < 0.1, fresh, champion), np.zeros(len(gain))


def siblings():
    """All candidates share half their answers, so that their p-values move together."""
    shared = []

    def next_candidate(rng, champion, gain, difficulty):
        if not shared:
            shared.append(rng.random(difficulty.shape) < difficulty)
        fresh = rng.random(difficulty.shape) < difficulty
        return np.where(rng.random(difficulty.shape) < 0.5, fresh, shared[0]), np.zeros(len(gain))

    return next_candidate


def slightly_worse(rng, champion, gain, difficulty):
    return rng.random(difficulty.shape) < difficulty - 0.01, np.full(len(gain), -0.01)


def mixed(rng, champion, gain, difficulty):
    """Most candidates equal the first champion, some are truly better: champions are selected."""
    candidate_gain = np.where(rng.random(len(gain)) < 0.2, 0.06, 0.0)
    right = (
        rng.random(difficulty.shape) < difficulty + candidate_gain[:, None] * (1 - difficulty) * 5
    )
    return right, candidate_gain


@pytest.mark.slow
@pytest.mark.parametrize(
    "next_candidate",
    [independent, retrained, siblings(), slightly_worse, mixed],
    ids=["independent", "retrained", "siblings", "slightly worse", "mixed"],
)
def test_a_wheel_ever_promotes_a_bundle_that_is_not_better_with_a_chance_under_alpha(
    next_candidate,
):
    share, num_promoted = share_of_wheels_with_a_false_promotion(next_candidate)
    # 2,000 wheels: three standard errors are 0.015; we ask for alpha itself, without them.
    assert share <= SPENDING.alpha
    if next_candidate is mixed:
        assert num_promoted > NUM_WHEELS / 2  # so the case is not empty


@pytest.mark.slow
def test_without_spending_the_same_wheels_err_far_more_often():
    share, _ = share_of_wheels_with_a_false_promotion(independent, spend=False)
    assert share > 4 * SPENDING.alpha


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2, 0.4])
def test_a_test_that_is_not_made_could_not_have_promoted(alpha):
    """So leaving it out, without spending, changes no verdict and no chance of error."""
    spending = AlphaSpending(alpha)
    for number in (1, 2, 12, 52, 500):
        level = spending.level(number)
        for num_rows in range(1, minimum_rows(level)):
            # The best there can be: better on every row.
            assert judged(num_rows, 0, num_rows, level).verdict == "inconclusive"
            sure = judge(np.zeros(num_rows), np.full(num_rows, -9.0), alpha=level)
            spread = judge(np.linspace(-1, 0, num_rows), np.full(num_rows, -9.0), alpha=level)
            assert {sure.verdict, spread.verdict} == {"inconclusive"}


def test_few_rows_end_the_tests_and_never_the_promise():
    """Twelve coins a turn, of which only the first turns' tests can promote at all."""
    spending, num_rows = AlphaSpending(0.05), 12
    rng, wrong, num_made = np.random.default_rng(0), 0, 0
    for _ in range(4000):
        made = 0
        for _ in range(40):
            level = spending.level(made + 1)
            if num_rows < minimum_rows(level):
                break  # the next would be number made + 1 again: it never will be enough
            made += 1
            better = int(rng.binomial(num_rows, 0.5))
            if judged(better, num_rows - better, num_rows, level).verdict == "promoted":
                wrong += 1
                break
        num_made = max(num_made, made)
    assert 0 < num_made < 40
    assert wrong / 4000 <= spending.alpha


def exact_power(num_rows, gain, differing, alpha):
    """The chance of a promotion: sum over the number of differing rows, from binomials alone."""
    counts = np.arange(num_rows + 1)
    critical = stats.binom.isf(alpha, counts, 0.5) + 1  # the least b with P(Bin >= b) <= alpha
    reached = stats.binom.sf(critical - 1, counts, (differing + gain) / (2 * differing))
    return float((stats.binom.pmf(counts, num_rows, differing) * reached).sum())


# The numbers in docs/decisions/0002-alpha-spending.md: +3% on 1,000 rows, 11% of them differ.
@pytest.mark.parametrize(("turn", "power"), [(1, 0.55), (12, 0.39), (26, 0.29), (52, 0.20)])
def test_a_better_candidate_is_promoted_as_often_as_we_say(turn, power):
    alpha = SPENDING.level(turn)
    assert exact_power(1000, 0.03, 0.11, alpha) == pytest.approx(power, abs=0.006)
    counts = np.random.default_rng(turn).multinomial(1000, [0.07, 0.04, 0.89], size=2000)
    promoted = [judged(int(b), int(c), 1000, alpha).verdict == "promoted" for b, c, _ in counts]
    assert np.mean(promoted) == pytest.approx(power, abs=0.04)  # over 3.5 standard errors


class TestNotWorse:
    def test_an_identical_model_passes_however_few_the_rows(self):
        for num_rows in (1, 10, 300, 3000):
            result = not_worse(np.ones(num_rows), np.ones(num_rows), margin=0.005)
            assert result.passed
            assert result.shown == (num_rows == 3000)
            assert (result.loss, result.num_differing) == (0.0, 0)
            assert not_worse(np.ones(num_rows), np.ones(num_rows), margin=0.0).passed

    def test_the_bound_on_no_difference(self):
        z = stats.norm.ppf(0.95)
        result = not_worse(*from_counts(0, 0, 300), margin=0.005)
        assert result.upper == pytest.approx(z**2 / (300 + z**2))

    def test_a_loss_over_the_margin_is_refused(self):
        assert not not_worse(*from_counts(0, 3, 300), margin=0.005).passed
        assert not not_worse(*from_counts(10, 30, 1000), margin=0.005).passed

    def test_a_loss_of_just_the_margin_is_within_it(self):
        assert not_worse(*from_counts(3, 8, 1000), margin=0.005).passed

    def test_a_loss_that_is_proven_must_be_proven_small(self):
        result = not_worse(*from_counts(0, 9, 2000), margin=0.005)
        assert result.loss == pytest.approx(0.0045)
        assert result.p_worse < 0.05
        assert not result.shown
        assert not result.passed
        result = not_worse(*from_counts(0, 9, 20_000), margin=0.005)
        assert result.p_worse < 0.05
        assert result.shown
        assert result.passed

    def test_a_better_model_passes(self):
        assert not_worse(*from_counts(20, 0, 300), margin=0.0).shown

    def test_real_scores(self):
        rng = np.random.default_rng(0)
        reference = rng.normal(size=500)
        near = not_worse(reference + rng.normal(0, 0.01, size=500), reference, margin=0.01)
        assert near.passed
        assert near.shown
        assert not not_worse(reference - 0.02, reference, margin=0.01).passed
        assert json.loads(json.dumps(not_worse([0.3], [0.3], margin=0.1).as_dict()))["passed"]

    def test_the_real_bound_is_students(self):
        candidate, reference = np.random.default_rng(1).normal(size=(2, 40))
        upper = not_worse(candidate, reference, margin=0.1).upper
        expected = stats.ttest_rel(reference, candidate, alternative="less").confidence_interval()
        assert upper == pytest.approx(expected.high)

    @pytest.mark.parametrize(
        ("num_rows", "differing", "loss", "rate"),
        # The table in docs/evaluation.md.
        [
            (300, 0.02, 0.0, 0.74), (300, 0.02, 0.01, 0.28), (300, 0.024, 0.02, 0.03),
            (1000, 0.02, 0.0, 0.88), (1000, 0.02, 0.01, 0.15), (3000, 0.02, 0.0, 0.96),
            (3000, 0.02, 0.01, 0.01),
        ],
    )  # fmt: skip
    def test_how_often_it_passes(self, num_rows, differing, loss, rate):
        rates = [(differing - loss) / 2, (differing + loss) / 2, 1 - differing]
        counts = np.random.default_rng(0).multinomial(num_rows, rates, size=1500)
        passed = [
            not_worse(*from_counts(int(b), int(c), num_rows), margin=0.005).passed
            for b, c, _ in counts
        ]
        assert np.mean(passed) == pytest.approx(rate, abs=0.04)

    def test_it_shows_a_loss_above_the_margin_to_be_small_with_a_chance_of_about_alpha(self):
        counts = np.random.default_rng(2).multinomial(3000, [0.0075, 0.0125, 0.98], size=1500)
        shown = [
            not_worse(*from_counts(int(b), int(c), 3000), margin=0.005).shown for b, c, _ in counts
        ]
        assert np.mean(shown) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize(
    ("call", "code", "texts"),
    [
        (lambda: judge([1], [1, 0], alpha=0.05), "DATA-410", ["(1,)", "(2,)", "same golden rows"]),
        (lambda: judge([], [], alpha=0.05), "DATA-410", ["(0,)", "at least one row"]),
        (lambda: not_worse([[1]], [[1]], margin=0.1), "DATA-410", ["(1, 1)", "one score per row"]),
        (lambda: judge([1, np.nan], [1, 0], alpha=0.05), "DATA-411", ["row 1", "nan and 0.0"]),
        (lambda: judge([1], [1], alpha=0.5), "DATA-412", ["alpha is 0.5", "below 0.5"]),
        (
            lambda: judge([1], [1], alpha=0.05, nominal_alpha=0),
            "DATA-412",
            ["nominal_alpha is 0", "nominal_alpha=0.05"],
        ),
        (lambda: minimum_rows(math.nan), "DATA-412", ["alpha is nan"]),
        (lambda: AlphaSpending(0.0), "DATA-412", ["alpha is 0.0", "above 0"]),
        (lambda: judge([1], [1], alpha=0.05, margin=-0.1), "DATA-413", ["is -0.1", "at least 0"]),
        (lambda: not_worse([1], [1], margin=math.inf), "DATA-413", ["is inf", "finite"]),
        (lambda: AlphaSpending(0.05).level(0), "DATA-414", ["is 0", "1 for the first test"]),
        (lambda: AlphaSpending(0.05, half_after=0), "DATA-415", ["half_after is 0", "at least 1"]),
    ],
)
def test_messages(call, code, texts):
    with pytest.raises(DataError) as caught:
        call()
    assert caught.value.code == code
    for text in texts:
        assert text in str(caught.value)
    assert "Fix: " in str(caught.value)
