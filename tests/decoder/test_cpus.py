"""`decoder.cpus`: affinity, quota and load decide which CPUs there are, and which are idle."""

import os
from pathlib import Path

import pytest

from decoder.cpus import Cpus, Threads, choose_threads, find_cpus


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 0.0, 0.0))


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(("load", "n_idle"), [(0.2, 6), (2.0, 6), (3.4, 5), (7.9, 0), (40.0, 0)])
def test_load_that_other_cpus_cannot_carry_makes_ours_busy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, load: float, n_idle: int
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert find_cpus(tmp_path) == Cpus(6, n_idle)


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("files", "n_usable"),
    [
        ({"cpu.max": "max 100000"}, 6),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 6),
        ({"cpu.max": "damaged"}, 6),
    ],
)
def test_the_quota_of_a_control_group_bounds_the_cpus(
    tmp_path: Path, files: dict[str, str], n_usable: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        controllers = line.split(":")[1]
        if "cpu" in controllers.split(","):  # version 1: one folder for each controller
            (tmp_path / controllers).mkdir()
            for name, text in files.items():
                (tmp_path / controllers / name).write_text(text)
    assert find_cpus(tmp_path).n_usable == n_usable


@pytest.mark.parametrize(
    ("variable", "number"), [("3", 3), ("4,2", 4), ("", 2), ("many", 2), ("0", 2)]
)
def test_a_variable_that_names_a_number_decides(variable: str, number: int) -> None:
    threads = choose_threads(Cpus(8, 2), 1, {"OMP_NUM_THREADS": variable})
    assert threads.number == number
    assert bool(threads.reason)


def test_an_equal_share_of_idle_cpus_needs_no_reason() -> None:
    assert choose_threads(Cpus(8, 8), 2, {}) == Threads(4, "")
    assert choose_threads(Cpus(8, 4), 2, {}).number == 2
    assert choose_threads(Cpus(2, 0), 8, {}) == Threads(1, "")
