"""Takes one look at the runs so far: which claims it settles, and which arms need more seeds."""

from collections.abc import Collection

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.plan.looks import ClaimState, LookDecision, State
from orchestrator.spec.claims import looks_of
from orchestrator.verdicts.verdicts import Settled, Verdict, look_verdicts, study_of


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
    n_seeds = looks_of(plan.spec)[index].seeds
    return LookDecision(look=index + 1, n_seeds=n_seeds, claims=states, needed=needed)


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
        name=verdict.name,
        state=state,
        look=verdict.look,
        n_seeds=n_seeds,
        alpha=verdict.alpha,
        p_adjusted=verdict.p_adjusted,
        effect=effect,
    )
