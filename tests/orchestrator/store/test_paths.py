"""`orchestrator.store.paths`: names cannot lead outside the results folder."""

from pathlib import Path

import pytest

from decoder.errors import ConfigError
from orchestrator.store.paths import Results, default_results


@pytest.mark.parametrize("name", ["..", "../evil", "/etc", "", "a/b", ".git", "x" * 65])
def test_name_that_is_not_valid_is_refused(results: Results, name: str) -> None:
    for folder_of in (results.ablation, results.imported):
        with pytest.raises(ConfigError) as caught:
            folder_of(name)
        assert repr(name)[:20] in str(caught.value)


def test_a_link_that_leads_outside_is_refused(results: Results, tmp_path: Path) -> None:
    results.ablations.mkdir(parents=True)
    (results.ablations / "innocent").symlink_to(tmp_path)
    with pytest.raises(ConfigError) as caught:
        results.plan("innocent")
    assert str(results.ablations / "innocent") in str(caught.value)
    assert str(tmp_path.resolve()) in str(caught.value)


def test_an_ordinary_name_is_a_folder(results: Results) -> None:
    assert results.plan("a-b_c.d") == results.root / "ablations" / "a-b_c.d" / "plan.json"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of this project, as far as its folders show it."""
    for name in ("ablations/base", "orchestrator", "docs", "results"):
        (tmp_path / "project" / name).mkdir(parents=True)
    (tmp_path / "project/orchestrator/__init__.py").touch()
    return tmp_path / "project"


def test_results_lie_beside_the_project_that_the_working_directory_is_in(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("docs", "ablations/base"):
        monkeypatch.chdir(checkout / folder)
        assert default_results() == checkout / "results"
        assert default_results(checkout.parent / "elsewhere" / "x.yaml") == checkout / "results"
    monkeypatch.chdir(checkout)
    assert default_results() == Path("results")
    (checkout / "results").rmdir()
    assert default_results() == Path("results")


def test_results_lie_beside_the_project_of_the_file_if_the_working_directory_is_in_none(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("project/ablations/x.yaml")
    assert default_results(file) == checkout / "results"
    assert default_results(tmp_path / "x.yaml") == default_results() == Path("results")
    (tmp_path / "results").mkdir()
    assert default_results(file) == Path("results"), "results that are there are used again"
