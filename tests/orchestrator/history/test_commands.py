"""`import-runs` and `audit`: records, reports and refusals on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.spec.load import load_spec


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_importing_again_writes_only_records_that_changed(group: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    first = json.loads(call("import-runs", group, "--results", results, "--json").stdout)
    assert (first["name"], len(first["new"]), first["unchanged"]) == ("our-runs", 13, [])
    records = {path: path.stat().st_mtime_ns for path in (results / "imported/our-runs").iterdir()}
    again = json.loads(call("import-runs", group, "--results", results, "--json").stdout)
    assert (again["new"], again["changed"], len(again["unchanged"])) == ([], [], 13)
    assert records == {path: path.stat().st_mtime_ns for path in records}
    log = group / "run7_epsilon" / "metrics.jsonl"
    log.write_text(log.read_text().rpartition("\n")[0] + '\n{"step": 500, "per": 0.3}\n')
    (group / "run3_noise_FINAL").rename(group / "run3_noise_FINAL_v2")
    third = json.loads(call("import-runs", group, "--results", results, "--json").stdout)
    assert third["changed"] == ["run7_epsilon"]
    assert third["renamed"] == {"run3_noise_FINAL": "run3_noise_FINAL_v2"}
    assert len(list((results / "imported/our-runs").iterdir())) == len(records)


def test_a_damaged_record_is_reported_and_imported_again(group: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    call("import-runs", group, "--results", results, "--as", "g")
    (record,) = (results / "imported/g").glob("run1_baseline-*.json")
    record.write_bytes(record.read_bytes()[:100])
    seen = call("audit", "g", "--results", results)
    assert seen.exit_code == 0
    assert str(record) in seen.stderr
    again = json.loads(
        call("import-runs", group, "--results", results, "--as", "g", "--json").stdout
    )
    assert again["new"] == ["run1_baseline"]


@pytest.mark.parametrize("name", ["../evil", ".hidden", "a/b", "x" * 65, ""])
def test_names_that_lead_to_other_folders_are_refused(
    group: Path, tmp_path: Path, name: str
) -> None:
    done = call("import-runs", group, "--as", name, "--results", tmp_path / "results")
    assert done.exit_code == 2
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "evil").exists()


def test_two_folders_do_not_mix_under_one_name(group: Path, tmp_path: Path) -> None:
    results, other = tmp_path / "results", tmp_path / "other"
    (other / "run1").mkdir(parents=True)
    (other / "run1" / "metrics.jsonl").write_text('{"step": 1, "per": 0.5}\n')
    assert call("import-runs", group, "--as", "g", "--results", results).exit_code == 0
    done = call("import-runs", other, "--as", "g", "--results", results)
    assert done.exit_code == 2
    assert "--as" in done.stderr and str(group) in done.stderr


def test_folders_without_runs_and_names_without_groups_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    missing = tmp_path / "none"
    for arguments in (
        ("import-runs", empty),
        ("import-runs", missing),
        ("audit", missing),
        ("audit", "nobody"),
    ):
        done = call(*arguments, "--results", tmp_path / "results")
        assert done.exit_code == 2
        assert done.stderr.startswith(f"{arguments[1]}: ")
        assert len(done.stderr.splitlines()) == 1


def test_the_audit_of_a_folder_writes_report_and_proposal(group: Path, tmp_path: Path) -> None:
    results, path = tmp_path / "results", tmp_path / "next.yaml"
    done = call("audit", group, "--results", results, "--propose", path)
    assert done.exit_code == 0, done.stderr
    assert "OVERTURNS CONCLUSIONS" in done.stdout and "WHAT TO RUN NEXT" in done.stdout
    assert "run1_baseline and run5_rerun" in done.stdout and "8.0 points apart" in done.stdout
    report = results / "imported/our-runs/audit.md"
    assert report.read_text().startswith("# Audit of our-runs")
    assert len(load_spec(path).arms) == 5
    again = call("audit", "our-runs", "--results", results, "--propose", path)
    assert again.exit_code == 2
    assert str(path) in again.stderr and "--propose" in again.stderr
    seen = json.loads(call("audit", "our-runs", "--results", results, "--json").stdout)
    assert seen["proposal"]["n_arms"] == 5 and seen["report"] == str(report)
    assert {finding["kind"] for finding in seen["findings"]} >= {"spread", "confounded"}
