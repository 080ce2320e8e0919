import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats as scipy_stats

from orchestrator.spec.schema import CollapseSpec
from orchestrator.stats.run_values import COUNTED
from orchestrator.tables.tables import make_tables, write_tables

Build = Callable[..., Any]


@pytest.fixture(scope="module")
def mixed(build: Build, truth: Any, two_arm_spec: dict[str, Any]) -> Any:
    """Arm "sum": ok, diverged, failed, missing. Arm "mean": all collapse."""
    spec = {**two_arm_spec, "seeds": [3, 1, 2, 0]}
    how = {"sum": truth(status={1: "diverged", 2: "failed", 0: "missing"})}
    return build(spec, lambda levels, _: how.get(levels["loss"], truth(collapses=1.0)))


@pytest.fixture(scope="module")
def tables(mixed: Any) -> Any:
    return make_tables(*mixed)


def row(table: pd.DataFrame, arm: str, seed: int) -> Any:
    return table[(table["arm"] == arm) & (table["seed"] == seed)].iloc[0]


def test_runs_are_in_the_order_of_arms_and_seeds_for_any_order_of_the_plan(mixed: Any) -> None:
    shuffled = mixed.plan.model_copy(update={"runs": mixed.plan.runs[::-1]})
    runs = make_tables(shuffled, mixed.records, mixed.histories).runs
    assert runs.columns[0] == "run_id"
    assert list(zip(runs["arm"], runs["seed"], strict=True)) == [
        (arm, seed) for arm in ("sum", "mean") for seed in (3, 1, 2, 0)
    ]


def test_every_planned_run_has_its_outcome(tables: Any) -> None:
    assert list(tables.runs["outcome"]) == [
        *("ok", "diverged", "failed", "missing"),
        *["collapsed"] * 4,
    ]


def test_a_diverged_run_counts_as_the_worst_outcome(tables: Any) -> None:
    run = row(tables.runs, "sum", 1)
    assert run["per"] == 1.0 and run["collapsed"] == 1
    assert run["escape_censored"] and math.isnan(run["escape_step"])
    assert run["diverged_step"] == run["n_steps_done"] + 7
    assert run["best_per"] <= 1.0


def test_gaps_have_no_outcome(tables: Any) -> None:
    for seed in (2, 0):
        run = row(tables.runs, "sum", seed)
        assert math.isnan(run["per"]) and run["collapsed"] is pd.NA
        assert run["escape_censored"] is pd.NA
    assert row(tables.runs, "sum", 2)["error"].startswith("RuntimeError: out of memory")
    assert row(tables.runs, "sum", 0)["error"] == ""


def test_a_collapsed_run_keeps_its_measured_per(mixed: Any, tables: Any) -> None:
    run = row(tables.runs, "mean", 3)
    assert run["per"] == mixed.histories[run["run_id"]][-1]["per"]
    assert run["collapsed"] == 1 and run["escape_censored"]


def test_final_diagnostics_are_those_of_the_last_evaluation(mixed: Any, tables: Any) -> None:
    run = row(tables.runs, "sum", 3)
    history = mixed.histories[run["run_id"]]
    for name in ("per", "emitted_ratio", "learning_dose", "epsilon_over_grad_rms", "lr"):
        assert run[name] == history[-1][name]
    assert run["best_per"] == min(h["per"] for h in history)
    assert run["best_per_step"] == next(h["step"] for h in history if h["per"] == run["best_per"])
    first_off = next(h["step"] for h in history if h["emitted_ratio"] > 0.05)
    assert run["escape_step"] == first_off and not run["escape_censored"]


def test_the_thresholds_of_the_spec_decide_what_has_collapsed(mixed: Any) -> None:
    spec = mixed.plan.spec.model_copy(update={"collapse": CollapseSpec(emitted_ratio=0.99)})
    runs = make_tables(
        mixed.plan.model_copy(update={"spec": spec}), mixed.records, mixed.histories
    ).runs
    assert row(runs, "sum", 3)["outcome"] == "collapsed"


def test_columns_of_machine_and_schedule_have_a_prefix(mixed: Any, tables: Any) -> None:
    changed = {
        run_id: {
            **record,
            "timing": {**record["timing"], "run_seconds": 99.0, "pack_seconds": 99.0},
            "pack": {"pack_id": "another", "n_runs": 1},
            "host": {"hostname": "other", "pid": 1, "device": "cuda"},
            "environment": {},
            "peak_memory_bytes": 1,
        }
        for run_id, record in mixed.records.items()
    }
    runs = make_tables(mixed.plan, changed, mixed.histories).runs
    marked = [c for c in runs.columns if c.startswith(("timing_", "host_"))]
    pd.testing.assert_frame_equal(runs.drop(columns=marked), tables.runs.drop(columns=marked))
    assert not runs[marked].equals(tables.runs[marked])


def test_arms_count_every_ending_and_average_the_runs_with_a_result(tables: Any) -> None:
    arm = tables.arms.set_index("arm").loc["sum"]
    assert [arm[f"n_{o}"] for o in ("ok", "collapsed", "diverged", "failed", "missing")] == [
        *(1, 0, 1, 1, 1)
    ]
    assert arm["n"] == 2 and arm["n_collapsed_or_diverged"] == 1 and arm["n_escaped"] == 1
    per = tables.runs.loc[
        (tables.runs["arm"] == "sum") & tables.runs["outcome"].isin(COUNTED), "per"
    ].to_numpy()
    expected = scipy_stats.ttest_1samp(per, 0).confidence_interval()
    assert (arm["per_low"], arm["per_high"]) == pytest.approx((expected.low, expected.high))
    ok = row(tables.runs, "sum", 3)["escape_step"]
    assert arm["escape_step_mean"] == (ok + 400) / 2


