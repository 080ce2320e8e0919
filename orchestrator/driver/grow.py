"""Adds the arms of the next rounds of a greedy path to a plan, from the records alone."""

from collections.abc import Callable, Mapping, Sequence

from orchestrator.execute.machine import Options
from orchestrator.plan.document import plan_document
from orchestrator.plan.packs import Room
from orchestrator.plan.plan import Plan, joined, make_plan
from orchestrator.plan.recordings import Recordings
from orchestrator.spec.arms import Arm, GreedyCandidate, candidate_arm
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.mixing import select_present
from orchestrator.store.paths import Results

Prepare = Callable[[Sequence[Arm]], Mapping[str, Recordings]]


def grow(
    plan: Plan,
    results: Results,
    options: Options,
    prepare: Prepare,
    *,
    allow_mixed: bool = False,
    room: Room | None = None,
) -> Plan:
    """The plan with every round of its greedy path that the records determine.

    The same records give the same rounds and packs, so an interrupted run continues from its
    checkpoints.

    Args:
        allow_mixed: whether records of other decoder sources decide, too.
        room: see `orchestrator.plan.packs.make_packs`.

    Returns:
        The same object if nothing can be added: the plan has no greedy path, the stated path or a
        round is not finished, or the path is complete.

    Raises:
        UserError: the arms of a round cannot be trained, or the records cannot be read.
    """
    spec = plan.loaded.spec
    while spec.greedy is not None:
        arms = _next_arms(plan, results, allow_mixed)
        if not arms:
            break
        # The round has packs of its own, so that they do not depend on what was trained before.
        alone = Loaded(
            spec.model_copy(update={"hypotheses": {}}), plan.loaded.base, plan.loaded.path, arms
        )
        more = make_plan(alone, prepare(arms), options.n_workers, options.max_runs_per_pack, room)
        plan = joined(plan, more)
    return plan


def rounds_planned(plan: Plan) -> int:
    """Number of rounds of the greedy path whose arms are in the plan."""
    return max((arm.candidate.round for arm in plan.loaded.arms if arm.candidate), default=0)


def round_text(plan: Plan) -> str:
    """The last planned round as text, such as ``round 2 of 4, on top of base+rate``."""
    candidates = [arm.candidate for arm in plan.loaded.arms if arm.candidate]
    last = max(candidates, key=lambda candidate: candidate.round)
    return f"round {last.round} of {len(plan.loaded.spec.factors)}, on top of {last.after}"


def _next_arms(plan: Plan, results: Results, allow_mixed: bool) -> tuple[Arm, ...]:
    """The arms of the first undecided round, unless the plan already has them."""
    # pandas: imported here, so that a plan without a greedy path need not wait for it.
    from orchestrator.tables.tables import runs_table
    from orchestrator.verdicts.greedy import greedy_rounds

    spec, base = plan.loaded.spec, plan.loaded.base
    every = read_records(results, plan.distinct, lambda _: None, move_aside=False, full=False)
    records = select_present(every, allow_mixed=allow_mixed).used
    stated = {arm.arm_id for arm in plan.loaded.arms if arm.in_design}
    if any(run.arm_id in stated and run.run_id not in records for run in plan.runs):
        return ()
    histories = {run_id: read_history(results, run_id) for run_id in records}
    document = plan_document(plan)
    runs = runs_table(document, records, histories)
    rounds = greedy_rounds(spec, document.arms, runs)
    if not rounds:
        return ()
    last = rounds[-1]
    kept = [one.chosen for one in rounds[:-1]]
    return tuple(
        candidate_arm(spec, base, {*kept, factor}, GreedyCandidate(last.number, last.before))
        for factor in last.untried
    )
