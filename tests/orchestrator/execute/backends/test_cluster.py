"""GPUs are shared so that all workers find room; the environment comes back as it was."""

import os
from pathlib import Path

import pytest

from decoder.errors import ConfigError
from orchestrator.execute.backends import Execution
from orchestrator.execute.backends.cluster import gpu_share, ray_environment, temporary_folder


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
def test_workers_share_gpus_so_that_all_find_room(
    device: str | None, n_workers: int, n_gpus: int, share: float
) -> None:
    assert gpu_share(device, n_workers, n_gpus) == share
    if share:
        assert n_gpus * int(1 / share) >= n_workers or share == 1.0


@pytest.mark.parametrize(("device", "n_gpus"), [("cuda", 0), ("cuda:1", 4)])
def test_a_gpu_that_cannot_be_had_is_refused(device: str, n_gpus: int) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}'"):
        gpu_share(device, 1, n_gpus)


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


def test_a_joined_cluster_keeps_its_own_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the cluster")
    with ray_environment("10.0.0.1:6379"):
        assert os.environ["RAY_AUTH_TOKEN"] == "of the cluster"
        assert "RAY_AUTH_MODE" not in os.environ


def test_a_long_temporary_folder_is_not_used_for_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder(Execution(tmp_path, tmp_path, n_workers=1)) as folder:
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o777 == 0o700


def test_on_a_cluster_the_folder_lies_where_all_nodes_see_it(tmp_path: Path) -> None:
    abandoned = tmp_path / "checkpoints" / ".ray-abandoned"
    abandoned.mkdir(parents=True)
    execution = Execution(tmp_path, tmp_path / "checkpoints", n_workers=1, address="host:1")
    with temporary_folder(execution) as folder:
        assert folder.parent == tmp_path / "checkpoints"
        assert not abandoned.exists()
    assert not folder.exists()
