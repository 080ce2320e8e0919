"""Settings that cannot change a result, by their names."""

import pytest

from decoder.neutral_settings import is_neutral


@pytest.mark.parametrize(
    "key",
    ["output_dir", "logging.level", "wandb", "wandb.project", "name", "run_purpose", "runNumber"]
    + ["trainer.num_workers", "save_best", "hydra.run.dir", "torch_compile", "model.ckpt_dir"],
)
def test_folders_devices_and_labels_are_neutral(key: str) -> None:
    assert is_neutral(key)


@pytest.mark.parametrize(
    "key", ["optimizer.name", "use_diphones", "model.mode", "seed", "lr", "catalog.size", "savings"]
)
def test_what_may_change_a_result_is_not(key: str) -> None:
    assert not is_neutral(key)
