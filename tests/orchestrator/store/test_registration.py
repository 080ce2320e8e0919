"""`orchestrator.store.registration`: a hypothesis altered after its runs is told apart."""

import json
from collections.abc import Callable

import pytest

from decoder.config import digest
from decoder.errors import StorageError
from orchestrator.plan.plan import Plan
from orchestrator.spec.claims import largest_family
from orchestrator.spec.load import Loaded
from orchestrator.store.paths import Results
from orchestrator.store.registration import check_lock, hypothesis_blocks, register

WEAK = "hypotheses/weak_hurts"


@pytest.fixture
def planned(load: Callable[..., Loaded], plan_of: Callable[..., Plan]) -> Callable[..., Plan]:
    return lambda changes=None: plan_of(load(changes))


def test_a_hypothesis_whose_effect_was_there_to_see_comes_too_late(
    planned: Callable[..., Plan], results: Results
) -> None:
    plan = planned()
    pair = {run.run_id for run in plan.runs if run.seed == 0}
    for _ in range(2):
        assert "weak_hurts" in register(plan, results, pair).changed


def test_a_hypothesis_of_which_only_one_side_exists_is_locked(
    planned: Callable[..., Plan], results: Results
) -> None:
    plan = planned()
    one_side = {run.run_id for run in plan.runs if run.arm_id.startswith("official")}
    assert "weak_hurts" not in register(plan, results, one_side).changed
    kept = json.loads(results.lock("question").read_text())["hypotheses"]
    assert kept["weak_hurts"]["sha256"] == digest(hypothesis_blocks(plan)["weak_hurts"])
    assert register(plan, results, set(plan.distinct)).changed == ()  # locked before the other side


def test_the_order_of_seeds_is_fixed_where_looks_are_taken_at_the_first_of_them(
    planned: Callable[..., Plan], results: Results
) -> None:
    looks = {"looks": [{"seeds": 2, "alpha": 0.01}, {"seeds": 4, "alpha": 0.04}]}
    first = planned({**looks, "seeds": [0, 1, 2, 3]})
    register(first, results, ())
    turned = planned({**looks, "seeds": [3, 2, 1, 0]})
    assert "weak_hurts" in register(turned, results, set(first.distinct)).changed


def test_steps_are_part_of_the_lock_and_a_higher_end_of_them_adds_seeds(
    planned: Callable[..., Plan], results: Results
) -> None:
    first = planned({"seeds": {"start": 2, "max": 6, "step": 2}})
    register(first, results, ())
    recorded = set(first.distinct)
    for other in ({"start": 2, "max": 6, "step": 1}, {"start": 3, "max": 6}, [1, 2, 3, 4, 5, 6]):
        assert "weak_hurts" in check_lock(planned({"seeds": other}), results, recorded).changed
    longer = planned({"seeds": {"start": 2, "max": 9, "step": 3}})
    lock = check_lock(longer, results, recorded)
    assert lock.changed == ()
    spec = lock.seeds_added["weak_hurts"].as_locked(longer.loaded.spec)
    assert spec.seed_steps is not None and spec.seed_steps.at == (2, 4, 6)
    assert lock.rule == check_lock(first, results, recorded).rule


def test_another_largest_family_changes_the_levels_of_steps_and_so_the_claims(
    planned: Callable[..., Plan], results: Results
) -> None:
    steps = {"seeds": {"start": 2, "max": 6, "step": 2}}
    first = planned(steps)
    register(first, results, ())
    recorded = set(first.distinct)
    spec = first.loaded.spec
    weak = spec.hypotheses["weak_hurts"].model_dump(mode="json", by_alias=True)
    more = {
        f"hypotheses/other_{n}": {**weak, "family": "another"}
        for n in range(1 + largest_family(spec))
    }
    one = dict(list(more.items())[:1])
    assert "weak_hurts" not in check_lock(planned({**steps, **one}), results, recorded).changed
    assert "weak_hurts" in check_lock(planned({**steps, **more}), results, recorded).changed
    longer = {"seeds": {"start": 2, "max": 8, "step": 2}}
    assert "weak_hurts" in check_lock(planned({**longer, **more}), results, recorded).changed


