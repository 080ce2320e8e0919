import math

import numpy as np
import pytest

from orchestrator.spec.spending import look_levels
from orchestrator.stats.early_stopping import Corrected, StoppingRule
from orchestrator.stats.early_stopping import corrected as corrected_from
from orchestrator.stats.effects import Interval, t_quantile

AT = (4, 8, 12)
LEVELS = look_levels(AT, 0.05)
ERRORS = tuple(level / 2 for level in look_levels(AT, 0.1))
RULE = StoppingRule("increase", 1.0, AT, LEVELS, ERRORS)


def corrected(mean: float, spread: float, n: int, rule: StoppingRule) -> Corrected:
    """With Student's t interval as the plain one."""
    half = t_quantile(0.975, n - 1) * spread / math.sqrt(n)
    return corrected_from(mean, spread, n, rule, Interval(mean - half, mean + half))


def stopped(differences: np.ndarray) -> tuple[float, float, int]:
    """Mean, spread and seeds at the look that stops."""
    for n, level, error in zip(AT, LEVELS, ERRORS, strict=True):
        mean, spread = float(differences[:n].mean()), float(differences[:n].std(ddof=1))
        half = spread / math.sqrt(n)
        if mean >= max(1.0, t_quantile(1 - level / 2, n - 1) * half):
            break
        if mean + t_quantile(1 - error, n - 1) * half < 1.0:
            break
    return mean, spread, n


def test_without_an_early_look_the_estimate_is_the_mean_and_its_t_interval() -> None:
    rule = StoppingRule("increase", 1.0, (9,), (0.05,), (0.05,))
    found = corrected(0.7, 0.6, 9, rule)
    half = t_quantile(0.975, 8) * 0.6 / 3
    assert found.effect == pytest.approx(0.7, abs=0.01)
    assert found.interval == pytest.approx((0.7 - half, 0.7 + half), abs=0.05)


def test_an_early_support_is_corrected_downwards_and_a_refutation_upwards() -> None:
    up = corrected(1.3, 0.6, 4, RULE)
    assert 0.9 < up.effect < 1.28
    down = corrected(0.05, 0.6, 4, RULE)
    assert 0.07 < down.effect < 0.4


def test_the_unit_does_not_matter() -> None:
    one = corrected(1.2, 0.5, 8, RULE)
    scaled = corrected(1200.0, 500.0, 8, RULE._replace(margin=1000.0))
    assert scaled.effect == pytest.approx(1000 * one.effect)
    assert scaled.interval == pytest.approx([1000 * bound for bound in one.interval])


@pytest.mark.parametrize("true", [0.5, 1.0, 1.5])
def test_the_estimate_is_less_biased_than_the_mean_and_the_interval_covers(true: float) -> None:
    rng = np.random.default_rng(8)
    naive, fair, covered, covered_naively = [], [], [], []
    for _ in range(500):
        mean, spread, n = stopped(true + 0.8 * rng.standard_normal(AT[-1]))
        found = corrected(mean, spread, n, RULE)
        naive.append(mean - true)
        fair.append(found.effect - true)
        covered.append(found.interval.low <= true <= found.interval.high)
        half = t_quantile(0.975, n - 1) * spread / math.sqrt(n)
        covered_naively.append(abs(mean - true) <= half)
    assert abs(np.mean(fair)) < abs(np.mean(naive))
    assert abs(np.mean(np.array(fair) > 0) - 0.5) < 0.06
    assert np.mean(covered) > max(0.92, float(np.mean(covered_naively)) - 0.01)


@pytest.mark.parametrize("direction", ["either", "no_difference"])
def test_claims_of_both_sides_are_corrected_alike_on_both(direction: str) -> None:
    rule = RULE._replace(direction=direction)
    up, down = corrected(1.4, 0.7, 8, rule), corrected(-1.4, 0.7, 8, rule)
    assert down.effect == pytest.approx(-up.effect, abs=0.02)
    assert down.interval == pytest.approx((-up.interval.high, -up.interval.low), abs=0.05)


def test_a_plain_interval_that_is_wider_stays_wider() -> None:
    """That of skewed differences, for one."""
    plain = corrected(1.2, 0.6, 8, RULE)
    half = t_quantile(0.975, 7) * 0.6 / math.sqrt(8)
    wide = corrected_from(1.2, 0.6, 8, RULE, Interval(1.2 - half - 0.3, 1.2 + half + 0.1))
    assert wide.effect == plain.effect
    assert wide.interval.low == pytest.approx(plain.interval.low - 0.3)
    assert wide.interval.high == pytest.approx(plain.interval.high + 0.1)
