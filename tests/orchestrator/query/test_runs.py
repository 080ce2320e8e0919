"""`orchestrator.query.runs` and the command `runs`: listings, exports and one run in full."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stored_pairs import change_history, change_record, no_remarks, records_of
from typer.testing import CliRunner, Result

from decoder.errors import ConfigError
from orchestrator.cli.app import app
from orchestrator.query.runs import complete_id, find_run, list_runs
from orchestrator.store.paths import Results


def call(store: Results, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments), "--results", str(store.root)])


def test_a_condition_finds_the_collapsed_arm(store: Results) -> None:
    listing = list_runs(
        store,
        no_remarks,
        where="loss.ctc_reduction == 'mean' and outcome == 'collapsed'",
        sort="seed",
    )
    assert (listing.n_matching, listing.n_runs) == (6, 12)
    assert [row["seed"] for row in listing.rows] == list(range(6))
    assert {row["outcome"] for row in listing.rows} == {"collapsed"}


def test_without_chosen_columns_it_lists_the_settings_in_which_the_runs_differ(
    store: Results,
) -> None:
    every = list_runs(store, no_remarks).columns
    assert every[:3] == ("run_id", "outcome", "per") and every[-1] == "loss.ctc_reduction"
    one_arm = list_runs(store, no_remarks, where="loss.ctc_reduction == 'mean'").columns
    assert not [name for name in one_arm if "." in name]


def test_sorting_puts_missing_values_last_either_way(store: Results) -> None:
    for descending in (False, True):
        rows = list_runs(
            store, no_remarks, sort="escape_step", descending=descending, columns=["escape_step"]
        ).rows
        steps = [row["escape_step"] for row in rows]
        assert steps[6:] == [None] * 6
        assert steps[:6] == sorted(steps[:6], reverse=descending)


def test_a_limit_keeps_the_count_of_all(store: Results) -> None:
    listing = list_runs(store, no_remarks, limit=2)
    assert (len(listing.rows), listing.n_matching) == (2, 12)


def test_the_ablations_that_use_a_run_are_a_column(store: Results) -> None:
    rows = list_runs(store, no_remarks, where="'two' in ablations", columns=["ablations"]).rows
    assert rows == [{"ablations": ["two"]}] * 12
    assert not list_runs(store, no_remarks, where="'tw' in ablations").rows


def test_a_condition_that_can_match_nothing_exits_2_and_says_what_to_write(store: Results) -> None:
    done = call(store, "--where", "ablations == 'two'")
    assert done.exit_code == 2 and "write 'two' in ablations" in done.stderr
    done = call(store, "--where", "seed == '1'")
    assert done.exit_code == 2 and "without quotes" in done.stderr
    said: list[str] = []
    assert not list_runs(store, said.append, where="outcome == 'okk'").rows
    assert [line for line in said if "'okk'" in line and "'ok'" in line]


def test_a_damaged_plan_is_reported_and_hides_nothing_else(store: Results) -> None:
    broken = store.ablations / "broken" / "plan.json"
    broken.parent.mkdir()
    broken.write_text("{")
    said: list[str] = []
    rows = list_runs(store, said.append, where="'two' in ablations", columns=["run_id"]).rows
    assert len(rows) == 12 and str(broken) in said[0]


def test_unknown_columns_are_all_named_at_once(store: Results) -> None:
    with pytest.raises(ConfigError) as error:
        list_runs(store, no_remarks, sort="pers", columns=["epsilon"])
    columns, sort = error.value.problems
    assert columns.startswith("--columns: ") and "'epsilon'" in columns
    assert "'optim.epsilon'" in columns
    assert sort.startswith("--sort: ") and "'pers'" in sort and "'per'" in sort


def test_a_run_is_found_by_its_first_characters(store: Results) -> None:
    ids = list(records_of(store))
    assert complete_id(store, ids[0][:10]) == ids[0]
    for text in ("", "zz"):
        with pytest.raises(ConfigError, match=f"'{text}'"):
            complete_id(store, text)
    twin = ids[0][:-1] + "x"
    store.run(twin).mkdir()
    store.record(twin).write_text("{}")
    with pytest.raises(ConfigError, match=f"{ids[0]}, {twin}"):
        complete_id(store, ids[0][:-1])


def collapsed_run(store: Results) -> str:
    listed = list_runs(store, no_remarks, where="outcome == 'collapsed'", columns=["run_id"])
    return str(listed.rows[0]["run_id"])


def test_one_run_has_its_changed_settings_and_its_uses(store: Results) -> None:
    details = find_run(store, collapsed_run(store)[:12], no_remarks)
    assert details.from_default["loss.ctc_reduction"] == ("none_then_mean", "mean")
    assert [(use.ablation, use.arm, dict(use.changes)) for use in details.uses] == [
        ("two", "mean", {"loss.ctc_reduction": "mean"})
    ]


def test_show_prints_outcome_curves_and_origin(store: Results) -> None:
    run_id = collapsed_run(store)
    done = call(store, "show", run_id)
    assert done.exit_code == 0
    first = done.stdout.splitlines()[0]
    assert run_id in first and "collapsed" in first and "last 3 evaluations" in first
    assert "blank fraction" in done.stdout and "▁" in done.stdout
    assert 'two, arm mean: loss.ctc_reduction = "mean"' in done.stdout
    assert "0123abcd with changes" in done.stdout and "numerics version 1" in done.stdout


def test_show_prints_the_traceback_of_a_failure(store: Results) -> None:
    run_id = next(iter(records_of(store)))
    change_record(store, run_id, status="failed", error="Boom\nOSError: gone")
    done = call(store, "show", run_id)
    assert "OSError: gone" in done.stdout and "failed" in done.stdout.splitlines()[0]


def test_an_export_holds_what_the_store_holds(store: Results, tmp_path: Path) -> None:
    for ending in ("csv", "json", "parquet"):
        target = tmp_path / f"runs.{ending}"
        done = call(store, "--export", target, "--where", "seed < 2")
        assert done.exit_code == 0, done.output
        assert "4 runs" in done.stderr
    rows = json.loads((tmp_path / "runs.json").read_text())
    assert {row["seed"] for row in rows} == {0, 1}
    assert pq.read_table(tmp_path / "runs.parquet").column("per").to_pylist() == [
        row["per"] for row in rows
    ]
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 5
    done = call(store, "--export", tmp_path / "runs.xlsx")
    assert done.exit_code == 2 and "runs.xlsx" in done.stderr and ".parquet" in done.stderr


def test_json_holds_the_rows_and_nothing_else(store: Results) -> None:
    done = call(store, "--json", "--columns", "run_id,per", "--where", "seed == 3")
    rows = json.loads(done.stdout)
    assert len(rows) == 2 and rows[0].keys() == {"run_id", "per"}


def test_numbers_that_are_not_finite_are_null_in_json(store: Results) -> None:
    run_id = next(iter(records_of(store)))
    change_history(store, run_id, ",9.0,", ",inf,")  # the largest gradient norm
    condition = f"run_id == '{run_id}'"
    listed = call(store, "--json", "--columns", "grad_norm_max", "--where", condition).stdout
    shown = call(store, "show", run_id, "--json").stdout
    assert json.loads(listed, parse_constant=float) == [{"grad_norm_max": None}]
    assert "Infinity" not in shown and "NaN" not in shown


def test_a_bad_condition_exits_2_with_its_place(store: Results) -> None:
    done = call(store, "--where", "optim.epsilo == 1")
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("--where: character 1: ") and "'optim.epsilon'" in done.stderr


def test_a_folder_without_runs_has_an_empty_listing(tmp_path: Path) -> None:
    empty = Results(tmp_path / "nothing")
    printed = call(empty, "--where", "per < 0.5", "--sort", "best_per")
    assert printed.exit_code == 0 and len(printed.stdout.splitlines()) == 1
    assert call(empty, "--json").stdout == "[]\n"


def test_listing_runs_loads_neither_scipy_nor_pandas() -> None:
    code = (
        "import sys\n"
        "import orchestrator.cli.runs_view, orchestrator.query.runs, orchestrator.tables.index\n"
        "print(*{'scipy', 'pandas', 'matplotlib', 'torch'}.intersection(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
