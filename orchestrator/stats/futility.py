"""How likely it is that further seeds decide a claim."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from orchestrator.spec.schema import Direction
from orchestrator.stats.run_values import Floats

# A claim stops below this chance. `benchmarks/verdict_calibration.py --sequential` shows its price.
LEAST_CHANCE = 0.05


def chance_to_decide(
    effect: ArrayLike,
    spread: ArrayLike,
    n_seeds: int,
    n_most: int,
    *,
    direction: Direction,
    margin: float,
    alpha: ArrayLike,
    bound_error: ArrayLike,
) -> Floats:
    """Predictive probability that a claim is supported or refuted with all seeds.

    The mean over all seeds has Student's t distribution around the mean so far, for normal
    differences and no prior knowledge of mean and spread (Spiegelhalter, Freedman & Blackburn
    1986). The spread is assumed to stay as it is.

    Args:
        effect: (...) mean difference so far, in the claimed direction.
        spread: (...) standard deviation of the differences so far.
        n_seeds: seeds so far, at least 2 and below `n_most`.
        n_most: all seeds.
        direction: of the claim.
        margin: of the claim.
        alpha: (...) level of the last look after the correction, two-sided; of a claim of no
            difference, of each side.
        bound_error: (...) error of each one-sided bound at the last look.

    Returns:
        (...) the probability; 1 if the differences have no spread.
    """
    mean, deviation = np.asarray(effect, np.float64), np.asarray(spread, np.float64)
    is_known = (deviation > 0) & np.isfinite(mean)
    deviation = np.where(is_known, deviation, 1.0)
    error = deviation / math.sqrt(n_most)
    each_side = direction == "no_difference"
    level = np.asarray(alpha) if each_side else np.asarray(alpha) / 2
    to_support = special.stdtrit(n_most - 1, 1 - level) * error
    to_refute = special.stdtrit(n_most - 1, 1 - np.asarray(bound_error)) * error
    scale = deviation * math.sqrt((n_most - n_seeds) / (n_seeds * n_most))

    def below(value: Floats) -> Floats:
        return np.asarray(special.stdtr(n_seeds - 1, (value - mean) / scale))

    def inside(half: Floats) -> Floats:
        return np.where(half > 0, below(half) - below(-half), 0.0)

    if each_side:
        chance = inside(margin - to_support) + 1 - inside(margin + to_refute)
    else:
        needed = np.maximum(margin, to_support)
        if direction == "either":
            chance = 1 - inside(needed) + inside(margin - to_refute)
        else:
            chance = 1 - below(needed) + below(margin - to_refute)
    return np.where(is_known, chance, 1.0)
