"""`orchestrator.history.rows`: imported runs are listed and shown with those of the ledger."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from decoder.errors import ConfigError
from orchestrator.cli.app import app
from orchestrator.history.reading.store import import_runs
from orchestrator.history.rows import find_imported, imported_rows
from orchestrator.query.runs import list_runs
from orchestrator.store.paths import Results


def quiet(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def both(store: Results, tmp_path: Path) -> Results:
    """The ledger's twelve runs, and two imported ones."""
    for name, rate in (("slow", 0.002), ("fast", 0.02)):
        folder = tmp_path / "winter" / name
        folder.mkdir(parents=True)
        args = {"batchSize": 64, "lrStart": rate, "lrEnd": rate, "nUnits": 256, "nBatch": 400}
        args |= {"nLayers": 5, "dropout": 0.4, "kernelLen": 14, "strideLen": 4, "seed": 1}
        (folder / "args.yaml").write_text(yaml.safe_dump(args))
        lines = [{"step": step, "per": 0.3 + 10 / step, "lr": rate} for step in (100, 200, 400)]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    import_runs(store, tmp_path / "winter", "winter")
    return store


def test_imported_runs_are_listed_with_their_provenance(both: Results) -> None:
    found = list_runs(both, quiet, sort="per")
    assert found.n_runs == 14 and "provenance" in found.columns
    imported = list_runs(
        both, quiet, where="provenance == 'imported' and optim.lr_max > 0.01", columns=["run_id"]
    )
    assert [row["run_id"] for row in imported.rows] == ["imported/winter/fast"]


def test_without_imported_runs_there_is_no_column_of_provenance(store: Results) -> None:
    assert imported_rows(store, quiet) == []
    assert "provenance" not in list_runs(store, quiet).columns


def test_an_imported_run_is_found_by_the_beginning_of_its_id(both: Results) -> None:
    assert find_imported(both, "imported/winter/f", quiet).name == "fast"
    with pytest.raises(ConfigError, match="2 .*imported/winter/fast"):
        find_imported(both, "imported/winter", quiet)
    with pytest.raises(ConfigError, match="imported/winter/fats.*imported/winter/fast"):
        find_imported(both, "imported/winter/fats", quiet)


def test_show_prints_an_imported_run(both: Results) -> None:
    call = ["runs", "show", "imported/winter/slow", "--results", str(both.root)]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert "PER 32.5%" in done.stdout and "lrStart" in done.stdout and "█" in done.stdout
    document = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert document["settings"]["nUnits"] == 256
