"""The state of a pack: the runs that can resume from a checkpoint."""

from pathlib import Path

import pytest
import torch

from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.data.store import Dataset
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
