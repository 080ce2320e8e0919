"""`orchestrator.store.paths`: names cannot lead outside the results folder."""

from pathlib import Path

import pytest

from decoder.errors import ConfigError
from orchestrator.store.paths import Results


@pytest.mark.parametrize("name", ["..", "../evil", "/etc", "", "a/b", ".git", "x" * 65])
def test_a_name_that_is_no_name_is_refused(results: Results, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        results.ablation(name)


def test_a_link_that_leads_outside_is_refused(results: Results, tmp_path: Path) -> None:
    results.ablations.mkdir(parents=True)
    (results.ablations / "innocent").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="leads outside"):
        results.plan("innocent")


def test_an_ordinary_name_is_a_folder(results: Results) -> None:
    assert results.plan("a-b_c.d") == results.root / "ablations" / "a-b_c.d" / "plan.json"
