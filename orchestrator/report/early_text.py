"""Sentences on claims that a look settled before all seeds were trained."""

import math

from orchestrator.spec.units import difference_text, interval_words, unit_of
from orchestrator.stats.futility import LEAST_CHANCE
from orchestrator.verdicts.verdict import Verdict


def corrected_text(verdict: Verdict) -> str:
    """The estimate that is corrected for stopping at a look; "" without one."""
    effect, interval = verdict.corrected_effect, verdict.corrected_interval
    if effect is None or interval is None or not math.isfinite(effect):
        return ""
    outcome = verdict.hypothesis.outcome
    return (
        f" Corrected for stopping at look {verdict.look} of {verdict.n_looks}, the effect is "
        f"{difference_text(effect, outcome)} {unit_of(outcome)} (95 % interval "
        f"{interval_words(interval, outcome)})."
    )


def futility_text(verdict: Verdict) -> str:
    """Why no further seeds are trained for a claim that is still undecided."""
    n_most = verdict.rule.seeds[-1] if verdict.rule is not None else 0
    return (
        f"even with all {n_most} seeds the chance of a decision is below "
        f"{100 * LEAST_CHANCE:.0f} %, so the claim trains no further seeds"
    )
