"""Searches by name: their report, status and comparison; and searches without a confirmation."""

import json
import os
import shutil
from pathlib import Path

import optuna
import pandas as pd
import pytest
from click.testing import Result
from stored_pairs import change_record
from typer.testing import CliRunner

from decoder.errors import ConfigError, StorageError
from orchestrator.cli.app import app
from orchestrator.plan.recordings import prepare_data
from orchestrator.search import rebuild
from orchestrator.search.kept import count_states, named_search, search_progress
from orchestrator.search.load import load_search
from orchestrator.store.locks import driver_seat
from orchestrator.store.paths import Results

from .conftest import SPEC, FakeBackend, Killed, draw_nothing, run_small_search, write_file

N_CANDIDATES = 8


@pytest.fixture(scope="module")
def unconfirmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search without a confirmation; not to be changed."""
    folder = tmp_path_factory.mktemp("unconfirmed")
    changes = {"n_candidates": N_CANDIDATES, "confirm": ..., "prepare": prepare_data}
    assert run_small_search(folder, FakeBackend(), **changes).exit_code == 0
    return folder


@pytest.fixture
def folder(unconfirmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with the search's file and base gone."""
    monkeypatch.setattr(rebuild, "draw_search_figures", draw_nothing)
    shutil.copytree(unconfirmed / "results", tmp_path / "results")
    return tmp_path


