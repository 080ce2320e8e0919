"""Evaluations that are decoded beside training give the events, weights and errors of today."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder import late_evaluation
from decoder.data import trials
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.evaluation import Evaluator, Outputs
from decoder.model.decoder import PackedDecoder
from decoder.pack import Progress
from decoder.state import PackState
from decoder.step import step_gradients
from decoder.train import train

from .test_train import BEAM, MIXED, PLATEAU, WILD, break_steps, make_pack

EVERY_TWO = {"train.eval_every_steps": 2}
# Arms that differ in much, of which none needs its history at once.
WITHOUT_PLATEAU = [arm for arm in MIXED if arm.get("optim.schedule") != "plateau"]
SKIPS = {"optim.on_non_finite": "skip"}
BEST = {"train.keep_weights": "best", "optim.ema_decay": 0.5}
PACKS: dict[str, list[dict[str, Any]]] = {
    "one run": [{}],
    "all that may differ": MIXED,
    "all that may differ, but no schedule follows the history": WITHOUT_PLATEAU,
    "runs that leave early": [{}, {"train.n_steps": 6, **BEAM}, {"train.n_steps": 4}, BEAM],
    "a run that diverges": [{}, WILD, {"optim.epsilon": 1e-8}],
    "every run diverges": [WILD, {**WILD, "optim.lr_max": 1e30}],
    "a run that diverges amid skipped steps": [{}, {**WILD, **SKIPS}],
    "a schedule that follows the history": [{**PLATEAU, "optim.plateau_patience": 0}, {}],
    "a schedule of the day layers that does": [
        {"optim.schedule_day": "plateau", "optim.plateau_patience": 0, "optim.lr_max_day": 0.05},
        {},
    ],
    "kept weights": [BEST, {**BEST, "train.n_steps": 6}, {"train.keep_weights": "final"}, WILD],
}


@pytest.fixture(params=["fast", "slow"])
def decoding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Decoding that ends within a step, or goes on for several."""
    speed: str = request.param
    if speed == "slow":
        decode = Evaluator.decode

        def decode_slowly(self: Evaluator, outputs: Outputs) -> None:
            time.sleep(0.1)
            decode(self, outputs)

        monkeypatch.setattr(Evaluator, "decode", decode_slowly)
    return speed


def n_threads() -> int:
    return sum(t.name.startswith(("batches", "decoding")) for t in threading.enumerate())


