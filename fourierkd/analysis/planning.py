"""How many seeds a comparison needs: an effect and a deviation flow in, a number flows out.

References:
    Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd edition (1988), chapter 2.
"""

from __future__ import annotations

import math

from fourierkd.analysis.sequential import standard_errors
from fourierkd.analysis.stats import LEVEL, bonferroni, half_width
from fourierkd.errors import ConfigError

POWER = 0.8
MOST = 1_000_000


def power(
    effect: float,
    deviation: float,
    n: int,
    level: float = LEVEL,
    *,
    error: float = 0.0,
    looked: bool = False,
) -> float:
    """Probability that the interval of n normal differences excludes 0 on the effect's side.

    Args:
        effect: true mean difference, in any unit.
        deviation: standard deviation of the differences, above 0, same unit.
        n: pairs, at least 2.
        level: of the interval, in (0, 1).
        error: the most by which rounding moves a difference (see ``stats.interval``), same unit.
        looked: the interval is that of ``sequential.always_valid``, else Student's t. Who looks
            before, too, has found it by then with at least this probability.

    Example:
        >>> round(power(0.5, 1.0, 34), 3)
        0.808
    """
    from scipy.special import nctdtr, stdtrit

    t = standard_errors(n, level) if looked else float(stdtrit(n - 1, 0.5 + level / 2))
    left = abs(effect) - half_width(t, 0.0, n, error)  # of the effect, less what rounding may hide
    return 1 - float(nctdtr(n - 1, left / deviation * math.sqrt(n), t)) if left > 0 else 0.0


def seeds_needed(
    effect: float,
    deviation: float,
    *,
    level: float = LEVEL,
    error: float = 0.0,
    looked: bool = False,
) -> int:
    """The fewest paired seeds with which an effect is found with probability ``POWER``.

    Args:
        effect: true mean difference, above or below 0, in any unit.
        deviation: standard deviation of the paired differences, above 0, same unit. Of few seeds
            it is a guess: of 5 the true one is 0.6 to 2.9 times as large (95 %).
        level: of the interval, in (0, 1); in a family of k comparisons ``stats.bonferroni(k)``,
            the level that the first verdict has to pass.
        error, looked: as for ``power``.

    Returns:
        At least 2; ``MOST`` where more are needed.

    Raises:
        ConfigError: the effect is 0, or the deviation is not above 0.

    References:
        Cohen (1988), chapter 2; by the noncentral t distribution, as there.

    Example:
        >>> seeds_needed(0.5, 1.0)
        34
    """
    if not effect or not deviation > 0:
        raise ConfigError("effect is not 0 and deviation above 0", value=(effect, deviation))

    def too_few(n: int) -> bool:
        return n < MOST and (power(effect, deviation, n, level, error=error, looked=looked) < POWER)

    few, many = 1, 2  # too few, and a number that may do
    while too_few(many):
        few, many = many, min(2 * many, MOST)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if too_few(middle) else (few, middle)
    return many


def outlook(comparisons: int, level: float = LEVEL) -> str:
    """How many seeds an effect of the margin needs, before any difference is known.

    Args:
        comparisons: pairs of methods, all of which are judged after every seed.

    Example:
        >>> outlook(3)[:73]
        'an effect of the margin would need about 10 seeds where paired difference'
    """
    own = bonferroni(comparisons, level)
    half, one, twice = (seeds_needed(e, 1.0, level=own, looked=True) for e in (2.0, 1.0, 0.5))
    return (
        f"an effect of the margin would need about {half} seeds where paired differences have a "
        f"standard deviation of half the margin, {one} of the margin, {twice} of twice the margin"
    )
