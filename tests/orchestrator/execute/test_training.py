"""The choice of a backend, and the training of packs on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from decoder.config import DecoderConfig, resolve
from decoder.pack import Pack, Progress, Run
from orchestrator.execute.backends import Execution, PackEvent, RayUnavailableError
from orchestrator.execute.machine import Options
from orchestrator.execute.stopping import StopSwitch
from orchestrator.execute.training import Trainer, started_backend
from orchestrator.store.paths import Results

RUN = Run("r" * 16, resolve(DecoderConfig()))
ONE, OTHER = Pack("one", 1, (RUN,)), Pack("other", 2, (RUN,))


def options(backend: Any, address: str | None = None) -> Options:
    return Options(backend, 2, 1, "cpu", address, 16)


class Calls:
    """A backend that notes what it is called with, and reports one remark a pack."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], Execution]] = []

    def __call__(
        self,
        packs: Sequence[Pack],
        execution: Execution,
        on_event: Callable[[PackEvent], None],
    ) -> None:
        self.calls.append(([pack.pack_id for pack in packs], execution))
        for pack in packs:
            on_event(PackEvent(pack.pack_id, Progress(1, remarks=(f"about {pack.pack_id}",))))


def execution(folder: Path) -> Execution:
    return Execution(folder, folder, 2)


def test_ray_starts_at_the_first_packs_and_serves_all_calls(tmp_path: Path) -> None:
    ray, n_open = Calls(), [0, 0]

    @contextmanager
    def open_ray(first: Execution) -> Iterator[Calls]:
        n_open[0] += 1
        yield ray
        n_open[1] += 1

    with started_backend(options("ray"), print, open_ray=open_ray) as train:
        assert n_open == [0, 0]
        train([ONE], execution(tmp_path), print)
        train([OTHER], execution(tmp_path), print)
        assert n_open == [1, 0]
    assert n_open == [1, 1] and len(ray.calls) == 2


def test_without_ray_the_packs_are_trained_in_this_process_unless_a_cluster_is_asked_for(
    tmp_path: Path,
) -> None:
    def open_ray(first: Execution) -> Any:
        raise RayUnavailableError("no ray today")

    local, said = Calls(), list[str]()
    with started_backend(options("ray"), said.append, local=local, open_ray=open_ray) as train:
        train([ONE], execution(tmp_path), print)
        train([OTHER], execution(tmp_path), print)
    assert [packs for packs, _ in local.calls] == [["one"], ["other"]]
    assert len(said) == 1 and "no ray today" in said[0]
    cluster = options("ray", "head:6379")
    with (
        pytest.raises(RayUnavailableError),
        started_backend(cluster, print, local=local, open_ray=open_ray) as train,
    ):
        train([ONE], execution(tmp_path), print)


def test_the_local_backend_never_starts_ray(tmp_path: Path) -> None:
    def open_ray(first: Execution) -> Any:
        raise AssertionError

    local = Calls()
    with started_backend(options("local"), print, local=local, open_ray=open_ray) as train:
        train([ONE], execution(tmp_path), print)
    assert len(local.calls) == 1


@pytest.mark.parametrize(
    ("backend_name", "calls"),
    [("ray", [["one", "third"], ["other"]]), ("local", [["one"], ["third"], ["other"]])],
)
def test_packs_of_the_same_recordings_train_together_and_runs_are_recorded_first(
    tmp_path: Path, backend_name: str, calls: list[list[str]]
) -> None:
    third = Pack("third", 3, (RUN,))
    folders = {"one": Path("a"), "other": Path("b"), "third": Path("a")}
    planned: Any = SimpleNamespace(
        packs=[
            SimpleNamespace(pack_id=k, data=SimpleNamespace(folder=v), runs=(RUN,))
            for k, v in folders.items()
        ],
        distinct={},
    )
    order: list[str] = []
    recorder: Any = SimpleNamespace(
        switch=StopSwitch(),
        follow=lambda plan: order.append("follow"),
        record=lambda event: order.append(f"record {event.pack_id}"),
    )
    backend = Calls()
    chosen, results = options(backend_name), Results(tmp_path)
    trainer = Trainer(backend, chosen, results, "x", recorder, order.append)
    trainer.train(
        planned, [ONE, OTHER, third], lambda event: order.append(event.pack_id), until_step=40
    )
    assert [packs for packs, _ in backend.calls] == calls
    assert [execution.dataset_dir.name for _, execution in backend.calls] == [
        folders[packs[0]].name for packs in calls
    ]
    assert {execution.until_step for _, execution in backend.calls} == {40}
    assert order[:4] == ["follow", "record one", "one", "about one"]
