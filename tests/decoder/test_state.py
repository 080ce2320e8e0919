"""The state of a pack: the runs that can resume from a checkpoint."""

from pathlib import Path

import pytest
import torch

from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.data.store import Dataset
from decoder.errors import ConfigError
from decoder.model import kernel_choice
from decoder.model.cells import Kernel
from decoder.pack import Pack, Run
from decoder.state import PackState


def make_run(n_steps: int) -> Run:
    config = override(DecoderConfig(), {"model.n_units": 4, "train.n_steps": n_steps}, "test")
    return Run(run_id(config, 0, "data"), resolve(config))


def test_a_run_that_ended_can_be_resumed_alone_after_the_others_went_on(
    dataset: Dataset, tmp_path: Path
) -> None:
    short, long = make_run(3), make_run(8)
    state = PackState.start(Pack("pack", 0, (short, long)), dataset, torch.device("cpu"))
    state.step = 3
    [ended] = state.finish([True, False], "ok", 0)
    state.step = 6
    state.save(tmp_path)
    alone = PackState.start(Pack("pack", 0, (short,)), dataset, torch.device("cpu"))
    assert alone.resume(tmp_path) == ([ended], [])
    assert alone.runs == [] and alone.step == 6
    other = PackState.start(Pack("pack", 0, (long,)), dataset, torch.device("cpu"))
    assert other.resume(tmp_path) == ([], [])
    assert other.runs == [long] and other.step == 6


def state_of(dataset: Dataset, *runs: Run) -> PackState:
    return PackState.start(Pack("pack", 0, runs), dataset, torch.device("cpu"))


def test_a_part_continues_from_the_nearest_folder_with_a_checkpoint(
    dataset: Dataset, tmp_path: Path
) -> None:
    short, long = make_run(3), make_run(8)
    state = state_of(dataset, short, long)
    state.step, state.seconds = 2, 10.0
    state.save(tmp_path)
    folders = (tmp_path / "part" / "part", [tmp_path / "part", tmp_path])
    part = state_of(dataset, long)
    assert part.resume(*folders) == ([], [])
    assert (part.step, part.seconds, part.n_runs_at_start) == (2, 5.0, 1)
    part.step = 4
    part.save(tmp_path / "part")
    again = state_of(dataset, long)
    again.resume(*folders)
    assert (again.step, again.seconds) == (4, 5.0)


def test_a_checkpoint_of_another_kind_of_device_is_refused(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(3)
    made_with = {"type": "cuda", "name": "NVIDIA H100", "kernel": "fused"}
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(PackState, "_made_with", lambda self: made_with)
        state_of(dataset, run).save(tmp_path)
    state = state_of(dataset, run)
    with pytest.raises(ConfigError, match="NVIDIA H100.*--device cuda") as caught:
        state.resume(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_another_gpu_is_remarked_on(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(3)
    state = state_of(dataset, run)
    assert state.kernel == "batched"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(PackState, "_made_with", lambda self: {"type": "cpu", "name": "A100"})
        state.save(tmp_path)
    _, [remark] = state.resume(tmp_path)
    assert "A100" in remark and "cpu" in remark


def test_a_checkpoint_that_does_not_name_its_device_is_used_without_a_remark(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(3)
    with monkeypatch.context() as older:
        older.setattr(PackState, "_made_with", lambda self: {})
        state_of(dataset, run).save(tmp_path)
    assert state_of(dataset, run).resume(tmp_path) == ([], [])


def test_only_a_gru_has_a_kernel(dataset: Dataset) -> None:
    config = override(make_run(3).config, {"model.architecture": "lstm"}, "test")
    assert state_of(dataset, Run("run", resolve(config))).kernel == ""


@pytest.mark.parametrize("kernel", ["torch", "batched", None])
def test_a_resumed_pack_keeps_its_kernel(
    dataset: Dataset, tmp_path: Path, kernel: Kernel | None
) -> None:
    pack = Pack("pack", 0, (make_run(8),))
    state = PackState.start(pack, dataset, torch.device("cpu"))
    state.model.kernel = kernel
    state.save(tmp_path)
    resumed = PackState.start(pack, dataset, torch.device("cpu"))
    assert resumed.resume(tmp_path) == ([], [])
    assert resumed.model.kernel == kernel


def test_a_kernel_that_is_missing_here_is_chosen_anew_and_the_user_is_told(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_choice, "why_not", lambda device: "No Triton.")
    pack = Pack("pack", 0, (make_run(8),))
    state = PackState.start(pack, dataset, torch.device("cpu"))
    state.model.kernel = "fused"
    state.save(tmp_path)
    resumed = PackState.start(pack, dataset, torch.device("cpu"))
    _, [remark] = resumed.resume(tmp_path)
    assert resumed.model.kernel is None and "No Triton." in remark
