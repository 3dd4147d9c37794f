"""The gate: whether a candidate is better than the champion, as statistics and not as ``>``.

Both are scored on the same frozen golden rows, so each row is its own control and only the rows
on which the two differ say anything. ``docs/evaluation.md`` explains the tests to those who read
verdicts; ``docs/decisions/0002-alpha-spending.md`` says how many turns can reuse the same rows.

Rows are taken to be independent draws. Copies and near-copies among golden rows make any paired
test too sure of itself: leave one of each.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volano.errors import DataError, shorten
from volano.evaluation.spending import check_level

__all__ = ["Judgement", "NonInferiority", "Verdict", "judge", "not_worse"]

Verdict = Literal["promoted", "rejected", "inconclusive"]

MAX_EXACT_FLIPS = 20  # 2^20 sign patterns are enumerated; more are sampled
MAX_FLIP_BLOCKS = 4096
CHUNK_FLIPS = 4096
# Loss and margin are both sums of decimals: 5 rows of 1,000 must not exceed a margin of 0.005.
ROUNDING = 1e-9

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """A verdict and the numbers behind it.

    Attributes:
      verdict: ``promoted``, ``rejected`` or ``inconclusive``.
      effect: Mean of candidate minus reference, in the unit of the scores.
      low: Lower end of the effect's two-sided 95% interval; -inf when one row is all there is.
      high: Its upper end.
      p_better: p-value of "the candidate is better than the reference by at most ``margin``".
      p_worse: p-value of "the candidate is not worse than the reference".
      alpha: The level that ``p_better`` had to reach.
      nominal_alpha: The level that ``p_worse`` had to reach.
      num_rows: Golden rows compared.
      num_differing: Rows on which the two score differently.
      num_better: Of those, the rows on which the candidate scores higher.
      num_worse: Of those, the rows on which it scores lower.
      test: ``exact McNemar`` (0/1 scores), ``exact sign-flip`` or ``sampled sign-flip``.
      margin: How much better the candidate had to be.
    """

    verdict: Verdict
    effect: float
    low: float
    high: float
    p_better: float
    p_worse: float
    alpha: float
    nominal_alpha: float
    num_rows: int
    num_differing: int
    num_better: int
    num_worse: int
    test: str
    margin: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: an end of the interval that is infinite becomes None."""
        return _finite(asdict(self))


