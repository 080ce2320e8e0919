"""The rules of a report state what the code does."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.report.arms_grid import arms_grid
from orchestrator.report.rules import make_rules
from orchestrator.stats import effects
from orchestrator.tables.tables import Tables, make_tables
from orchestrator.verdicts.verdicts import decide

Build = Callable[..., Any]


def rules_of(made: Any) -> tuple[str, ...]:
    runs = make_tables(*made).runs
    return make_rules(made.plan.spec, decide(made.plan, runs), runs)


def about(rules: tuple[str, ...], word: str) -> list[str]:
    return [rule for rule in rules if word in rule]


def test_the_limits_of_exact_tests_are_those_of_the_code(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    assert about(rules_of(made), "sign-flip") == []
    locked = made.plan.model_copy(update={"exact_locked": ("h",)})
    (rule,) = about(rules_of(made._replace(plan=locked)), "sign-flip")
    assert effects.EXACT_SIGN_FLIPS == 32 and effects.EXACT_LOG_RANK == 8
    assert {effects.EXACT_SIGN_FLIPS, effects.EXACT_LOG_RANK} <= {
        int(number) for number in re.findall(r"\d+", rule)
    }


@pytest.mark.parametrize(("n_runs", "is_exact"), [(8, True), (9, False)])
def test_log_rank_enumerates_every_split_up_to_its_limit(n_runs: int, is_exact: bool) -> None:
    splits = effects._splits(2 * n_runs, n_runs)
    assert (len(splits) != effects.N_RESAMPLES) == is_exact == (n_runs <= effects.EXACT_LOG_RANK)


def test_means_without_diverged_runs_are_mentioned_only_if_a_run_diverged(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    sound = rules_of(build(two_arm_spec, lambda *_: truth()))
    broken = rules_of(build(two_arm_spec, lambda *_: truth(status={1: "diverged"})))
    assert not about(sound, "gradient norm")
    assert len(about(broken, "gradient norm")) == 1


def test_budgets_that_differ_are_named_where_steps_to_escape_are_cut(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    longer = {"mine": {"set": {"train.n_steps": 1600}}}
    made = build({**two_arm_spec, "extra_arms": longer}, lambda *_: truth())
    tables: Tables = make_tables(*made)
    assert about(rules_of(made), "400 steps")
    assert not about(rules_of(build(two_arm_spec, lambda *_: truth())), "400 steps")
    column = "steps to escape"
    assert column in arms_grid(tables.arms, None).header
    (cut,) = (title for title in arms_grid(tables.arms, 400).header if column in title)
    assert "400" in cut
