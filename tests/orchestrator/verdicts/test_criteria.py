import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from orchestrator.spec.schema import AblationSpec, Criterion
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
    assert all(math.isnan(seed.value) for result in again for seed in result.seeds.values())


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


# Runs whose evaluations are given -------------------------------------------------------------

GAP = math.nan


def given(
    criterion: Mapping[str, Any],
    *runs: str | Sequence[Mapping[str, float]],
    grad_norm_p99: float = GAP,
) -> CriterionResult:
    """One criterion for runs of one arm: the evaluations of a run that is ok, at steps 100, 200,
    ..., or the ending of a run without any."""
    spec = AblationSpec.model_validate(
        {
            "name": "t",
            "question": "?",
            "base": "b.yaml",
            "factors": {"A": {"off": {}, "on": {}}},
            "seeds": list(range(len(runs))),
            "criteria": {"limit": criterion},
        }
    )
    table = pd.DataFrame(
        {
            "run_id": [f"r{seed}" for seed in range(len(runs))],
            "arm": "a",
            "seed": range(len(runs)),
            "outcome": [run if isinstance(run, str) else "ok" for run in runs],
            "grad_norm_p99": grad_norm_p99,
        }
    )
    histories = {
        f"r{seed}": [{"step": 100.0 * i, **row} for i, row in enumerate(run, 1)]
        for seed, run in enumerate(runs)
        if not isinstance(run, str)
    }
    (result,) = evaluate(spec, table, histories)
    return result


def metric(name: str, *values: float) -> list[dict[str, float]]:
    return [{name: value} for value in values]


@pytest.mark.parametrize(
    ("criterion", "final", "passed"),
    [
        ({"below": 0.25}, [0.25, 0.125], [False, True]),
        ({"above": 0.25}, [0.25, 0.5], [False, True]),
        ({"within": 0.25, "of": 0.5}, [0.75, 0.25, 0.125], [True, True, False]),
    ],
)
def test_a_limit_must_be_passed_and_a_range_includes_its_ends(
    criterion: dict[str, Any], final: list[float], passed: list[bool]
) -> None:
    result = given({"metric": "per", **criterion}, *(metric("per", 9.0, v) for v in final))
    assert [seed.passed for seed in result.seeds.values()] == passed
    assert [seed.value for seed in result.seeds.values()] == final


@pytest.mark.parametrize(
    ("criterion", "worst"),
    [
        ({"below": 0.5}, 0.6),
        ({"above": 0.1}, 0.2),
        ({"within": 0.05, "of": 0.5}, 0.2),
        ({"within": 0.05, "of": 0.3}, 0.6),
    ],
)
def test_the_value_of_an_arm_is_that_of_the_seed_furthest_from_the_criterion(
    criterion: dict[str, Any], worst: float
) -> None:
    per = [metric("per", value) for value in (0.4, 0.2, 0.6)]
    result = given({"metric": "per", **criterion}, *per, "diverged", "missing")
    assert result.value == worst and result.mean == pytest.approx(0.4)
    assert (result.n_seeds, len(result.seeds), result.n_diverged) == (4, 5, 1)


@pytest.mark.parametrize("criterion", [{"below": 0.5}, {"reaches": 0.5, "before_step": 9}])
def test_an_arm_without_a_result_is_open_and_has_no_numbers(criterion: dict[str, Any]) -> None:
    result = given({"metric": "per", **criterion}, "failed", "missing")
    assert (result.name, result.arm, result.status) == ("limit", "a", "open")
    assert (result.n_passed, result.n_seeds, result.n_diverged) == (0, 0, 0)
    assert all(math.isnan(x) for x in (result.share, result.value, result.mean))


def test_a_run_that_diverged_before_its_first_evaluation_fails_and_one_that_is_ok_is_open() -> None:
    below = given({"metric": "per", "below": 0.5}, "ok", "diverged")
    assert [seed.passed for seed in below.seeds.values()] == [None, False]
    assert below.n_diverged == 1 and math.isnan(below.value)
    reaches = given({"metric": "per", "reaches": 0.5, "before_step": 9}, "diverged")
    assert (reaches.status, reaches.value, reaches.n_diverged) == ("fail", math.inf, 0)


@pytest.mark.parametrize(
    ("statistic", "value"),
    [("best", 0.75), ("mean", 0.5), ("max", 0.75), ("final", 0.5), ("p99", 0.745)],
)
def test_the_best_of_a_lower_limit_is_the_highest_and_p99_is_over_the_evaluations(
    statistic: str, value: float
) -> None:
    criterion = {"metric": "emitted_ratio", "above": 0.1, "statistic": statistic}
    assert given(criterion, metric("emitted_ratio", 0.25, 0.75, 0.5)).value == pytest.approx(value)


def test_a_metric_counts_from_the_first_evaluation_that_has_it() -> None:
    rows = [{"per": 0.5}, {"per": 0.5, "entropy_nats": 0.3}, {"per": 0.5, "entropy_nats": 0.2}]
    reaches = {"metric": "entropy_nats", "reaches": 0.3, "before_step": 201}
    assert given(reaches, rows).value == 200.0
    below = {"metric": "entropy_nats", "below": 1.0, "statistic": "best"}
    assert given(below, rows).status == "open"


@pytest.mark.parametrize(("name", "reached"), [("emitted_ratio", 0.5), ("n_distinct", 12.0)])
def test_a_rising_metric_may_be_reached_where_the_run_leaves_the_plateau(
    name: str, reached: float
) -> None:
    rows = [
        {"emitted_ratio": 0.9, "n_distinct": 30.0},
        {"emitted_ratio": 0.0, "n_distinct": 0.0},
        {"emitted_ratio": 0.5, "n_distinct": 12.0},
        {"emitted_ratio": 0.75, "n_distinct": 20.0},
    ]
    criterion = {"metric": name, "reaches": reached, "before_step": 301}
    result = given(criterion, rows)
    assert (result.status, result.value) == ("pass", 300.0)
    assert given({**criterion, "before_step": 300}, rows).status == "fail"


def test_each_row_of_the_table_holds_the_numbers_of_its_arm() -> None:
    criterion = {"metric": "per", "reaches": 0.5, "before_step": 150}
    runs = [metric("per", 0.5), metric("per", 0.9, 0.4), metric("per", 0.9), "failed"]
    (row,) = criteria_table([given(criterion, *runs)]).to_dict("records")
    assert row == {
        "criterion": "limit",
        "arm": "a",
        "rule": "PER reaches 50.0 % before step 150",
        "status": "fail",
        "value": math.inf,
        "mean": math.inf,
        "n_passed": 1,
        "n_seeds": 3,
        "n_seeds_planned": 4,
        "share_passed": pytest.approx(1 / 3),
        "values": '{"0": 100.0, "1": 200.0, "2": "never", "3": null}',
    }


@pytest.mark.parametrize(
    ("criterion", "rule"),
    [
        ({"metric": "per", "below": 0.25}, "final PER below 25.0 %"),
        ({"metric": "val_loss", "above": 1.5, "statistic": "best"}, "best val_loss above 1.5"),
        (
            {"metric": "n_distinct", "reaches": 20, "before_step": 4000},
            "n_distinct reaches 20 before step 4,000",
        ),
        ({"metric": "per", "within": 0.02, "of": 0.3}, "final PER within 2.0 % of 30.0 %"),
        ({"never": "collapsed"}, "never collapsed"),
    ],
)
def test_a_rule_names_its_statistic_metric_and_limit(criterion: dict[str, Any], rule: str) -> None:
    assert rule_text(Criterion.model_validate(criterion)) == rule
