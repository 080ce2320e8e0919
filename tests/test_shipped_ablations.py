"""Every ablation that ships can be planned, and each question that is asked has a control."""

import re
from pathlib import Path

import pytest
from shipped import BASES, DOCS, QUESTIONS, SEARCHES

from decoder.config import load_config
from decoder.strict_yaml import load_yaml
from orchestrator.plan.contrasts import prove_contrasts
from orchestrator.search.load import load_search
from orchestrator.spec.load import load_spec


@pytest.mark.parametrize("path", BASES, ids=lambda p: p.stem)
def test_every_base_is_a_valid_configuration(path: Path) -> None:
    load_config(path)


@pytest.mark.parametrize("path", QUESTIONS, ids=lambda p: p.stem)
def test_every_ablation_is_valid_and_its_contrasts_are_clean(path: Path) -> None:
    loaded = load_spec(path)
    assert loaded.spec.name == path.stem
    proven = {proof.hypothesis for proof in prove_contrasts(loaded)}
    assert proven == set(loaded.spec.hypotheses)


@pytest.mark.parametrize("path", SEARCHES, ids=lambda p: p.stem)
def test_every_search_is_valid_and_confirms_what_it_finds(path: Path) -> None:
    loaded = load_search(path)
    assert loaded.spec.name == path.stem
    assert loaded.spec.confirm is not None


@pytest.mark.parametrize("path", QUESTIONS, ids=lambda p: p.stem)
def test_every_profile_is_an_ablation_of_its_own(path: Path) -> None:
    for profile in load_yaml(path).get("profiles", {}):
        loaded = load_spec(path, profile)
        assert loaded.spec.name == f"{path.stem}-{profile}"
        assert {proof.hypothesis for proof in prove_contrasts(loaded)} == set(
            loaded.spec.hypotheses
        )


@pytest.mark.parametrize("path", QUESTIONS, ids=lambda p: p.stem)
def test_every_small_ablation_measures_its_own_noise(path: Path) -> None:
    loaded = load_spec(path)
    if not loaded.base.data.path.startswith("synthetic:"):
        pytest.skip("at full size a control costs as much as an arm")
    extra = loaded.spec.extra_arms.values()
    assert any(arm.seed_offset for arm in extra), "no arm on fresh seeds"
    assert any(arm.replicate for arm in extra), "no arm trained twice"


def test_the_documentation_lists_the_files_that_ship_and_no_others() -> None:
    """A file that is added to the project is described in the documentation, and tested here."""
    linked = {
        page.stem: {
            (page.parent / target).resolve()
            for target in re.findall(r"\]\((\.\./ablations/[^)]+\.yaml)\)", page.read_text())
        }
        for page in DOCS
    }
    assert linked["searches"] == {*SEARCHES}
    assert linked["ablations"] == {*BASES, *QUESTIONS}