@pytest.mark.parametrize(
    "change",
    [
        {f"{WEAK}/margin": 0.01},
        {f"{WEAK}/direction": "decrease"},
        {f"{WEAK}/claim": "Something else."},
        {"alpha": 0.1},
        {"collapse": {"n_evaluations": 2}},
        {"seeds": [0, 1]},
        {"seeds": [0, 1, 3, 4]},
        {"seeds": [0, 1, 2, 3], f"{WEAK}/margin": 0.01},
    ],
)
def test_a_change_after_runs_is_noticed_and_stays_noticed(
    planned: Callable[..., Plan], results: Results, change: dict[str, object]
) -> None:
    first = planned()
    register(first, results, ())
    run_id = next(run.run_id for run in first.runs if run.arm_id == "weak+high")
    for _ in range(2):
        assert "weak_hurts" in register(planned(change), results, {run_id}).changed
    assert register(planned(), results, {run_id}).changed == ()  # back to what was fixed


def locked_seeds(results: Results) -> list[int]:
    kept = json.loads(results.lock("question").read_text())["hypotheses"]
    return kept["weak_hurts"]["block"]["seeds"]


def test_seeds_added_before_any_run_are_locked_like_the_others(
    planned: Callable[..., Plan], results: Results
) -> None:
    register(planned(), results, ())
    assert register(planned({"seeds": [0, 1, 2, 3]}), results, ())[:3] == ((), (), {})
    assert locked_seeds(results) == [0, 1, 2, 3]


def test_seeds_added_after_runs_leave_the_claim_to_the_seeds_of_its_lock(
    planned: Callable[..., Plan], results: Results
) -> None:
    first = planned()
    register(first, results, ())
    run_id = next(run.run_id for run in first.runs if run.arm_id == "weak+high")
    longer = planned({"seeds": [9, 0, 8, 2, 1]})  # without looks, their order does not matter
    for recorded in ({run_id}, set(first.distinct), set(longer.distinct)):
        found = register(longer, results, recorded)
        assert found == check_lock(longer, results, recorded)
        assert found.changed == found.exact == ()
        assert set(found.seeds_added) == {"weak_hurts", "only_when_slow"}
        added = found.seeds_added["weak_hurts"]
        assert (added.locked, added.looks, added.n_added) == ((0, 1, 2), (), 2)
    assert locked_seeds(results) == [0, 1, 2]
    assert register(planned(), results, set(longer.distinct))[:3] == ((), (), {})


def test_seeds_are_added_to_each_hypothesis_whose_arms_have_runs(
    planned: Callable[..., Plan], results: Results
) -> None:
    """The arms of the first hypothesis are some of those of the second."""
    first = planned()
    register(first, results, ())
    elsewhere = next(run.run_id for run in first.runs if run.arm_id == "weak+low")
    found = register(planned({"seeds": [0, 1, 2, 3]}), results, {elsewhere})
    assert set(found.seeds_added) == {"only_when_slow"} and not found.changed
    assert locked_seeds(results) == [0, 1, 2, 3]


TWO_LOOKS = [{"seeds": 2, "alpha": 0.01}, {"seeds": 4, "alpha": 0.03}]
THREE_LOOKS = [*TWO_LOOKS, {"seeds": 6, "alpha": 0.01}]


