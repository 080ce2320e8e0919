"""Flags that are read one step late lead to the same results as flags that are read at once."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.data.store import Dataset
from decoder.model.decoder import PackedDecoder
from decoder.pack import Pack, Progress, Run, RunResult
from decoder.stacked_optim import StackedOptimizer
from decoder.state import PackState, make_optimizer
from decoder.step import forward_backward
from decoder.train import train
from decoder.training_sections import OptimConfig

SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 3,
    "model.n_units": 8,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "model.patch_stride": 4,
    "optim.lr_warmup_steps": 2,
    "optim.lr_decay_steps": 12,
    "train.n_steps": 12,
    "train.eval_every_steps": 4,
}
SKIP = {"optim.on_non_finite": "skip"}

# Arms and the steps at which their loss and gradients are broken. Evaluations follow steps 3, 7
# and 11, so these flags are read at once. Three skipped steps in a row are too many.
ARMS: list[tuple[dict[str, Any], set[int]]] = [
    ({}, set()),
    ({}, {5}),
    ({}, {3}),
    ({}, {8, 9}),
    ({**SKIP, "optim.ema_decay": 0.5}, {0, 1, 4, 7}),
    ({**SKIP, "optim.algorithm": "adam"}, {4, 6, 8, 9, 10}),
    ({**SKIP, "optim.algorithm": "sgd"}, {9, 10, 11}),
    ({"train.n_steps": 6, "optim.update_absent_days": True}, set()),
    ({"train.n_steps": 7}, {6}),
    ({"train.n_steps": 7, **SKIP}, {5, 6}),
]
DIVERGED = {1: 5, 2: 3, 3: 8, 5: 10, 6: 11, 8: 6}  # arm → steps done


@pytest.fixture(autouse=True)
def broken_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the steps of `ARMS`, whose epsilon tells them apart wherever their rows are."""

    def broken(
        model: PackedDecoder, configs: Any, batch: Any, seed: int, step: int, *more: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        losses, gradients = forward_backward(model, configs, batch, seed, step, *more)
        for row, config in enumerate(configs):
            if step in ARMS[round(config.optim.epsilon * 1000) - 1][1]:
                for tensor in (losses, *gradients.values()):
                    tensor[row] = float("nan")
        return losses, gradients

    monkeypatch.setattr("decoder.step.forward_backward", broken)
    monkeypatch.setattr("decoder.state.MAX_SKIPPED_IN_A_ROW", 3)


def make_pack(arms: list[int]) -> Pack:
    runs = []
    for arm in arms:
        changes = {**SMALL, **ARMS[arm][0], "optim.epsilon": (arm + 1) / 1000}
        config = resolve(override(DecoderConfig(), changes, "test"))
        runs.append(Run(run_id(config, 5, "data"), config))
    return Pack("pack", 5, tuple(runs))


def read_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoder.state.reads_late", lambda device: True)


def update_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def together(configs: list[OptimConfig], model: PackedDecoder, device: Any) -> StackedOptimizer:
        return StackedOptimizer(configs, dict(model.named_parameters()), model.groups(), False)

    monkeypatch.setattr("decoder.state.make_optimizer", together)


Outcome = tuple[list[tuple[Any, ...]], dict[str, RunResult]]


def outcome(events: Iterator[Progress]) -> Outcome:
    """Which runs each event is about, and the results without what depends on the machine."""
    story, results = [], {}
    for event in events:
        ended = sorted((result.run_id, result.status) for result in event.finished)
        story.append((event.step, sorted(event.latest), ended, sorted(event.paused)))
        for result in event.finished:
            plain = dataclasses.replace(result, pack_seconds=0.0, peak_memory_bytes=0)
            results[result.run_id] = plain
    return story, results


def assert_close(mine: RunResult, theirs: RunResult) -> None:
    for name in ("status", "n_steps_done", "n_skipped_steps", "n_runs_in_pack"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert len(mine.history) == len(theirs.history)
    for row, other in zip(mine.history, theirs.history, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    assert mine.grad_norm_quantiles == pytest.approx(theirs.grad_norm_quantiles, rel=1e-4)


def test_a_pack_with_diverging_skipping_and_short_runs_has_equal_results(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = make_pack(list(range(len(ARMS))))
    at_once = outcome(train(pack, dataset))
    for arm, run in enumerate(pack.runs):
        result = at_once[1][run.run_id]
        assert result.status == ("diverged" if arm in DIVERGED else "ok")
        assert result.n_steps_done == DIVERGED.get(arm, run.config.train.n_steps)
    assert [at_once[1][run.run_id].n_skipped_steps for run in pack.runs] == [
        *[0, 0, 0, 0, 4, 5, 3, 0, 0, 2]
    ]
    read_late(monkeypatch)
    for together in (False, True):
        if together:
            update_together(monkeypatch)
        story, results = outcome(train(pack, dataset))
        assert story == at_once[0]
        for name, result in results.items():
            assert_close(result, at_once[1][name])


def test_without_a_divergence_results_are_equal_to_the_bit(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = make_pack([0, 4, 7])
    at_once = outcome(train(pack, dataset))
    read_late(monkeypatch)
    assert outcome(train(pack, dataset)) == at_once


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("pause", [2, 6, 9, 10, 11])
def test_a_pause_reads_the_flags_first_and_the_pack_continues_to_the_same_results(
    pause: int, together: bool, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = make_pack([1, 3, 4, 5, 7, 9])
    expected = outcome(train(pack, dataset))[1]
    read_late(monkeypatch)
    if together:
        update_together(monkeypatch)
    story, first = outcome(train(pack, dataset, checkpoint_dir=tmp_path, until_step=pause))
    going = {run_id for run_id, result in expected.items() if result.n_steps_done > pause}
    going |= {i for i, r in expected.items() if r.n_steps_done == pause and r.status == "diverged"}
    assert set(story[-1][3]) == going and set(first) == set(expected) - going
    rest = Pack("pack", 5, tuple(run for run in pack.runs if run.run_id in going))
    _, second = outcome(train(rest, dataset, checkpoint_dir=tmp_path))
    for name, result in {**first, **second}.items():
        assert_close(result, expected[name])


def test_a_pack_in_which_every_run_diverges_ends_at_that_step(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(**options: Any) -> list[Outcome]:
        alone, together = make_pack([1]), make_pack([1, 3])
        return [outcome(train(pack, dataset, **options)) for pack in (alone, together)]

    at_once = both()
    assert [story[-1][0] for story, _ in at_once] == [5, 8]
    read_late(monkeypatch)
    late = both()
    saved = both(checkpoint_dir=tmp_path / "a", checkpoint_every_seconds=0.0)
    for (story, results), (again, kept), (expected, wanted) in zip(
        late, saved, at_once, strict=True
    ):
        assert story == again == expected
        for name, result in wanted.items():
            assert_close(results[name], result)
            assert_close(kept[name], result)
    pack = make_pack([1])
    assert outcome(train(pack, dataset, checkpoint_dir=tmp_path / "b", until_step=6)) == at_once[0]
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


@pytest.mark.parametrize("to_late", [False, True])
def test_an_interrupted_pack_may_go_on_with_the_other_kind_of_optimizer(
    to_late: bool, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = make_pack([0, 1, 4, 5, 6, 7])
    expected = outcome(train(pack, dataset))[1]

    def switch(late: bool) -> None:
        monkeypatch.setattr("decoder.state.reads_late", lambda device: late)
        if late:
            update_together(monkeypatch)
        else:
            monkeypatch.setattr("decoder.state.make_optimizer", separately)

    separately = make_optimizer
    switch(not to_late)
    interrupted = train(pack, dataset, checkpoint_dir=tmp_path, checkpoint_every_seconds=0.0)
    for event in interrupted:
        if event.step >= 6:
            break
    interrupted.close()
    switch(to_late)
    _, results = outcome(train(pack, dataset, checkpoint_dir=tmp_path))
    assert results.keys() == expected.keys()
    for name, result in results.items():
        assert_close(result, expected[name])


def test_flags_are_read_after_the_work_of_the_next_step_has_been_queued(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, int]] = []
    read, update = PackState.read_flags, StackedOptimizer.step

    def noted(state: PackState) -> Any:
        if state.unread is not None:
            order.append(("read", state.unread.step))
        return read(state)

    def stepped(*args: Any) -> None:
        order.append(("update", len([kind for kind, _ in order if kind == "update"])))
        update(*args)

    read_late(monkeypatch)
    update_together(monkeypatch)

    def queued(*args: Any) -> Any:
        order.append(("queue", args[4]))
        return forward_backward(*args)

    monkeypatch.setattr("decoder.step.forward_backward", queued)
    monkeypatch.setattr(PackState, "read_flags", noted)
    monkeypatch.setattr(StackedOptimizer, "step", stepped)
    list(train(make_pack([0]), dataset))
    for step in range(11):
        if step % 4 != 3:  # the others were read at once, before an evaluation
            assert order.index(("queue", step + 1)) < order.index(("read", step))
            assert order.index(("read", step)) < order.index(("update", step + 1))
    assert [step for kind, step in order if kind == "read"] == [0, 1, 2, 4, 5, 6, 8, 9, 10]
