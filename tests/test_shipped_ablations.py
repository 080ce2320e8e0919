"""Every ablation that ships can be planned, and each question that is asked has a control."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from shipped import ABLATIONS, BASES, DOCS, QUESTIONS, SEARCHES, TRAINERS

from decoder.config import load_config
from decoder.official_values import T15_OFFICIAL
from decoder.strict_yaml import load_yaml
from orchestrator.plan.contrasts import prove_contrasts
from orchestrator.search.load import load_search
from orchestrator.spec.load import load_spec

# Keys of the official file that our decoder has no field for, of the official types.
UNTRAINED = {
    "seed": 10,
    "dataset.seed": 1,
    "output_dir": "trained_models/rnn",
    "checkpoint_dir": "trained_models/rnn/checkpoint",
    "gpu_number": "1",
    "save_val_logits": True,
    "batches_per_train_log": 200,
    "model.n_input_features": 512,
    "model.input_network.input_layer_sizes": [512],
    "dataset.neural_dim": 512,
    "dataset.num_dataloader_workers": 4,
    "dataset.dataset_probability_val": [0],
}


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


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The ablation of the official trainer, beside files with the official keys and recordings."""
    folder = tmp_path / "nejm-brain-to-text"
    settings: dict[str, Any] = {}
    for path, value in (T15_OFFICIAL | UNTRAINED).items():
        *sections, key = path.split(".")
        section = settings
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    (folder / "model_training").mkdir(parents=True)
    (folder / "model_training" / "rnn_args.yaml").write_text(yaml.safe_dump(settings))
    (folder / "model_training" / "train_model.py").write_text("raise SystemExit(1)")
    for name in ("hdf5_data_final", "synthetic_small"):
        session = folder / "data" / name / "t15.2000.01.01"
        session.mkdir(parents=True)
        (session / "data_train.hdf5").write_bytes(b"never read")
    spec = tmp_path / "project" / "ablations" / "official_t15_trainer.yaml"
    spec.parent.mkdir(parents=True)
    spec.write_text((ABLATIONS / spec.name).read_text())
    return spec


@pytest.mark.parametrize(
    ("profile", "n_steps", "gpus"), [(None, 120_000, 1.0), ("small", 400, 0.0)]
)
def test_the_official_trainer_is_an_ablation_of_its_own_keys(
    official: Path, profile: str | None, n_steps: int, gpus: float
) -> None:
    loaded = load_spec(official, profile)
    (proof,) = prove_contrasts(loaded)
    assert proof.changed == {"lr_max": (0.005, 0.002), "lr_max_day": (0.005, 0.002)}
    configs = [arm.config for arm in loaded.arms]
    assert {config.settings["num_training_batches"] for config in configs} == {n_steps}
    assert {config.trainer.gpus for config in configs} == {gpus}
    assert all(config.code.keys() == {"train_model.py"} for config in configs)


def test_the_tiny_trainer_measures_its_own_noise() -> None:
    loaded = load_spec(ABLATIONS / "tiny_trainer.yaml")
    assert {proof.hypothesis for proof in prove_contrasts(loaded)} == {*loaded.spec.hypotheses}
    again = [arm.arm_id for arm in loaded.arms if arm.replicate]
    fresh = [arm.arm_id for arm in loaded.arms if arm.seed_offset]
    assert (len(loaded.arms), len(again), fresh) == (6, 1, ["base_fresh"])


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
    assert linked["ablations"] == {*BASES, *QUESTIONS, *TRAINERS}
