"""`orchestrator.query.pruning`: files are removed by rule, and records never."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from stored_pairs import ignore
from typer.testing import CliRunner

from decoder.errors import ConfigError
from orchestrator.cli.app import app
from orchestrator.query.pruning import PruningRule, find_removable, remove
from orchestrator.query.runs import list_runs
from orchestrator.store.paths import Results

DONE, OPEN, STRANGE = "d" * 16, "e" * 16, "f" * 16


@pytest.fixture
def full(store: Results) -> Results:
    """Weights of every run; checkpoints of a finished, an unfinished and an unknown pack."""
    path = store.plan("two")
    plan = json.loads(path.read_bytes())
    del plan["plan_sha256"]
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


def folders(results: Results, rule: PruningRule) -> list[str]:
    """The folders of removable files: packs and runs."""
    items = find_removable(results, rule, ignore)
    return list(dict.fromkeys(item.path.parent.name for item in items))


def test_checkpoints_are_removable_once_their_runs_have_results(full: Results) -> None:
    assert folders(full, PruningRule(checkpoints=True)) == [DONE, STRANGE]


def test_checkpoints_of_an_ablation_being_run_are_kept(full: Results) -> None:
    with FileLock(full.driver_lock("two")):
        assert folders(full, PruningRule(checkpoints=True)) == []


def test_the_best_weights_are_kept(full: Results) -> None:
    ok = list_runs(full, ignore, where="outcome == 'ok'", sort="per", columns=["run_id"]).rows
    best = [row["run_id"] for row in ok[:2]]
    removable = folders(full, PruningRule(weights=True, keep_best=2))
    assert len(removable) == 10 and not set(best) & set(removable)


def test_weights_are_removable_by_condition_and_age(full: Results) -> None:
    collapsed = folders(full, PruningRule(weights=True, where="outcome == 'collapsed'"))
    assert len(collapsed) == 6
    assert folders(full, PruningRule(weights=True, older_than_days=1.0)) == []
    for path in full.run(collapsed[0]).glob("weights.*"):
        os.utime(path, (time.time() - 2 * 86_400,) * 2)
    assert folders(full, PruningRule(weights=True, older_than_days=1.0)) == [collapsed[0]]


def test_logits_are_removable_apart_from_weights_by_the_same_rules(full: Results) -> None:
    ok = list_runs(full, ignore, where="outcome == 'ok'", sort="per", columns=["run_id"]).rows
    best, next_best = (row["run_id"] for row in ok[:2])
    for run_id in (best, next_best):
        for name in ("logits.npz", "logits.json", "test_logits.npz", "test_logits.json"):
            (full.run(run_id) / name).write_bytes(b"x")
    both = find_removable(full, PruningRule(logits=True), ignore)
    assert {(item.path.parent.name, item.path.name, item.kind) for item in both} == {
        (run_id, name, "logits")
        for run_id in (best, next_best)
        for name in ("logits.npz", "logits.json", "test_logits.npz", "test_logits.json")
    }
    assert folders(full, PruningRule(logits=True, keep_best=1)) == [next_best]
    assert folders(full, PruningRule(logits=True, where="outcome == 'collapsed'")) == []
    weights = find_removable(full, PruningRule(weights=True), ignore)
    assert {item.kind for item in weights} == {"weights"} and len(weights) == 24
    arguments = ["runs", "prune", "--logits", "--yes", "--results", str(full.root)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not list(full.runs.glob("*/*logits.*"))
    assert len(list(full.runs.glob("*/weights.safetensors"))) == 12
    assert len(list(full.runs.glob("*/record.json"))) == 12


def test_only_yes_removes_and_records_stay(full: Results) -> None:
    def call(*more: str) -> Any:
        arguments = ["runs", "prune", "--checkpoints", "--weights", "--json"]
        done = CliRunner().invoke(app, [*arguments, "--results", str(full.root), *more])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    before = sorted(path for path in full.root.rglob("*") if path.is_file())
    listed = call()
    assert (listed["removed"], len(listed["files"]), listed["n_bytes"]) == (False, 26, 320)
    caches = {full.index, full.index_checksum}
    assert sorted(p for p in full.root.rglob("*") if p.is_file() and p not in caches) == before
    assert call("--yes") == {**listed, "removed": True}
    left = [path for path in full.root.rglob("*") if path.suffix in (".safetensors", ".pt")]
    assert [path.parent.name for path in left] == [OPEN]
    assert len(list(full.runs.glob("*/record.json"))) == 12
    assert len(list(full.runs.glob("*/history.csv"))) == 12
    assert not (full.checkpoints("two") / DONE).exists()


def test_a_person_reads_how_much_can_be_removed(full: Results) -> None:
    arguments = ["runs", "prune", "--weights", "--results", str(full.root)]
    done = CliRunner().invoke(app, arguments)
    assert "24 files, 120 B" in done.stdout and "--yes" in done.stdout


def test_links_that_lead_elsewhere_are_left_alone(full: Results, tmp_path: Path) -> None:
    outside = tmp_path / "precious.safetensors"
    outside.write_bytes(b"x")
    folder = next(full.runs.glob("*/record.json")).parent
    (folder / "link.safetensors").symlink_to(outside)
    items = find_removable(full, PruningRule(weights=True), ignore)
    assert "link.safetensors" not in {item.path.name for item in items}
    remove(full, items)
    assert outside.exists()


def test_a_call_that_chooses_nothing_is_refused(store: Results) -> None:
    done = CliRunner().invoke(app, ["runs", "prune", "--results", str(store.root)])
    assert done.exit_code == 2 and "--checkpoints" in done.stderr


def test_a_condition_that_is_true_of_every_run_by_mistake_removes_nothing(full: Results) -> None:
    rule = PruningRule(weights=True, where="seed != '1'")
    with pytest.raises(ConfigError, match="every run.*without quotes"):
        find_removable(full, rule, ignore)
