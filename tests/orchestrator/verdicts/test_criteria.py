import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from orchestrator.spec.units import value_text
from orchestrator.tables.tables import make_tables
from orchestrator.verdicts.criteria import CriterionResult, criteria_table, evaluate, rule_text

Build = Callable[..., Any]


def judge(
    build: Build, two_arm_spec: dict[str, Any], truth: Any, criterion: dict[str, Any], **how: Any
) -> tuple[dict[str, CriterionResult], Any, pd.DataFrame]:
    """Arm → result of one criterion; `how` sets the runs of arm "mean", those of "sum" are ok."""
    spec = {**two_arm_spec, "criteria": {"c": criterion}}
    made = build(spec, lambda levels, _: truth(**how) if levels["loss"] == "mean" else truth())
    runs = make_tables(*made).runs
    results = evaluate(made.plan.spec, runs, made.histories)
    return {result.arm: result for result in results}, made, runs


def test_an_arm_passes_when_every_seed_does(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    criterion = {"metric": "per", "below": 0.5}
    found, _, runs = judge(build, two_arm_spec, truth, criterion, per=0.8)
    assert (found["sum"].status, found["mean"].status) == ("pass", "fail")
    assert (found["sum"].n_passed, found["sum"].n_seeds, found["mean"].share) == (3, 3, 0.0)
    per = runs.loc[runs["arm"] == "sum", "per"]
    assert found["sum"].value == per.max() and found["sum"].mean == pytest.approx(per.mean())


def test_one_failing_seed_fails_its_arm_and_counts_in_the_share(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    criterion = {"metric": "per", "below": 0.5}
    found, _, _ = judge(build, two_arm_spec, truth, criterion, status={1: "diverged"})
    assert found["mean"].status == "fail" and found["mean"].share == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("criterion", "passes"),
    [
        ({"metric": "val_loss", "above": 0.0, "statistic": "best"}, False),
        ({"metric": "grad_norm", "below": 1e9, "statistic": "mean"}, False),
        ({"metric": "per", "within": 1.0, "of": 0.3}, False),
        ({"never": "diverged"}, False),
        ({"never": "collapsed"}, True),
        ({"metric": "per", "reaches": 1.0, "before_step": 21}, True),
    ],
)
def test_a_diverged_run_fails_every_criterion_except_values_it_reached_before(
    build: Build,
    truth: Any,
    two_arm_spec: dict[str, Any],
    criterion: dict[str, Any],
    passes: bool,
) -> None:
    status = dict.fromkeys((0, 1, 2), "diverged")
    found, _, _ = judge(build, two_arm_spec, truth, criterion, status=status)
    assert found["sum"].status == "pass" or criterion.get("never")
    assert found["mean"].status == ("pass" if passes else "fail")


@pytest.mark.parametrize("gap", ["failed", "missing"])
def test_a_gap_leaves_an_arm_open_unless_another_seed_fails(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], gap: str
) -> None:
    low, high = {"metric": "per", "below": 0.5}, {"metric": "per", "below": 0.1}
    found, _, _ = judge(build, two_arm_spec, truth, low, status={2: gap})
    assert found["mean"].status == "open" and found["mean"].n_seeds == 2
    found, _, _ = judge(build, two_arm_spec, truth, high, status={2: gap})
    assert found["mean"].status == "fail"


