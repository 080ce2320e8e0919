"""Tables, figures and report of a search: what they say, and that they say it again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.search.figures.contour import contour_data
from orchestrator.search.figures.curves import candidate_curves
from orchestrator.search.figures.marks import Setting, fates
from orchestrator.search.figures.parallel import parallel_data
from orchestrator.search.figures.pareto import on_front
from orchestrator.search.figures.progress import progress_data
from orchestrator.search.importance import MIN_CANDIDATES, importances
from orchestrator.search.spec import load_search
from orchestrator.store.paths import Results

from .conftest import Pretender, WriteSearch, hunt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of one arm, with more candidates than the importance asks for."""
    found = tmp_path_factory.mktemp("report")
    assert hunt(found, Pretender(), n_candidates=20).exit_code == 0
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


def test_the_report_tells_search_confirmation_gap_and_base(folder: Path) -> None:
    rows = pd.read_csv(folder / "results" / "searches" / "hunt" / "confirmations.csv")
    best, base = rows[rows["rank"] == 1].iloc[0], rows[rows["rank"] == 0].iloc[0]
    assert best["gap"] == pytest.approx(best["mean"] - best["search_figure"])
    assert best["difference"] == pytest.approx(best["mean"] - base["mean"])
    assert best["difference_interval_low"] <= best["difference"] <= best["difference_interval_high"]
    text = (folder / "results" / "searches" / "hunt" / "report.md").read_text()
    assert f"{100 * best['search_figure']:.1f} % on the seeds it was chosen by" in text
    assert f"On 6 fresh seeds it has {100 * best['mean']:.1f} %" in text
    assert f"The base has {100 * base['mean']:.1f} % on the same fresh seeds" in text


def test_rebuilding_gives_the_same_bytes(folder: Path) -> None:
    own = folder / "results" / "searches" / "hunt"
    kept = ("candidates.csv", "report.html", "report.md", "figures/settings.svg")
    before = {name: (own / name).read_bytes() for name in kept}
    told = invoke(folder, "--report-only", "--json")
    assert told.exit_code == 0, told.output
    assert {name: (own / name).read_bytes() for name in kept} == before
    document = json.loads(told.stdout)
    assert [row["level"] for row in document["confirmed"]][:2] == ["base", "best_1"]
    assert document["verdicts"]["best_1"] in ("supported", "refuted", "inconclusive")


def test_a_search_that_was_never_run_has_no_report(write_search: WriteSearch) -> None:
    told = invoke(write_search().parent, "--report-only")
    assert told.exit_code == 5
    assert "no search 'hunt' was run" in told.stderr


