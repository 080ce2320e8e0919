"""Tables, figures and report of a search: what is in them, and that they can be rebuilt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.plan.recordings import prepare_data
from orchestrator.search import rebuild
from orchestrator.search.confirmation import Winner
from orchestrator.search.figures import draw_search_figures
from orchestrator.search.figures.curves import curves_data
from orchestrator.search.figures.importance import MIN_CANDIDATES, importances
from orchestrator.search.figures.pareto import on_front
from orchestrator.search.figures.score_panels import progress_data
from orchestrator.search.figures.settings_together import contour_data, parallel_data
from orchestrator.search.figures.shared import Objective, Setting, ended
from orchestrator.search.load import load_search
from orchestrator.search.report_view import near_open_ends
from orchestrator.search.schema import Dimension
from orchestrator.search.settings import to_cell
from orchestrator.search.study import open_studies
from orchestrator.search.tables import SearchTables
from orchestrator.store.paths import Results

from .conftest import (
    FakeBackend,
    WriteSearch,
    describe,
    draw_nothing,
    run_small_search,
    write_file,
)

PER = Objective("per", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of one arm on real recordings, with candidates enough for importances."""
    found = tmp_path_factory.mktemp("report")
    drawn = {"prepare": prepare_data, "draw": draw_search_figures}
    assert run_small_search(found, FakeBackend(), n_candidates=20, **drawn).exit_code == 0
    return found


@pytest.fixture(scope="module")
def candidates(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "searches" / "hunt" / "candidates.csv")


def invoke(folder: Path, *arguments: str) -> Any:
    command = ["search", str(folder / "search.yaml"), "--results", str(folder / "results")]
    return CliRunner().invoke(app, [*command, "--backend", "local", *arguments])


