"""`orchestrator.execute.machine`: how many packs train at the same time."""

import math
from typing import Any

import pytest

from decoder.cpus import Cpus
from decoder.errors import ConfigError
from orchestrator.execute.machine import BackendName, choose_options, count_gpus


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


@pytest.mark.parametrize(
    ("share", "n_workers", "backend", "expected"),
    [
        (1.0, None, "ray", 2),
        (0.5, None, "ray", 4),
        (0.3, None, "ray", 6),  # three on each, and a tenth is left
        (0.1, None, "ray", 20),
        (2.0, None, "ray", 1),
        (0.5, 3, "ray", 3),
        (1.0, None, "local", 2),
    ],
)
def test_as_many_workers_as_fit_share_the_gpus(
    share: float, n_workers: int | None, backend: BackendName, expected: int
) -> None:
    options = choose_options(backend, n_workers, gpus_per_pack=share, n_cpus=40, n_gpus=2)
    assert (options.n_workers, options.gpus_per_pack) == (expected, share)
    assert options.threads == 40 // expected


@pytest.mark.parametrize(
    ("share", "more", "n_gpus"),
    [
        (0.0, {}, 2),
        (-0.5, {}, 2),
        (0.001, {}, 2),
        (1.5, {}, 2),
        (math.nan, {}, 2),
        (math.inf, {}, 2),
        (3.0, {}, 2),  # more than there are
        (0.5, {"n_workers": 5}, 2),
        (0.5, {"device": "cpu"}, 2),
        (0.5, {"device": "mps"}, 2),
        (0.5, {"backend": "local"}, 2),
        (2.0, {"backend": "local"}, 2),
        (0.5, {}, 0),
    ],
)
def test_a_share_of_a_gpu_that_cannot_be_given_is_refused(
    share: float, more: dict[str, Any], n_gpus: int
) -> None:
    with pytest.raises(ConfigError, match=f"--gpus-per-pack {share:g}: "):
        choose_options(**more, gpus_per_pack=share, n_cpus=8, n_gpus=n_gpus)


def test_on_a_cluster_its_own_gpus_count() -> None:
    options = choose_options(gpus_per_pack=0.5, address="host:1", n_cpus=8, n_gpus=0)
    assert (options.n_workers, options.gpus_per_pack) == (8, 0.5)


@pytest.mark.parametrize(
    ("environment", "cpus", "asked", "got"),
    [
        ({}, Cpus(8, 8), {"n_workers": 1}, (1, 8)),
        ({}, Cpus(8, 3), {"n_workers": 1}, (1, 3)),
        ({}, Cpus(8, 0), {"n_workers": 2}, (2, 1)),
        ({}, Cpus(8, 0), {"n_workers": 2, "threads": 4}, (2, 4)),
        ({}, Cpus(2, 0), {}, (2, 1)),
        ({"OMP_NUM_THREADS": "1"}, Cpus(8, 8), {"n_workers": 1}, (1, 1)),
        ({"OMP_NUM_THREADS": "4"}, Cpus(8, 0), {}, (2, 4)),
        ({"OMP_NUM_THREADS": "4"}, Cpus(8, 8), {"threads": 2}, (4, 2)),
    ],
)
def test_threads_follow_the_environment_and_then_the_cpus_that_are_idle(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    cpus: Cpus,
    asked: dict[str, int],
    got: tuple[int, int],
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("orchestrator.execute.machine.find_cpus", lambda: cpus)
    options = choose_options(**asked, device="cpu")  # type: ignore[arg-type]
    assert (options.n_workers, options.threads) == got
    share = max(1, cpus.n_usable // options.n_workers)
    assert bool(options.threads_reason) == ("threads" not in asked and options.threads != share)


@pytest.mark.parametrize(("minutes", "seconds"), [(10.0, 600.0), (0.5, 30.0), (0.0, None)])
def test_zero_minutes_wait_for_ever(minutes: float, seconds: float | None) -> None:
    assert choose_options(n_cpus=2, n_gpus=0, hang_minutes=minutes).hang_seconds == seconds


@pytest.mark.parametrize(("visible", "n"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2)])
def test_hidden_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch, visible: str, n: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == n