def test_a_dry_run_trains_nothing_and_counts_the_steps(write_search: WriteSearch) -> None:
    folder = write_search().parent
    told = invoke(folder, "--dry-run", "--no-calibrate", "--json")
    assert told.exit_code == 0, told.output
    seen = json.loads(told.stdout)
    assert seen["most_steps"] == 12 * 2 * 80
    assert seen["search_steps"] == 12 * 2 * (20 + 20 // 2 + 40 // 4)
    assert seen["confirm_steps"] == 3 * 6 * 80
    assert not Results(folder / "results").runs.exists()


def test_a_best_value_beside_an_end_is_pointed_out(tmp_path: Path) -> None:
    space = {"optim.lr_max": {"log": [0.0005, 0.0051]}}
    hunt(tmp_path, Pretender(), space=space, n_candidates=16)
    text = (tmp_path / "results" / "searches" / "hunt" / "report.md").read_text()
    assert "lies at the upper end of its range" in text


def test_the_best_so_far_never_gets_worse_and_counts_full_budgets_alone(
    candidates: pd.DataFrame,
) -> None:
    [arm] = progress_data("per", 1, ["base"], candidates, {}).arms
    best = [value for value in arm.best if value == value]
    assert best == sorted(best, reverse=True)
    full = candidates[candidates["state"] == "finished"]["figure"]
    assert best[-1] == full.min()
    assert list(arm.spent) == sorted(arm.spent)


def test_stopped_curves_end_at_a_rung(candidates: pd.DataFrame, folder: Path) -> None:
    own = folder / "results" / "searches" / "hunt"
    rungs = pd.read_csv(own / "rungs.csv")
    steps = range(10, 90, 10)
    rows = [
        {"arm": "base", "candidate": row.candidate, "seed": seed, "step": step, "per": 0.5}
        for row in candidates.itertuples()
        for seed in (1, 2)
        for step in steps
        if step <= row.step
    ]
    data = candidate_curves(
        "per", ["base"], candidates, rungs, pd.DataFrame(rows), {("base", 0): 1}
    )
    assert data.rungs == (20, 40)
    [(_, curves)] = data.arms
    assert {c.steps[-1] for c in curves if c.fate == "stopped"} <= {20, 40}
    assert [c.candidate for c in curves if c.rank == 1] == [0]


def test_the_front_holds_whom_no_other_beats_in_both() -> None:
    points = np.array([[1.0, 5.0], [2.0, 3.0], [2.0, 4.0], [3.0, 3.0], [4.0, 1.0], [4.0, 1.0]])
    assert on_front(points) == [True, True, False, False, True, True]


def test_two_objectives_are_drawn_against_each_other(tmp_path: Path) -> None:
    objectives = {"per": "minimize", "seconds": "minimize"}
    hunt(
        tmp_path,
        Pretender(),
        objectives=objectives,
        stopping={"method": "none"},
        n_candidates=4,
        confirm=...,
    )
    own = tmp_path / "results" / "searches" / "hunt"
    assert (own / "figures" / "pareto.png").exists()
    assert "Both objectives" in (own / "report.md").read_text()


def test_fates_name_diverged_before_collapsed_before_stopped() -> None:
    rows = pd.DataFrame(
        {"state": ["finished", "stopped", "stopped"], "ending": ["ok", "ok", "diverged"]}
    )
    assert fates(rows) == ["finished", "stopped", "diverged"]


def test_lines_of_parallel_coordinates_lie_between_the_ends(candidates: pd.DataFrame) -> None:
    settings = [Setting("optim.lr_max", True, ()), Setting("optim.epsilon", True, ())]
    data = parallel_data("per", 1, "base", settings, candidates, [3])
    assert data.lines.min() == 0.0 and data.lines.max() == 1.0
    assert sum(data.chosen) == 1 and data.step == 20


def test_a_map_needs_enough_different_candidates(candidates: pd.DataFrame) -> None:
    x, y = Setting("optim.lr_max", True, ()), Setting("optim.epsilon", True, ())
    assert contour_data("per", 1, "base", x, y, candidates.head(4)) is None
    flat = candidates.assign(**{"optim.epsilon": 0.1})
    assert contour_data("per", 1, "base", x, y, flat) is None
    assert contour_data("per", 1, "base", x, y, candidates) is not None


def test_importance_finds_the_setting_that_matters_and_keeps_quiet_about_few(folder: Path) -> None:
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
    assert found[0].path == "optim.lr_max" and found[0].share > 0.7
    assert sum(one.share for one in found) == pytest.approx(1.0)
    assert importances(loaded.spec, space, table.head(MIN_CANDIDATES - 1)) == []


def test_arms_and_conditions_are_drawn_and_told(tmp_path: Path) -> None:
    arms = {"near": {"set": {}}, "far": {"set": {"optim.beta2": 0.9}}}
    space = {
        "optim.lr_max": {"log": [0.0005, 0.05]},
        "optim.algorithm": {"choice": ["adam", "adamw"]},
        "optim.weight_decay": {"log": [1e-5, 0.1], "when": {"optim.algorithm": "adamw"}},
    }
    outcome = hunt(tmp_path, Pretender(), arms=arms, space=space, n_candidates=8)
    assert outcome.exit_code == 0
    own = tmp_path / "results" / "searches" / "hunt"
    assert {"parallel_near", "parallel_far"} <= {p.stem for p in (own / "figures").glob("*.png")}
    assert "far: The best candidate" in (own / "report.md").read_text()
