"""Packs that run out of memory go on in halves from their checkpoint, and no run is lost."""

import errno
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from decoder.config import DecoderConfig, override, resolve
from decoder.data.store import Dataset
from decoder.errors import DataError
from decoder.pack import Pack, Progress, Run, RunResult
from decoder.train import train
from orchestrator.execute.backends.splitting import (
    SPLIT_NAME,
    TrainPart,
    is_out_of_memory,
    parts_of,
    split_further,
    train_in_parts,
)

NO_ROOM = (
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
)
SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 3,
    "model.n_units": 8,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "optim.lr_warmup_steps": 3,
    "train.n_steps": 12,
    "train.eval_every_steps": 4,
}


def make_pack(n_runs: int, **first: Any) -> Pack:
    """Runs of different learning rates; `first` changes the first of them."""
    base = override(DecoderConfig(), SMALL, "test")
    runs = []
    for i in range(n_runs):
        changes = {"optim.lr_max": 0.001 * (i + 1), **(first if i == 0 else {})}
        runs.append(Run(f"run{i}", resolve(override(base, changes, "test"))))
    return Pack("0123456789abcdef", 5, tuple(runs))


class Machine:
    """Trains for real, on a machine with room for a certain number of runs.

    Args:
        room: the runs that fit. More of them fail after two evaluations, or as a part at once.

    Attributes:
        n_trained: run id → evaluations of it.
        sizes: how many runs were tried at a time, in order.
    """

    def __init__(self, dataset: Dataset, room: int, until_step: int | None = None) -> None:
        self.dataset, self.room, self.until_step = dataset, room, until_step
        self.n_trained: Counter[str] = Counter()
        self.sizes: list[int] = []

    def __call__(self, pack: Pack, folder: Path, split_from: Sequence[Path]) -> Iterator[Progress]:
        self.sizes.append(len(pack.runs))
        training = train(
            pack,
            self.dataset,
            device="cpu",
            checkpoint_dir=folder,
            checkpoint_every_seconds=0.0,
            until_step=self.until_step,
            split_from=split_from,
        )
        n_before_error = 0 if split_from else 2
        for n_events, progress in enumerate(training):
            if n_events == n_before_error and len(pack.runs) > self.room:
                raise RuntimeError(NO_ROOM)
            self.n_trained.update(progress.latest.keys())
            yield progress


def results_of(events: Iterable[Progress]) -> dict[str, RunResult]:
    return {result.run_id: result for event in events for result in event.finished}


def remarks_of(events: Iterable[Progress]) -> list[str]:
    return [remark for event in events for remark in event.remarks]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(NO_ROOM),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_errors_of_memory_are_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), OSError(errno.ENOSPC, "no room"), RuntimeError("shape")]
)
def test_other_errors_are_not_taken_for_them(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_torch_says_so_too() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)


