"""`orchestrator.execute.machine`: how many packs train at the same time."""

import os

import pytest

from decoder.errors import ConfigError
from orchestrator.execute.machine import choose_options, count_cpus, count_gpus


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ({}, (8, 1)),
        ({"n_workers": 2}, (2, 4)),
        ({"threads": 4}, (2, 4)),
        ({"n_workers": 16}, (16, 1)),
        ({"backend": "local"}, (8, 1)),
    ],
)
def test_workers_and_threads_share_the_cpus(asked: dict[str, int], got: tuple[int, int]) -> None:
    options = choose_options(**asked, n_cpus=8, n_gpus=0)  # type: ignore[arg-type]
    assert (options.n_workers, options.threads) == got


@pytest.mark.parametrize(
    ("device", "n_workers"), [(None, 2), ("cuda", 2), ("cuda:0", 2), ("cpu", 8)]
)
def test_each_gpu_gets_one_worker(device: str | None, n_workers: int) -> None:
    assert choose_options(device=device, n_cpus=8, n_gpus=2).n_workers == n_workers


def test_a_gpu_that_this_machine_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="--device cuda"):
        choose_options(device="cuda", n_cpus=8, n_gpus=0)
    assert choose_options(device="cuda", address="host:1", n_cpus=8, n_gpus=0).device == "cuda"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system counts no affinity")
def test_only_the_cpus_that_this_process_may_use_count() -> None:
    assert count_cpus() == len(os.sched_getaffinity(0))
    assert choose_options(n_gpus=0).n_workers == count_cpus()


@pytest.mark.parametrize(("visible", "n"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2)])
def test_hidden_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch, visible: str, n: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == n
