"""What the looks of an ablation decided, and which runs are still wanted after them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from orchestrator.spec.claims import look_seeds, stops_early

if TYPE_CHECKING:
    from orchestrator.plan.document import PlanDocument
    from orchestrator.spec.schema import AblationSpec

State = Literal["open", "supported", "refuted", "futile", "inconclusive"]
DECIDED = ("supported", "refuted")


class _Record(BaseModel):
    """A part of the record of a look; unknown keys are ignored, as in `PlanDocument`."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class ClaimState(_Record):
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


class LookDecision(_Record):
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


def rule_of_looks(document: "PlanDocument") -> "AblationSpec | None":
    """The specification under which the looks of an ablation are taken.

    It is the ablation's own, or that of the lock if seeds were added later to every claim.

    Returns:
        None if every run is trained, whatever a look decides: the file plans no looks, or only some
        of its claims have the seeds of their lock.
    """
    spec, added = document.spec, document.seeds_added
    if not stops_early(spec):
        return None
    if not added:
        return spec
    locked = {name: one.as_locked(spec) for name, one in added.items()}
    first, *others = locked.values()
    is_one = all((one, one.seed_steps) == (first, first.seed_steps) for one in others)
    return first if is_one and locked.keys() == spec.hypotheses.keys() else None


def next_look(document: "PlanDocument") -> int | None:
    """The seeds of the look that is due next; None if no further look can decide anything."""
    rule, taken = rule_of_looks(document), document.looks_taken
    if rule is None or (taken and not taken[-1].needed):
        return None
    at = look_seeds(rule)
    return at[len(taken)] if len(taken) < len(at) else None


def spare_runs(document: "PlanDocument") -> frozenset[str]:
    """The ids of the runs that no open claim needed when their seeds were due."""
    rule, taken = rule_of_looks(document), document.looks_taken
    if rule is None or not taken:
        return frozenset()
    place = {seed: index for index, seed in enumerate(rule.seeds)}
    # Needed arms only become fewer, so the last look before a seed decides about it.
    needed_at: dict[int, Collection[str] | None] = {
        index: next((one.needed for one in reversed(taken) if one.n_seeds <= index), None)
        for index in place.values()
    }
    needed_at[len(place)] = _left_open(document)  # by seeds that were added after the lock
    spare: set[str] = set()
    wanted: set[str] = set()
    for run in document.runs:
        needed = needed_at[place.get(run.block, len(place))]
        is_spare = needed is not None and run.arm_id not in needed
        (spare if is_spare else wanted).add(run.run_id)
    return frozenset(spare - wanted)


def runs_wanted(document: "PlanDocument") -> frozenset[str]:
    """The ids of the runs that must have a result before the next look, or before the end."""
    rule, n_seeds = rule_of_looks(document), next_look(document)
    every = document.run_ids
    if rule is not None and n_seeds is not None:
        due = set(rule.seeds[:n_seeds])
        every = tuple(dict.fromkeys(run.run_id for run in document.runs if run.block in due))
    return frozenset(every) - spare_runs(document)


def runs_not_needed(document: "PlanDocument", recorded: Collection[str]) -> frozenset[str]:
    """The ids of the runs without a result that no open claim needs."""
    return spare_runs(document) - frozenset(recorded)


def _left_open(document: "PlanDocument") -> Collection[str]:
    """The arms of the claims that no look has supported or refuted."""
    last = document.looks_taken[-1]
    open_ = [n for n, one in last.claims.items() if one.state not in DECIDED]
    return {part.arm_id for name in open_ for part in document.compared[name]}


def seeds_of_stages(spec: "AblationSpec") -> list[Sequence[int]]:
    """The seeds that train together: those of each look, or all of them."""
    if not stops_early(spec):
        return [spec.seeds]
    ends = look_seeds(spec)
    return [spec.seeds[a:b] for a, b in zip((0, *ends), ends, strict=False)]


def decided_texts(before: LookDecision | None, now: LookDecision) -> list[str]:
    """``NAME is supported``, for each claim that a look settled; then which are open."""
    known = before.claims if before is not None else {}
    settled = {
        name: one.state
        for name, one in now.claims.items()
        if one.state != "open" and (name not in known or known[name].state == "open")
    }
    texts = [f"{name} is {STATE_TEXTS[state]}" for name, state in settled.items()]
    return texts + _open_text(one.name for one in now.claims.values() if one.state == "open")


STATE_TEXTS: Mapping[State, str] = {
    "open": "open",
    "supported": "supported",
    "refuted": "refuted",
    "futile": "inconclusive, as its margin is out of reach",
    "inconclusive": "inconclusive",
}


def _open_text(names: Iterable[str]) -> list[str]:
    listing = list(names)
    return [f"open: {', '.join(listing)}"] if listing else []