def test_halves_continue_from_the_checkpoint_and_give_the_results_of_the_whole_to_the_bit(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack(8)
    expected = results_of(train(pack, dataset, device="cpu"))
    machine = Machine(dataset, room=4)
    events = list(train_in_parts(pack, tmp_path / "pack", machine))
    found = results_of(events)
    assert machine.sizes == [8, 4, 4]
    # Two evaluations before the error, one after it: none is made twice.
    assert machine.n_trained == Counter(dict.fromkeys(expected, 3))
    for name, result in expected.items():
        assert found[name].history == result.history
        assert found[name].grad_norm_quantiles == result.grad_norm_quantiles
        assert found[name].confusions == result.confusions
    [remark] = remarks_of(events)
    assert "012345" in remark and "4 and 4" in remark and "--max-runs-per-pack 4" in remark
    assert not (tmp_path / "pack").exists()


def test_a_pack_is_split_down_to_single_runs_with_results_equal_but_for_rounding(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack(5)
    expected = results_of(train(pack, dataset, device="cpu"))
    machine = Machine(dataset, room=1)
    found = results_of(train_in_parts(pack, tmp_path / "pack", machine))
    assert machine.sizes == [5, 3, 2, 1, 1, 1, 2, 1, 1]
    assert found.keys() == expected.keys()
    for name, result in expected.items():
        for mine, theirs in zip(found[name].history, result.history, strict=True):
            assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5)


def test_the_time_of_the_whole_is_shared_out_to_the_parts(dataset: Dataset, tmp_path: Path) -> None:
    pack = make_pack(8)
    found = results_of(train_in_parts(pack, tmp_path / "pack", Machine(dataset, room=4)))
    assert {result.n_runs_in_pack for result in found.values()} == {4}
    # The first half has no part in the time of the second, and both have half of the time before.
    first, second = found["run0"].pack_seconds, found["run7"].pack_seconds
    assert 0 < first < 10 * second and 0 < second < 10 * first


def test_one_run_that_does_not_fit_fails_with_advice(dataset: Dataset, tmp_path: Path) -> None:
    machine = Machine(dataset, room=0)
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        list(train_in_parts(make_pack(2), tmp_path / "pack", machine))
    assert machine.sizes == [2, 1]
    assert "--workers" in caught.value.__notes__[0]
    assert list((tmp_path / "pack").glob("step-*")), "the checkpoint is kept"


def test_other_errors_do_not_split(tmp_path: Path) -> None:
    def broken(pack: Pack, folder: Path, split_from: Sequence[Path]) -> Iterator[Progress]:
        yield Progress(1)
        raise DataError("label 41")

    with pytest.raises(DataError):
        list(train_in_parts(make_pack(4), tmp_path / "pack", broken))
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize("n_events", range(1, 10))
def test_a_split_that_is_interrupted_anywhere_goes_on_and_loses_no_run(
    dataset: Dataset, tmp_path: Path, n_events: int
) -> None:
    pack, folder = make_pack(4, **{"train.n_steps": 8}), tmp_path / "pack"
    machine = Machine(dataset, room=1)
    interrupted = train_in_parts(pack, folder, machine)
    before = list(islice(interrupted, n_events))
    interrupted.close()
    assert folder.exists()
    recorded = results_of(before)
    again = Machine(dataset, room=1)
    # As after a retry, which asks for all runs; the driver knows which results it has.
    found = results_of(train_in_parts(pack, folder, again))
    assert recorded.keys() | found.keys() == {run.run_id for run in pack.runs}
    for name in recorded.keys() & found.keys():
        assert found[name].history == recorded[name].history
    n_evaluations = machine.n_trained + again.n_trained
    assert all(n <= (3 if name == "run0" else 4) for name, n in n_evaluations.items())
    assert not folder.exists()


def test_recorded_runs_are_not_trained_again_after_a_split(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack, folder = make_pack(4), tmp_path / "pack"
    interrupted = train_in_parts(pack, folder, Machine(dataset, room=2))
    before = []
    for event in interrupted:
        before.append(event)
        if event.finished:
            break
    interrupted.close()
    recorded = results_of(before)
    assert recorded.keys() == {"run0", "run1"}
    rest = replace(pack, runs=tuple(run for run in pack.runs if run.run_id not in recorded))
    machine = Machine(dataset, room=2)
    assert results_of(train_in_parts(rest, folder, machine)).keys() == {"run2", "run3"}
    assert machine.sizes == [2]


def test_runs_that_ended_before_the_split_are_not_trained_again(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack(4, **{"train.n_steps": 4, "optim.lr_decay_steps": 12})
    machine = Machine(dataset, room=2)
    events = list(train_in_parts(pack, tmp_path / "pack", machine))
    assert machine.n_trained == {"run0": 1, "run1": 3, "run2": 3, "run3": 3}
    assert "with 3 runs" in remarks_of(events)[0]
    ended = [event.step for event in events for r in event.finished if r.run_id == "run0"]
    assert ended[0] == 4
    assert results_of(events).keys() == {run.run_id for run in pack.runs}


def test_a_pack_that_was_split_can_pause_and_continue_with_some_of_its_runs(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack, folder = make_pack(4), tmp_path / "pack"
    for _ in range(2):  # the second time there is nothing left to do
        events = list(train_in_parts(pack, folder, Machine(dataset, room=2, until_step=8)))
        paused = {name: rows for event in events for name, rows in event.paused.items()}
        assert {name: len(rows) for name, rows in paused.items()} == dict.fromkeys(
            ("run0", "run1", "run2", "run3"), 2
        )
    kept = replace(pack, runs=(pack.runs[0], pack.runs[3]))
    machine = Machine(dataset, room=1)
    assert results_of(train_in_parts(kept, folder, machine)).keys() == {"run0", "run3"}
    assert machine.sizes == [1, 1] and machine.n_trained == {"run0": 1, "run3": 1}
    assert not folder.exists()


def test_a_pack_above_the_limit_is_trained_in_parts_from_its_checkpoint(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack, folder = make_pack(5), tmp_path / "pack"
    whole = train_in_parts(pack, folder, Machine(dataset, room=5))
    next(whole), next(whole)
    whole.close()
    machine = Machine(dataset, room=5)
    events = list(train_in_parts(pack, folder, machine, most=2))
    assert machine.sizes == [2, 2, 1]
    assert machine.n_trained == dict.fromkeys((run.run_id for run in pack.runs), 2)
    assert "2, 2 and 1" in remarks_of(events)[0]


def test_a_part_is_split_from_outside_where_it_trains(tmp_path: Path) -> None:
    pack = make_pack(5)
    every = [run.run_id for run in pack.runs]
    assert "3 and 2" in str(split_further(pack, tmp_path, every))
    assert "2 and 1" in str(split_further(pack, tmp_path, every))
    first, second = parts_of(pack, tmp_path)
    assert [len(part.pack.runs) for part in (first, second)] == [3, 2]
    assert [len(part.pack.runs) for part in parts_of(*first)] == [2, 1]
    # The first part is done: the second one is split, and then only single runs are left.
    waiting = ["run3", "run4"]
    assert "1 and 1" in str(split_further(pack, tmp_path, waiting))
    assert split_further(pack, tmp_path, waiting) is None
    assert split_further(pack, tmp_path, []) is None


def test_a_run_that_a_split_does_not_know_is_a_part_of_its_own(tmp_path: Path) -> None:
    pack = make_pack(3)
    (tmp_path / SPLIT_NAME).write_text(json.dumps({"parts": [["run0"], ["run2"]]}))
    parts = parts_of(pack, tmp_path)
    assert [[run.run_id for run in part.pack.runs] for part in parts] == [
        ["run0"],
        ["run2"],
        ["run1"],
    ]
    assert len({part.folder for part in parts}) == 3


def test_without_an_error_nothing_is_split(tmp_path: Path) -> None:
    seen: list[Any] = []

    def fine(pack: Pack, folder: Path, split_from: Sequence[Path]) -> Iterator[Progress]:
        seen.append((pack, folder, tuple(split_from)))
        yield Progress(1)

    trainer: TrainPart = fine
    assert len(list(train_in_parts(make_pack(4), tmp_path / "pack", trainer))) == 1
    assert seen == [(make_pack(4), tmp_path / "pack", ())]
