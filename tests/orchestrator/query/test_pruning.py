"""`orchestrator.query.pruning`: files go by rule, and records never."""

import json
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.query.pruning import Rule, find_removable, remove
from orchestrator.query.runs import list_runs
from orchestrator.store.paths import Results

DONE, OPEN, STRANGE = "d" * 16, "e" * 16, "f" * 16


def ignore(text: str) -> None:
    """Remarks are of no interest."""


@pytest.fixture
def full(store: Results) -> Results:
    """Weights of every run; checkpoints of a finished, an unfinished and an unknown pack."""
    path = store.plan("two")
    plan = json.loads(path.read_bytes())
    ids = [run["run_id"] for run in plan["runs"]]
    packs = [(DONE, ids[:6]), (OPEN, [*ids[6:], "0" * 16])]
    plan["packs"] = [{"pack_id": p, "seed": 0, "run_ids": runs} for p, runs in packs]
    path.write_text(json.dumps(plan))
    for pack in (DONE, OPEN, STRANGE):
        folder = store.checkpoints("two") / pack
        folder.mkdir(parents=True)
        (folder / "20.safetensors").write_bytes(b"x" * 100)
    for run_id in ids:
        (store.run(run_id) / "weights.safetensors").write_bytes(b"x" * 8)
        (store.run(run_id) / "weights.json").write_bytes(b"{}")
    return store


def names(results: Results, rule: Rule) -> list[str]:
    found = find_removable(results, rule, ignore)
    return list(dict.fromkeys(item.path.parent.name for item in found))


def test_checkpoints_go_once_their_runs_have_results(full: Results) -> None:
    assert names(full, Rule(checkpoints=True)) == [DONE, STRANGE]


def test_checkpoints_of_an_ablation_being_run_stay(full: Results) -> None:
    with FileLock(full.driver_lock("two")):
        assert names(full, Rule(checkpoints=True)) == []


def test_weights_go_but_for_the_best(full: Results) -> None:
    ok = list_runs(full, ignore, where="outcome == 'ok'", sort="per", columns=["run_id"]).rows
    best = [row["run_id"] for row in ok[:2]]
    left = names(full, Rule(weights=True, keep_best=2))
    assert len(left) == 10 and not set(best) & set(left)


def test_weights_go_by_condition_and_age(full: Results) -> None:
    collapsed = names(full, Rule(weights=True, where="outcome == 'collapsed'"))
    assert len(collapsed) == 6
    assert names(full, Rule(weights=True, older_than_days=1.0)) == []
    for path in full.run(collapsed[0]).glob("weights.*"):
        os.utime(path, (time.time() - 2 * 86_400,) * 2)
    assert names(full, Rule(weights=True, older_than_days=1.0)) == [collapsed[0]]


def test_only_yes_removes_and_records_stay(full: Results) -> None:
    def call(*more: str) -> str:
        arguments = ["runs", "prune", "--checkpoints", "--weights", "--results", str(full.root)]
        done = CliRunner().invoke(app, [*arguments, *more])
        assert done.exit_code == 0, done.output
        return done.stdout

    before = sorted(path for path in full.root.rglob("*") if path.is_file())
    assert "26 files, 320 B would go; nothing was removed" in call()
    assert sorted(p for p in full.root.rglob("*") if p.is_file() and p != full.index) == before
    assert "26 files, 320 B: removed" in call("--yes")
    left = [path for path in full.root.rglob("*") if path.suffix in (".safetensors", ".pt")]
    assert [path.parent.name for path in left] == [OPEN]
    assert len(list(full.runs.glob("*/record.json"))) == 12
    assert len(list(full.runs.glob("*/history.csv"))) == 12
    assert not (full.checkpoints("two") / DONE).exists()


def test_links_that_lead_elsewhere_are_left_alone(full: Results, tmp_path: Path) -> None:
    outside = tmp_path / "precious.safetensors"
    outside.write_bytes(b"x")
    folder = next(full.runs.glob("*/record.json")).parent
    (folder / "link.safetensors").symlink_to(outside)
    items = find_removable(full, Rule(weights=True), ignore)
    assert "link.safetensors" not in {item.path.name for item in items}
    remove(full, items)
    assert outside.exists()


def test_a_rule_that_names_nothing_is_refused(store: Results) -> None:
    done = CliRunner().invoke(app, ["runs", "prune", "--results", str(store.root)])
    assert done.exit_code == 2 and "add --checkpoints" in done.stderr
