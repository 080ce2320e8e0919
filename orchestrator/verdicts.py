"""Hypothesis + runs table → verdict: supported, refuted or inconclusive, by a fixed rule."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pandas as pd

from orchestrator import stats
from orchestrator.evidence import Assessment, Evidence, choose_test, gather
from orchestrator.spec import AblationSpec, Hypothesis
from orchestrator.stats import Interval
from orchestrator.tables import data_name, spec_of

Word = Literal["supported", "refuted", "inconclusive"]
Reason = Literal["", "equivalent", "negligible", "reversed", "gaps", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """How one hypothesis came out, with everything needed to check it by hand.

    Attributes:
        name: of the hypothesis.
        data: name of the data set it holds for.
        hypothesis: the claim as it stands in the plan.
        evidence: arms, counts, per-seed differences, effect, intervals, p.
        word: the verdict.
        reason: why it is refuted or inconclusive; empty when supported.
        strong: supported, and the whole 95 % interval lies beyond the margin.
        exploratory: the block was altered after it was locked.
        p_adjusted: Holm-adjusted p within the family; None while runs are missing.
        n_family: claims in that family.
        alpha: family-wise error rate.
        detectable: smallest effect found with 80 % power at this spread and number of seeds;
            infinite where no effect could be, NaN where the spread is unknown.
        seeds_needed: seeds per arm for 80 % power at an effect of the margin; None if unknown
            or beyond 1000.
    """

    name: str
    data: str
    hypothesis: Hypothesis
    evidence: Evidence
    word: Word
    reason: Reason
    strong: bool
    exploratory: bool
    p_adjusted: float | None
    n_family: int
    alpha: float
    detectable: float
    seeds_needed: int | None

    @property
    def sign(self) -> int:
        """+1 where the claim says the outcome increases."""
        return _sign(self.hypothesis)

    @property
    def claimed_effect(self) -> float:
        """Effect in the claimed direction."""
        return self.sign * self.evidence.shown.effect

    @property
    def claimed_interval(self) -> Interval:
        """95 % interval in the claimed direction."""
        return _towards(self.sign, self.evidence.shown.interval)

    @property
    def claimed_bounds(self) -> Interval:
        """One-sided 95 % bounds in the claimed direction; the upper one is what refutes."""
        return _towards(self.sign, self.evidence.shown.bounds)

    @property
    def wins(self) -> int:
        """Seeds in which the effect has the claimed direction."""
        return sum(self.sign * value > 0 for value in self.evidence.differences.values())

    @property
    def has_gaps(self) -> bool:
        """Whether an arm lacks a result of a planned run."""
        return any(cell.n < cell.n_planned for cell in self.evidence.cells)


class Untestable(NamedTuple):
    """Why a hypothesis cannot be supported by its design, and the seeds per arm that would do."""

    reason: str
    seeds_needed: int | None


def decide(plan: Mapping[str, Any], runs: pd.DataFrame) -> list[Verdict]:
    """Decide every hypothesis of a plan, in the order of its file.

    Supported: Holm-adjusted p below alpha, and an effect of at least the margin. Refuted: the
    one-sided 95 % upper bound of the claimed effect is below the margin. Inconclusive: neither;
    a p above alpha never refutes. No verdict is drawn from arms with missing runs. Where runs
    failed for reasons other than their numbers, the condition must hold whether those runs
    would have been the best or the worst for the claim.

    Args:
        plan: the plan document.
        runs: `orchestrator.tables.runs_table` of it.

    Raises:
        ConfigError: a contrast fits no arm of the design.
    """
    spec = spec_of(plan)
    evidence = {
        name: gather(name, hypothesis, plan["arms"], runs)
        for name, hypothesis in spec.hypotheses.items()
    }
    adjusted: dict[str, float] = {}
    for names in families_of(spec).values():
        p_values = [evidence[name].p for name in names]
        adjusted.update(zip(names, stats.holm(p_values), strict=True))
    return [
        _verdict(
            spec,
            name,
            data_name(plan),
            evidence[name],
            adjusted[name],
            name in plan["lock_changed"],
        )
        for name in spec.hypotheses
    ]


def judge(
    hypothesis: Hypothesis, scenarios: Sequence[Assessment], p_adjusted: float, alpha: float
) -> tuple[Word, Reason, bool]:
    """The rule: word, reason, and whether support is strong.

    Args:
        hypothesis: direction and margin.
        scenarios: the effects under which the condition must hold, all of them; none while
            runs are missing.
        p_adjusted: Holm-adjusted p, of the scenario with the largest p.
        alpha: family-wise error rate.
    """
    if not scenarios:
        return "inconclusive", "gaps", False
    sign, margin = _sign(hypothesis), hypothesis.margin
    effects = [sign * scenario.effect for scenario in scenarios]
    intervals = [_towards(sign, scenario.interval) for scenario in scenarios]
    bounds = [_towards(sign, scenario.bounds) for scenario in scenarios]
    # Sums of binary fractions carry rounding; an effect of the margin itself is enough.
    if p_adjusted < alpha and all(effect >= margin - 1e-12 for effect in effects):
        return "supported", "", all(interval.low >= margin - 1e-12 for interval in intervals)
    if all(bound.high < margin for bound in bounds):
        if all(bound.low > -margin for bound in bounds):
            return "refuted", "equivalent", False
        reversed_ = all(bound.high < 0 for bound in bounds)
        return "refuted", "reversed" if reversed_ else "negligible", False
    return "inconclusive", "gaps" if len(scenarios) > 1 else "undecided", False


def untestable(spec: AblationSpec) -> dict[str, Untestable]:
    """The hypotheses that no result of this design could support, before any run is made.

    Holm's best case is assumed: every claim of the family comes out as clearly as its test
    allows.
    """
    found = {}
    n_seeds = len(spec.seeds)
    for names in families_of(spec).values():
        tests = [choose_test(spec.hypotheses[name]) for name in names]
        reachable = stats.attainable(tests, n_seeds)
        for index, name in enumerate(names):
            largest = _largest_effect(spec.hypotheses[name])
            margin = spec.hypotheses[name].margin
            if margin > largest:
                found[name] = Untestable(
                    f"a margin of {margin:g} is more than the outcome can change "
                    f"({largest:g} at most)",
                    None,
                )
            elif reachable[index] >= spec.alpha:
                needed = stats.seeds_to_reach(tests, index, spec.alpha)
                found[name] = Untestable(
                    f"with {n_seeds} seed{'s' * (n_seeds != 1)} the adjusted p cannot come below "
                    f"{reachable[index]:.3g} whatever the result (alpha is {spec.alpha:g}, "
                    f"{len(names)} claim{'s' * (len(names) != 1)} in family "
                    f"'{spec.hypotheses[name].family}'); {needed} seeds would do",
                    needed,
                )
    return {name: found[name] for name in spec.hypotheses if name in found}


def _verdict(
    spec: AblationSpec,
    name: str,
    data: str,
    evidence: Evidence,
    p_adjusted: float,
    exploratory: bool,
) -> Verdict:
    hypothesis = spec.hypotheses[name]
    n_family = len(families_of(spec)[hypothesis.family])
    word, reason, strong = judge(hypothesis, evidence.scenarios, p_adjusted, spec.alpha)
    # A later study would face the correction at its hardest.
    detectable, needed = _power(hypothesis, evidence, spec.alpha / n_family)
    return Verdict(
        name=name,
        data=data,
        hypothesis=hypothesis,
        evidence=evidence,
        word=word,
        reason=reason,
        strong=strong,
        exploratory=exploratory,
        p_adjusted=p_adjusted if evidence.scenarios else None,
        n_family=n_family,
        alpha=spec.alpha,
        detectable=detectable,
        seeds_needed=needed,
    )


def _power(hypothesis: Hypothesis, evidence: Evidence, alpha: float) -> tuple[float, int | None]:
    """Smallest effect detectable with 80 % power, and the seeds an effect of the margin takes."""
    n_seeds = len(evidence.differences)
    if n_seeds < 2:
        return math.nan, None
    if evidence.test == "boschloo":
        sign = _sign(hypothesis)
        rate_from = evidence.cells[1].mean
        rate_to = min(1.0, max(0.0, rate_from + sign * hypothesis.margin))
        return (
            stats.minimum_detectable_shares(rate_from, sign, n_seeds, alpha),
            stats.seeds_for_shares(rate_to, rate_from, alpha),
        )
    return (
        stats.minimum_detectable_paired(evidence.spread, n_seeds, alpha),
        stats.seeds_for_paired(hypothesis.margin, evidence.spread, alpha),
    )


def families_of(spec: AblationSpec) -> dict[str, list[str]]:
    """Family → the hypotheses corrected together, in the order of the file."""
    families = defaultdict(list)
    for name, hypothesis in spec.hypotheses.items():
        families[hypothesis.family].append(name)
    return dict(families)


def _largest_effect(hypothesis: Hypothesis) -> float:
    if hypothesis.outcome == "escape_step":
        return math.inf
    return 1.0 if hypothesis.interaction is None else 2.0


def _sign(hypothesis: Hypothesis) -> int:
    return 1 if hypothesis.direction == "increase" else -1


def _towards(sign: int, interval: Interval) -> Interval:
    low, high = sorted((sign * interval.low, sign * interval.high))
    return Interval(low, high)
