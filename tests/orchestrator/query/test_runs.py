"""`orchestrator.query.runs` and the command `runs`: the store answers, and nothing is guessed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from decoder.errors import ConfigError
from orchestrator.cli.app import app
from orchestrator.query.runs import complete_id, find_run, list_runs
from orchestrator.store.paths import Results


def quiet(text: str) -> None:
    raise AssertionError(text)


def call(store: Results, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments), "--results", str(store.root)])


def test_a_condition_finds_the_collapsed_arm(store: Results) -> None:
    found = list_runs(
        store, quiet, where="loss.ctc_reduction == 'mean' and outcome == 'collapsed'", sort="seed"
    )
    assert (found.n_matching, found.n_runs) == (6, 12)
    assert [row["seed"] for row in found.rows] == list(range(6))
    assert {row["outcome"] for row in found.rows} == {"collapsed"}


def test_left_alone_it_tells_the_settings_in_which_the_runs_differ(store: Results) -> None:
    every = list_runs(store, quiet).columns
    assert every[:3] == ("run_id", "outcome", "per") and every[-1] == "loss.ctc_reduction"
    one_arm = list_runs(store, quiet, where="loss.ctc_reduction == 'mean'").columns
    assert not [name for name in one_arm if "." in name]


def test_sorting_puts_missing_values_last_either_way(store: Results) -> None:
    for descending in (False, True):
        rows = list_runs(
            store, quiet, sort="escape_step", descending=descending, columns=["escape_step"]
        ).rows
        steps = [row["escape_step"] for row in rows]
        assert steps[6:] == [None] * 6
        assert steps[:6] == sorted(steps[:6], reverse=descending)


def test_a_limit_keeps_the_count_of_all(store: Results) -> None:
    found = list_runs(store, quiet, limit=2)
    assert (len(found.rows), found.n_matching) == (2, 12)


def test_it_knows_the_ablations_that_use_a_run(store: Results) -> None:
    rows = list_runs(store, quiet, where="'two' in ablations", columns=["ablations"]).rows
    assert rows == [{"ablations": ["two"]}] * 12
    assert not list_runs(store, quiet, where="'tw' in ablations").rows


def test_a_damaged_plan_is_said_and_hides_nothing_else(store: Results) -> None:
    broken = store.ablations / "broken" / "plan.json"
    broken.parent.mkdir()
    broken.write_text("{")
    said: list[str] = []
    rows = list_runs(store, said.append, where="'two' in ablations", columns=["run_id"]).rows
    assert len(rows) == 12 and str(broken) in said[0]


def test_unknown_columns_are_all_named_at_once(store: Results) -> None:
    with pytest.raises(ConfigError) as error:
        list_runs(store, quiet, sort="pers", columns=["epsilon"])
    assert error.value.problems == (
        "--columns: there is no column 'epsilon'; did you mean 'optim.epsilon'?",
        "--sort: there is no column 'pers'; did you mean 'per'?",
    )


def test_a_run_is_found_by_how_it_begins(store: Results) -> None:
    ids = sorted(path.parent.name for path in store.runs.glob("*/record.json"))
    assert complete_id(store, ids[0][:10]) == ids[0]
    with pytest.raises(ConfigError, match="12 runs begin with|no run begins"):
        complete_id(store, "")
    with pytest.raises(ConfigError, match="no run begins with 'zz'"):
        complete_id(store, "zz")
    twin = store.runs / (ids[0][:-1] + "x")
    twin.mkdir()
    (twin / "record.json").write_text("{}")
    with pytest.raises(ConfigError, match="2 runs begin with"):
        complete_id(store, ids[0][:-1])


def test_one_run_tells_what_was_set_and_who_uses_it(store: Results) -> None:
    listed = list_runs(store, quiet, where="outcome == 'collapsed'", columns=["run_id"])
    found = find_run(store, listed.rows[0]["run_id"][:12], quiet)
    assert found.from_default["loss.ctc_reduction"] == ("none_then_mean", "mean")
    assert [(use.ablation, use.arm, dict(use.changes)) for use in found.uses] == [
        ("two", "mean", {"loss.ctc_reduction": "mean"})
    ]


def test_show_prints_ending_curves_and_origin(store: Results) -> None:
    listed = list_runs(store, quiet, where="outcome == 'collapsed'", columns=["run_id"])
    done = call(store, "show", listed.rows[0]["run_id"])
    assert done.exit_code == 0
    assert "collapsed (the last 3 evaluations emit at most 5% of the target" in done.stdout
    assert "blank fraction" in done.stdout and "▁" in done.stdout
    assert 'two, arm mean: loss.ctc_reduction = "mean"' in done.stdout
    assert "numerics version 1" in done.stdout


def test_show_prints_the_traceback_of_a_failure(store: Results) -> None:
    path = next(store.runs.glob("*/record.json"))
    record = {**json.loads(path.read_bytes()), "status": "failed", "error": "Boom\nOSError: gone"}
    path.write_text(json.dumps(record))
    done = call(store, "show", path.parent.name)
    assert "OSError: gone" in done.stdout and ": failed\n" in done.stdout


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
    assert done.exit_code == 2 and "must end in" in done.stderr


def test_json_holds_the_rows_and_nothing_else(store: Results) -> None:
    done = call(store, "--json", "--columns", "run_id,per", "--where", "seed == 3")
    rows = json.loads(done.stdout)
    assert len(rows) == 2 and rows[0].keys() == {"run_id", "per"}


def test_numbers_that_are_not_finite_are_null_in_json(store: Results) -> None:
    path = next(store.runs.glob("*/record.json"))
    record = json.loads(path.read_bytes())
    quantiles = {"p50": 1.0, "p90": 2.0, "p99": float("inf"), "max": float("inf")}
    path.write_text(json.dumps({**record, "grad_norm_quantiles": quantiles}))
    condition = f"run_id == '{path.parent.name}'"
    listed = call(store, "--json", "--columns", "grad_norm_p99", "--where", condition).stdout
    shown = call(store, "show", path.parent.name, "--json").stdout
    assert json.loads(listed, parse_constant=float) == [{"grad_norm_p99": None}]
    assert "Infinity" not in shown and "NaN" not in shown


def test_a_bad_condition_exits_2_with_its_place(store: Results) -> None:
    done = call(store, "--where", "optim.epsilo == 1")
    assert done.exit_code == 2
    assert done.stderr == (
        "--where: character 1: there is no 'optim.epsilo'; did you mean 'optim.epsilon'?\n"
    )


def test_a_folder_without_runs_is_said_to_have_none(tmp_path: Path) -> None:
    empty = Results(tmp_path / "nothing")
    told = call(empty, "--where", "per < 0.5", "--sort", "best_per")
    assert (told.exit_code, told.stdout) == (0, "no run was recorded into this folder yet\n")
    assert call(empty, "--json").stdout == "[]\n"


def test_a_text_without_quotes_is_told_to_have_them(store: Results) -> None:
    result = call(store, "--where", "outcome == ok")
    assert result.exit_code == 2
    assert "there is no 'ok'; a text needs quotes: 'ok'" in result.stderr