def call(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--results", str(folder / "results")])


def best_of(folder: Path) -> dict[str, float]:
    rows = pd.read_csv(folder / "results" / "searches" / "hunt" / "candidates.csv")
    ended = rows[rows["state"] == "finished"]
    return dict(ended.loc[ended["figure"].idxmin()])


def test_a_search_without_a_confirmation_gives_its_best_candidate_unconfirmed(
    folder: Path,
) -> None:
    done = call(folder, "report", "hunt", "--json")
    assert done.exit_code == 0, done.output
    document, best = json.loads(done.stdout), best_of(folder)
    [winner] = document["best"]
    assert winner["number"] == best["candidate"] and winner["confirmed"] is False
    assert winner["figure"] == pytest.approx(best["figure"])
    assert document["confirmed"] == [] and document["verdicts"] == {}
    [finding] = document["findings"]
    assert "nconfirmed" in finding and f"{100 * best['figure']:.1f} %" in finding
    page = (folder / "results" / "searches" / "hunt" / "report.md").read_text()
    assert finding.replace("_", "\\_") in page


def test_the_best_setting_and_its_place_are_printed_reported_and_in_json(folder: Path) -> None:
    document = json.loads(call(folder, "report", "hunt", "--json").stdout)
    [winner] = document["best"]
    printed = call(folder, "report", "hunt").stdout
    page = (folder / "results" / "searches" / "hunt" / "report.md").read_text()
    assert [place["path"] for place in winner["places"]] == ["optim.lr_max", "optim.epsilon"]
    for place in winner["places"]:
        for text in (printed, page.replace("\\_", "_")):
            row = next(line for line in text.splitlines() if place["path"] in line.split()[:2])
            assert f"{place['value']:.3g}" in row and f"{100 * place['share']:.0f} %" in row


def test_a_report_by_name_needs_no_file_and_gives_the_same_bytes_as_by_file(folder: Path) -> None:
    own = folder / "results" / "searches" / "hunt"
    assert call(folder, "report", "hunt").exit_code == 0
    names = ("report.md", "report.html", "candidates.csv", "best.csv", "search.json")
    by_name = {name: (own / name).read_bytes() for name in names}
    changes = {"n_candidates": N_CANDIDATES, "confirm": ...}
    path = write_file(folder, changes)
    assert call(folder, "report", str(path)).exit_code == 0
    assert {name: (own / name).read_bytes() for name in names} == by_name
    kept, loaded = named_search("hunt", Results(folder / "results").of_searches), load_search(path)
    assert kept is not None
    assert (kept.spec, kept.base, kept.arms) == (loaded.spec, loaded.base, loaded.arms)


def test_a_search_of_an_earlier_version_is_reported_once_its_file_is_given(folder: Path) -> None:
    kept = Results(folder / "results").of_searches.kept_search("hunt")
    kept.unlink()
    refused = call(folder, "report", "hunt")
    assert refused.exit_code == 2 and "search.json" in refused.stderr
    changes = {"n_candidates": N_CANDIDATES, "confirm": ...}
    assert call(folder, "report", str(write_file(folder, changes))).exit_code == 0
    assert call(folder, "report", "hunt").exit_code == 0


def test_candidates_trained_by_different_sources_are_named_in_the_report(folder: Path) -> None:
    results = Results(folder / "results")
    assert call(folder, "report", "hunt").exit_code == 0
    page = results.of_searches.ablation("hunt") / "report.md"
    assert "other source code" not in page.read_text()
    paths = sorted(results.of_searches.runs.glob("*/record.json"))
    code = {"decoder_sha256": "0" * 64, "training_sha256": "0" * 64}
    environment = {**json.loads(paths[0].read_bytes())["environment"], "code": code}
    change_record(results, paths[0].parent.name, environment=environment)
    assert call(folder, "report", "hunt").exit_code == 0
    assert f"1 of {len(paths)} recorded runs" in page.read_text()


def test_a_damaged_copy_of_the_file_exits_5(folder: Path) -> None:
    Results(folder / "results").of_searches.kept_search("hunt").write_text("{")
    for command in ("report", "status"):
        done = call(folder, command, "hunt")
        assert done.exit_code == 5 and "search.json" in done.stderr


@pytest.mark.parametrize("command", ["report", "status", "compare"])
def test_an_unknown_name_exits_2_and_the_search_is_suggested(folder: Path, command: str) -> None:
    done = call(folder, command, "hunnt", *(["hunt"] if command == "compare" else []))
    assert done.exit_code == 2 and "'hunt'" in done.stderr


def test_status_counts_candidates_and_names_the_driver(folder: Path) -> None:
    searches = Results(folder / "results").of_searches
    for arguments in ([], ["hunt"]):
        [row] = json.loads(call(folder, "status", *arguments, "--json").stdout)
        assert (row["kind"], row["name"], row["driver"]) == ("search", "hunt", None)
        counts = (row["n_candidates"], row["n_done"], row["n_failed_candidates"])
        assert counts == (N_CANDIDATES, N_CANDIDATES, 0)
        assert (row["n_planned"], row["n_recorded"]) == (0, 0)
    with driver_seat(searches, "hunt", print) as seat:
        seat.tell(3)
        [row] = json.loads(call(folder, "status", "--json").stdout)
        assert row["n_running"] == 3 and "process" in row["driver"]
    printed = call(folder, "status").stdout
    assert printed.split()[:3] == ["search", "candidates", "done"] and "hunt" in printed


def test_progress_is_unknown_where_neither_file_nor_study_tells(folder: Path) -> None:
    searches = Results(folder / "results").of_searches
    searches.study("hunt").unlink()
    assert search_progress(searches, "hunt") == (N_CANDIDATES, None, None)
    searches.kept_search("hunt").unlink()
    assert search_progress(searches, "hunt") == (None, None, None)


def test_an_unconfirmed_search_is_compared_by_its_best_candidate_on_its_own_seeds(
    folder: Path,
) -> None:
    done = call(folder, "compare", "hunt", "hunt:best_1", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    [line] = document["lines"]
    assert line["arm_a"] == line["arm_b"] == "best_1" and line["n_a"] == len(SPEC["seeds"])
    assert line["mean_a"] == pytest.approx(best_of(folder)["figure"])
    assert sum("unconfirmed" in text for text in document["header"]) == 2


@pytest.mark.parametrize("damage", ["missing", "no_json", "no_collapse"])
def test_an_unconfirmed_search_whose_file_is_lost_is_not_compared(
    folder: Path, damage: str
) -> None:
    path = Results(folder / "results").of_searches.kept_search("hunt")
    if damage == "missing":
        path.unlink()
    else:
        path.write_text("{" if damage == "no_json" else '{"spec": {}}')
    done = call(folder, "compare", "hunt", "hunt:best_1")
    assert done.exit_code == 5 and str(path.name) in done.stderr and "report" in done.stderr


def test_a_search_killed_before_its_confirmation_is_compared_unconfirmed(tmp_path: Path) -> None:
    few = {"n_candidates": 4}
    run_small_search(tmp_path, FakeBackend(), confirm=..., **few)
    with pytest.raises(Killed):
        run_small_search(tmp_path, FakeBackend(kill_at=1), **few)
    assert Results(tmp_path / "results").of_searches.plan("hunt").exists()
    lines = json.loads(call(tmp_path, "compare", "hunt", "hunt", "--json").stdout)["lines"]
    assert [(line["arm_a"], line["n_a"]) for line in lines] == [("best_1", len(SPEC["seeds"]))]
    run_small_search(tmp_path, FakeBackend(), **few)
    lines = json.loads(call(tmp_path, "compare", "hunt", "hunt", "--json").stdout)["lines"]
    assert [(line["arm_a"], line["n_a"]) for line in lines] == [("base", 6), ("best_1", 6)]


def test_a_search_without_a_best_candidate_cannot_be_compared(folder: Path) -> None:
    Results(folder / "results").of_searches.best("hunt").unlink()
    done = call(folder, "compare", "hunt", "hunt:best_1")
    assert done.exit_code == 2 and "hunt" in done.stderr


def test_a_confirmation_can_be_added_later_and_then_stays(tmp_path: Path) -> None:
    few = {"n_candidates": 4}
    run_small_search(tmp_path, FakeBackend(), confirm=..., **few)
    added = FakeBackend()
    assert run_small_search(tmp_path, added, **few).exit_code == 0
    assert (
        len({run_id for run_id, _ in added.trained}) == 2 * 6
    )  # base and the only one trained to its end
    own = tmp_path / "results" / "searches" / "hunt"
    assert list(pd.read_csv(own / "best.csv")["confirmed"]) == [True]
    with pytest.raises(ConfigError, match=r"confirm\.margin"):
        confirm = {**SPEC["confirm"], "margin": 0.03}
        run_small_search(tmp_path, FakeBackend(), confirm=confirm, **few)


def test_a_file_of_a_search_that_was_never_run_exits_2(folder: Path) -> None:
    path = write_file(folder, {"name": "unheard", "confirm": ...})
    for command in ("report", "status"):
        done = call(folder, command, str(path))
        assert done.exit_code == 2 and "unheard" in done.stderr


def test_the_states_of_a_study_are_counted_by_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "study?.db"
    study = optuna.create_study(study_name="s", storage="sqlite:///" + str(tmp_path / "made.db"))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    study.ask()
    (tmp_path / "made.db").rename(path)
    before = path.stat().st_mtime_ns
    assert count_states(path) == {"COMPLETE": 3, "RUNNING": 1}
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"", b"no database", None])
def test_what_is_no_study_is_a_storage_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "study.db"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(StorageError, match="study.db"):
        count_states(path)
