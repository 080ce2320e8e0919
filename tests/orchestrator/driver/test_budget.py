"""Under a limit of time, packs train in the order in which they decide claims."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from decoder.pack import Pack, Progress, Run, RunResult
from orchestrator.driver.budget import budget_text, left_over_text, plan_budget, seconds_left
from orchestrator.driver.cost import Pace, Rate
from orchestrator.driver.timekeeper import Timekeeper
from orchestrator.execute.backends import PackEvent, PackFailed
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan
from orchestrator.spec.load import Loaded

# Arms of three shapes, so that each seed has three packs; one claim about each of two shapes.
WIDTHS = {
    "factors/width": {
        "narrow": {},
        "middle": {"model.n_units": 16},
        "wide": {"model.n_units": 32},
    },
    "factors/rate": ...,
    "hypotheses": {
        name: {
            "claim": "Weak noise raises PER.",
            "contrast": {"factor": "noise", "from": "official", "to": "weak"},
            "where": {"width": name},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.02,
            **more,
        }
        for name, more in (("wide", {}), ("narrow", {"exploratory": True}))
    },
}


@pytest.fixture
def plan(load: Callable[..., Loaded], plan_of: Callable[..., Plan]) -> Plan:
    return plan_of(load(WIDTHS), n_workers=1)


def names_of(plan: Plan) -> dict[str, str]:
    """Pack id → width and seed, such as ``wide 0``."""
    width = {arm.arm_id: arm.levels["width"] for arm in plan.loaded.arms}
    return {pack.pack_id: f"{width[pack.runs[0].arm_id]} {pack.seed}" for pack in plan.packs}


def hours_each(plan: Plan, hours: float = 1.0) -> dict[str, float]:
    return {pack.pack_id: 3600 * hours for pack in plan.packs}


def test_claims_are_completed_one_after_the_other_confirmatory_ones_first(plan: Plan) -> None:
    packs = packs_to_train(plan.packs, ())
    budget = plan_budget(plan, packs, hours_each(plan), n_workers=1, hours=4.5)
    names = names_of(plan)
    assert [names[pack_id] for pack_id in budget.order] == [
        *("wide 0", "wide 1", "wide 2"),
        *("narrow 0", "narrow 1", "narrow 2"),
        *("middle 0", "middle 1", "middle 2"),
    ]
    assert budget.complete == {"wide": 3.0}
    assert budget.undecided == ("narrow",)
    assert budget.fitting is not None and len(budget.fitting) == 4
    assert (budget.n_runs, budget.n_fitting_runs, budget.hours_needed) == (18, 8, 9.0)


def test_of_equal_claims_the_one_that_needs_least_time_comes_first(
    load: Callable[..., Loaded], plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(
        load(copy.deepcopy(WIDTHS) | {"hypotheses/narrow/exploratory": False}), n_workers=1
    )
    names, packs = names_of(plan), packs_to_train(plan.packs, ())
    for slow in ("wide", "narrow"):
        seconds = {pack_id: 60.0 + 60 * (slow in name) for pack_id, name in names.items()}
        budget = plan_budget(plan, packs, seconds, n_workers=1, hours=1.0)
        assert list(budget.complete)[-1] == slow
    # Without known times, the work decides: wide layers take more.
    budget = plan_budget(plan, packs, {}, n_workers=1, hours=1.0)
    assert budget.undecided == ("narrow", "wide")
    assert budget.fitting is None and budget.hours_needed is None


def test_recorded_runs_count_and_a_complete_claim_needs_nothing(plan: Plan) -> None:
    names = names_of(plan)
    recorded = {
        run.run_id
        for pack in plan.packs
        for run in pack.runs
        if names[pack.pack_id].startswith("wide") or names[pack.pack_id] == "narrow 0"
    }
    packs = packs_to_train(plan.packs, recorded)
    budget = plan_budget(plan, packs, hours_each(plan), n_workers=2, hours=1.0)
    assert [names[pack_id] for pack_id in budget.order][:2] == ["narrow 1", "narrow 2"]
    assert budget.complete == {"narrow": 1.0}
    assert budget.hours_needed == 3.0
    everything = plan_budget(plan, [], {}, n_workers=2, hours=1.0)
    assert (everything.order, everything.undecided, everything.hours_needed) == ((), (), 0.0)


def test_texts_name_claims_counts_and_hours(plan: Plan) -> None:
    packs = packs_to_train(plan.packs, ())
    text = budget_text(plan_budget(plan, packs, hours_each(plan), 1, 4.5))
    for fact in ("4 h 30 min", "4 of 9 packs", "8 of 18 runs", "wide (3 h 00 min)", "9 h 00 min"):
        assert fact in text
    left = left_over_text(plan_budget(plan, packs[:2], hours_each(plan, 0.5), 1, 0.0))
    for fact in ("4 runs in 2 packs", "1 h 00 min"):
        assert fact in left


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def result(run: Run, seconds: float) -> RunResult:
    return RunResult(run.run_id, "ok", (), run.config.train.n_steps, 1, 0, seconds, 2, 1)


def keep_time(
    plan: Plan, hours: float, rates: Any = None, **more: Any
) -> tuple[Timekeeper, Clock, list[str]]:
    said: list[str] = []
    clock, packs = Clock(), packs_to_train(plan.packs, ())
    pace = Pace(rates or {}, {}, 1, "core", "")
    until = clock.now + 3600 * hours
    return Timekeeper(plan, packs, pace, 1, until, said.append, clock, **more), clock, said


def train(keeper: Timekeeper, clock: Clock, pack: Pack, seconds: float) -> None:
    clock.now += seconds
    finished = [result(run, seconds) for run in pack.runs]
    keeper.follow(PackEvent(pack.pack_id, Progress(60, {}, finished)))


def test_the_forecast_follows_what_was_measured(plan: Plan) -> None:
    shapes = {(p.data.fingerprint, p.shape) for p in plan.packs}
    rates = {shape: Rate(1.0, 1.0, 1.0) for shape in shapes}  # 60 steps of 2 runs: 120 s
    keeper, clock, said = keep_time(plan, 0.1, rates)  # 360 s: the three packs of a claim
    assert "3 of 9 packs" in said[0]
    train(keeper, clock, keeper.order[0], 120.0)
    assert len(said) == 1  # as expected
    train(keeper, clock, keeper.order[1], 230.0)  # slower, so that the third does not end in time
    assert len(said) == 2 and "0 of 7 packs" in said[1] and "wide" in said[1]


def test_what_is_left_counts_the_steps_that_are_done(plan: Plan) -> None:
    keeper, clock, said = keep_time(plan, 1.0)
    assert "not known" in said[0]
    first, second, third, *_ = keeper.order
    train(keeper, clock, first, 120.0)
    keeper.follow(PackEvent(second.pack_id, Progress(45)))
    failed = PackFailed(tuple(run.run_id for run in third.runs), "", 3)
    keeper.follow(PackEvent(third.pack_id, failed))
    left = keeper.say_left()
    assert second.pack_id in left.order and third.pack_id not in left.order
    assert (left.n_runs, len(left.order)) == (14, 7)
    # 1 s a step and run of the wide one, of which 15 steps are left; the others follow from work.
    assert left.hours_needed is not None and 30 / 3600 < left.hours_needed < 7 * 120 / 3600
    assert left.undecided == ("wide", "narrow")


def test_runs_that_another_process_recorded_are_not_left(plan: Plan) -> None:
    keeper, *_ = keep_time(plan, 1.0)
    first, second, *_ = keeper.order
    elsewhere = [run.run_id for run in (*first.runs, second.runs[0])]
    left = keeper.say_left(elsewhere)
    assert first.pack_id not in left.order and second.pack_id in left.order
    assert left.n_runs == sum(len(pack.runs) for pack in keeper.order) - len(elsewhere)


def test_a_pack_in_the_middle_needs_its_remaining_steps_at_the_measured_pace(plan: Plan) -> None:
    shapes = {(p.data.fingerprint, p.shape) for p in plan.packs}
    keeper, clock, _ = keep_time(plan, 1.0, {shape: Rate(1.0, 1.0, 1.0) for shape in shapes})
    before = keeper.say_left().hours_needed
    train(keeper, clock, keeper.order[0], 240.0)  # twice as slow as expected, and so its shape
    keeper.follow(PackEvent(keeper.order[1].pack_id, Progress(45)))  # of 60
    assert before == pytest.approx(9 * 120 / 3600)
    assert keeper.say_left().hours_needed == pytest.approx((6 * 120 + 240 + 240 / 4) / 3600)


def test_a_pack_with_a_checkpoint_needs_what_is_left_of_it(plan: Plan) -> None:
    packs = packs_to_train(plan.packs, ())
    done = {packs[0].pack_id: 45, packs[1].pack_id: 60}  # of 60
    seconds = seconds_left(packs, hours_each(plan), done)
    assert [seconds[pack.pack_id] for pack in packs[:3]] == [900.0, 0.0, 3600.0]
    shapes = {(p.data.fingerprint, p.shape) for p in plan.packs}
    rates = {shape: Rate(1.0, 1.0, 1.0) for shape in shapes}
    keeper, *_ = keep_time(plan, 1.0, rates, steps_done=done)
    assert keeper.say_left().hours_needed == pytest.approx((7 * 120 + 30) / 3600)
