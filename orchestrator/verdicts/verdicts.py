"""The verdict on each hypothesis: supported, refuted or inconclusive, by a fixed rule."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument, SeedsAdded
from orchestrator.spec.claims import (
    Correction,
    bound_error,
    corrections_of,
    look_seeds,
    looks_of,
    shares_bounds,
)
from orchestrator.spec.compared import Compared
from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.stats.early_stopping import StoppingRule
from orchestrator.stats.futility import LEAST_CHANCE, chance_to_decide
from orchestrator.stats.reach import adjustment
from orchestrator.verdicts.evidence import Evidence, gather
from orchestrator.verdicts.rule import Reason, judge
from orchestrator.verdicts.rule import Word as Word
from orchestrator.verdicts.values import ArmRuns, arm_runs
from orchestrator.verdicts.verdict import Verdict as Verdict


class Settled(NamedTuple):
    """What the correction needs of a claim that a look settled.

    Attributes:
        p: its part in the correction: 0 if its null hypothesis was rejected, else 1.
        refuted: whether it was refuted.
    """

    p: float
    refuted: bool

    @classmethod
    def of(cls, verdict: Verdict) -> "Settled":
        """What remains of a verdict."""
        is_rejected = verdict.p_adjusted is not None and verdict.p_adjusted < verdict.alpha
        return cls(0.0 if is_rejected else 1.0, verdict.word == "refuted")


class Study(NamedTuple):
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

    @property
    def n_looks(self) -> int:
        """Looks of the claim that has most."""
        return max((len(looks_of(one)) for one in self.specs.values()), default=0)


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
    study = study_of(plan, runs, locks, mixed)
    is_stepped = any(one.seed_steps is not None for one in study.specs.values())
    verdicts: dict[str, Verdict] = {}
    settled: dict[str, Settled] = {}
    for index in range(study.n_looks):
        taken = look_verdicts(study, index, settled)
        if locks == plan.seeds_added:
            taken = {name: _as_recorded(plan, study, index, one) for name, one in taken.items()}
        whole = all(verdict.evidence.scenarios for verdict in taken.values())
        if is_stepped and not whole and index:
            break  # a look of steps counts once all its runs are recorded
        for name, verdict in taken.items():
            # A look that cannot be taken yet leaves the verdict of the look before it.
            if name not in verdicts or verdict.evidence.scenarios:
                verdicts[name] = verdict
            if verdict.is_settled:
                settled[name] = Settled.of(verdict)
        if len(settled) == len(study.claims):
            break
        if is_stepped and not whole:
            break
    return verdicts


def _as_recorded(plan: PlanDocument, study: Study, index: int, verdict: Verdict) -> Verdict:
    """The verdict of a look, left open or out of reach if the look was taken and found it so.

    A run that had failed by then may have a result by now; a look is not taken twice.
    """
    if index >= len(plan.looks_taken):
        return verdict
    state = plan.looks_taken[index].claims[verdict.name].state
    reason: Reason
    if state == "open" and verdict.is_settled:
        reason, n_seeds = "between looks", look_seeds(study.specs[verdict.name])[index + 1]
    elif state == "futile" and verdict.reason != "out of reach":
        reason, n_seeds = "out of reach", None
    else:
        return verdict
    return replace(
        verdict, word="inconclusive", reason=reason, strong=False, next_look_seeds=n_seeds
    )


def study_of(
    plan: PlanDocument,
    runs: pd.DataFrame,
    locks: Mapping[str, SeedsAdded],
    mixed: Collection[str],
) -> Study:
    """What the looks need, see `decide`.

    Args:
        locks: hypothesis → the lock whose seeds and looks decide it, instead of the file's.
    """
    spec = plan.spec
    claims, parts = spec.hypotheses, plan.compared
    specs = {n: locks[n].as_locked(spec) if n in locks else spec for n in claims}
    outcomes = [claim.outcome for claim in claims.values()]
    return Study(
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


def look_verdicts(study: Study, index: int, settled: Mapping[str, Settled]) -> dict[str, Verdict]:
    """The verdict of every hypothesis that is open at a look, on the seeds of the look.

    A claim that was settled before keeps its part in the correction: what was rejected stays
    rejected (Maurer & Bretz 2013).

    Args:
        study: what the looks need.
        index: number of the look, from 0.
        settled: the hypotheses that looks before settled.
    """
    verdicts = {}
    for correction in corrections_of(study.spec):
        names = correction.names
        evidence = _evidence(study, correction, index, settled)
        p_values = [evidence[n].p if n in evidence else settled[n].p for n in names]
        adjusted = dict(zip(names, adjustment(correction)(p_values), strict=True))
        for name in evidence:
            if index < len(looks_of(study.specs[name])):
                p = adjusted[name]
                verdicts[name] = _verdict(study, name, evidence[name], p, correction, index)
        verdicts |= _out_of_reach(study, correction, verdicts, settled)
    return verdicts


def _evidence(
    study: Study, correction: Correction, index: int, settled: Mapping[str, Settled]
) -> dict[str, Evidence]:
    """The evidence on the claims of a correction that are open at a look.

    If seeds are trained in steps, the claims of a family share the error of the bounds that refute,
    by Holm's method: once some are refuted, the others have the whole error among them.
    """
    is_open = [name for name in correction.names if name not in settled]
    names = [name for name in is_open if _shares_bounds(study, name, correction)]
    found = {name: _gather(study, name, index, 1) for name in is_open if name not in names}
    n_left = len(correction.names) - _n_refuted(correction, settled)
    while names:
        found |= {name: _gather(study, name, index, n_left) for name in names}
        # No p is below an alpha of zero, so this is refuted or undecided.
        words = {n: judge(study.claims[n], found[n].scenarios, 1.0, 0.0)[0] for n in names}
        names = [name for name, word in words.items() if word != "refuted"]
        if len(names) == len(words):
            break
        n_left -= len(words) - len(names)
    return found


def _shares_bounds(study: Study, name: str, correction: Correction) -> bool:
    """Whether a claim shares the error of the bounds that refute with its family."""
    return shares_bounds(study.specs[name]) and correction.method == "Holm"


def _n_refuted(correction: Correction, settled: Mapping[str, Settled]) -> int:
    return sum(settled[name].refuted for name in correction.names if name in settled)


def _out_of_reach(
    study: Study,
    correction: Correction,
    verdicts: Mapping[str, Verdict],
    settled: Mapping[str, Settled],
) -> dict[str, Verdict]:
    """The verdicts of the open claims of a correction that further seeds will hardly decide.

    The rule is not binding: the error rates hold if these claims go on. While a run of the
    correction is missing, no claim is out of reach: results of others raise the level of a claim.
    """
    found: dict[str, Verdict] = {}
    here = [verdicts[name] for name in correction.names if name in verdicts]
    if any(not one.evidence.scenarios for one in here):
        return found
    n_refuted = sum(one.word == "refuted" for one in here) + _n_refuted(correction, settled)
    n_rejected = sum(Settled.of(one).p == 0 for one in here)
    n_rejected += sum(settled[name].p == 0 for name in correction.names if name in settled)
    n_claims = len(correction.names)
    for one in here:
        own = study.specs[one.name]
        if one.reason != "between looks" or own.seed_steps is None:
            continue
        last = looks_of(own)[-1]
        is_shared = _shares_bounds(study, one.name, correction)
        chance = chance_to_decide(
            one.claimed_effect,
            one.evidence.spread_of_effect,
            len(one.evidence.differences),
            last.seeds,
            direction=one.hypothesis.direction,
            margin=one.hypothesis.margin,
            alpha=last.alpha / max(1, n_claims - n_rejected),
            bound_error=bound_error(own, last) / (max(1, n_claims - n_refuted) if is_shared else 1),
        )
        if float(chance) < LEAST_CHANCE:
            found[one.name] = replace(one, reason="out of reach", next_look_seeds=None)
    return found


def _gather(study: Study, name: str, index: int, n_shares: int) -> Evidence:
    """The evidence on one hypothesis at a look, or at its last look if it has fewer.

    Args:
        n_shares: claims that share the error of the bounds that refute.
    """
    own = study.specs[name]
    look = looks_of(own)[: index + 1][-1]
    return gather(
        study.spec.hypotheses[name],
        study.parts[name],
        study.runs[own.seeds],
        own.seeds[: look.seeds],
        design=study.spec.design,
        bound_error=bound_error(own, look) / n_shares,
        exact=name in study.exact,
    )


def _verdict(
    study: Study,
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
        rule=_stopping_rule(study, name, correction) if len(looks) > 1 else None,
    )


def _stopping_rule(study: Study, name: str, correction: Correction) -> StoppingRule:
    """When a claim stops if no other claim of its family is decided."""
    own, claim, n_claims = study.specs[name], study.claims[name], len(correction.names)
    n_shares = n_claims if _shares_bounds(study, name, correction) else 1
    looks = looks_of(own)
    return StoppingRule(
        claim.direction,
        claim.margin,
        tuple(look.seeds for look in looks),
        tuple(look.alpha / n_claims for look in looks),
        tuple(bound_error(own, look) / n_shares for look in looks),
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
