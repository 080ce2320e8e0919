"""The rule that turns the evidence on a claim into a word."""

import math
from collections.abc import Sequence
from typing import Literal

from orchestrator.spec.claims import is_equivalence, sign_of
from orchestrator.spec.schema import Hypothesis
from orchestrator.stats.effects import Interval
from orchestrator.verdicts.evidence import Assessment

Word = Literal["supported", "refuted", "inconclusive"]
Reason = Literal[
    "",
    "equivalent",
    "negligible",
    "reversed",
    "different",
    "gaps",
    "between looks",
    "undecided",
    "out of reach",
]


def judge(
    hypothesis: Hypothesis, scenarios: Sequence[Assessment], p_adjusted: float, alpha: float
) -> tuple[Word, Reason, bool]:
    """Apply the rule of `orchestrator.verdicts.verdicts.decide`.

    Args:
        hypothesis: gives direction and margin.
        scenarios: the condition must hold in every one of these; empty while runs are missing.
        p_adjusted: adjusted p-value of the scenario with the largest p-value.
        alpha: family-wise error rate.

    Returns:
        The verdict, its reason, and whether support is strong.
    """
    if not scenarios:
        return "inconclusive", "gaps", False
    undecided: Reason = "gaps" if len(scenarios) > 1 else "undecided"
    sign, margin = sign_of(hypothesis), hypothesis.margin
    if hypothesis.direction == "either" and all(one.effect < 0 for one in scenarios):
        sign = -1
    effects = [sign * scenario.effect for scenario in scenarios]
    intervals = [towards(sign, scenario.interval) for scenario in scenarios]
    bounds = [towards(sign, scenario.bounds) for scenario in scenarios]
    if is_equivalence(hypothesis):
        if p_adjusted < alpha and all(abs(effect) < margin for effect in effects):
            strong = all(-margin < low and high < margin for low, high in intervals)
            return "supported", "", strong
        if all(bound.low >= margin for bound in bounds) or all(
            bound.high <= -margin for bound in bounds
        ):
            return "refuted", "different", False
        return "inconclusive", undecided, False
    # An effect equal to the margin is enough; floating-point sums may fall short by rounding.
    enough = margin - 1e-12
    simple = [sign * scenario.simple for scenario in scenarios]
    large = all(effect >= enough for effect in effects)
    there = all(math.isnan(effect) or effect >= enough for effect in simple)
    if p_adjusted < alpha and large and there:
        strong = all(interval.low >= enough for interval in intervals)
        return "supported", "", strong and all(math.isfinite(bound.low) for bound in bounds)
    if all(-margin < bound.low and bound.high < margin for bound in bounds):
        return "refuted", "equivalent", False
    if hypothesis.direction != "either" and all(bound.high < margin for bound in bounds):
        reversed_ = all(bound.high < 0 for bound in bounds)
        return "refuted", "reversed" if reversed_ else "negligible", False
    return "inconclusive", undecided, False


def towards(sign: int, interval: Interval) -> Interval:
    """An interval in the claimed direction."""
    low, high = sorted((sign * interval.low, sign * interval.high))
    return Interval(low, high)