@pytest.mark.parametrize(
    ("seeds", "looks", "kept"),
    [
        ([3, 1, 0, 2, 5, 4], THREE_LOOKS, True),  # a look added with its seeds
        ([3, 1, 0, 2, 5, 4], [{"seeds": 6, "alpha": 0.05}], True),
        ([3, 1, 0, 2, 5, 4], (), True),
        ([3, 1, 5, 0, 2, 4], THREE_LOOKS, False),  # not behind the others
        ([0, 1, 2, 3, 4, 5], THREE_LOOKS, False),
        ([0, 1, 2, 3], TWO_LOOKS, False),
        ([3, 1, 0, 2], [{"seeds": 3, "alpha": 0.01}, {"seeds": 4, "alpha": 0.04}], False),
        ([3, 1, 0], [{"seeds": 3, "alpha": 0.05}], False),
    ],
)
def test_seeds_added_behind_the_looks_of_a_lock_leave_the_claim_to_these_looks(
    planned: Callable[..., Plan],
    results: Results,
    seeds: list[int],
    looks: list[dict[str, float]],
    kept: bool,
) -> None:
    first = planned({"looks": TWO_LOOKS, "seeds": [3, 1, 0, 2]})
    register(first, results, ())
    found = register(planned({"looks": looks, "seeds": seeds}), results, set(first.distinct))
    assert ("weak_hurts" in found.changed) is not kept
    if kept:
        added = found.seeds_added["weak_hurts"]
        assert added.locked == (3, 1, 0, 2) and added.n_added == 2
        assert [look.model_dump() for look in added.looks] == TWO_LOOKS


def test_a_claim_locked_when_every_test_was_exact_keeps_its_test_and_its_seeds(
    planned: Callable[..., Plan], results: Results
) -> None:
    first = planned()
    register(first, results, ())
    document = json.loads(results.lock("question").read_text())
    for entry in document["hypotheses"].values():
        del entry["block"]["test"]
        entry["sha256"] = digest(entry["block"])
    results.lock("question").write_text(json.dumps(document))
    found = register(planned({"seeds": [0, 1, 2, 7]}), results, set(first.distinct))
    assert found.exact == ("weak_hurts", "only_when_slow") and not found.changed
    assert found.seeds_added["weak_hurts"].locked == (0, 1, 2)


def test_a_block_that_does_not_fit_its_hash_is_a_change(
    planned: Callable[..., Plan], results: Results
) -> None:
    first = planned()
    register(first, results, ())
    document = json.loads(results.lock("question").read_text())
    document["hypotheses"]["weak_hurts"]["block"]["seeds"] = [0, 1]
    results.lock("question").write_text(json.dumps(document))
    longer = planned({"seeds": [0, 1, 2, 3]})
    assert "weak_hurts" in register(longer, results, set(first.distinct)).changed


def test_change_before_the_first_run_is_not_reported(
    planned: Callable[..., Plan], results: Results
) -> None:
    register(planned(), results, ())
    altered = planned({f"{WEAK}/margin": 0.01})
    assert register(altered, results, ()).changed == ()
    kept = json.loads(results.lock("question").read_text())["hypotheses"]
    assert kept["weak_hurts"]["block"]["margin"] == 0.01


def test_only_runs_of_its_own_arms_bind_a_hypothesis(
    planned: Callable[..., Plan], results: Results
) -> None:
    first = planned()
    register(first, results, ())
    elsewhere = next(run.run_id for run in first.runs if run.arm_id == "weak+low")
    assert register(planned({f"{WEAK}/margin": 0.01}), results, {elsewhere}).changed == ()


def test_levels_moved_after_runs_are_a_change(
    planned: Callable[..., Plan], results: Results
) -> None:
    first = planned()
    register(first, results, ())
    done = {run.run_id for run in first.runs}
    moved = planned({"factors/noise/weak": {"augment.white_noise_std": 0.5}})
    assert register(moved, results, done).changed == ("weak_hurts", "only_when_slow")


def test_a_hypothesis_added_after_its_runs_is_exploratory_and_so_is_its_family(
    planned: Callable[..., Plan], results: Results
) -> None:
    first = planned({"hypotheses/only_when_slow": ...})
    register(first, results, ())
    assert register(planned(), results, set(first.distinct)).changed == (
        "weak_hurts",
        "only_when_slow",
    )


def test_looking_writes_nothing(planned: Callable[..., Plan], results: Results) -> None:
    assert check_lock(planned(), results, ()).changed == ()
    assert not results.lock("question").exists()


def test_a_lock_that_cannot_be_read_is_not_replaced(
    planned: Callable[..., Plan], results: Results
) -> None:
    register(planned(), results, ())
    results.lock("question").write_text('{"hypotheses": {"weak_hurts"')
    with pytest.raises(StorageError, match="lock.json"):
        register(planned(), results, ())
