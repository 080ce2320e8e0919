"""How far each claim is while its runs train: open, with so many of its seeds, or decided."""

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.plan.document import PlanDocument

if TYPE_CHECKING:
    from orchestrator.report.claims import Answer


class ClaimProgress(NamedTuple):
    """One claim.

    Attributes:
        n_seeds: seeds with a result in every arm that it compares; n_planned: seeds in all.
        answer: its verdict and effect, once the rule has given one that stays; else None.
    """

    name: str
    claim: str
    n_seeds: int
    n_planned: int
    answer: "Answer | None" = None


def open_claims(plan: PlanDocument, recorded: Collection[str]) -> dict[str, ClaimProgress]:
    """Hypothesis → its state, as far as counts say it.

    Args:
        recorded: ids of the runs with a result.
    """
    blocks: dict[str, dict[int, bool]] = {}  # arm → seed → whether its run has a result
    for run in plan.runs:
        blocks.setdefault(run.arm_id, {})[run.block] = run.run_id in recorded
    states = {}
    for name, hypothesis in plan.spec.hypotheses.items():
        of_arms = [blocks.get(part.arm_id, {}) for part in plan.compared[name]]
        planned = set[int].union(*map(set, of_arms)) if of_arms else set()
        if name in plan.seeds_added:
            planned &= set(plan.seeds_added[name].locked)
        done = sum(all(one.get(block, False) for one in of_arms) for block in planned)
        claim = " ".join(hypothesis.claim.split())
        states[name] = ClaimProgress(name, claim, done, len(planned))
    return states
