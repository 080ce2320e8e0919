"""Estimates of effects that are corrected for stopping at a look."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from orchestrator.spec.schema import Direction
from orchestrator.stats.effects import Interval, t_quantile
from orchestrator.stats.run_values import Bools, Floats

_N_STUDIES = 2_000
_SCORES = np.linspace(-3.6, 3.6, 13)  # normal scores of the true effects that are tried
_SEED = 15


class StoppingRule(NamedTuple):
    """When a claim stops.

    Attributes:
        direction: of the claim.
        margin: of the claim.
        seeds: number of seeds of each look.
        alphas: level of each look after the correction, two-sided; of a claim of no difference, of
            each side.
        bound_errors: error of each one-sided bound at each look, after the correction.
    """

    direction: Direction
    margin: float
    seeds: tuple[int, ...]
    alphas: tuple[float, ...]
    bound_errors: tuple[float, ...]


class Corrected(NamedTuple):
    """An estimate that is corrected for stopping early, in the unit of the effect.

    Attributes:
        effect: the median-unbiased estimate.
        interval: 95 % interval.
    """

    effect: float
    interval: Interval


def corrected(
    effect: float, spread: float, n_seeds: int, rule: StoppingRule, interval: Interval
) -> Corrected:
    """The estimate and interval of an effect that was measured when a claim stopped.

    Claims stop early when chance favours them, so the mean difference exaggerates. The pivot is
    the t statistic of the true effect at the look that stopped, as a p-value of its own degrees of
    freedom. Its distribution under a true effect is that of studies that stop by the same rule;
    the effects at which the observed pivot is its 2.5 %, 50 % and 97.5 % quantile are the interval
    and the median-unbiased estimate (Woodroofe 1992; a rule that stops at one look only gives
    Student's t interval back). Differences are taken as normal with the measured spread. The ends
    of the plain interval, which may be corrected for skewness or be that of shares, move as those
    of Student's t do.

    Args:
        effect: mean difference at the look that stopped, in the claimed direction.
        spread: standard deviation of the differences, above 0.
        n_seeds: seeds of that look.
        rule: when the claim stops.
        interval: the 95 % interval without the correction.
    """
    freedom = n_seeds - 1
    error = spread / math.sqrt(n_seeds)
    # The true effects of which the observed mean has these normal scores without looks.
    tried = effect - special.stdtrit(freedom, special.ndtr(_SCORES)) * error
    chances = np.array(
        [
            _chance_below(one, score, spread, rule)
            for one, score in zip(tried, special.ndtr(_SCORES), strict=True)
        ]
    )
    least = 0.5 / _N_STUDIES
    scores = np.maximum.accumulate(special.ndtri(np.clip(chances, least, 1 - least)))
    scores = scores + 1e-9 * np.arange(len(scores))
    low, middle, high = np.interp(special.ndtri([0.975, 0.5, 0.025]), scores, tried)
    half = t_quantile(0.975, freedom) * error
    moved = Interval(
        interval.low + float(low) - (effect - half), interval.high + float(high) - (effect + half)
    )
    return Corrected(float(middle), moved)


def _chance_below(true_effect: float, pivot: float, spread: float, rule: StoppingRule) -> float:
    """Probability that the pivot of a study with this true effect is below a value."""
    means, errors = _studies(rule.seeds)
    shifted = means + true_effect / spread  # (studies, looks), in standard deviations
    stops = _stops(shifted, errors, rule, rule.margin / spread)
    at = stops.argmax(axis=1)
    every = np.arange(len(at))
    t = means[every, at] / errors[every, at]
    return float((special.stdtr(np.array(rule.seeds)[at] - 1, t) < pivot).mean())


def _stops(means: Floats, errors: Floats, rule: StoppingRule, margin: float) -> Bools:
    """Whether each study would stop at each look; all of them do at the last."""
    each_side = rule.direction == "no_difference"
    supporting, refuting = _critical_values(rule.seeds, rule.alphas, rule.bound_errors, each_side)
    sizes = means if rule.direction in ("increase", "decrease") else np.abs(means)
    if each_side:
        stops = (sizes + supporting * errors < margin) | (sizes - refuting * errors >= margin)
    else:
        supported = sizes >= np.maximum(margin, supporting * errors)
        stops = supported | (sizes + refuting * errors < margin)
    stops[:, -1] = True
    return np.asarray(stops)


@lru_cache(maxsize=64)
def _critical_values(
    seeds: tuple[int, ...],
    alphas: tuple[float, ...],
    bound_errors: tuple[float, ...],
    each_side: bool,
) -> tuple[Floats, Floats]:
    sides = 1 if each_side else 2
    to_support = [t_quantile(1 - a / sides, n - 1) for n, a in zip(seeds, alphas, strict=True)]
    to_refute = [t_quantile(1 - b, n - 1) for n, b in zip(seeds, bound_errors, strict=True)]
    return np.array(to_support), np.array(to_refute)


@lru_cache(maxsize=16)
def _studies(seeds: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Mean and standard error at each look of many studies without an effect, (studies, looks)."""
    half = np.random.default_rng(_SEED).standard_normal((_N_STUDIES // 2, seeds[-1]))
    studies = np.concatenate([half, -half])
    means = [studies[:, :n].mean(axis=1) for n in seeds]
    errors = [studies[:, :n].std(axis=1, ddof=1) / math.sqrt(n) for n in seeds]
    return np.stack(means, axis=1), np.stack(errors, axis=1)
