"""What a number of seeds can find: power, detectable effects, and the seeds it would take."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from orchestrator.spec.claims import Test, choose_test, corrections_of, is_share, looks_of, sign_of
from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Floats
from orchestrator.stats.reach import adjustment, attainable, first_seeds, lowest_p, reach_of
from orchestrator.stats.shares import boschloo_table

POWER = 0.8
_N_SPREADS = 400  # quantiles of the sample spread over which power is averaged
_N_STUDIES = 10_000
_N_NO_SKEWNESS = 50  # seeds
_LEAST_RATE = 0.05
_N_EXACT_SHARES = 30  # most seeds per arm at which every table of two shares is gone through


# Power --------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _spread_ratios(n_seeds: int) -> Floats:
    """Quantiles of sample spread over true spread, for `n_seeds` normal values."""
    chances = (np.arange(_N_SPREADS) + 0.5) / _N_SPREADS
    freedom = n_seeds - 1
    return np.asarray(np.sqrt(2 * special.gammaincinv(freedom / 2, chances) / freedom))


def power_paired(
    effect: float, spread: float, n_seeds: int, alpha: float, margin: float = 0.0
) -> float:
    """Chance that normal differences are significant, in their direction, and reach the margin.

    Through the paired t test, which the sign-flip test follows closely. Where only complete
    agreement of all seeds can reach `alpha`, the probability of that is the limit.

    Args:
        effect: true mean difference, towards the claim.
        spread: standard deviation of a difference (> 0).
        n_seeds: seeds per arm.
        alpha: two-sided level.
        margin: the estimate must be at least that.
    """
    if n_seeds < 2 or lowest_p("sign_flip", n_seeds) >= alpha:
        return 0.0
    root = math.sqrt(n_seeds)
    critical = stats.t_quantile(1 - alpha / 2, n_seeds - 1) * _spread_ratios(n_seeds)
    power = float(
        special.ndtr(effect * root / spread - np.maximum(critical, margin * root / spread)).mean()
    )
    if 2 * lowest_p("sign_flip", n_seeds) >= alpha:
        power = min(power, float(special.ndtr(effect / spread)) ** n_seeds)
    return power


def power_equivalence(margin: float, spread: float, n_seeds: int, alpha: float) -> float:
    """Chance that two one-sided tests put a true difference of zero inside ±margin.

    From a fixed sample of studies with normal differences, to half a percent; from 50 seeds on,
    where the term for skewness is next to nothing, through the t distribution.

    Args:
        margin: half width of what counts as no difference.
        spread: standard deviation of a normal difference (> 0).
        n_seeds: seeds per arm.
        alpha: level of each one-sided test.
    """
    if n_seeds < 2:
        return 0.0
    if n_seeds < _N_NO_SKEWNESS:
        return float((_studies(n_seeds, alpha) < margin / spread).mean())
    critical = stats.t_quantile(1 - alpha, n_seeds - 1) * _spread_ratios(n_seeds)
    room = np.maximum(margin * math.sqrt(n_seeds) / spread - critical, 0.0)
    return float((2 * special.ndtr(room) - 1).mean())


@lru_cache(maxsize=256)
def _studies(n_seeds: int, alpha: float) -> Floats:
    """Of many studies without a difference, the smallest margin each shows, in spreads."""
    studies = np.random.default_rng(n_seeds).standard_normal((_N_STUDIES, n_seeds))
    above, below = stats.upper_bounds(studies, alpha), stats.upper_bounds(-studies, alpha)
    return np.maximum(above, below)


def power_log_rank(
    effect: float, spread: float, n_seeds: int, alpha: float, margin: float = 0.0
) -> float:
    """Power for steps to escape that are normal and independent: that of `power_paired`, or,
    where only complete separation can reach `alpha`, at most the exact chance of that.

    Args:
        effect: true difference of means; spread: standard deviation of a per-seed difference.
        n_seeds, alpha, margin: as in `power_paired`.
    """
    lowest = lowest_p("log_rank", n_seeds)
    if lowest >= alpha:
        return 0.0
    root = math.sqrt(n_seeds)
    critical = stats.t_quantile(1 - alpha / 2, 2 * n_seeds - 2) * _spread_ratios(2 * n_seeds - 1)
    needed = np.maximum(critical, margin * root / spread)
    power = float(special.ndtr(effect * root / spread - needed).mean())
    if 2 * lowest >= alpha:
        power = min(power, separation(effect / spread * math.sqrt(2), n_seeds))
    return power


def separation(standardized: float, n_seeds: int) -> float:
    """Chance that all of n normal values exceed all of n others, `standardized` spreads lower."""
    grid = np.linspace(-9.0, 9.0, 2001)
    below = special.ndtr(grid) ** n_seeds  # the largest of the lower ones is below the grid point
    above = (1 - special.ndtr(grid - standardized)) ** n_seeds
    middle = (above[1:] + above[:-1]) / 2
    return float(np.sum(np.diff(below) * middle))


def power_shares(
    rate_to: float, rate_from: float, n_seeds: int, alpha: float, margin: float = 0.0
) -> float:
    """Chance that Boschloo's test tells two shares apart, in their direction, and the difference
    seen reaches the margin: exact up to 30 seeds per arm, then by the arcsine approximation."""
    if n_seeds < 2 or lowest_p("boschloo", n_seeds) >= alpha:
        return 0.0
    sign = 1 if rate_to >= rate_from else -1
    if n_seeds > _N_EXACT_SHARES:
        distance = 2 * abs(math.asin(math.sqrt(rate_to)) - math.asin(math.sqrt(rate_from)))
        critical = float(special.ndtri(1 - alpha / 2))
        return float(special.ndtr(distance * math.sqrt(n_seeds / 2) - critical))
    k = np.arange(n_seeds + 1)
    seen = sign * (k[:, None] - k[None, :]) / n_seeds
    counts = (boschloo_table(n_seeds, n_seeds) < alpha) & (seen > 0) & (seen >= margin - 1e-12)
    p_to, p_from = (
        special.binom(n_seeds, k) * rate**k * (1 - rate) ** (n_seeds - k)
        for rate in (rate_to, rate_from)
    )
    return float(p_to @ counts @ p_from)


# Detectable effects and seeds ---------------------------------------------------------------


class Outlook(NamedTuple):
    """What one test can find with so many seeds.

    Attributes:
        power: chance of significance at a true effect of the margin; of an equivalence claim,
            at no effect.
        detectable: smallest effect supported with 80 % power, the margin kept; of an
            equivalence claim, the smallest margin. Infinite where no effect is, NaN where the
            spread is unknown.
        seeds_needed: seeds per arm for a `power` of 80 %; None if unknown or beyond 1000.
    """

    power: float
    detectable: float
    seeds_needed: int | None


def outlook(
    test: Test,
    hypothesis: Hypothesis,
    n_seeds: int,
    alpha: float,
    spread: float = math.nan,
    rate_from: float | None = None,
) -> Outlook:
    """What `test` can find.

    Args:
        test: the test of the hypothesis.
        hypothesis: direction and margin.
        n_seeds: seeds per arm.
        alpha: level, correction included.
        spread: standard deviation of per-seed differences, for all but tests of shares.
        rate_from: share in the reference arm, for tests of shares; None takes the best case.
    """
    margin = hypothesis.margin
    if test == "boschloo":
        sign = sign_of(hypothesis)
        start = (0.0 if sign > 0 else 1.0) if rate_from is None else rate_from
        room = 1 - start if sign > 0 else start

        def of_change(change: float, n: int, least: float) -> float:
            moved = start + sign * min(change, room)
            return power_shares(min(1.0, max(0.0, moved)), start, n, alpha, least)

        return Outlook(
            of_change(margin, n_seeds, 0.0),
            _smallest(lambda change: of_change(change, n_seeds, margin), room),
            first_seeds(lambda n: of_change(margin, n, 0.0) >= POWER),
        )
    if test in ("tost_shares", "tost_contrast"):
        return _outlook_equal_shares(test, margin, n_seeds, alpha)
    if not math.isfinite(spread) or spread <= 0:
        return Outlook(math.nan, math.nan, None)
    if test == "tost":
        return Outlook(
            power_equivalence(margin, spread, n_seeds, alpha),
            _smallest(lambda half: power_equivalence(half, spread, n_seeds, alpha), 1e4 * spread),
            first_seeds(lambda n: power_equivalence(margin, spread, n, alpha) >= POWER),
        )
    power_of = power_log_rank if test == "log_rank" else power_paired
    largest = 20 * spread + margin
    return Outlook(
        power_of(margin, spread, n_seeds, alpha),
        _smallest(lambda effect: power_of(effect, spread, n_seeds, alpha, margin), largest),
        first_seeds(lambda n: power_of(margin, spread, n, alpha) >= POWER),
    )


def _outlook_equal_shares(test: Test, margin: float, n_seeds: int, alpha: float) -> Outlook:
    """Best case of an equivalence claim about shares: no event in any arm."""
    weights = (1, -1) if test == "tost_shares" else (1, -1, -1, 1)

    def shown(half: float, n: int) -> float:
        return 1.0 if lowest_p(test, n, half, weights) < alpha else 0.0

    return Outlook(
        shown(margin, n_seeds),
        _smallest(lambda half: shown(half, n_seeds), 1.0),
        first_seeds(lambda n: shown(margin, n) >= POWER),
    )


def _smallest(power: Callable[[float], float], high: float) -> float:
    """The smallest effect with 80 % power; infinite if even `high` has less."""
    if power(high) < POWER:
        return math.inf
    low = 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high


def _share_spread(rate: float) -> float:
    """Standard deviation of the difference of two independent runs that an event may come to.

    A share seen to be 0 or 1 in a few runs is taken to be a little off.
    """
    rate = min(max(rate, _LEAST_RATE), 1 - _LEAST_RATE)
    return math.sqrt(2 * rate * (1 - rate))


# Before the first run -----------------------------------------------------------------------


class Forecast(NamedTuple):
    """What one hypothesis can hope for with so many seeds.

    Attributes:
        hypothesis: its name.
        n_seeds: seeds per arm.
        reachable: whether any result could support it, the others of its family at their best.
        power: chance of significance at a true effect of the margin, under the full correction
            (α over the claims of the family); of an equivalence claim, at no effect. NaN where
            the spread is unknown.
        detectable: smallest effect supported with 80 % power under the full correction; of an
            equivalence claim the smallest margin. Infinite where none is.
        basis: what was assumed: ``spread`` or ``rate`` as given, ``best case`` of shares, or
            ``unknown``.
    """

    hypothesis: str
    n_seeds: int
    reachable: bool
    power: float
    detectable: float
    basis: str


def forecast_power(
    spec: AblationSpec,
    n_seeds: Sequence[int],
    spreads: Mapping[str, float],
    rates: Mapping[str, float] | None = None,
) -> tuple[Forecast, ...]:
    """Power and detectable effect of every hypothesis, for each number of seeds.

    Holm's correction lies between α and α over the claims of the family; the latter is taken.
    Of an ablation with looks the last look alone counts, at the α it may spend; what an earlier
    one decides comes on top.

    Args:
        spec: the ablation.
        n_seeds: numbers of seeds per arm, for instance 4, 6 and 10.
        spreads: outcome → standard deviation of per-seed differences, from earlier records or
            stated in the file (``prior``); not needed for shares.
        rates: hypothesis → share of runs in the reference arms, from earlier records or the
            file; without it shares are forecast from their best case (none, or all, of the
            reference runs), and their averages over several arms not at all.

    Returns:
        One entry a hypothesis and number of seeds, in the order of the file, then of `n_seeds`.
    """
    alpha = looks_of(spec)[-1].alpha
    groups = {name: of for of in corrections_of(spec) for name in of.names}
    found = []
    for name, hypothesis in spec.hypotheses.items():
        names = groups[name].names
        tests = [reach_of(spec, other) for other in names]
        adjust = adjustment(groups[name])
        test = choose_test(hypothesis, spec.design)
        rate = (rates or {}).get(name)
        spread = spreads.get(hypothesis.outcome, math.nan)
        if is_share(hypothesis.outcome):
            spread = math.nan if rate is None else _share_spread(rate)
        # The spread given is that of one arm minus another.
        weights = tests[names.index(name)].weights
        spread *= math.sqrt(sum(weight**2 for weight in weights) / 2)
        for n in n_seeds:
            lowest = attainable(tests, n, adjust)[names.index(name)]
            seen = outlook(test, hypothesis, n, alpha / len(names), spread, rate)
            basis = "spread"
            if is_share(hypothesis.outcome):
                of_rate = rate is not None and test in ("boschloo", "sign_flip")
                basis = "rate" if of_rate else "best case"
            found.append(
                Forecast(
                    name,
                    n,
                    lowest < alpha,
                    seen.power,
                    seen.detectable,
                    "unknown" if math.isnan(seen.power) else basis,
                )
            )
    return tuple(found)
