import math

import numpy as np
import pytest

from orchestrator.spec.schema import Direction
from orchestrator.stats.effects import t_quantile
from orchestrator.stats.futility import chance_to_decide

N_SEEDS, N_MOST, SPREAD, ALPHA, ERROR = 8, 20, 1.0, 0.02, 0.03


def chance(effect: float, direction: Direction, margin: float, spread: float = SPREAD) -> float:
    found = chance_to_decide(
        effect,
        spread,
        N_SEEDS,
        N_MOST,
        direction=direction,
        margin=margin,
        alpha=ALPHA,
        bound_error=ERROR,
    )
    return float(found)


def simulated(effect: float, direction: Direction, margin: float) -> float:
    """The share of futures, drawn from what the seeds so far say of mean and spread."""
    rng = np.random.default_rng(11)
    n, freedom = 400_000, N_SEEDS - 1
    spreads = SPREAD * np.sqrt(freedom / rng.chisquare(freedom, n))
    means = effect + spreads / math.sqrt(N_SEEDS) * rng.standard_normal(n)
    n_new = N_MOST - N_SEEDS
    new = means + spreads / math.sqrt(n_new) * rng.standard_normal(n)
    final = (N_SEEDS * effect + n_new * new) / N_MOST
    error = SPREAD / math.sqrt(N_MOST)
    half = t_quantile(1 - ALPHA / 2, N_MOST - 1) * error
    refuting = t_quantile(1 - ERROR, N_MOST - 1) * error
    if direction == "no_difference":
        half = t_quantile(1 - ALPHA, N_MOST - 1) * error
        decided = (np.abs(final) < margin - half) | (np.abs(final) > margin + refuting)
    elif direction == "either":
        decided = (np.abs(final) > max(margin, half)) | (np.abs(final) < margin - refuting)
    else:
        decided = (final > max(margin, half)) | (final < margin - refuting)
    return float(decided.mean())


@pytest.mark.parametrize("direction", ["increase", "either", "no_difference"])
@pytest.mark.parametrize("margin", [0.3, 0.9])
@pytest.mark.parametrize("effect", [-0.2, 0.4, 0.8])
def test_the_chance_is_that_of_futures_drawn_from_the_seeds_so_far(
    direction: Direction, margin: float, effect: float
) -> None:
    found = chance(effect, direction, margin)
    assert found == pytest.approx(simulated(effect, direction, margin), abs=0.004)


def test_the_chance_is_small_only_where_the_noise_hides_the_margin() -> None:
    assert chance(0.0, "increase", 0.001) < 0.12
    assert chance(0.0, "increase", 2.0) > 0.99
    assert chance(2.0, "increase", 0.5) > 0.99


def test_differences_without_a_spread_are_never_out_of_reach() -> None:
    assert chance(0.0, "increase", 0.5, spread=0.0) == 1.0
    assert chance(math.nan, "increase", 0.5) == 1.0