def timeless(events: Iterable[Progress]) -> list[Progress]:
    return [
        replace(
            event,
            finished=tuple(
                replace(result, pack_seconds=0.0, peak_memory_bytes=0) for result in event.finished
            ),
        )
        for event in events
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", PACKS)
def test_events_and_weights_are_those_of_an_evaluation_in_line(
    name: str, decoding: str, dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack([EVERY_TWO | arm for arm in PACKS[name]])
    here = timeless(train(pack, dataset, device="cpu", weights_dir=tmp_path / "here"))
    beside = train(pack, dataset, device="cpu", weights_dir=tmp_path / "beside", beside=True)
    assert timeless(beside) == here
    assert {r.run_id for event in here for r in event.finished} == {r.run_id for r in pack.runs}
    assert files_of(tmp_path / "beside") == files_of(tmp_path / "here")
    assert bool(files_of(tmp_path / "here")) == (name == "kept weights")
    assert n_threads() == 0


def test_a_step_that_is_skipped_at_an_evaluation_gives_the_same_row(
    decoding: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_steps(monkeypatch, bad_row=1, bad_steps={3, 4, 7})
    pack = make_pack([{}, SKIPS])
    here = timeless(train(pack, dataset, device="cpu"))
    assert timeless(train(pack, dataset, device="cpu", beside=True)) == here


def test_a_run_that_diverges_while_its_evaluation_is_decoded_keeps_the_row(
    decoding: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_steps(monkeypatch, bad_row=1, bad_steps={4})  # after step 4, which is evaluated
    pack = make_pack([{}, {"optim.epsilon": 0.01}])
    here = timeless(train(pack, dataset, device="cpu"))
    assert timeless(train(pack, dataset, device="cpu", beside=True)) == here
    [diverged] = [r for event in here for r in event.finished if r.status == "diverged"]
    assert [row["step"] for row in diverged.history] == [4.0] and diverged.n_steps_done == 4


def test_training_goes_on_while_an_evaluation_is_decoded(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first evaluation, after step 4, is decoded only once step 6 has begun."""
    begun, may_decode, decode = list[int](), threading.Event(), Evaluator.decode

    def decode_later(self: Evaluator, outputs: Outputs) -> None:
        assert may_decode.wait(20)
        decode(self, outputs)

    def note_step(state: PackState, *more: Any) -> Any:
        begun.append(state.step + 1)
        if state.step + 1 == 6:
            may_decode.set()
        return step_gradients(state, *more)

    monkeypatch.setattr(Evaluator, "decode", decode_later)
    monkeypatch.setattr("decoder.train.step_gradients", note_step)
    pack = make_pack([{}])
    events = train(pack, dataset, device="cpu", beside=True)
    first = next(events)
    assert begun[-1] >= 6
    assert first.step == 4 and [row["step"] for row in first.latest.values()] == [4.0]
    assert [event.step for event in events] == [8, 12]


def test_an_evaluation_is_settled_before_a_pause(
    decoding: str, dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack([EVERY_TWO | arm for arm in PACKS["kept weights"]])

    def rungs(name: str, beside: bool) -> Iterator[Progress]:
        for until in (3, 4, 4, 7, None):
            going = train(
                pack,
                dataset,
                device="cpu",
                checkpoint_dir=tmp_path / name,
                weights_dir=tmp_path / "weights" / name,
                until_step=until,
                beside=beside,
            )
            yield from going
            assert n_threads() == 0

    here, beside = timeless(rungs("here", False)), timeless(rungs("beside", True))
    assert beside == here
    assert [len(rows) for event in here for rows in event.paused.values()][:4] == [1, 1, 1, 2]
    assert files_of(tmp_path / "weights" / "beside") == files_of(tmp_path / "weights" / "here")


@pytest.mark.parametrize("every_seconds", [0.0, 0.03])
def test_a_checkpoint_holds_every_evaluation_before_it(
    every_seconds: float, decoding: str, dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack([EVERY_TWO | arm for arm in WITHOUT_PLATEAU])
    expected = {
        result.run_id: result
        for event in timeless(train(pack, dataset, device="cpu"))
        for result in event.finished
    }
    options: dict[str, Any] = {
        "device": "cpu",
        "checkpoint_dir": tmp_path / "pack",
        "checkpoint_every_seconds": every_seconds,
        "beside": True,
    }
    found = {}
    for n_events in (2, 2, 99):  # interrupted twice
        events = train(pack, dataset, **options)
        for _, event in zip(range(n_events), events, strict=False):
            [timed] = timeless([event])
            found |= {result.run_id: result for result in timed.finished}
        events.close()  # type: ignore[attr-defined]
        assert n_threads() == 0
    assert found == expected


@pytest.mark.parametrize("beside", [False, True])
def test_an_error_of_decoding_ends_the_training(
    beside: bool, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Evaluator, outputs: Outputs) -> None:
        raise ValueError("no sequence")

    monkeypatch.setattr(Evaluator, "decode", fail)
    with pytest.raises(ValueError, match="no sequence"):
        list(train(make_pack([{}]), dataset, device="cpu", beside=beside))
    assert n_threads() == 0


def test_an_error_of_a_batch_is_raised_at_its_step(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    collate, n_batches = trials.collate, iter(range(99))

    def fail_at_seventh(*arguments: Any) -> Any:
        if arguments[0] is dataset.train and next(n_batches) == 6:
            raise OSError("the store is gone")
        return collate(*arguments)

    monkeypatch.setattr(trials, "collate", fail_at_seventh)
    events = train(make_pack([EVERY_TWO]), dataset, device="cpu", beside=True)
    with pytest.raises(OSError, match="the store is gone"):
        seen = []
        for event in events:
            seen.append(event.step)
    assert seen[:2] == [2, 4] and n_threads() == 0


def stop_by_closing(events: Any) -> None:
    events.close()


def stop_by_interrupt(events: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt)


@pytest.mark.parametrize("stop", [stop_by_closing, stop_by_interrupt])
def test_no_thread_is_left_when_training_is_stopped(
    stop: Callable[[Any], None], decoding: str, dataset: Dataset
) -> None:
    events = train(make_pack([EVERY_TWO]), dataset, device="cpu", beside=True)
    next(events)
    assert n_threads() > 0
    stop(events)
    assert n_threads() == 0


def test_weights_are_copied_only_where_training_goes_on_before_the_decision(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners, shared = set[int](), dict[float, bool]()
    weights_of, write = late_evaluation.weights_of, late_evaluation.write_weights

    def note_owner(model: PackedDecoder, row: int) -> dict[str, torch.Tensor]:
        owners.update(p.untyped_storage().data_ptr() for p in model.parameters())
        return weights_of(model, row)

    def note_written(folder: Path, tensors: dict[str, torch.Tensor], *more: Any) -> None:
        *_, facts = more
        shares = [t.untyped_storage().data_ptr() in owners for t in tensors.values()]
        assert len(set(shares)) == 1
        shared[facts["step"]] = shares[0]
        write(folder, tensors, *more)

    monkeypatch.setattr(late_evaluation, "weights_of", note_owner)
    monkeypatch.setattr(late_evaluation, "write_weights", note_written)
    pack = make_pack([{"train.keep_weights": "final"}, {"train.keep_weights": "best"}])
    list(train(pack, dataset, device="cpu", weights_dir=tmp_path, beside=True))
    assert shared[4] is False and shared[12] is True
    shared.clear()
    list(train(pack, dataset, device="cpu", weights_dir=tmp_path))
    assert shared[4] is True and shared[12] is True
    owners.clear()
    list(train(pack, dataset, device="cpu", beside=True))
    assert not owners


def test_nothing_is_decoded_before_it_is_on_the_host(dataset: Dataset) -> None:
    class Event:
        n_waits = 0

        def synchronize(self) -> None:
            self.n_waits += 1

    pack, event = make_pack([{}]), Event()
    state = PackState.start(pack, dataset, torch.device("cpu"))
    batch = next(Trials.select(dataset, pack.runs[0].config).validation_batches())
    evaluator = Evaluator(state.model, state.configs, state.device)
    outputs: Any = evaluator.forward(batch)
    assert outputs.arrived is None
    evaluator.decode(replace(outputs, arrived=event))
    assert event.n_waits == 1
    evaluator.end_forward()
    assert evaluator.result().metrics.n_trials == len(batch.n_bins)
