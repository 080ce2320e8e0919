"""What a limit of time allows: the order in which packs train, and what is left when it ends.

A claim gets a verdict only when no run of its arms is missing, so claims are completed one after
the other: confirmatory ones first, then the one that needs the least further time. Within a claim
its seeds follow the file, so that a planned look comes as early as it can. Packs that no claim
needs come last.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.plan.packs import work_of
from orchestrator.plan.plan import Plan
from orchestrator.spec.configuration import Pack, n_steps_of
from orchestrator.terminal import time_text


@dataclass(frozen=True)
class Budget:
    """The packs of a plan that are not trained yet, in order, and what a limit of time allows.

    Attributes:
        hours: the limit.
        order: pack ids, in the order in which they train.
        n_runs: their runs without a result.
        fitting: those packs that end within the limit; None if the time they take is unknown.
        n_fitting_runs: their runs; None if unknown.
        complete: claim → hours after which none of its runs is missing, for the claims that this
            completes within the limit; empty if unknown.
        undecided: the claims with runs missing after the limit, in the order in which they would
            be completed; every incomplete claim if the time is unknown.
        hours_needed: for all packs; None if unknown.
    """

    hours: float
    order: tuple[str, ...]
    n_runs: int
    fitting: tuple[str, ...] | None
    n_fitting_runs: int | None
    complete: Mapping[str, float]
    undecided: tuple[str, ...]
    hours_needed: float | None


def plan_budget(
    plan: Plan,
    packs: Sequence[Pack],
    pack_seconds: Mapping[str, float],
    n_workers: int,
    hours: float,
    *,
    order: Sequence[str] | None = None,
) -> Budget:
    """Order packs by what their runs decide, and find out which of them end in time.

    Args:
        packs: with the runs that have no result.
        pack_seconds: pack id → the time it takes; for some packs only, if it is unknown for others.
        n_workers: packs trained at the same time.
        hours: the limit.
        order: the ids of these packs, and perhaps of others, if their order is fixed already.
    """
    needed = _packs_of_claims(plan, packs)
    is_known = all(pack.pack_id in pack_seconds for pack in packs)
    cost = {p.pack_id: pack_seconds[p.pack_id] for p in packs} if is_known else _work(plan, packs)
    if order is None:
        order = _order(plan, packs, needed, cost)
    place = {pack_id: index for index, pack_id in enumerate(order)}
    order = [pack_id for pack_id in order if pack_id in cost]
    claims = sorted(
        needed, key=lambda name: max(place[p] for of_seed in needed[name] for p in of_seed)
    )
    ends = _ends([cost[pack_id] / 3600 for pack_id in order], n_workers) if is_known else []
    end_of = dict(zip(order, ends, strict=False))
    complete_at = {
        name: max(end_of[pack_id] for of_seed in needed[name] for pack_id in of_seed)
        for name in (claims if is_known else ())
    }
    complete = {name: end for name, end in complete_at.items() if end <= hours}
    fitting = tuple(pack_id for pack_id in order if is_known and end_of[pack_id] <= hours)
    n_runs = {pack.pack_id: len(pack.runs) for pack in packs}
    return Budget(
        hours=hours,
        order=tuple(order),
        n_runs=sum(n_runs.values()),
        fitting=fitting if is_known else None,
        n_fitting_runs=sum(n_runs[pack_id] for pack_id in fitting) if is_known else None,
        complete=complete,
        undecided=tuple(name for name in claims if name not in complete),
        hours_needed=max(ends, default=0.0) if is_known else None,
    )


def seconds_left(
    packs: Sequence[Pack], pack_seconds: Mapping[str, float], steps_done: Mapping[str, int]
) -> dict[str, float]:
    """Pack id → the time it takes from its checkpoint on.

    Args:
        pack_seconds: pack id → the time it takes from its first step on.
        steps_done: pack id → the step of its checkpoint.
    """
    left = {}
    for pack in packs:
        if pack.pack_id in pack_seconds:
            steps, done = _steps(pack), steps_done.get(pack.pack_id, 0)
            share = sum(max(0, n - done) for n in steps) / sum(steps)
            left[pack.pack_id] = share * pack_seconds[pack.pack_id]
    return left


def budget_text(budget: Budget) -> str:
    """One line: what is trained within the limit, and what is decided."""
    text = f"of {_hours(budget.hours)}: "
    if not budget.order:
        return f"{text}every run is recorded"
    if budget.fitting is None:
        text += f"how long the {len(budget.order)} packs take is not known yet"
        return text + (f"; claims in their order: {', '.join(budget.undecided)}")
    text += (
        f"{len(budget.fitting)} of {len(budget.order)} packs ({budget.n_fitting_runs} of "
        f"{budget.n_runs} runs) are expected to end in time"
    )
    if budget.complete:
        ends = ", ".join(f"{name} ({_hours(end)})" for name, end in budget.complete.items())
        text += f"; decided: {ends}"
    if budget.undecided:
        text += f"; undecided: {', '.join(budget.undecided)}"
    return text + f"; all packs take {_hours(budget.hours_needed or 0.0)}"


def left_over_text(left: Budget) -> str:
    """One line on what is not trained when the time is used up."""
    text = f"not trained to the end: {left.n_runs} runs in {len(left.order)} packs"
    if left.undecided:
        text += f"; undecided: {', '.join(left.undecided)}"
    if left.hours_needed is not None:
        text += f"; they need about {_hours(left.hours_needed)} more"
    return text


def _steps(pack: Pack) -> list[int]:
    return [n_steps_of(run.config) for run in pack.runs]


def _hours(hours: float) -> str:
    return time_text(3600 * hours)


def _packs_of_claims(plan: Plan, packs: Sequence[Pack]) -> dict[str, list[list[str]]]:
    """Claim → for each seed of the file, the packs with missing runs of its arms; without the
    claims that miss none."""
    pack_of = {run.run_id: pack.pack_id for pack in packs for run in pack.runs}
    found = {}
    for name, compared in plan.loaded.compared.items():
        arms = {one.arm_id for one in compared}
        by_seed: dict[int, list[str]] = {seed: [] for seed in plan.loaded.spec.seeds}
        for run in plan.runs:
            if run.arm_id in arms and run.run_id in pack_of:
                by_seed[run.block].append(pack_of[run.run_id])
        if any(by_seed.values()):
            found[name] = [list(dict.fromkeys(of_seed)) for of_seed in by_seed.values()]
    return found


def _work(plan: Plan, packs: Sequence[Pack]) -> dict[str, float]:
    """Pack id → its work in arbitrary units."""
    planned = {pack.pack_id: pack for pack in plan.packs}
    return {
        pack.pack_id: work_of(planned[pack.pack_id], {run.run_id for run in pack.runs})
        for pack in packs
    }


def _order(
    plan: Plan,
    packs: Sequence[Pack],
    needed: Mapping[str, Sequence[Sequence[str]]],
    cost: Mapping[str, float],
) -> list[str]:
    """The ids of the packs, in the order in which they complete claims."""
    hypotheses = plan.loaded.spec.hypotheses
    open_claims = list(needed)
    order: dict[str, None] = {}  # an ordered set

    def add(pack_ids: Sequence[str]) -> None:
        new = [pack_id for pack_id in pack_ids if pack_id not in order]
        order.update(dict.fromkeys(sorted(new, key=lambda pack_id: -cost[pack_id])))

    while open_claims:
        further = {
            name: sum(
                cost[pack_id]
                for pack_id in {p for of_seed in needed[name] for p in of_seed}
                if pack_id not in order
            )
            for name in open_claims
        }
        name = min(open_claims, key=lambda n: (hypotheses[n].exploratory, further[n]))
        open_claims.remove(name)
        for of_seed in needed[name]:
            add(of_seed)
    blocks = {pack.pack_id: pack.runs[0].block for pack in plan.packs}
    for seed in plan.loaded.spec.seeds:
        add([pack.pack_id for pack in packs if blocks[pack.pack_id] == seed])
    return list(order)


def _ends(hours: Sequence[float], n_workers: int) -> list[float]:
    """When each job ends if they start in order, each on the first worker that is free."""
    free, ends = [0.0] * n_workers, []
    for of_job in hours:
        ends.append(free[0] + of_job)
        heapq.heapreplace(free, ends[-1])
    return ends
