"""`orchestrator.execute.machine`: how many packs at a time."""

import os

import pytest

from orchestrator.execute import machine
from orchestrator.execute.machine import choose_options, count_gpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(machine, "count_gpus", lambda: 0)


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
    options = choose_options(**asked)  # type: ignore[arg-type]
    assert (options.n_workers, options.threads) == got


@pytest.mark.parametrize(
    ("device", "n_workers"), [(None, 2), ("cuda", 2), ("cuda:0", 2), ("cpu", 8)]
)
def test_a_gpu_gets_one_worker(
    monkeypatch: pytest.MonkeyPatch, device: str | None, n_workers: int
) -> None:
    monkeypatch.setattr(machine, "count_gpus", lambda: 2)
    assert choose_options(device=device).n_workers == n_workers


@pytest.mark.parametrize(("visible", "n"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2)])
def test_hidden_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch, visible: str, n: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == n