def test_the_step_is_that_of_the_first_evaluation_at_the_value(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    criterion = {"metric": "per", "reaches": 0.5, "before_step": 300}
    found, made, runs = judge(build, two_arm_spec, truth, criterion, collapses=1.0)
    first = [
        next(row["step"] for row in made.histories[run_id] if row["per"] <= 0.5)
        for run_id in runs.loc[runs["arm"] == "sum", "run_id"]
    ]
    assert [seed.value for seed in found["sum"].seeds.values()] == first
    assert found["sum"].value == max(first)
    assert found["mean"].status == "fail" and math.isinf(found["mean"].value)


def test_rising_metrics_are_reached_from_below_and_the_bound_is_strict(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    criterion = {"metric": "emitted_ratio", "reaches": 0.5, "before_step": 400}
    found, made, runs = judge(build, two_arm_spec, truth, criterion)
    last = int(found["sum"].value)
    before = {**criterion, "before_step": last}
    assert found["sum"].status == "pass"
    again, _, _ = judge(build, two_arm_spec, truth, before)
    assert again["sum"].status == "fail"


@pytest.mark.parametrize(
    "criterion",
    [
        {"metric": "entropy_nats", "reaches": 0.1, "before_step": 400},
        {"metric": "n_distinct", "reaches": 5, "before_step": 400},
        *(
            {"metric": "entropy_nats", "below": 9.0, "statistic": s}
            for s in ("best", "mean", "max")
        ),
        {"metric": "entropy_nats", "within": 1.0, "of": 0.5},
    ],
)
def test_a_metric_that_was_added_after_the_runs_were_recorded_leaves_its_criterion_open(
    build: Build, two_arm_spec: dict[str, Any], truth: Any, criterion: dict[str, Any]
) -> None:
    found, made, runs = judge(build, two_arm_spec, truth, criterion)
    assert "open" not in {result.status for result in found.values()}
    metric = criterion["metric"]
    older = {
        run_id: [{name: value for name, value in row.items() if name != metric} for row in rows]
        for run_id, rows in made.histories.items()
    }
    again = evaluate(made.plan.spec, runs, older)
    assert {result.status for result in again} == {"open"}


def test_phonemes_of_an_untrained_decoder_do_not_meet_a_criterion(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    criterion = {"metric": "emitted_ratio", "reaches": 0.5, "before_step": 400}
    found, made, runs = judge(build, two_arm_spec, truth, criterion, collapses=1.0)
    assert found["mean"].status == "fail"
    for rows in made.histories.values():
        rows[0] = {**rows[0], "emitted_ratio": 0.9, "n_distinct": 30.0}
    again = {r.arm: r for r in evaluate(made.plan.spec, runs, made.histories)}
    assert again == found


@pytest.mark.parametrize(
    ("statistic", "of"),
    [
        ("final", lambda v: v[-1]),
        ("best", min),
        ("mean", lambda v: sum(v) / len(v)),
        ("max", max),
    ],
)
def test_statistics_are_taken_over_the_evaluations_of_a_run(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], statistic: str, of: Any
) -> None:
    criterion = {"metric": "val_loss", "below": 1e6, "statistic": statistic}
    found, made, runs = judge(build, two_arm_spec, truth, criterion)
    for run in runs[runs["arm"] == "sum"].to_dict("records"):
        values = [row["val_loss"] for row in made.histories[run["run_id"]]]
        assert found["sum"].seeds[run["seed"]].value == pytest.approx(of(values))


def test_gradient_norms_are_judged_over_all_steps(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    p99 = {"metric": "grad_norm", "below": 10.0, "statistic": "p99"}
    found, made, runs = judge(build, two_arm_spec, truth, p99)
    assert found["sum"].status == "open", "older records have no quantiles"
    for record in made.records.values():
        record["grad_norm_quantiles"] = {"p50": 3.0, "p90": 5.0, "p99": 8.5, "max": 9.0}
    runs = make_tables(*made).runs
    (result, _) = evaluate(made.plan.spec, runs, made.histories)
    assert result.status == "pass" and result.value == 8.5
    largest = {"metric": "grad_norm", "below": 9.0, "statistic": "max"}
    found, _, _ = judge(build, two_arm_spec, truth, largest)
    assert found["sum"].status == "fail" and found["sum"].value == 9.0


def test_only_the_arms_of_a_criterion_are_judged_and_listed(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    criterion = {"never": "collapsed", "arms": ["mean"]}
    found, _, _ = judge(build, two_arm_spec, truth, criterion, collapses=1.0)
    assert set(found) == {"mean"}
    table = criteria_table(list(found.values()))
    (row,) = table.to_dict("records")
    assert (row["status"], row["value"]) == ("fail", 3.0) and "collapsed" in row["rule"]
    assert row["values"] == '{"0": 1.0, "1": 1.0, "2": 1.0}'
    assert list(criteria_table([]).columns) == list(table.columns)


def test_within_is_decided_by_the_seed_farthest_from_the_reference(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    criterion = {"metric": "per", "within": 0.02, "of": 0.3}
    found, _, runs = judge(build, two_arm_spec, truth, criterion, per=0.3, spread=0.0)
    assert found["mean"].status == "pass"
    per = runs.loc[runs["arm"] == "sum", "per"]
    assert abs(found["sum"].value - 0.3) == max(abs(per - 0.3))
    text = rule_text(found["sum"].criterion)
    assert all(fact in text for fact in ("PER", "2.0 %", "30.0 %"))


def test_values_are_written_in_their_unit() -> None:
    assert value_text(0.2046, "per") == "20.5 %"
    assert value_text(8.523, "grad_norm") == "8.52"
    assert value_text(12345.6, "val_loss") == "12,346"
    assert value_text(math.nan, "per") == "–"
