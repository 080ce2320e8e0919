"""All workers fit on the GPUs at the same time; the environment is restored."""

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from decoder.errors import ConfigError
from orchestrator.execute.backends import Execution
from orchestrator.execute.backends.ray_cluster import (
    gpu_share,
    ray_environment,
    set_reach,
    temporary_folder,
    worker_resources,
)


@pytest.mark.parametrize(
    ("device", "n_workers", "n_gpus", "share"),
    [
        ("cpu", 4, 8, 0.0),
        (None, 4, 0, 0.0),
        (None, 1, 1, 1.0),
        ("cuda", 2, 8, 1.0),
        ("cuda", 8, 8, 1.0),
        ("cuda", 3, 1, 1 / 3),
        ("cuda", 12, 8, 0.5),
    ],
)
def test_all_workers_fit_on_the_gpus_at_the_same_time(
    device: str | None, n_workers: int, n_gpus: int, share: float
) -> None:
    assert gpu_share(device, n_workers, n_gpus) == share
    if share:
        assert n_gpus * int(1 / share) >= n_workers or share == 1.0


@pytest.mark.parametrize(("device", "n_gpus"), [("cuda", 0), ("cuda:1", 4)])
def test_a_gpu_that_ray_cannot_give_is_refused(device: str, n_gpus: int) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}'"):
        gpu_share(device, 1, n_gpus)


def test_a_worker_takes_its_threads_and_its_share_of_the_gpus() -> None:
    execution = Execution(Path(), Path(), n_workers=4, threads_per_worker=3)
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}, {}]
    assert worker_resources(execution, nodes) == {"CPU": 3.0, "GPU": 0.5}
    assert worker_resources(execution, [{"CPU": 8.0}]) == {"CPU": 3.0}
    with pytest.raises(ConfigError, match="3 CPUs"):
        worker_resources(execution, [{"CPU": 2.0}, {"CPU": 1.0, "GPU": 4.0}])


def test_a_pack_takes_the_share_of_a_gpu_that_the_user_gives() -> None:
    execution = Execution(Path(), Path(), n_workers=4, gpus_per_pack=0.25)
    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 2.0}]
    assert worker_resources(execution, nodes) == {"CPU": 1.0, "GPU": 0.25}
    two = dataclasses.replace(execution, gpus_per_pack=2.0)
    assert worker_resources(two, nodes) == {"CPU": 1.0, "GPU": 2.0}
    for lacking in ([{"CPU": 8.0, "GPU": 1.0}] * 3, [{"CPU": 8.0}]):
        with pytest.raises(ConfigError, match="--gpus-per-pack 2, or gpus of a trainer: "):
            worker_resources(two, lacking)


def test_a_local_cluster_asks_for_a_token_that_stays_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    before = dict(os.environ)
    tokens = []
    for _ in range(2):  # Ray reads the token once in a process
        with ray_environment(None):
            assert os.environ["RAY_AUTH_MODE"] == "token"
            tokens.append(os.environ["RAY_AUTH_TOKEN"])
    assert tokens[0] == tokens[1] and len(tokens[0]) == 64
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("address", "of_user", "is_mac", "is_reachable"),
    [
        (None, None, False, False),
        (None, "1", False, False),
        ("host:1", None, False, True),
        ("host:1", None, True, False),
        ("host:1", "1", True, True),
    ],
)
def test_only_a_joined_cluster_is_reachable_from_outside(
    address: str | None,
    of_user: str | None,
    is_mac: bool,
    is_reachable: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    monkeypatch.delenv(name, raising=False)
    if of_user is not None:
        monkeypatch.setenv(name, of_user)
    constants = SimpleNamespace(
        IS_WINDOWS_OR_OSX=is_mac,
        ENABLE_RAY_CLUSTERS_ENV_VAR=name,
        env_bool=lambda key, default: bool(int(os.environ[key])) if key in os.environ else default,
    )
    with ray_environment(address):
        set_reach(constants, address)
    assert is_reachable == constants.ENABLE_RAY_CLUSTER


def test_a_joined_cluster_keeps_its_own_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the cluster")
    with ray_environment("10.0.0.1:6379"):
        assert os.environ["RAY_AUTH_TOKEN"] == "of the cluster"
        assert "RAY_AUTH_MODE" not in os.environ


def test_sockets_do_not_lie_in_a_temporary_folder_with_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder(Execution(tmp_path, tmp_path, n_workers=1)) as folder:
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o777 == 0o700


def test_for_a_joined_cluster_the_folder_is_one_that_all_nodes_see(tmp_path: Path) -> None:
    abandoned = tmp_path / "checkpoints" / ".ray-abandoned"
    abandoned.mkdir(parents=True)
    execution = Execution(tmp_path, tmp_path / "checkpoints", n_workers=1, address="host:1")
    with temporary_folder(execution) as folder:
        assert folder.parent == tmp_path / "checkpoints"
        assert not abandoned.exists()
    assert not folder.exists()
