"""The memory that a pack may take: what limits it, and how it is shared out."""

import resource
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from decoder.memory import PROCESS_BYTES
from orchestrator.execute import memory_limits
from orchestrator.execute.machine import choose_options
from orchestrator.execute.memory_limits import FreeMemory, _host_limits, free_memory

GIB = 2**30


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


@pytest.fixture
def system(tmp_path: Path) -> tuple[Path, Path]:
    """``/proc`` and the control groups of a machine with 16 GiB available."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "meminfo", f"MemTotal: 99999999 kB\nMemAvailable: {16 * 2**20} kB")
    return proc, groups


def test_a_machine_without_control_groups_has_what_is_available(system: Any) -> None:
    assert dict(_host_limits(*system)) == {"on this machine": 16 * GIB}


def test_the_lowest_limit_of_a_group_and_those_above_counts(system: Any) -> None:
    proc, groups = system
    write(proc / "self" / "cgroup", "0::/slice/job")
    write(groups / "slice" / "job" / "memory.max", "max")
    write(groups / "slice" / "job" / "memory.current", 1)
    write(groups / "slice" / "memory.max", 4 * GIB)
    write(groups / "slice" / "memory.current", 3 * GIB)
    write(groups / "slice" / "memory.stat", f"anon 5\ninactive_file {GIB}")
    assert dict(_host_limits(*system))["in the control group"] == 2 * GIB


def test_groups_of_version_1_are_read_too(system: Any) -> None:
    proc, groups = system
    write(proc / "self" / "cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n1:cpuset:/")
    write(groups / "memory" / "job" / "memory.limit_in_bytes", 3 * GIB)
    write(groups / "memory" / "job" / "memory.usage_in_bytes", GIB)
    write(groups / "memory" / "memory.limit_in_bytes", 9223372036854771712)  # no limit
    write(groups / "memory" / "memory.usage_in_bytes", GIB)
    assert dict(_host_limits(*system))["in the control group"] == 2 * GIB


def test_a_group_that_is_over_its_limit_has_nothing_left(system: Any) -> None:
    proc, groups = system
    write(proc / "self" / "cgroup", "0::/job")
    write(groups / "job" / "memory.max", GIB)
    write(groups / "job" / "memory.current", 2 * GIB)
    assert dict(_host_limits(*system))["in the control group"] == 0


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """8 GiB in a control group, and no limit on addresses."""
    monkeypatch.setattr(
        memory_limits,
        "_host_limits",
        lambda *args: [("on this machine", 16 * GIB), ("in the control group", 8 * GIB)],
    )
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, 0))
    return monkeypatch


def test_workers_share_the_memory_of_the_host_and_the_lowest_limit_is_named(limits: Any) -> None:
    for backend, n_sharing in (("ray", 4), ("local", 1)):
        found = free_memory(choose_options(backend, n_workers=4, device="cpu"))  # type: ignore[arg-type]
        assert found is not None and found.source == "in the control group"
        assert found.n_bytes == int(0.9 * (8 * GIB / n_sharing - PROCESS_BYTES))


def test_a_limit_on_addresses_counts_what_this_process_has(limits: Any) -> None:
    limits.setattr(resource, "getrlimit", lambda which: (5 * GIB, 5 * GIB))
    found = free_memory(choose_options("local", n_workers=1, device="cpu"))
    assert found is not None and found.source == "under ulimit -v"
    assert 0 < found.n_bytes < 4.5 * GIB
    limits.setattr(resource, "getrlimit", lambda which: (2**20, 2**20))
    found = free_memory(choose_options("local", n_workers=1, device="cpu"))
    assert found is not None and found.n_bytes == 0


def test_a_system_that_says_nothing_sets_no_bound(limits: Any) -> None:
    limits.setattr(memory_limits, "_host_limits", lambda *args: [])
    assert free_memory(choose_options("local", n_workers=1, device="cpu")) is None


def test_on_a_cluster_the_memory_is_unknown(limits: Any) -> None:
    options = choose_options("ray", n_workers=1, device="cpu", address="head:6379")
    assert free_memory(options) is None


@pytest.mark.parametrize(
    ("backend", "device", "n_workers", "expected"),
    [
        ("ray", "cuda", 2, 40),  # one pack a GPU: that with least
        ("ray", None, 4, 20),  # two packs a GPU
        ("local", "cuda", 4, 60),  # one pack at a time, on the first GPU
        ("local", "cuda:1", 1, 40),
    ],
)
def test_packs_share_the_gpus(
    limits: Any, backend: Any, device: str | None, n_workers: int, expected: int
) -> None:
    limits.setattr(memory_limits, "_gpu_bytes", lambda: (60 * GIB, 40 * GIB))
    limits.setattr("orchestrator.execute.machine.count_gpus", lambda: 2)
    options = choose_options(backend, n_workers=n_workers, device=device, n_gpus=2)
    found = free_memory(options)
    assert found is not None and found.source == "on the GPU"
    assert found.n_bytes == int(0.9 * expected * GIB)


@pytest.mark.parametrize(
    ("share", "n_workers", "n_sharing"), [(1.0, 2, 1), (0.5, 4, 2), (0.5, 1, 1), (0.25, 3, 3)]
)
def test_a_pack_has_its_share_of_the_gpu_with_least(
    limits: Any, share: float, n_workers: int, n_sharing: int
) -> None:
    limits.setattr(memory_limits, "_gpu_bytes", lambda: (60 * GIB, 40 * GIB))
    limits.setattr("orchestrator.execute.machine.count_gpus", lambda: 2)
    found = free_memory(choose_options("ray", n_workers, gpus_per_pack=share, n_gpus=2))
    expected = FreeMemory(int(0.9 * 40 * GIB / n_sharing), "on the GPU", n_sharing)
    assert found == expected


@pytest.mark.parametrize("answer", ["no json", "", subprocess.TimeoutExpired("python", 1.0)])
def test_gpus_that_cannot_be_asked_set_no_bound(limits: Any, answer: Any) -> None:
    def run(*args: Any, **kwargs: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=answer)

    memory_limits._gpu_bytes.cache_clear()
    limits.setattr(subprocess, "run", run)
    assert free_memory(choose_options("local", device="cuda", n_workers=1, n_gpus=1)) is None
    memory_limits._gpu_bytes.cache_clear()


def test_the_gpus_are_asked_in_a_process_of_its_own(limits: Any) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **kwargs: Any) -> Any:
        asked.append(command)
        return SimpleNamespace(stdout=f"a warning\n[{50 * GIB}]\n")

    memory_limits._gpu_bytes.cache_clear()
    limits.setattr(subprocess, "run", run)
    for _ in range(2):
        found = free_memory(choose_options("local", device="cuda", n_workers=1, n_gpus=1))
        assert found is not None and found.n_bytes == int(0.9 * 50 * GIB)
    assert len(asked) == 1 and "mem_get_info" in asked[0][-1]
    memory_limits._gpu_bytes.cache_clear()
