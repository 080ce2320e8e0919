"""`orchestrator.store.paths`: names cannot lead outside the results folder."""

from pathlib import Path

import pytest

from decoder.errors import ConfigError
from orchestrator.store.paths import Results


@pytest.mark.parametrize("name", ["..", "../evil", "/etc", "", "a/b", ".git", "x" * 65])
def test_name_that_is_not_valid_is_refused(results: Results, name: str) -> None:
    for folder_of in (results.ablation, results.imported):
        with pytest.raises(ConfigError) as caught:
            folder_of(name)
        assert repr(name) in str(caught.value)


def test_a_link_that_leads_outside_is_refused(results: Results, tmp_path: Path) -> None:
    results.ablations.mkdir(parents=True)
    (results.ablations / "innocent").symlink_to(tmp_path)
    with pytest.raises(ConfigError) as caught:
        results.plan("innocent")
    assert str(results.ablations / "innocent") in str(caught.value)
    assert str(tmp_path.resolve()) in str(caught.value)


def test_an_ordinary_name_is_a_folder(results: Results) -> None:
    assert results.plan("a-b_c.d") == results.root / "ablations" / "a-b_c.d" / "plan.json"
