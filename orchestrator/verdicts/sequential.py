"""Takes one look at the runs so far: which claims it settles, and which arms need more seeds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.spec.claims import looks_of
from orchestrator.verdicts.verdicts import Settled, Verdict, look_verdicts, study_of

State = Literal["open", "supported", "refuted", "futile", "inconclusive"]


@dataclass(frozen=True)
class ClaimState:
    """What is known of a claim after a look.

    Attributes:
        name: name of the hypothesis.
        state: ``open`` if a further look may decide it; ``futile`` if none is likely to, so that
            its verdict is inconclusive and *out of reach*; ``inconclusive`` after its last look.
        look: number of the look that settled it, from 1; of an open claim, the latest look.
        n_seeds: seeds of that look.
        alpha: what that look could spend on the family, before the correction.
        p_adjusted: the adjusted p-value at that look.
        effect: the effect at that look, ``to`` minus ``from``, in the unit of the outcome.
    """

    name: str
    state: State
    look: int
    n_seeds: int
    alpha: float
    p_adjusted: float
    effect: float


@dataclass(frozen=True)
class LookDecision:
    """What a look decided.

    Attributes:
        look: number of the look, from 1.
        n_seeds: its seeds.
        claims: hypothesis → its state, for every hypothesis, in the order of the file.
        needed: ids of the arms that further seeds must train: those that an open claim compares.
            Controls, criteria and arms that no claim compares ask for no further seeds; they are
            judged on the seeds that they have.
    """

    look: int
    n_seeds: int
    claims: Mapping[str, ClaimState]
    needed: tuple[str, ...]


def take_look(
    plan: PlanDocument,
    runs: pd.DataFrame,
    mixed: Collection[str],
    index: int,
    before: LookDecision | None,
) -> LookDecision | None:
    """Take one look, by the rule of `orchestrator.verdicts.verdicts.decide`.

    The same runs always give the same decision, and `decide` on all runs gives the words of the
    decisions.

    Args:
        plan: the plan document.
        runs: `orchestrator.tables.tables.runs_table` of it. Runs of later seeds have no part.
        mixed: hypotheses that compare runs of different decoder sources.
        index: number of the look, from 0.
        before: what the look before decided; None at the first.

    Returns:
        None while a run of an open claim's arms is missing at the seeds of this look.
    """
    known = dict(before.claims) if before is not None else {}
    settled = {name: _settled(state) for name, state in known.items() if state.state != "open"}
    study = study_of(plan, runs, plan.seeds_added, mixed)
    verdicts = look_verdicts(study, index, settled)
    if any(not verdict.evidence.scenarios for verdict in verdicts.values()):
        return None
    states = {
        name: _state(verdicts[name], looks_of(study.specs[name])[index].seeds)
        if name in verdicts
        else known[name]
        for name in plan.spec.hypotheses
    }
    still = {
        part.arm_id
        for name, state in states.items()
        if state.state == "open"
        for part in plan.compared[name]
    }
    needed = tuple(arm.arm_id for arm in plan.arms if arm.arm_id in still)
    return LookDecision(index + 1, looks_of(plan.spec)[index].seeds, states, needed)


def _settled(state: ClaimState) -> Settled:
    return Settled(0.0 if state.p_adjusted < state.alpha else 1.0, state.state == "refuted")


def _state(verdict: Verdict, n_seeds: int) -> ClaimState:
    state: State = "open"
    if verdict.word != "inconclusive":
        state = verdict.word
    elif verdict.reason == "out of reach":
        state = "futile"
    elif verdict.is_settled:
        state = "inconclusive"
    assert verdict.p_adjusted is not None
    effect = verdict.evidence.shown.effect
    return ClaimState(
        verdict.name, state, verdict.look, n_seeds, verdict.alpha, verdict.p_adjusted, effect
    )