def test_a_control_is_paired_by_its_block(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    spec = {**two_arm_spec, "extra_arms": {"aa": {"seed_offset": 100}, "re": {"replicate": 1}}}
    tables = make_tables(*build(spec, lambda *_: truth()))
    runs = tables.runs[tables.runs["arm"] == "aa"]
    assert list(runs["seed"]) == [100, 101, 102] and list(runs["block"]) == [0, 1, 2]
    arms = tables.arms.set_index("arm")
    assert list(arms["seed_offset"]) == [0, 0, 100, 0] and arms["replicate"]["re"] == 1
    again, once = (tables.runs[tables.runs["arm"] == arm] for arm in ("re", "sum"))
    assert list(again["seed"]) == list(once["seed"])
    assert not set(again["run_id"]) & set(once["run_id"])


def test_divergence_and_gradient_quantiles_have_columns(mixed: Any, tables: Any) -> None:
    found = [row(tables.runs, "sum", seed)["diverged"] for seed in (3, 1, 2)]
    assert found[:2] == [0, 1] and found[2] is pd.NA
    assert tables.runs["grad_norm_p99"].isna().all(), "older records have no quantiles"
    for record in mixed.records.values():
        record["grad_norm_quantiles"] = {"p50": 2.0, "p90": 4.0, "p99": 8.0, "max": 9.0}
    again = make_tables(*mixed)
    assert row(again.runs, "sum", 3)["grad_norm_p99"] == 8.0
    assert again.arms["grad_norm_p99_max"].tolist() == [8.0, 8.0]


def test_history_has_one_row_per_evaluation(mixed: Any, tables: Any) -> None:
    assert len(tables.history) == sum(len(rows) for rows in mixed.histories.values())
    assert tables.history["on_plateau"].dtype == bool
    assert set(tables.history["factor.loss"]) == {"sum", "mean"}


def test_older_histories_have_a_gap_in_columns_added_later(mixed: Any) -> None:
    older = {
        run_id: [{k: v for k, v in row.items() if not k.endswith("_even")} for row in history]
        for run_id, history in mixed.histories.items()
    }
    history = make_tables(mixed.plan, mixed.records, older).history
    assert history["n_edits_even"].isna().all() and history["n_edits"].notna().all()


def test_numbers_that_only_some_runs_have_get_columns(mixed: Any) -> None:
    first = mixed.plan.runs[0].run_id
    rows = [{**row, "wer": 0.5 - i / 100} for i, row in enumerate(mixed.histories[first])]
    tables = make_tables(mixed.plan, mixed.records, {**mixed.histories, first: rows})
    of_first = tables.runs["run_id"] == first
    assert tables.runs[of_first]["wer"].tolist() == [rows[-1]["wer"]]
    assert tables.runs[~of_first]["wer"].isna().all()
    assert tables.history["wer"].notna().sum() == len(rows)
    assert list(tables.history.columns)[-1] == "wer"


def test_without_its_metrics_neither_collapse_nor_escape_is_known(mixed: Any) -> None:
    unknown = {"emitted_ratio": math.nan, "n_distinct": math.nan}
    histories = {
        run_id: [{**row, **unknown} for row in rows] for run_id, rows in mixed.histories.items()
    }
    tables = make_tables(mixed.plan, mixed.records, histories)
    ok = tables.runs[tables.runs["outcome"] == "ok"]
    assert len(ok) == 5 and ok["per"].notna().all()
    for name in ("collapsed", "escape_step", "escape_censored"):
        assert ok[name].isna().all()
    assert row(tables.runs, "sum", 1)["collapsed"] == 1  # it diverged
    assert tables.history["on_plateau"].isna().all()


def test_two_names_for_one_configuration_share_their_runs(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    spec = {**two_arm_spec, "factors": {"loss": {"sum": {}, "mean": {}}}}
    made = build(spec, lambda *_: truth())
    tables = make_tables(*made)
    assert len(made.records) == 3 and len(tables.runs) == 6
    per = tables.runs.pivot(index="seed", columns="arm", values="per")
    assert (per["sum"] == per["mean"]).all()
    assert len(tables.history) == 2 * sum(len(rows) for rows in made.histories.values())


def test_an_extra_arm_without_a_factor_shows_a_dash(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    spec = {**two_arm_spec, "extra_arms": {"mine": {"set": {"optim.epsilon": 1e-8}}}}
    runs = make_tables(*build(spec, lambda *_: truth())).runs
    assert set(runs.loc[runs["arm"] == "mine", "factor.loss"]) == {"–"}
    assert not runs.loc[runs["arm"] == "mine", "in_design"].any()


def test_an_ablation_without_records_has_tables(mixed: Any, tmp_path: Path) -> None:
    tables = make_tables(mixed.plan, {}, {})
    assert set(tables.runs["outcome"]) == {"missing"} and tables.history.empty
    assert list(tables.arms["n"]) == [0, 0]
    write_tables(tmp_path, {"runs": tables.runs, "history": tables.history})


def test_equal_tables_give_equal_files_and_are_read_back(tables: Any, tmp_path: Path) -> None:
    named = {"runs": tables.runs, "arms": tables.arms}
    first = write_tables(tmp_path / "a", named)
    second = write_tables(tmp_path / "b", named)
    assert [p.name for p in first] == ["runs.csv", "runs.parquet", "arms.csv", "arms.parquet"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(p.name for p in first)
    pd.testing.assert_frame_equal(pd.read_parquet(first[1]), tables.runs)
    assert pd.read_csv(first[0])["per"].tolist() == pytest.approx(
        tables.runs["per"].tolist(), nan_ok=True, abs=0
    )
