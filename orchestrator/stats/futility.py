"""How likely it is that further seeds decide a claim."""

import math

from scipy import special

from orchestrator.spec.schema import Direction
from orchestrator.stats.effects import t_quantile

# A claim stops below this chance. `benchmarks/verdict_calibration.py --sequential` shows its price.
LEAST_CHANCE = 0.1


def chance_to_decide(
    effect: float,
    spread: float,
    n_seeds: int,
    n_most: int,
    *,
    direction: Direction,
    margin: float,
    alpha: float,
    bound_error: float,
) -> float:
    """Predictive probability that a claim is supported or refuted with all seeds.

    The mean over all seeds has Student's t distribution around the mean so far, for normal
    differences and no prior knowledge of mean and spread (Spiegelhalter, Freedman & Blackburn
    1986). The spread is assumed to stay as it is.

    Args:
        effect: mean difference so far, in the claimed direction.
        spread: standard deviation of the differences so far.
        n_seeds: seeds so far, at least 2.
        n_most: all seeds.
        direction: of the claim.
        margin: of the claim.
        alpha: level of the last look after the correction, two-sided; of a claim of no difference,
            of each side.
        bound_error: error of each one-sided bound at the last look.

    Returns:
        The probability; 1 if the differences have no spread.
    """
    if not spread > 0 or not math.isfinite(effect):
        return 1.0
    error = spread / math.sqrt(n_most)
    to_support = t_quantile(1 - (alpha if direction == "no_difference" else alpha / 2), n_most - 1)
    to_refute = t_quantile(1 - bound_error, n_most - 1)
    scale = spread * math.sqrt((n_most - n_seeds) / (n_seeds * n_most))

    def below(value: float) -> float:
        return float(special.stdtr(n_seeds - 1, (value - effect) / scale))

    def inside(half: float) -> float:
        return below(half) - below(-half) if half > 0 else 0.0

    if direction == "no_difference":
        return inside(margin - to_support * error) + 1 - inside(margin + to_refute * error)
    needed = max(margin, to_support * error)
    if direction == "either":
        return 1 - inside(needed) + inside(margin - to_refute * error)
    return 1 - below(needed) + below(margin - to_refute * error)
