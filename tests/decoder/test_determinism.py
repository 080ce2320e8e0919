"""The deterministic mode: only on a GPU, only while training runs, and with the same figures."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from decoder import augment, ctc, determinism
from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.ctc import ctc_losses
from decoder.data.store import Dataset
from decoder.determinism import (
    cumulative_sum,
    deterministic_algorithms,
    deterministic_if_asked,
    needs_cpu,
)
from decoder.errors import ConfigError
from decoder.pack import Pack, Progress, Run
from decoder.sections import AugmentConfig
from decoder.train import train

SMALL: dict[str, Any] = {
    "data.batch_size": 4,
    "data.days_per_batch": 2,
    "model.n_units": 4,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "train.n_steps": 3,
    "train.eval_every_steps": 3,
}


def pack_of(*, deterministic: bool) -> Pack:
    changes = {**SMALL, "train.deterministic": deterministic}
    return Pack("pack", 0, (Run("run", resolve(override(DecoderConfig(), changes, "test"))),))


@deterministic_if_asked
def steps(pack: Pack, *, device: str | None = None) -> Iterator[bool]:
    """Says twice whether the mode is on."""
    for _ in range(2):
        yield torch.are_deterministic_algorithms_enabled()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A machine that seems to have a GPU that was not used yet."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 0)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield monkeypatch
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_the_default_keeps_the_run_id_and_the_mode_changes_it() -> None:
    plain = DecoderConfig()
    default = override(plain, {"train.deterministic": False}, "test")
    asked = override(plain, {"train.deterministic": True}, "test")
    assert run_id(default, 0, "data") == run_id(plain, 0, "data") != run_id(asked, 0, "data")


@pytest.mark.parametrize("device", [None, "cuda", "cuda:1"])
def test_the_mode_is_on_while_a_gpu_trains_and_off_for_the_caller(gpu: Any, device: Any) -> None:
    training = steps(pack_of(deterministic=True), device=device)
    assert next(training) is True
    assert not torch.are_deterministic_algorithms_enabled()
    assert list(training) == [True]
    assert not torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_the_mode_is_off_where_it_is_not_asked_for_and_on_a_cpu(gpu: Any) -> None:
    assert list(steps(pack_of(deterministic=False), device="cuda")) == [False, False]
    assert list(steps(pack_of(deterministic=True), device="cpu")) == [False, False]


def test_a_process_that_used_the_gpu_without_a_fixed_workspace_is_refused(gpu: Any) -> None:
    gpu.setattr(torch.cuda, "max_memory_reserved", lambda: 1)
    with pytest.raises(ConfigError, match="CUBLAS_WORKSPACE_CONFIG=:4096:8"):
        next(steps(pack_of(deterministic=True), device="cuda"))
    gpu.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert next(steps(pack_of(deterministic=True), device="cuda")) is True
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize("warn_only", [False, True])
def test_the_mode_from_before_comes_back_after_an_error(warn_only: bool) -> None:
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with pytest.raises(ZeroDivisionError), deterministic_algorithms():
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert not torch.utils.deterministic.fill_uninitialized_memory
            raise ZeroDivisionError
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


def test_on_a_cpu_training_is_the_same_with_and_without_it(dataset: Dataset) -> None:
    def history(deterministic: bool) -> Any:
        events: list[Progress] = list(
            train(pack_of(deterministic=deterministic), dataset, device="cpu")
        )
        return events[-1].finished[0].history

    assert history(True) == history(False)


def test_only_gpu_tensors_in_the_mode_move_to_the_cpu() -> None:
    assert not needs_cpu(torch.zeros(1))
    with deterministic_algorithms():
        assert not needs_cpu(torch.zeros(1))


def test_what_is_computed_on_the_cpu_has_the_same_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, 7, 3, 5)
    labels, n_labels = torch.randint(1, 5, (3, 2)), torch.tensor([2, 1, 2])

    def losses_and_gradient() -> list[torch.Tensor]:
        leaf = scores.clone().requires_grad_()
        losses = ctc_losses(leaf.log_softmax(-1), labels, torch.tensor([7, 6, 5]), n_labels, False)
        losses.sum().backward()
        assert leaf.grad is not None
        return [losses.detach(), leaf.grad]

    def walk() -> torch.Tensor:
        shared = AugmentConfig(random_walk_std=1.0)
        x = torch.zeros(2, 40, 3)
        return augment.augment_batch(x, torch.tensor([40, 30]), [shared], 1, 2)[0]

    expected, walked = losses_and_gradient(), walk()
    moved: list[int] = []

    def once(x: torch.Tensor) -> bool:
        moved.append(1)
        return len(moved) == 1

    monkeypatch.setattr(ctc, "needs_cpu", once)
    for mine, theirs in zip(losses_and_gradient(), expected, strict=True):
        assert torch.equal(mine, theirs)
    assert len(moved) == 2, "once for the GPU tensor, once for its copy"
    monkeypatch.setattr(determinism, "needs_cpu", lambda x: True)
    assert torch.equal(walk(), walked)
    assert torch.equal(cumulative_sum(scores, 1), scores.cumsum(1))