@dataclass(frozen=True)
class NonInferiority:
    """Whether a smaller model may stand in for the one it was made from.

    Attributes:
      passed: The answer, by the rule of :func:`not_worse`.
      shown: True when the rows prove it: the upper bound is within the margin.
      loss: Mean of reference minus candidate; negative when the candidate is better.
      upper: One-sided upper confidence bound (1 - alpha) on the loss; inf with one real-valued row.
      p_worse: p-value of "the candidate is not worse at all".
    """

    passed: bool
    shown: bool
    loss: float
    upper: float
    p_worse: float
    margin: float
    alpha: float
    num_rows: int
    num_differing: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: an upper bound that is infinite becomes None."""
        return _finite(asdict(self))


def judge(
    candidate: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    alpha: float,
    nominal_alpha: float | None = None,
    margin: float = 0.0,
    seed: int = 0,
) -> Judgement:
    """Decide between a candidate and the champion from their scores on the same golden rows.

    ``promoted`` when the candidate is shown to be better by more than ``margin``
    (p_better <= alpha); ``rejected`` when it is shown to be worse (p_worse <= nominal_alpha);
    else ``inconclusive``. To promote by mistake is the error that is controlled over the life of
    the golden rows, so ``alpha`` is what :class:`AlphaSpending` grants this test, while a
    rejection changes nothing that serves and may use the unspent ``nominal_alpha``.

    Scores that are all 0 or 1: the exact McNemar test. With b rows on which only the candidate is
    right and c on which only the reference is, b given b + c is binomial, and

        p_better = P(Bin(b + c, 1/2) >= b)

    which never promotes too often, however few the rows. A margin m > 0 makes the binomial's rate
    at most 1/2 + m / (2 t), t the share of rows on which the two differ; t is unknown, so its
    lower confidence bound at level g = alpha/10 stands in and g is added to p (Berger, Boos),
    which keeps the test valid. The interval is Tango's score interval, which holds near 0 and 1.

    Other scores: the sign-flip permutation test of the mean difference, over all sign patterns
    up to 20 differing rows, else sampled (p = (1 + hits) / (1 + flips)). It is exact when
    differences are symmetric around 0 under the null hypothesis; for the mean alone it is right
    in the limit of many rows. The interval is the paired t interval.

    Args:
      candidate: Per-row score of the candidate, shape (num_rows,), finite, higher is better.
      reference: Per-row score of the champion on the same rows in the same order.
      alpha: The level for promotion, above 0 and below 0.5.
      nominal_alpha: The level for rejection; ``alpha`` when not given.
      margin: The least gain worth a promotion, at least 0, in the unit of the scores.
      seed: Of the sampled sign-flips; the same seed gives the same p-value.
    Returns:
      The judgement.
    Raises:
      DataError: Scores of different or wrong shapes, none, or not finite; a level or a margin out
        of range.
    Example:
      >>> judge([1] * 10, [0] * 8 + [1] * 2, alpha=0.05).verdict  # better on 8 rows of 8
      'promoted'

    References:
      McNemar, `Note on the sampling error of the difference between correlated proportions
      <https://doi.org/10.1007/BF02295996>`_, 1947. Tango, `Equivalence test and confidence
      interval for the difference in proportions for the paired-sample design
      <https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C891::AID-SIM780%3E3.0.CO;2-B>`_,
      1998. Berger, Boos, `P values maximized over a confidence set for the nuisance parameter
      <https://doi.org/10.1080/01621459.1994.10476836>`_, 1994. Phipson, Smyth, `Permutation
      p-values should never be zero <https://arxiv.org/abs/1603.05766>`_, 2010.
    """
    difference_N, is_binary = _differences(candidate, reference)
    if nominal_alpha is None:
        nominal_alpha = alpha
    check_level(alpha, "alpha")
    check_level(nominal_alpha, "nominal_alpha")
    _check_margin(margin)
    num_rows = len(difference_N)
    num_better, num_worse = int((difference_N > 0).sum()), int((difference_N < 0).sum())
    effect = float(difference_N.mean())
    if is_binary:
        test = "exact McNemar"
        p_better = _mcnemar_p(num_better, num_worse, num_rows, margin=margin, alpha=alpha)
        p_worse = _mcnemar_p(num_worse, num_better, num_rows)
        low = _tango_end(num_better, num_worse, num_rows, level=0.025)
        high = -_tango_end(num_worse, num_better, num_rows, level=0.025)
    else:
        p_better, is_exact = _sign_flip_p(difference_N - margin, alpha=alpha, seed=seed)
        p_worse, _ = _sign_flip_p(-difference_N, alpha=nominal_alpha, seed=seed)
        test = "exact sign-flip" if is_exact else "sampled sign-flip"
        half = _t_half_width(difference_N, level=0.025)
        low, high = effect - half, effect + half
    verdict: Verdict = "inconclusive"
    if p_better <= alpha and effect > margin:
        verdict = "promoted"
    elif p_worse <= nominal_alpha and effect < 0:
        verdict = "rejected"
    return Judgement(
        verdict=verdict,
        effect=effect,
        low=low,
        high=high,
        p_better=p_better,
        p_worse=p_worse,
        alpha=alpha,
        nominal_alpha=nominal_alpha,
        num_rows=num_rows,
        num_differing=num_better + num_worse,
        num_better=num_better,
        num_worse=num_worse,
        test=test,
        margin=margin,
    )


def not_worse(
    candidate: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    margin: float,
    alpha: float = 0.05,
    seed: int = 0,
) -> NonInferiority:
    """Whether a compressed model loses no more than ``margin`` against the one it was made from.

    It passes in either of two ways:

    - *shown*: the upper confidence bound on the loss is within the margin. A true loss above the
      margin passes this way with a chance of about alpha at most.
    - *not contradicted*: the loss on these rows is within the margin, and the rows do not show any
      loss at all (p_worse > alpha).

    In words: a loss that is seen must be small, and a loss that is proven must be proven small.
    The second way is there because the first alone would refuse an identical model: on 300 rows
    without a single difference the bound is 0.9%, over a margin of 0.5%. It has a price: on few
    rows it lets through losses of a small multiple of the margin (``docs/evaluation.md`` has the
    rates). What passes here is only chosen; whether it is promoted the gate still decides, on
    other rows and with its own level.

    Args:
      candidate: Per-row score of the compressed model, shape (num_rows,), higher is better.
      reference: Per-row score of the original on the same rows in the same order.
      margin: The largest acceptable loss of mean score, at least 0, in the unit of the scores.
      alpha: Level of the bound and of the test, above 0 and below 0.5.
      seed: Of the sampled sign-flips, for scores that are not 0 and 1.
    Returns:
      The answer and its numbers. The bound is Tango's for 0/1 scores, else from Student's t.
    Raises:
      DataError: The conditions of :func:`judge`.
    Example:
      >>> not_worse([1] * 300, [1] * 300, margin=0.005).passed
      True

    References:
      Tango, 1998: see :func:`judge`.
    """
    difference_N, is_binary = _differences(candidate, reference)
    check_level(alpha, "alpha")
    _check_margin(margin)
    num_rows = len(difference_N)
    num_better, num_worse = int((difference_N > 0).sum()), int((difference_N < 0).sum())
    loss = 0.0 - float(difference_N.mean())
    if is_binary:
        p_worse = _mcnemar_p(num_worse, num_better, num_rows)
        upper = -_tango_end(num_better, num_worse, num_rows, level=alpha)
    else:
        p_worse, _ = _sign_flip_p(-difference_N, alpha=alpha, seed=seed)
        upper = loss + _t_half_width(difference_N, level=alpha)
    shown = upper <= margin + ROUNDING
    return NonInferiority(
        passed=shown or (loss <= margin + ROUNDING and p_worse > alpha),
        shown=shown,
        loss=loss,
        upper=upper,
        p_worse=p_worse,
        margin=margin,
        alpha=alpha,
        num_rows=num_rows,
        num_differing=num_better + num_worse,
    )


def _differences(candidate: npt.ArrayLike, reference: npt.ArrayLike) -> tuple[Floats, bool]:
    """Candidate minus reference, and whether all scores are 0 or 1."""
    candidate_N = np.asarray(candidate, dtype=np.float64)
    reference_N = np.asarray(reference, dtype=np.float64)
    if candidate_N.ndim != 1 or candidate_N.shape != reference_N.shape or not len(candidate_N):
        raise DataError(
            410,
            f"the candidate's scores have shape {candidate_N.shape}, "
            f"the reference's {reference_N.shape}",
            where="gate",
            expected="one score per row for each, at least one row, the same rows in both",
            fix="score both on the same golden rows",
        )
    fine_N = np.isfinite(candidate_N) & np.isfinite(reference_N)
    if not fine_N.all():
        row = int(np.flatnonzero(~fine_N)[0])
        raise DataError(
            411,
            f"the scores are {candidate_N[row]} and {reference_N[row]}",
            where=f"gate, row {row}",
            expected="finite numbers",
            fix="use volano.evaluation.row_scores, which floors the log of 0",
        )
    is_binary = all(
        bool(((scores_N == 0) | (scores_N == 1)).all()) for scores_N in (candidate_N, reference_N)
    )
    return candidate_N - reference_N, is_binary


def _check_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin >= 0):
        raise DataError(
            413,
            f"the margin is {shorten(margin)}",
            where="gate",
            expected="a finite number of at least 0, in the unit of the scores",
            fix="margin=0.005",
        )


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


def _binomial_tail(num_hits: int, num_trials: int, rate: float) -> float:
    """P(Bin(num_trials, rate) >= num_hits), by summing the terms; each is exact to about 1e-12."""
    if num_hits <= 0:
        return 1.0
    if rate <= 0 or num_hits > num_trials:
        return 0.0
    if rate >= 1:
        return 1.0
    # log C(n, k) p^k (1-p)^(n-k), first by lgamma and then each from the one before:
    # C(n, k+1) / C(n, k) = (n - k) / (k + 1)
    first = (
        math.lgamma(num_trials + 1)
        - math.lgamma(num_hits + 1)
        - math.lgamma(num_trials - num_hits + 1)
        + num_hits * math.log(rate)
        + (num_trials - num_hits) * math.log1p(-rate)
    )
    k = np.arange(num_hits, num_trials, dtype=np.float64)
    steps = np.log((num_trials - k) / (k + 1)) + (math.log(rate) - math.log1p(-rate))
    log_terms = first + np.concatenate([[0.0], np.cumsum(steps)])
    return min(1.0, float(np.exp(log_terms).sum()))


def _mcnemar_p(
    num_for: int, num_against: int, num_rows: int, *, margin: float = 0.0, alpha: float = 0.0
) -> float:
    """One-sided p-value of "the gain is at most margin", from the counts of differing rows."""
    num_differing = num_for + num_against
    if margin == 0:
        return _binomial_tail(num_for, num_differing, 0.5)
    # H0: p_for - p_against <= margin. Given the differing rows, num_for is binomial with rate
    #   p_for / t <= 1/2 + margin / (2 t),   t = p_for + p_against,
    # and t is above its Clopper-Pearson bound but for a chance of g, which is added.
    g = alpha / 10
    least = _clopper_pearson_low(num_differing, num_rows, g)
    rate = 1.0 if least <= margin else 0.5 + margin / (2 * least)
    return min(1.0, g + _binomial_tail(num_for, num_differing, rate))


def _clopper_pearson_low(num_hits: int, num_trials: int, level: float) -> float:
    """The rate r at which P(Bin(num_trials, r) >= num_hits) = level, by bisection, from below."""
    if num_hits == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _binomial_tail(num_hits, num_trials, middle) <= level:
            low = middle
        else:
            high = middle
    return low


def _tango_end(num_for: int, num_against: int, num_rows: int, *, level: float) -> float:
    """Tango's lower confidence bound (one-sided, 1 - level) on p_for - p_against.

    The score statistic for a difference d, with q the likeliest p_against given d:

        T(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d)))
        q    = (sqrt(B^2 - 4 A C) - B) / 2A,   A = 2n,  B = -b - c + (2n - b + c) d,
                                               C = -c d (1 - d)

    T falls as d rises, and the bound is where it equals z. At d = 0 it is McNemar's statistic.
    """
    b, c, n = num_for, num_against, num_rows
    z = NormalDist().inv_cdf(1 - level)

    def statistic(d: float) -> float:
        B = -b - c + (2 * n - b + c) * d
        C = -c * d * (1 - d)
        q = (math.sqrt(max(B * B - 8 * n * C, 0.0)) - B) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        numerator = b - c - n * d
        if variance <= 1e-12 * n:  # only where nothing differs, or everything does
            return math.copysign(math.inf, numerator) if abs(numerator) > 1e-9 * n else 0.0
        return numerator / math.sqrt(variance)

    low, high = -1.0, (b - c) / n
    for _ in range(50):
        middle = (low + high) / 2
        if statistic(middle) >= z:
            low = middle
        else:
            high = middle
    return low


def _sign_flip_p(difference_N: Floats, *, alpha: float, seed: int) -> tuple[float, bool]:
    """One-sided p-value of "the mean difference is at most 0", and whether it is exact.

    Under the null each difference is as likely as its negative, so p is the share of sign
    patterns with a sum at least the observed one. (The same patterns order Student's t, since
    flipping signs leaves the sum of squares alone: the test is studentised for free.)
    """
    values_M = difference_N[difference_N != 0]
    if not len(values_M):
        return 1.0, True
    # Sums in another order differ in the last digits; a tie must count as a tie.
    threshold = float(values_M.sum()) - 1e-10 * float(np.abs(values_M).sum())
    if len(values_M) <= MAX_EXACT_FLIPS:
        sums = np.zeros(1)
        for value in values_M:
            sums = np.concatenate([sums + value, sums - value])
        return float((sums >= threshold).mean()), True
    if len(values_M) > MAX_FLIP_BLOCKS:
        # Rows flipped together in blocks, formed without looking at the scores: a subgroup of
        # all flips, under which the same argument holds, at a bounded cost.
        block_M = np.arange(len(values_M)) % MAX_FLIP_BLOCKS
        values_M = np.bincount(block_M, weights=values_M)
    # The smallest p that sampling can give is 1 / (1 + flips): well under alpha, or nothing
    # could ever be promoted. (Under a level of 1e-6, past 700 tests on the same rows, nothing is.)
    num_flips = int(min(max(math.ceil(20 / alpha), 10_000), 1_000_000)) - 1
    # A byte of random bits picks the signs of 8 rows at once, from a table of their 256 sums.
    padded_M = np.zeros(-(-len(values_M) // 8) * 8)
    padded_M[: len(values_M)] = values_M
    signs = 1.0 - 2.0 * ((np.arange(256)[:, None] >> np.arange(8)) & 1)
    table = padded_M.reshape(-1, 8) @ signs.T
    rng = np.random.default_rng(seed)
    hits = 0
    for done in range(0, num_flips, CHUNK_FLIPS):
        size = min(CHUNK_FLIPS, num_flips - done)
        sums = np.zeros(size)
        patterns = rng.integers(0, 256, size=(len(table), size), dtype=np.uint8)
        for group_sums, pattern in zip(table, patterns, strict=True):
            sums += group_sums[pattern]
        hits += int((sums >= threshold).sum())
    return (1 + hits) / (1 + num_flips), False


def _t_half_width(difference_N: Floats, *, level: float) -> float:
    """Student's t quantile at 1 - level times the standard error; inf from a single row."""
    num_rows = len(difference_N)
    if num_rows < 2:
        return math.inf
    error = float(difference_N.std(ddof=1)) / math.sqrt(num_rows)
    return _t_quantile(level, num_rows - 1) * error


