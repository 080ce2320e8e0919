"""Hypothesis + runs table → verdict: supported, refuted or inconclusive, by a fixed rule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.spec.claims import Correction, corrections_of, looks_of, sign_of
from orchestrator.spec.compared import Compared, compared_by_name
from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.stats.effects import Interval
from orchestrator.stats.power import Outlook, outlook
from orchestrator.stats.reach import adjustment
from orchestrator.verdicts.evidence import Assessment, Evidence, gather
from orchestrator.verdicts.values import ArmRuns, arm_runs

Word = Literal["supported", "refuted", "inconclusive"]
Reason = Literal[
    "", "equivalent", "negligible", "reversed", "different", "gaps", "between looks", "undecided"
]

BOUND_ERROR = 0.05  # of the one-sided bound that refutes; looks share it as they share α


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
        strong: supported, and the whole 95 % interval lies beyond the margin; of an equivalence
            claim, inside it.
        altered: the block was altered after it was locked.
        p_adjusted: p adjusted for the claims it is corrected with; None while runs are missing.
        correction: by which method, and with which claims.
        alpha: level of this look: the family-wise error rate, or what the look may spend of it.
        look: which look decided, from 1; n_looks: how many are planned.
        next_look_seeds: seeds at which the claim is looked at again; None if decided or last.
    """

    name: str
    data: str
    hypothesis: Hypothesis
    evidence: Evidence
    word: Word
    reason: Reason
    strong: bool
    altered: bool
    p_adjusted: float | None
    correction: Correction
    alpha: float
    look: int
    n_looks: int
    next_look_seeds: int | None

    @cached_property
    def outlook(self) -> Outlook:
        """What so many seeds could have found at the spread seen, and how many it would take.

        Under the full correction (alpha over the claims of the family): a later study would
        face it at its hardest.
        """
        evidence = self.evidence
        if len(evidence.differences) < 2:
            return Outlook(math.nan, math.nan, None)
        return outlook(
            evidence.test,
            self.hypothesis,
            len(evidence.differences),
            self.alpha / self.n_family,
            evidence.spread,
            evidence.cells[1].mean,
        )

    @property
    def detectable(self) -> float:
        """Smallest effect supported with 80 % power; see `outlook`."""
        return self.outlook.detectable

    @property
    def seeds_needed(self) -> int | None:
        """Seeds per arm for 80 % power to tell an effect of the margin from none; see `outlook`."""
        return self.outlook.seeds_needed

    @property
    def exploratory(self) -> bool:
        """Whether it was said to be exploratory, or altered after it was locked."""
        return self.altered or self.hypothesis.exploratory

    @property
    def n_family(self) -> int:
        """Claims corrected together."""
        return len(self.correction.names)

    @property
    def sign(self) -> int:
        """-1 where the claim says the outcome decreases, else +1."""
        return sign_of(self.hypothesis)

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
        """One-sided bounds in the claimed direction; the upper one is what refutes."""
        return _towards(self.sign, self.evidence.shown.bounds)

    @property
    def wins(self) -> int:
        """Seeds in which the effect has the claimed direction; of an equivalence claim, is
        smaller than the margin."""
        effects = self.evidence.differences.values()
        if self.hypothesis.direction == "none":
            return sum(abs(value) < self.hypothesis.margin for value in effects)
        return sum(self.sign * value > 0 for value in effects)

    @property
    def has_gaps(self) -> bool:
        """Whether an arm lacks a result of a planned run."""
        return any(cell.n < cell.n_planned for cell in self.evidence.cells)


class _Study(NamedTuple):
    """What all hypotheses of an ablation share, and the arms each compares."""

    spec: AblationSpec
    claims: Mapping[str, Hypothesis]
    data: str
    altered: frozenset[str]
    runs: Mapping[str, ArmRuns]
    parts: Mapping[str, Sequence[Compared]]


def decide(plan: PlanDocument, runs: pd.DataFrame) -> list[Verdict]:
    """Decide every hypothesis of a plan, in the order of its file.

    Supported: adjusted p below alpha, and an effect of at least the margin; an interaction
    needs the simple effect at its ``to`` level as well, of the margin and with a p of its own,
    or two differences that both go against the claim could support it. Refuted: the
    one-sided 95 % upper bound of the claimed effect is below the margin. Inconclusive: neither;
    a p above alpha never refutes. A claim of no difference is supported when two one-sided
    tests put the effect inside ± the margin, and refuted when a bound lies beyond it. No verdict
    is drawn from arms with missing runs. Where runs failed for reasons other than their numbers,
    the condition must hold whether those runs would have been the best or the worst for the
    claim.

    Where looks are planned, each is judged on its first seeds alone, at its part of alpha and
    of the bound's error; the first that decides a hypothesis stands. A look is taken once all
    its runs of the arms compared are recorded.

    Args:
        plan: the plan document.
        runs: `orchestrator.tables.tables.runs_table` of it.

    Raises:
        ConfigError: a contrast fits no arm of the design.
    """
    spec = plan.spec
    claims = spec.hypotheses
    levels = {arm.arm_id: arm.levels for arm in plan.arms if arm.in_design}
    parts = compared_by_name(spec, levels)
    study = _Study(
        spec,
        {name: _with_slice(claim, parts[name], levels) for name, claim in claims.items()},
        plan.data_name,
        frozenset(plan.lock_changed),
        arm_runs(runs, spec.seeds, (claim.outcome for claim in claims.values())),
        parts,
    )
    found: dict[str, Verdict] = {}
    for index in range(len(looks_of(spec))):
        for name, verdict in _take_look(study, index).items():
            # A look that cannot be taken yet leaves the one before it standing.
            undecided = name not in found or found[name].word == "inconclusive"
            if name not in found or (undecided and verdict.evidence.scenarios):
                found[name] = verdict
    return [found[name] for name in claims]