def test_every_table_figure_and_report_is_there(folder: Path) -> None:
    own = folder / "results" / "searches" / "hunt"
    for table in ("candidates", "rungs", "confirmations", "runs", "verdicts"):
        assert len(pd.read_csv(own / f"{table}.csv")) == len(
            pd.read_parquet(own / f"{table}.parquet")
        )
    names = {path.stem for path in (own / "figures").glob("*.svg")}
    assert names == {"progress", "settings", "parallel", "contour", "importance", "courses"}
    assert {path.stem for path in (own / "figures").glob("*.png")} == names
    page = (own / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_the_report_has_search_confirmation_gap_and_base(folder: Path) -> None:
    rows = pd.read_csv(folder / "results" / "searches" / "hunt" / "confirmations.csv")
    best, base = rows[rows["rank"] == 1].iloc[0], rows[rows["rank"] == 0].iloc[0]
    assert best["gap"] == pytest.approx(best["mean"] - best["search_figure"])
    assert best["difference"] == pytest.approx(best["mean"] - base["mean"])
    assert best["difference_interval_low"] <= best["difference"] <= best["difference_interval_high"]
    text = (folder / "results" / "searches" / "hunt" / "report.md").read_text()
    [finding] = [line for line in text.splitlines() if "fresh seeds it has" in line]
    for score in (best["search_figure"], best["mean"], base["mean"]):
        assert f"{100 * score:.1f} %" in finding


def test_rebuilding_gives_the_same_bytes(folder: Path) -> None:
    own = folder / "results" / "searches" / "hunt"
    kept = ("candidates.csv", "report.html", "report.md", "figures/settings.svg")
    before = {name: (own / name).read_bytes() for name in kept}
    done = invoke(folder, "--report-only", "--json")
    assert done.exit_code == 0, done.output
    assert {name: (own / name).read_bytes() for name in kept} == before
    document = json.loads(done.stdout)
    assert [row["level"] for row in document["confirmed"]][:2] == ["base", "best_1"]
    assert document["verdicts"]["best_1"] in ("supported", "refuted", "inconclusive")


def test_a_search_that_was_never_run_has_no_report(write_search: WriteSearch) -> None:
    done = invoke(write_search().parent, "--report-only")
    assert done.exit_code == 5
    assert "'hunt'" in done.stderr and "--report-only" in done.stderr


def test_a_dry_run_trains_nothing_and_counts_the_steps(write_search: WriteSearch) -> None:
    folder = write_search().parent
    done = invoke(folder, "--dry-run", "--no-calibrate", "--json")
    assert done.exit_code == 0, done.output
    seen = json.loads(done.stdout)
    assert seen["most_steps"] == 12 * 2 * 80
    assert seen["search_steps"] == 12 * 2 * (20 + 20 // 2 + 40 // 4)
    assert seen["confirm_steps"] == 3 * 6 * 80
    assert not Results(folder / "results").runs.exists()


def test_a_warning_names_a_best_setting_close_to_the_end_of_its_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"optim.lr_max": {"log": [0.0005, 0.0051]}}
    run_small_search(tmp_path, FakeBackend(), space=space, n_candidates=16)
    loaded = load_search(tmp_path / "search.yaml")
    results = Results(tmp_path / "results").of_searches
    studies = open_studies(loaded, results, print, prepare=describe)
    monkeypatch.setattr(rebuild, "draw_search_figures", draw_nothing)
    [warning] = rebuild.rebuild_search(loaded, results, studies, print).view.warnings
    assert "optim.lr_max" in warning and "upper" in warning


def test_a_warning_says_that_a_run_of_the_best_candidate_collapsed(tmp_path: Path) -> None:
    space = {"optim.lr_max": {"log": [0.0005, 0.0009]}}  # the pretended runs collapse below 0.001
    run_small_search(tmp_path, FakeBackend(), space=space, n_candidates=4, confirm=...)
    text = (tmp_path / "results" / "searches" / "hunt" / "report.md").read_text()
    assert [line for line in text.splitlines() if "Note" in line and "collapsed" in line]
    assert "nconfirmed" in text


def test_no_range_is_to_be_widened_beyond_what_the_decoder_takes(tmp_path: Path) -> None:
    space = {"model.n_layers": {"int": [1, 40]}, "optim.lr_max": {"log": [0.0005, 0.05]}}
    loaded = load_search(write_file(tmp_path, {"space": space}))
    for n_layers, lr_max, paths in (
        (1, 0.005, []),
        (40, 0.0006, ["model.n_layers", "optim.lr_max"]),
    ):
        params = {"model.n_layers": n_layers, "optim.lr_max": lr_max}
        winner = Winner("best_1", "base", 1, 0, params, 0.2)
        assert [place.path for place in near_open_ends(loaded, winner)] == paths


def test_the_best_so_far_never_gets_worse_and_counts_full_budgets_only(
    candidates: pd.DataFrame,
) -> None:
    [panel] = progress_data(PER, ["base"], candidates, {})
    best = [value for value in panel.best if value == value]
    assert best == sorted(best, reverse=True)
    full = candidates[candidates["state"] == "finished"]["figure"]
    assert best[-1] == full.min()
    assert list(panel.x) == sorted(panel.x)


def test_stopped_curves_end_at_a_rung(candidates: pd.DataFrame, folder: Path) -> None:
    own = folder / "results" / "searches" / "hunt"
    rungs = pd.read_csv(own / "rungs.csv")
    steps = range(10, 90, 10)
    rows = [
        {"arm": "base", "candidate": row.candidate, "seed": seed, "step": step, "value": 0.5}
        for row in candidates.itertuples()
        for seed in (1, 2)
        for step in steps
        if step <= row.step
    ]
    tables = SearchTables(candidates, rungs, pd.DataFrame(rows))
    curves = curves_data(["base"], tables, {("base", 0): 1})["base"]
    assert set(rungs["step"]) == {20, 40}
    assert {c.steps[-1] for c in curves if c.mark == "stopped"} <= {20, 40}
    assert [c.candidate for c in curves if c.rank == 1] == [0]


def test_no_other_candidate_beats_one_on_the_front_in_both_objectives() -> None:
    points = np.array([[1.0, 5.0], [2.0, 3.0], [2.0, 4.0], [3.0, 3.0], [4.0, 1.0], [4.0, 1.0]])
    assert on_front(points) == [True, True, False, False, True, True]


def test_two_objectives_are_drawn_against_each_other(tmp_path: Path) -> None:
    objectives = {"per": "minimize", "seconds": "minimize"}
    run_small_search(
        tmp_path,
        FakeBackend(),
        objectives=objectives,
        stopping={"method": "none"},
        n_candidates=4,
        confirm=...,
        draw=draw_search_figures,
    )
    own = tmp_path / "results" / "searches" / "hunt"
    assert (own / "figures" / "pareto.png").exists()
    assert "figures/pareto.svg" in (own / "report.md").read_text()


def test_a_diverged_or_collapsed_seed_marks_a_candidate_before_how_it_ended() -> None:
    rows = pd.DataFrame(
        {"state": ["finished", "stopped", "stopped"], "ending": ["ok", "ok", "diverged"]}
    )
    marks = ended(rows.assign(arm="base"), "base")["mark"]
    assert list(marks) == ["finished", "stopped", "diverged"]


def test_lines_of_parallel_coordinates_lie_between_the_ends(candidates: pd.DataFrame) -> None:
    settings = [Setting("optim.lr_max", True, ()), Setting("optim.epsilon", True, ())]
    data = parallel_data("base", settings, candidates, [3])
    assert data.lines.min() == 0.0 and data.lines.max() == 1.0
    assert sum(data.chosen) == 1 and data.step == 20


def test_a_map_needs_enough_different_candidates(candidates: pd.DataFrame) -> None:
    x, y = Setting("optim.lr_max", True, ()), Setting("optim.epsilon", True, ())
    assert contour_data("base", x, y, candidates.head(4)) is None
    flat = candidates.assign(**{"optim.epsilon": 0.1})
    assert contour_data("base", x, y, flat) is None
    assert contour_data("base", x, y, candidates) is not None


def test_importance_finds_the_setting_that_matters_if_there_are_enough_candidates(
    folder: Path,
) -> None:
    loaded = load_search(folder / "search.yaml")
    rng = np.random.default_rng(0)
    matters, idle = 10 ** rng.uniform(-3.3, -1.3, 60), 10 ** rng.uniform(-8, 0, 60)
    table = pd.DataFrame(
        {
            "optim.lr_max": matters,
            "optim.epsilon": idle,
            "common_figure": np.abs(np.log10(matters / 0.005)),
        }
    )
    space = loaded.arms[0].space
    found = importances(loaded.spec, space, table)
    assert next(iter(found)) == "optim.lr_max" and found["optim.lr_max"] > 0.7
    assert sum(found.values()) == pytest.approx(1.0)
    assert importances(loaded.spec, space, table.head(MIN_CANDIDATES - 1)) == {}


def test_null_stands_in_the_table_and_figures_of_a_search_where_it_was_chosen(
    tmp_path: Path,
) -> None:
    space = {
        "optim.grad_clip": {"choice": [None, 10.0]},
        "optim.lr_max": {"log": [0.0005, 0.05]},
    }
    run_small_search(tmp_path, FakeBackend(), space=space, draw=draw_search_figures, confirm=...)
    own = tmp_path / "results" / "searches" / "hunt"
    table = pd.read_csv(own / "candidates.csv", keep_default_na=False)
    assert set(table["optim.grad_clip"]) == {"null", "10.0"}
    clip = Setting("optim.grad_clip", False, ("null", "10.0"))
    assert set(clip.positions(table["optim.grad_clip"])) == {0.0, 1.0}


def test_null_is_a_level_like_any_other_of_the_importance(folder: Path) -> None:
    loaded = load_search(folder / "search.yaml")
    clip = Dimension(choice=(None, 1.0, 10.0))
    levels = [None, 1.0, 10.0] * 10
    table = pd.DataFrame(
        {
            "optim.grad_clip": [to_cell(clip, level) for level in levels],
            "optim.momentum": np.linspace(0.0, 0.9, 30),
            "common_figure": [0.1 if level is None else 0.5 + level / 100 for level in levels],
        }
    )
    space = {
        "optim.grad_clip": clip,
        "optim.momentum": Dimension(uniform=(0.0, 0.9)),
    }
    found = importances(loaded.spec, space, table)
    assert next(iter(found)) == "optim.grad_clip" and found["optim.grad_clip"] > 0.5
    two = {"optim.grad_clip": Dimension(choice=(None, 1.0))}
    assert set(importances(loaded.spec, two, table[table["optim.grad_clip"] != "10.0"])) == set(two)


def test_arms_and_conditions_are_drawn_and_reported(tmp_path: Path) -> None:
    arms = {"near": {"set": {}}, "far": {"set": {"optim.beta2": 0.9}}}
    space = {
        "optim.lr_max": {"log": [0.0005, 0.05]},
        "optim.algorithm": {"choice": ["adam", "adamw"]},
        "optim.weight_decay": {"log": [1e-5, 0.1], "when": {"optim.algorithm": "adamw"}},
    }
    outcome = run_small_search(
        tmp_path, FakeBackend(), arms=arms, space=space, n_candidates=8, draw=draw_search_figures
    )
    assert outcome.exit_code == 0
    own = tmp_path / "results" / "searches" / "hunt"
    assert {"parallel_near", "parallel_far"} <= {p.stem for p in (own / "figures").glob("*.png")}
    confirmed = pd.read_csv(own / "confirmations.csv")["level"]
    text = (own / "report.md").read_text().replace("\\_", "_")
    assert {"near.best_1", "far.best_1"} <= set(confirmed)
    assert all(level in text for level in confirmed)
