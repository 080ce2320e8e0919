"""The power of every hypothesis of an ablation, before its first run."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.spec.claims import corrections_of, is_share, looks_of
from orchestrator.spec.schema import AblationSpec
from orchestrator.stats.power import outlook
from orchestrator.stats.reach import adjustment, attainable, reach_of

_LEAST_RATE = 0.05


class PowerForecast(NamedTuple):
    """The power of one hypothesis with a number of seeds.

    Attributes:
        hypothesis: its name.
        n_seeds: seeds per arm.
        reachable: whether any result could support it, if the other claims of its family come out
            as clearly as they can.
        power: probability of significance if the true effect equals the margin, under the full
            correction (α divided by the number of claims in the family); for an equivalence claim,
            if there is no effect. NaN if the spread is unknown.
        detectable: smallest effect supported with 80 % power under the full correction; for an
            equivalence claim the smallest margin. Infinite if no effect is.
        basis: what is assumed: the given ``spread`` or ``rate``, the ``best case`` of shares, or
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
) -> tuple[PowerForecast, ...]:
    """Power and detectable effect of every hypothesis, for each number of seeds.

    Holm's levels lie between α and α divided by the number of claims in the family; the latter is
    used. With interim looks, only the last look counts, at its own α, so the power of the whole
    sequence is somewhat higher.

    Args:
        spec: the ablation.
        n_seeds: numbers of seeds per arm, for example 4, 6 and 10.
        spreads: outcome → standard deviation of per-seed differences, from earlier records or from
            the file's ``prior``; not needed for shares.
        rates: hypothesis → share of runs in the reference arms, from earlier records or the file.
            Without a rate, a share is forecast from its best case (none, or all, of the reference
            runs).

    Returns:
        One entry per hypothesis and number of seeds, in the order of the file, then of `n_seeds`.
    """
    alpha = looks_of(spec)[-1].alpha
    groups = {name: of for of in corrections_of(spec) for name in of.names}
    found = []
    for name, hypothesis in spec.hypotheses.items():
        names = groups[name].names
        tests = [reach_of(spec, other) for other in names]
        adjust = adjustment(groups[name])
        rate = (rates or {}).get(name)
        spread = spreads.get(hypothesis.outcome, math.nan)
        if is_share(hypothesis.outcome):
            spread = math.nan if rate is None else _share_spread(rate)
        # The given spread is that of the difference of two arms.
        test, _, weights = tests[names.index(name)]
        spread *= math.sqrt(sum(weight**2 for weight in weights) / 2)
        for n in n_seeds:
            lowest = attainable(tests, n, adjust)[names.index(name)]
            seen = outlook(test, hypothesis, n, alpha / len(names), spread, rate, weights)
            basis = "spread"
            if is_share(hypothesis.outcome):
                of_rate = rate is not None and test in ("boschloo", "share_contrast", "sign_flip")
                basis = "rate" if of_rate else "best case"
            found.append(
                PowerForecast(
                    name,
                    n,
                    lowest < alpha,
                    seen.power,
                    seen.detectable,
                    "unknown" if math.isnan(seen.power) else basis,
                )
            )
    return tuple(found)


def _share_spread(rate: float) -> float:
    """Standard deviation of the difference of an event between two independent runs.

    A share of 0 or 1 comes from a few runs, so it is moved a little towards one half.
    """
    rate = min(max(rate, _LEAST_RATE), 1 - _LEAST_RATE)
    return math.sqrt(2 * rate * (1 - rate))
