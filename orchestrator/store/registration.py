"""Preregistration: what decides each hypothesis is stored with its hash before the first run."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from decoder.atomic import write_atomically
from decoder.config import digest
from decoder.errors import StorageError
from decoder.regular import read_regular
from orchestrator.plan.document import SeedsAdded
from orchestrator.plan.plan import Plan
from orchestrator.spec.arms import Arm
from orchestrator.spec.claims import (
    choose_test,
    exact_test,
    is_equivalence,
    largest_family,
    plans_looks,
)
from orchestrator.spec.configuration import identity, n_steps_of
from orchestrator.spec.schema import FORMER_NO_DIFFERENCE, AblationSpec, Hypothesis, Look
from orchestrator.spec.seeds import SeedSteps
from orchestrator.store.paths import Results
from orchestrator.store.record import first_mistake
from orchestrator.store.sources import training_sha256

# How the looks of seeds in steps spend α, see `orchestrator.spec.spending`. Another name for
# another rule, so that claims locked before keep no verdict of it unlabelled.
SPENDING = "in proportion to the seeds"
_OF_LOOKS = frozenset({"looks", "seed_steps", "spending", "largest_family"})


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True)

    sha256: str
    block: dict[str, Any]
    run_ids: list[str]


class _Lock(BaseModel):
    hypotheses: dict[str, _Entry]


_LOCK = TypeAdapter(_Lock)


def hypothesis_blocks(plan: Plan) -> dict[str, dict[str, Any]]:
    """For each hypothesis, everything that decides its verdict, except the runs.

    A block has the claim, contrast, slice, outcome, direction, margin and test; α, looks, the steps
    of the seeds with the rule by which their looks spend α and the size of the largest family, for
    which it does; the members of the correction family, the collapse thresholds, the seeds, and the
    step budgets and configurations of the compared arms. It does not have the location of the
    recordings.
    """
    spec = plan.loaded.spec
    blocks = {}
    for name, hypothesis in spec.hypotheses.items():
        arms = _compared_arms(plan, name)
        claimed = hypothesis.model_dump(mode="json", by_alias=True)
        del claimed["test"]  # the test that it chooses is in the block
        if not claimed["exploratory"]:
            del claimed["exploratory"]  # so that blocks from before this key stay equal
        if is_equivalence(hypothesis):
            claimed["direction"] = FORMER_NO_DIFFERENCE  # for the same reason
        claimed["test"] = choose_test(hypothesis, spec.design)
        looks = {"looks": [look.model_dump(mode="json") for look in spec.looks]}
        steps = {
            "seed_steps": spec.seed_steps and spec.seed_steps.model_dump(),
            "spending": SPENDING,
            "largest_family": largest_family(spec),
        }
        blocks[name] = {
            **claimed,
            **(looks if spec.looks else {}),
            **(steps if spec.seed_steps is not None else {}),
            "alpha": spec.alpha,
            "family_members": sorted(
                other for other, h in spec.hypotheses.items() if _together(h, hypothesis)
            ),
            "collapse": spec.collapse.model_dump(mode="json"),
            # A look uses the first seeds of the list, so their order matters.
            "seeds": list(spec.seeds) if plans_looks(spec) else sorted(spec.seeds),
            "n_steps": sorted({n_steps_of(arm.config) for arm in arms}),
            "configs": [digest(identity(arm.config)) for arm in arms],
        }
        if spec.trainer is not None:  # what the outcome is read from decides the claim, too
            outcome = hypothesis.outcome  # what is found, such as collapse, may follow from any
            read = {n: s for n, s in spec.trainer.metrics.items() if n == outcome}
            blocks[name]["metrics"] = {
                metric: source.model_dump(mode="json")
                for metric, source in (read or spec.trainer.metrics).items()
            }
    return blocks


class Registered(NamedTuple):
    """The lock of the hypotheses of a plan.

    Attributes:
        changed: hypotheses that were added or changed after their runs.
        exact: hypotheses that were locked when every test was exact, and keep theirs.
        seeds_added: hypotheses in which nothing changed after their runs but that seeds were added
            to the list, which are decided by the seeds of their lock.
        rule: names the blocks that decide now, and the source code that trains.
    """

    changed: tuple[str, ...]
    exact: tuple[str, ...]
    seeds_added: Mapping[str, SeedsAdded]
    rule: str


def register(plan: Plan, results: Results, recorded: Collection[str]) -> Registered:
    """Store the blocks of this plan in ``lock.json``, unless runs that decide them exist.

    The block of a hypothesis is final once a run of its arms is recorded. A new hypothesis is too
    late if for some seed every run that it compares is recorded, by any ablation, since its effect
    could have been seen.

    Args:
        results: where ``lock.json`` is stored.
        recorded: ids of the runs with a result in the ledger.

    Raises:
        StorageError: ``lock.json`` cannot be read or written.
    """
    kept = _read(results, plan.loaded.spec.name)
    locked, registered = compare(plan, kept, recorded)
    if locked != kept:
        content = json.dumps({"schema": 1, "hypotheses": locked}, indent=1).encode()
        write_atomically(results.lock(plan.loaded.spec.name), content)
    return registered


def check_lock(plan: Plan, results: Results, recorded: Collection[str]) -> Registered:
    """The result of `register`, without writing a file."""
    return compare(plan, _read(results, plan.loaded.spec.name), recorded)[1]


def compare(
    plan: Plan, kept: Mapping[str, Any] | None, recorded: Collection[str]
) -> tuple[dict[str, Any], Registered]:
    """The lock after this plan, and what it says of the hypotheses.

    Args:
        kept: hypothesis → its entry of the lock; None before the first run of the ablation.
        recorded: ids of the runs with a result.
    """
    locked, changed, exact = dict(kept or {}), [], []
    seeds_added: dict[str, SeedsAdded] = {}
    deciding: dict[str, str] = {}  # hypothesis → the hash of its block that decides
    for name, block in hypothesis_blocks(plan).items():
        run_ids = _run_ids(plan, name)
        entry = {"sha256": digest(block), "block": block, "run_ids": run_ids}
        deciding[name] = digest(block)
        old = locked.get(name)
        if old is None:
            if _could_be_seen(plan, name, recorded):
                changed.append(name)
            else:
                locked[name] = entry
            continue
        if old["sha256"] == entry["sha256"]:
            continue
        seen = not set(run_ids).union(old["run_ids"]).isdisjoint(recorded)
        kept_block = old["block"] if digest(old["block"]) == old["sha256"] else {}
        # Locked when every test was exact. If the rest is equal, the test of now is no change.
        not_locked = {"test"} - kept_block.keys()
        same = _equal(kept_block, block, not_locked)
        added = _added_seeds(kept_block, block, plan.loaded.spec, not_locked)
        test_new = bool(not_locked) and _is_test_new(plan, name)
        if not seen:
            if test_new or not same:
                locked[name] = entry
        elif same or added:
            if test_new:
                exact.append(name)
            if added:
                seeds_added[name] = added
                deciding[name] = old["sha256"]
        else:
            changed.append(name)
    rule = digest([deciding, training_sha256()])[:16]
    return locked, Registered(tuple(changed), tuple(exact), seeds_added, rule)


def _equal(one: Mapping[str, Any], other: Mapping[str, Any], ignored: Collection[str]) -> bool:
    left, right = ({k: v for k, v in block.items() if k not in ignored} for block in (one, other))
    return digest(left) == digest(right)


def _added_seeds(
    old: Mapping[str, Any], block: Mapping[str, Any], spec: AblationSpec, ignored: Collection[str]
) -> SeedsAdded | None:
    """The seeds of a locked block, if the block of now has these and more, and else differs in
    looks or steps alone; None otherwise.

    The last look is at all seeds, so a file with looks cannot get seeds without changing them. What
    the looks of the lock decide does not depend on that, as long as their seeds come first.
    """
    if not _equal(old, block, {"seeds", *_OF_LOOKS, *ignored}):
        return None
    n_claims = largest_family(spec)
    if old.get("largest_family", n_claims) != n_claims:
        return None
    before = tuple(old["seeds"])
    if not set(before) < set(spec.seeds):
        return None
    if not _OF_LOOKS.isdisjoint(old) and spec.seeds[: len(before)] != before:
        return None
    looks = tuple(map(Look.model_validate, old.get("looks", ())))
    steps = SeedSteps.model_validate(old["seed_steps"]) if "seed_steps" in old else None
    n_added = len(spec.seeds) - len(before)
    return SeedsAdded(locked=before, looks=looks, steps=steps, n_added=n_added)


def _is_test_new(plan: Plan, name: str) -> bool:
    spec = plan.loaded.spec
    hypothesis = spec.hypotheses[name]
    return choose_test(hypothesis, spec.design) != exact_test(hypothesis, spec.design)


def _together(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether two hypotheses are corrected together; all exploratory ones are."""
    if one.exploratory or other.exploratory:
        return one.exploratory and other.exploratory
    return one.family == other.family