def _t_quantile(level: float, freedom: int) -> float:
    """t with P(T > t) = level, by bisection on the finite series for whole degrees of freedom.

    References:
      Abramowitz, Stegun, `Handbook of Mathematical Functions
      <https://personal.math.ubc.ca/~cbm/aands/>`_, 1964: 26.7.3, 26.7.4; beyond 200 degrees of
      freedom 26.7.5, whose error is then under 1e-7.
    """
    z = NormalDist().inv_cdf(1 - level)
    if freedom > 200:
        return (
            z
            + (z**3 + z) / (4 * freedom)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        )

    def upper_tail(t: float) -> float:
        theta = math.atan(t / math.sqrt(freedom))
        odd = freedom % 2
        # odd:  cos + 2/3 cos^3 + 2*4/(3*5) cos^5 + ...   even: 1 + 1/2 cos^2 + 1*3/(2*4) cos^4 ...
        term = math.cos(theta) if odd else 1.0
        series = 0.0 if freedom == 1 else term
        for k in range(2 + odd, freedom - 1, 2):
            term *= (k - 1) / k * math.cos(theta) ** 2
            series += term
        inside = math.sin(theta) * series
        if odd:
            inside = 2 / math.pi * (theta + inside)
        return (1 - inside) / 2

    low, high = 0.0, 1.0
    while upper_tail(high) > level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if upper_tail(middle) > level else (low, middle)
    return (low + high) / 2
