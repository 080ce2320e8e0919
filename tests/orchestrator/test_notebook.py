"""The names of the package and the calls of a notebook."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import orchestrator
from decoder.errors import ConfigError
from orchestrator.driver.reporting import rebuild_report
from orchestrator.spec.load import load_spec
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan

TINY = {"train/n_steps": 6, "train/eval_every_steps": 2}
ONE_CLAIM = {
    "hypotheses/only_when_slow": ...,
    "factors/rate": ...,
    "hypotheses/weak_hurts/where": {},
}


@pytest.fixture
def spec_file(write_spec: Callable[..., Path]) -> Path:
    """One factor, one claim, three seeds, six steps."""
    return write_spec(ONE_CLAIM, TINY)


@pytest.fixture
def reported(store: Results) -> Results:
    """A store whose ablation has a report."""
    rebuild_report(store, read_plan(store, "two"), lambda _: None)
    return store


def test_every_public_name_is_there_and_sorted() -> None:
    assert orchestrator.__all__ == sorted(orchestrator.__all__)
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    assert all(getattr(orchestrator, name) is not None for name in orchestrator.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        orchestrator.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_no_library_and_reading_a_file_no_heavy_one(
    spec_file: Path,
) -> None:
    light = {"numpy", "pydantic", "yaml"}
    heavy = {"torch", "ray", "pandas", "matplotlib", "scipy", "optuna"}
    code = (
        "import sys, orchestrator\n"
        f"assert not {light | heavy!r} & set(sys.modules)\n"
        f"orchestrator.load_spec({str(spec_file)!r})\n"
        f"assert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_file_is_loaded_by_a_path_given_as_text(spec_file: Path) -> None:
    assert orchestrator.load_spec(str(spec_file)) == load_spec(spec_file)


def test_what_was_planned_is_trained_once_and_read_back(spec_file: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "results")
    loaded = orchestrator.load_spec(spec_file)
    plan = orchestrator.plan_ablation(loaded, folder)
    assert len(plan.runs) == 6

    outcome = orchestrator.run_ablation(loaded, folder, backend="local", quiet=True)
    assert (outcome.n_trained, outcome.n_recorded, outcome.exit_code) == (6, 6, 0)
    assert (outcome.folder / "report.md").is_file()
    assert orchestrator.run_ablation(loaded, folder, backend="local", quiet=True).n_trained == 0

    preview = orchestrator.preview_ablation(loaded, folder, n_seeds=[4])
    assert not preview.packs and preview.choices[0].n_seeds == 4

    ablation = orchestrator.read_ablation("question", folder)
    assert set(ablation.tables["runs"]["run_id"]) == set(plan.distinct)
    assert list(ablation.verdicts) == ["weak_hurts"]
    assert set(orchestrator.list_runs(folder)["run_id"]) == set(plan.distinct)


def test_tables_and_figures_are_those_of_the_report(reported: Results) -> None:
    ablation = orchestrator.read_ablation("two", reported.root)
    folder = reported.ablation("two")
    assert ablation.plan == read_plan(reported, "two")
    assert set(ablation.tables) == {path.stem for path in folder.glob("*.csv")}
    for name, table in ablation.tables.items():
        assert (
            table.to_csv(index=False, lineterminator="\n") == (folder / f"{name}.csv").read_text()
        )
    assert set(ablation.figures) == {path.stem for path in (folder / "figures").glob("*.svg")}
    assert all(isinstance(figure, Figure) for figure in ablation.figures.values())
    words = ablation.tables["verdicts"].set_index("hypothesis")["verdict"].to_dict()
    assert words == {name: verdict.word for name, verdict in ablation.verdicts.items()}


def test_reading_changes_no_file(reported: Results) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in reported.root.rglob("*") if path.is_file()}

    before = content()
    ablation = orchestrator.read_ablation("two", reported.root)
    assert ablation.figures and content() == before


def test_an_ablation_that_was_never_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing"):
        orchestrator.read_ablation("nothing", tmp_path)


def test_runs_are_chosen_by_a_condition(store: Results) -> None:
    collapsed = orchestrator.list_runs(store.root, where="outcome == 'collapsed'")
    assert len(collapsed) == 6 and set(collapsed["outcome"]) == {"collapsed"}
    best = orchestrator.list_runs(
        store.root, sort="per", limit=2, columns=["run_id", "per", "loss.ctc_reduction"]
    )
    assert list(best.columns) == ["run_id", "per", "loss.ctc_reduction"]
    assert best["per"].is_monotonic_increasing and len(best) == 2
    assert set(best["loss.ctc_reduction"]) == {"none_then_mean"}
    assert orchestrator.list_runs(store.root, where="per > 2").empty
    with pytest.raises(ConfigError, match="no_such_column"):
        orchestrator.list_runs(store.root, where="no_such_column == 1")


@pytest.mark.parametrize("metric", ["per", "collapsed"])
def test_a_comparison_is_a_table_and_a_figure(store: Results, metric: str) -> None:
    found = orchestrator.compare_results("two:sum", "two:mean", results=store.root, metric=metric)
    (row,) = found.table.to_dict("records")
    assert row["metric"] == metric and row["difference"] > 0
    assert row["low"] <= row["difference"] <= row["high"]
    assert isinstance(found.figure, Figure)


def test_a_comparison_needs_two_names(store: Results) -> None:
    with pytest.raises(ConfigError):
        orchestrator.compare_results("two", results=store.root)
