"""A step on a device without numbers, which shows that the host reads none and waits for none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.ctc_on_gpu import CTC
from decoder.data.batches import Batch, Sizes
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.host import Flags
from decoder.model.fused.available import why_not
from decoder.pack import Pack, Run
from decoder.stacked_optim import StackedOptimizer
from decoder.state import PackState
from decoder.step import step_gradients, update_weights

CPU, META = torch.device("cpu"), torch.device("meta")
NO_KERNELS = why_not(CPU)
# Everything that draws, masks, weighs or averages.
ARMS: list[dict[str, Any]] = [
    {},
    {
        "augment.time_warp_bins": 5,
        "augment.static_gain_std": 0.1,
        "augment.random_walk_std": 0.1,
        "augment.time_mask_probability": 1.0,
        "augment.feature_mask_probability": 0.5,
        "augment.speckle_rate": 0.3,
        "augment.patch_mask_max_share": 0.2,
        "loss.label_smoothing": 0.1,
        "loss.focal_gamma": 0.5,
        "loss.ctc_reduction": "mean",
        "optim.ema_decay": 0.9,
        "optim.update_absent_days": True,
    },
    {
        "loss.label_prior_weight": 0.5,
        "optim.algorithm": "sgd",
        "optim.grad_clip": None,
        "model.input_dropout": 0.1,
    },
]
SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 3,
    "model.n_units": 8,
    "model.n_layers": 2,
    "model.patch_size": 6,
    "model.patch_stride": 4,
    "model.inter_ctc_layers": [1],
    "optim.accumulation_steps": 2,
    "optim.lr_warmup_steps": 0,
}


def make_state(
    dataset: Dataset,
    device: torch.device,
    shared: dict[str, Any],
    arms: list[dict[str, Any]] = ARMS,
) -> PackState:
    runs = []
    for arm in arms:
        changes = {**SMALL, **shared, **arm}
        config = resolve(override(DecoderConfig(), changes, "test"))
        runs.append(Run(run_id(config, 5, "data"), config))
    return PackState.start(Pack("pack", 5, tuple(runs)), dataset, device)


def one_step(state: PackState, trials: Trials) -> Flags:
    losses, gradients = step_gradients(state, trials, 5)
    norms = state.optimizer.norms(gradients)
    finite = losses.isfinite() & norms.isfinite()
    flags = Flags(finite)
    update_weights(state, gradients, losses, norms, finite)
    state.step += 1
    return flags


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A meta device, whose tensors have no numbers, takes the way of a GPU without Triton."""

    def together(configs: Any, model: Any, device: Any) -> StackedOptimizer:
        return StackedOptimizer(configs, dict(model.named_parameters()), model.groups(), False)

    def losses(log_probs: torch.Tensor, *targets: Any) -> torch.Tensor:
        return log_probs.sum((1, 3))  # the kernels need a GPU, and PyTorch's own CTC waits

    monkeypatch.setattr("decoder.state.make_optimizer", together)
    monkeypatch.setattr("torch.is_autocast_enabled", lambda device: False)
    monkeypatch.setattr("decoder.augment.writes_once", lambda device: True)
    monkeypatch.setattr("decoder.objective.ctc_losses", losses)
    monkeypatch.setattr("decoder.model.decoder.choose_kernel", lambda *of: "batched")
    for module in ("augment", "masking", "time_warp", "model.patch_mask"):
        monkeypatch.setattr(f"decoder.{module}.generator", draws_of_nothing)
    yield


def draws_of_nothing(seed: int, purpose: str, step: int = 0, device: str = "cpu") -> Any:
    return None if device == "meta" else torch.Generator(device)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("architecture", ["gru", "lstm", "transformer"])
def test_a_step_reads_nothing_from_the_device_and_sends_no_number_anew(
    architecture: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_state(dataset, META, {"model.architecture": architecture})
    trials = Trials.select(dataset, state.configs[0])
    flags = one_step(state, trials)  # would raise where a number is read
    with pytest.raises(RuntimeError):
        flags.read()
    make_tensor = torch.tensor

    def on_the_host_only(*args: Any, device: Any = None, **more: Any) -> torch.Tensor:
        assert device is None or torch.device(device).type == "cpu", "a number is sent at a step"
        return make_tensor(*args, device=device, **more)

    monkeypatch.setattr(torch, "tensor", on_the_host_only)
    one_step(state, trials)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_guard_sees_a_number_that_is_read(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes_of: Any = vars(Batch)["sizes"].fget

    def reading(batch: Batch) -> Sizes:
        sizes: Sizes = sizes_of(batch)
        return sizes._replace(day=batch.day)

    monkeypatch.setattr(Batch, "sizes", property(reading))
    state = make_state(dataset, META, {})
    with pytest.raises(NotImplementedError, match="meta"):
        one_step(state, Trials.select(dataset, state.configs[0]))


@pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS))
@pytest.mark.filterwarnings("ignore:(overflow|invalid value)")  # of Triton's interpreter
def test_steps_by_kernels_equal_steps_on_a_cpu(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input, CTC, norms and updates of two steps by the kernels of a GPU, in the interpreter."""
    few: dict[str, Any] = {  # the interpreter is slow
        "data.batch_size": 3,
        "model.n_layers": 1,
        "model.inter_ctc_layers": [],
        "optim.accumulation_steps": 1,
    }
    start, expected, state = (make_state(dataset, CPU, few, ARMS[1:]) for _ in range(3))
    trials = Trials.select(dataset, expected.configs[0])
    assert one_step(expected, trials).read() == one_step(expected, trials).read() == [True, True]
    monkeypatch.setattr("decoder.augment.writes_once", lambda device: True)
    monkeypatch.setattr("decoder.objective.ctc_losses", CTC.apply)
    configs = [config.optim for config in state.configs]
    parameters, groups = dict(state.model.named_parameters()), state.model.groups()
    state.optimizer = StackedOptimizer(configs, parameters, groups, kernels=True, block=256)
    assert one_step(state, trials).read() == one_step(state, trials).read() == [True, True]
    for name, new in parameters.items():
        old, at_start = expected.model.get_parameter(name), start.model.get_parameter(name)
        difference, change = (new - old).detach().norm(), (old - at_start).detach().norm()
        assert float(difference) <= 1e-3 * float(change), name
    torch.testing.assert_close(state.grad_norms[:, :2], expected.grad_norms[:, :2])
    for mine, theirs in zip(state.sums.rows(), expected.sums.rows(), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_host_does_not_wait_in_a_step_on_a_gpu(dataset: Dataset, tmp_path: Path) -> None:
    state = make_state(dataset, torch.device("cuda"), {})
    trials = Trials.select(dataset, state.configs[0])
    flags = [one_step(state, trials) for _ in range(3)]  # kernels are built, constants sent
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        flags += [one_step(state, trials) for _ in range(3)]
        assert all(all(flag.read()) for flag in flags)
    finally:
        torch.cuda.set_sync_debug_mode("default")
