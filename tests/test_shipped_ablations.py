"""Every file under ablations/ can be planned, and each question that is asked has a control."""

from pathlib import Path

import pytest

from decoder.config import load_config
from decoder.strict_yaml import load_yaml
from orchestrator.plan.contrasts import prove_contrasts
from orchestrator.search.load import load_search
from orchestrator.spec.load import load_spec

ABLATIONS = Path(__file__).parents[1] / "ablations"
BASES = sorted((ABLATIONS / "base").glob("*.yaml"))
FILES = sorted(set(ABLATIONS.rglob("*.yaml")) - set(BASES))
SEARCHES = [path for path in FILES if "space" in load_yaml(path)]
QUESTIONS = [path for path in FILES if path not in SEARCHES]


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


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_shipped_file_is_listed_in_the_documentation(path: Path) -> None:
    page = "searches.md" if path in SEARCHES else "ablations.md"
    text = (ABLATIONS.parent / "docs" / page).read_text()
    assert f"(../ablations/{path.name})" in text
