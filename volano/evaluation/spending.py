"""How alpha is spent over the many tests that the same golden rows are put to."""

from __future__ import annotations

from dataclasses import dataclass

from volano.errors import DataError, shorten

__all__ = ["AlphaSpending", "check_level", "minimum_rows"]


@dataclass(frozen=True)
class AlphaSpending:
    """How much of alpha each test on the same golden rows may spend.

    With h = ``half_after``, test number k = 1, 2, ... gets

        level(k) = alpha h / ((h + k - 1) (h + k))  =  alpha (h / (h + k - 1) - h / (h + k))

    The sum telescopes: the first k tests spend alpha k / (h + k), so the first h spend half, and
    all that can ever come spend alpha. By the union bound, the chance that any test at all
    promotes a bundle that is not better is then at most alpha, however the tests depend on each
    other, and they do, sharing their rows.

    Number the tests per set of golden rows. Repeating the same test (same bundles, same rows)
    repeats its p-value and costs nothing: give it the number it had. New golden rows that no
    verdict has used yet begin again at 1, with an alpha of their own.

    Args:
      alpha: The chance of ever promoting by mistake on these rows, above 0 and below 0.5.
      half_after: The number of tests that share the first half of alpha, at least 1.
    Raises:
      DataError: Arguments out of range.
    Example:
      >>> spending = AlphaSpending(0.05)
      >>> [round(spending.level(k), 5) for k in (1, 2, 52)]
      [0.00385, 0.0033, 0.00015]

    References:
      Foster, Stine, `alpha-investing <https://doi.org/10.1111/j.1467-9868.2007.00643.x>`_, 2008,
      and Tian, Ramdas, `Online control of the familywise error rate
      <https://arxiv.org/abs/1910.04900>`_, 2021, whose "alpha-spending" this is. They take
      k^-1.6 for the sequence; ours is flatter over the first dozens of tests.
    """

    alpha: float
    half_after: int = 12

    def __post_init__(self) -> None:
        check_level(self.alpha, "alpha")
        if self.half_after < 1:
            raise DataError(
                415,
                f"half_after is {shorten(self.half_after)}",
                where="AlphaSpending",
                expected="a number of tests, at least 1",
                fix="half_after=12",
            )

    def level(self, test_number: int) -> float:
        """The level for test number ``test_number``, counted from 1."""
        if test_number < 1:
            raise DataError(
                414,
                f"the test number is {shorten(test_number)}",
                where="AlphaSpending.level",
                expected="1 for the first test on these golden rows, then 2, 3, ...",
                fix="count the earlier tests on the same golden rows and add 1",
            )
        before = self.half_after + test_number - 1
        return self.alpha * self.half_after / (before * (before + 1))

    def spent(self, num_tests: int) -> float:
        """What the first ``num_tests`` tests spend together; always less than alpha."""
        return self.alpha * num_tests / (self.half_after + num_tests)


def minimum_rows(alpha: float) -> int:
    """The fewest golden rows on which a promotion could happen at all at this level.

    The best case is a candidate that is right wherever the champion is wrong, and wrong nowhere:
    p = 2^-n. It also needs the champion to be wrong on that many rows, so a real golden set must
    be larger by far: divide by the champion's error rate for a first idea.

    Args:
      alpha: The level of the test, above 0 and below 0.5: what ``AlphaSpending.level`` gives.
    Returns:
      The smallest n with 2^-n <= alpha.
    Raises:
      DataError: alpha out of range.
    Example:
      >>> minimum_rows(0.05), minimum_rows(AlphaSpending(0.05).level(1))
      (5, 9)
    """
    check_level(alpha, "alpha")
    num_rows = 1
    while 2.0**-num_rows > alpha:
        num_rows += 1
    return num_rows


def check_level(level: float, name: str) -> None:
    if not 0 < level < 0.5:
        raise DataError(
            412,
            f"{name} is {shorten(level)}",
            where="gate",
            expected="a level above 0 and below 0.5",
            fix=f"{name}=0.05",
        )