def _take_look(study: _Study, index: int) -> dict[str, Verdict]:
    """The verdict of every hypothesis on the seeds of one look."""
    spec = study.spec
    look = looks_of(spec)[index]
    seeds = spec.seeds[: look.seeds]
    error = BOUND_ERROR * look.alpha / spec.alpha if spec.looks else BOUND_ERROR
    evidence = {
        name: gather(
            claim, study.parts[name], study.runs, seeds, design=spec.design, bound_error=error
        )
        for name, claim in spec.hypotheses.items()
    }
    found = {}
    for correction in corrections_of(spec):
        adjusted = adjustment(correction)([evidence[name].p for name in correction.names])
        for name, p in zip(correction.names, adjusted, strict=True):
            found[name] = _verdict(study, name, evidence[name], p, correction, index)
    return found


def judge(
    hypothesis: Hypothesis, scenarios: Sequence[Assessment], p_adjusted: float, alpha: float
) -> tuple[Word, Reason, bool]:
    """The rule: word, reason, and whether support is strong.

    Args:
        hypothesis: direction and margin.
        scenarios: the effects under which the condition must hold, all of them; none while
            runs are missing.
        p_adjusted: adjusted p, of the scenario with the largest p.
        alpha: family-wise error rate.
    """
    if not scenarios:
        return "inconclusive", "gaps", False
    undecided: Reason = "gaps" if len(scenarios) > 1 else "undecided"
    sign, margin = sign_of(hypothesis), hypothesis.margin
    effects = [sign * scenario.effect for scenario in scenarios]
    intervals = [_towards(sign, scenario.interval) for scenario in scenarios]
    bounds = [_towards(sign, scenario.bounds) for scenario in scenarios]
    if hypothesis.direction == "none":
        if p_adjusted < alpha and all(abs(effect) < margin for effect in effects):
            strong = all(-margin < low and high < margin for low, high in intervals)
            return "supported", "", strong
        if all(bound.low >= margin for bound in bounds) or all(
            bound.high <= -margin for bound in bounds
        ):
            return "refuted", "different", False
        return "inconclusive", undecided, False
    # Sums of binary fractions carry rounding; an effect of the margin itself is enough.
    enough = margin - 1e-12
    simple = [sign * scenario.simple for scenario in scenarios]
    large = all(effect >= enough for effect in effects)
    there = all(math.isnan(effect) or effect >= enough for effect in simple)
    if p_adjusted < alpha and large and there:
        strong = all(interval.low >= enough for interval in intervals)
        return "supported", "", strong and all(math.isfinite(bound.low) for bound in bounds)
    if all(bound.high < margin for bound in bounds):
        if all(bound.low > -margin for bound in bounds):
            return "refuted", "equivalent", False
        reversed_ = all(bound.high < 0 for bound in bounds)
        return "refuted", "reversed" if reversed_ else "negligible", False
    return "inconclusive", undecided, False


def _verdict(
    study: _Study,
    name: str,
    evidence: Evidence,
    p_adjusted: float,
    correction: Correction,
    look_index: int,
) -> Verdict:
    hypothesis, looks = study.claims[name], looks_of(study.spec)
    alpha = looks[look_index].alpha
    word, reason, strong = judge(hypothesis, evidence.scenarios, p_adjusted, alpha)
    undecided = word == "inconclusive" and look_index + 1 < len(looks)
    if undecided and reason == "undecided":
        reason = "between looks"
    return Verdict(
        name=name,
        data=study.data,
        hypothesis=hypothesis,
        evidence=evidence,
        word=word,
        reason=reason,
        strong=strong,
        altered=name in study.altered,
        p_adjusted=p_adjusted if evidence.scenarios else None,
        correction=correction,
        alpha=alpha,
        look=look_index + 1,
        n_looks=len(looks),
        next_look_seeds=looks[look_index + 1].seeds if undecided else None,
    )


def _with_slice(
    claim: Hypothesis, parts: Sequence[Compared], levels: Mapping[str, Mapping[str, str]]
) -> Hypothesis:
    """The claim with its whole slice in ``where``, the part that follows from the design too."""
    varied = {claim.contrast.factor}
    varied |= {claim.interaction.factor} if claim.interaction else set()
    cells = [levels[part.arm_id] for part in parts]
    shared = {
        factor: level
        for factor, level in cells[0].items()
        if factor not in varied and all(cell[factor] == level for cell in cells)
    }
    return claim.model_copy(update={"where": shared})


def _towards(sign: int, interval: Interval) -> Interval:
    low, high = sorted((sign * interval.low, sign * interval.high))
    return Interval(low, high)
