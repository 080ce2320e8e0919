"""The verdict on each hypothesis: supported, refuted or inconclusive, by a fixed rule."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument, SeedsAdded
from orchestrator.spec.claims import (
    Correction,
    bound_error,
    corrections_of,
    is_equivalence,
    is_value,
    looks_of,
    sign_of,
)
from orchestrator.spec.compared import Compared
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


@dataclass(frozen=True)
class Verdict:
    """The verdict on one hypothesis, with everything needed to check it by hand.

    Attributes:
        name: name of the hypothesis.
        data: name of the data set.
        hypothesis: the claim, with its whole slice in ``where``.
        evidence: arms, counts, differences per seed, effect, intervals, p-value.
        word: the verdict.
        reason: why the claim is refuted or inconclusive; empty if it is supported.
        strong: whether the claim is supported and the whole 95 % interval lies beyond the margin;
            for an equivalence claim, inside the margin.
        altered: whether the hypothesis was altered after it was locked.
        p_adjusted: p-value adjusted for multiple claims; None while runs are missing.
        correction: the method of adjustment, and the claims that are corrected together.
        alpha: level of this look: the family-wise error rate, or the look's share of it.
        look: number of the look that decided; the first is 1.
        n_looks: number of planned looks.
        next_look_seeds: number of seeds at the next look; None if the claim is decided or there is
            no further look.
        mixed: whether the runs that it compares were trained by different decoder sources.
        added: the seeds of the lock, which this verdict is taken on, if seeds were added after
            results of them existed; else None.
        on_all_seeds: the exploratory verdict on all seeds, if seeds were added; else None.
        unregistered: whether the runs existed before the hypothesis was written, see `judge`.
        caveats: what else differs between the arms of runs that existed before.
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
    mixed: bool
    added: SeedsAdded | None = None
    on_all_seeds: "Verdict | None" = None
    unregistered: bool = False
    caveats: tuple[str, ...] = ()

    @cached_property
    def outlook(self) -> Outlook:
        """The effect that this number of seeds could detect, and the number of seeds needed.

        Both use the measured spread and the full correction (alpha divided by the claims of the
        family), the strictest that a later study could meet.
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
            evidence.cells[-1].mean,
            [cell.weight for cell in evidence.cells],
        )

    @property
    def detectable(self) -> float:
        """Smallest effect that would be supported with 80 % power; see `outlook`."""
        return self.outlook.detectable

    @property
    def seeds_needed(self) -> int | None:
        """Seeds per arm for 80 % power to detect an effect of the margin; see `outlook`."""
        return self.outlook.seeds_needed

    @property
    def exploratory(self) -> bool:
        """Whether the file declares the claim exploratory, it was altered after its lock, its runs
        existed before it, or it compares runs of different decoder sources."""
        declared = self.hypothesis.exploratory
        return self.altered or self.mixed or self.unregistered or declared

    @property
    def mostly_learned_nothing(self) -> bool:
        """Whether, for a claim about the value of a metric, half the runs of an arm or more
        collapsed, diverged or ended at chance, so that the claim is hardly about decoding."""
        return is_value(self.hypothesis.outcome) and any(
            2 * cell.n_learned_nothing >= cell.n_with_result > 0 for cell in self.evidence.cells
        )

    @property
    def n_family(self) -> int:
        """Number of claims that are corrected together."""
        return len(self.correction.names)

    @property
    def sign(self) -> int:
        """-1 if the claim says that the outcome decreases, +1 if it says that it increases; for
        other claims, the sign of the effect."""
        if self.hypothesis.direction in ("increase", "decrease"):
            return sign_of(self.hypothesis)
        return -1 if self.evidence.shown.effect < 0 else 1

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
        """Seeds in which the effect has the claimed direction, for ``either`` that of the mean
        effect; for an equivalence claim, seeds in which it is smaller than the margin."""
        effects = self.evidence.differences.values()
        if is_equivalence(self.hypothesis):
            return sum(abs(value) < self.hypothesis.margin for value in effects)
        return sum(self.sign * value > 0 for value in effects)


class _Study(NamedTuple):
    """What `decide` needs for every hypothesis.

    Attributes:
        spec: the ablation.
        specs: hypothesis → the ablation with the seeds and looks that decide it.
        claims: hypothesis → the claim, with its whole slice in ``where``.
        data: name of the data set.
        altered: hypotheses that were altered after they were locked.
        exact: hypotheses that were locked with the exact test, before there were others.
        mixed: hypotheses that compare runs of different decoder sources.
        runs: seeds → arm → its runs with these seeds.
        parts: hypothesis → the arms that it compares.
    """

    spec: AblationSpec
    specs: Mapping[str, AblationSpec]
    claims: Mapping[str, Hypothesis]
    data: str
    altered: frozenset[str]
    exact: frozenset[str]
    mixed: frozenset[str]
    runs: Mapping[tuple[int, ...], Mapping[str, ArmRuns]]
    parts: Mapping[str, Sequence[Compared]]


def decide(plan: PlanDocument, runs: pd.DataFrame, mixed: Collection[str] = ()) -> list[Verdict]:
    """Decide every hypothesis of a plan, in the order of its file.

    - Supported: the adjusted p is below alpha, and the effect is at least the margin. An
      interaction also needs a simple effect at its ``to`` level that is at least the margin, with
      a p of its own; otherwise two differences that both contradict the claim could support it.
    - Refuted: the one-sided 95 % upper bound of the claimed effect is below the margin.
    - Inconclusive: neither. A p above alpha never refutes.

    A claim of a difference in either direction is supported if the adjusted p is below alpha and
    the size of the effect is at least the margin, and refuted if both bounds lie inside ± the
    margin. A claim of no difference is supported if two one-sided tests put the effect inside ± the
    margin, and refuted if a bound lies beyond the margin. Arms with missing runs give no verdict.
    If runs failed for infrastructure reasons, the condition must hold with the best and with the
    worst values that these runs could have had for the claim.

    If looks are planned, each look uses its first seeds alone, at its share of alpha and of the
    error of the bound. The first look that decides a hypothesis stands. A look is taken when all
    its runs of the arms compared are recorded.

    Seeds that were added to a hypothesis after its lock have no part in its verdict, and give
    `Verdict.on_all_seeds`.

    Args:
        plan: the plan document.
        runs: `orchestrator.tables.tables.runs_table` of it.
        mixed: hypotheses that compare runs of different decoder sources, which are exploratory.

    Raises:
        ConfigError: a contrast fits no arm of the design.
    """
    locks = plan.seeds_added
    locked = _decide_on(plan, runs, locks, mixed)
    every = _decide_on(plan, runs, {}, mixed) if locks else {}
    for name in locks:
        claim = every[name].hypothesis.model_copy(update={"exploratory": True})
        on_all = replace(every[name], hypothesis=claim)
        locked[name] = replace(locked[name], added=locks[name], on_all_seeds=on_all)
    if plan.judged is not None:
        caveats = plan.judged.caveats
        for name, verdict in locked.items():
            locked[name] = replace(verdict, unregistered=True, caveats=caveats.get(name, ()))
    return [locked[name] for name in plan.spec.hypotheses]


def _decide_on(
    plan: PlanDocument,
    runs: pd.DataFrame,
    locks: Mapping[str, SeedsAdded],
    mixed: Collection[str],
) -> dict[str, Verdict]:
    """The verdict of every hypothesis, on the seeds and looks of its lock or else of the file."""
    spec = plan.spec
    claims, parts = spec.hypotheses, plan.compared
    specs = {n: locks[n].as_locked(spec) if n in locks else spec for n in claims}
    outcomes = [claim.outcome for claim in claims.values()]
    study = _Study(
        spec,
        specs,
        {name: _with_slice(claim, parts[name], plan.cells) for name, claim in claims.items()},
        plan.data_name,
        frozenset(plan.lock_changed),
        frozenset(plan.exact_locked),
        frozenset(mixed),
        {seeds: arm_runs(runs, seeds, outcomes) for seeds in {s.seeds for s in specs.values()}},
        parts,
    )
    verdicts: dict[str, Verdict] = {}
    for index in range(max((len(looks_of(one)) for one in specs.values()), default=0)):
        for name, verdict in _take_look(study, index).items():
            # A look that cannot be taken yet leaves the verdict of the look before it.
            undecided = name not in verdicts or verdicts[name].word == "inconclusive"
            if name not in verdicts or (undecided and verdict.evidence.scenarios):
                verdicts[name] = verdict
    return verdicts


def _take_look(study: _Study, index: int) -> dict[str, Verdict]:
    """The verdict of every hypothesis that has a look of this number, on the seeds of the look."""
    spec, evidence = study.spec, {}
    for name, claim in spec.hypotheses.items():
        own = study.specs[name]
        look = looks_of(own)[: index + 1][-1]  # of a claim that had its last look, that one
        evidence[name] = gather(
            claim,
            study.parts[name],
            study.runs[own.seeds],
            own.seeds[: look.seeds],
            design=spec.design,
            bound_error=bound_error(own, look),
            exact=name in study.exact,
        )
    verdicts = {}
    for correction in corrections_of(spec):
        adjusted = adjustment(correction)([evidence[name].p for name in correction.names])
        for name, p in zip(correction.names, adjusted, strict=True):
            if index < len(looks_of(study.specs[name])):
                verdicts[name] = _verdict(study, name, evidence[name], p, correction, index)
    return verdicts


def judge(
    hypothesis: Hypothesis, scenarios: Sequence[Assessment], p_adjusted: float, alpha: float
) -> tuple[Word, Reason, bool]:
    """Apply the rule of `decide`.

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
    intervals = [_towards(sign, scenario.interval) for scenario in scenarios]
    bounds = [_towards(sign, scenario.bounds) for scenario in scenarios]
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


def _verdict(
    study: _Study,
    name: str,
    evidence: Evidence,
    p_adjusted: float,
    correction: Correction,
    look_index: int,
) -> Verdict:
    hypothesis, looks = study.claims[name], looks_of(study.specs[name])
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
        mixed=name in study.mixed,
    )


def _with_slice(
    claim: Hypothesis, parts: Sequence[Compared], levels: Mapping[str, Mapping[str, str]]
) -> Hypothesis:
    """The claim with its whole slice in ``where``, including what follows from the design."""
    cells = [levels[part.arm_id] for part in parts]
    shared = {
        factor: level
        for factor, level in cells[0].items()
        if all(cell[factor] == level for cell in cells)
    }
    return claim.model_copy(update={"where": shared})


def _towards(sign: int, interval: Interval) -> Interval:
    low, high = sorted((sign * interval.low, sign * interval.high))
    return Interval(low, high)