def _compared_arms(plan: Plan, hypothesis: str) -> list[Arm]:
    """The arms compared, ``from`` side first."""
    arms = {arm.arm_id: arm for arm in plan.loaded.arms}
    return [arms[side.arm_id] for side in reversed(plan.loaded.compared[hypothesis])]


def _could_be_seen(plan: Plan, hypothesis: str, recorded: Collection[str]) -> bool:
    """Whether for some seed the runs of every arm that a hypothesis compares are recorded."""
    wanted = set(_run_ids(plan, hypothesis))
    by_block: dict[int, list[bool]] = {}
    for run in plan.runs:
        if run.run_id in wanted:
            by_block.setdefault(run.block, []).append(run.run_id in recorded)
    return any(all(known) for known in by_block.values())


def _run_ids(plan: Plan, hypothesis: str) -> list[str]:
    arms = _compared_arms(plan, hypothesis)
    arm_ids = {arm.arm_id for arm in arms}
    return sorted({run.run_id for run in plan.runs if run.arm_id in arm_ids})


def _read(results: Results, name: str) -> dict[str, Any] | None:
    path = results.lock(name)
    try:
        document = _LOCK.validate_json(read_regular(path))
        return {name: entry.model_dump() for name, entry in document.hypotheses.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        what = first_mistake(error) if isinstance(error, ValidationError) else str(error)
        raise StorageError(
            f"{path}: cannot be read ({what}); it is the record of the claims before the first "
            "run, so restore it, or run the ablation under a new name"
        ) from None
