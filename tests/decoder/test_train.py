"""Training a pack gives each run the result it has alone, also after a resume or a divergence."""

import math
import threading
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from decoder import optim, remarks
from decoder.config import DecoderConfig, config_paths, override, pack_key, resolve, run_id
from decoder.data.batches import Batch
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.errors import ConfigError, DataError
from decoder.model.decoder import PackedDecoder
from decoder.pack import HISTORY_COLUMNS, Pack, Progress, Run, RunResult
from decoder.state import PackState
from decoder.step import forward_backward, step_gradients, update_weights
from decoder.train import train

SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 3,
    "model.n_units": 12,
    "model.n_layers": 2,
    "model.patch_size": 6,
    "model.patch_stride": 4,
    "optim.lr_warmup_steps": 3,
    "train.n_steps": 12,
    "train.eval_every_steps": 4,
}

# Arms that differ in every scalar that may differ within a pack.
MIXED: list[dict[str, Any]] = [
    {},
    {"optim.lr_max": 0.002, "optim.lr_max_day": 0.001},
    {"optim.epsilon": 1e-8, "optim.beta1": 0.8, "optim.beta2": 0.99},
    {"loss.ctc_reduction": "mean", "optim.grad_clip": None},
    {"augment.white_noise_std": 0.25, "augment.constant_offset_std": 0.0},
    {"augment.static_gain_std": 0.1, "augment.random_walk_std": 0.05},
    {"model.rnn_dropout": 0.1, "model.input_dropout": 0.0},
    {"optim.algorithm": "adam", "optim.weight_decay": 0.1, "optim.lr_warmup_steps": 0},
    {"optim.algorithm": "sgd", "optim.nesterov": True, "optim.schedule": "one_cycle"},
    {"optim.schedule": "plateau", "optim.plateau_patience": 0, "optim.schedule_day": "step"},
    {"optim.ema_decay": 0.8, "optim.on_non_finite": "skip", "optim.epsilon": 0.01},
]


# For what holds on a CPU alone: two trainings agree to the bit, as every sum has one order there,
# and the event of an evaluation comes at its own step, as nothing is decoded beside training.
train_on_cpu = partial(train, device="cpu")


def make_config(changes: Mapping[str, Any] = {}) -> DecoderConfig:  # noqa: B006
    return resolve(override(DecoderConfig(), {**SMALL, **changes}, "test"))


def make_pack(arms: Iterable[Mapping[str, Any]], seed: int = 5) -> Pack:
    configs = [make_config(arm) for arm in arms]
    return Pack("pack", seed, tuple(Run(run_id(c, seed, "data"), c) for c in configs))


def results_of(events: Iterable[Progress]) -> dict[str, RunResult]:
    return {result.run_id: result for event in events for result in event.finished}


def weights_after(pack: Pack, dataset: Dataset, n_steps: int) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of every run after some steps, made of the phases of the training loop."""
    state = PackState.start(pack, dataset, torch.device("cpu"))
    trials = Trials.select(dataset, pack.runs[0].config)
    for _ in range(n_steps):
        batch = trials.draw(pack.seed, state.step)
        losses, gradients = forward_backward(
            state.model, state.configs, batch, pack.seed, state.step
        )
        update_weights(state, gradients, losses, optim.gradient_norms(gradients))
        state.step += 1
    return {
        run.run_id: {n: p.detach()[row] for n, p in state.model.named_parameters()}
        for row, run in enumerate(state.runs)
    }


def assert_close_weights(
    got: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], tolerance: float
) -> None:
    for name, value in expected.items():
        difference = float((got[name] - value).norm() / (value.norm() + 1e-12))
        assert difference < tolerance, name


def test_each_run_gets_the_same_weights_alone_and_in_a_mixed_pack(dataset: Dataset) -> None:
    arms = [{**arm, "train.n_steps": 25} for arm in MIXED]
    together = weights_after(make_pack(arms), dataset, 25)
    assert len(together) == len(MIXED)
    for arm in arms:
        pack = make_pack([arm])
        [(name, alone)] = weights_after(pack, dataset, 25).items()
        assert_close_weights(together[name], alone, 1e-4)


def test_what_the_code_remarks_reaches_the_user_with_the_next_event(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remarks, "_said", set())
    monkeypatch.setattr(remarks, "_waiting", [])
    remarks.remark("no graphs here")
    events = list(train(make_pack([{}]), dataset, device="cpu"))
    assert [event.remarks for event in events if event.remarks] == [("no graphs here",)]
    assert events[0].remarks and len(results_of(events)) == 1


def test_runs_of_a_pack_differ(dataset: Dataset) -> None:
    together = weights_after(make_pack(MIXED), dataset, 10)
    heads = [weights["head.weight"] for weights in together.values()]
    for i, a in enumerate(heads):
        for b in heads[:i]:
            assert (a - b).abs().max() > 1e-7


def test_a_run_that_diverges_does_not_change_the_others(dataset: Dataset) -> None:
    wild = {"optim.lr_max": 1e30, "optim.lr_min": 1e30, "optim.grad_clip": None}
    arms: list[dict[str, Any]] = [{}, wild, {"optim.epsilon": 1e-8}]
    pack = make_pack(arms)
    together = results_of(train(pack, dataset))
    assert together[pack.runs[1].run_id].status == "diverged"
    assert together[pack.runs[1].run_id].n_steps_done < 12
    for index in (0, 2):
        [(name, alone)] = results_of(train(make_pack([arms[index]]), dataset)).items()
        got = together[name]
        assert got.status == "ok" and got.n_steps_done == 12
        for mine, theirs in zip(got.history, alone.history, strict=True):
            assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-4)
            assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)


def break_steps(monkeypatch: pytest.MonkeyPatch, bad_row: int, bad_steps: Container[int]) -> None:
    """Make loss and gradients of one row NaN at some steps."""

    def broken(
        model: PackedDecoder, configs: Any, batch: Any, seed: int, step: int, *more: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        losses, gradients = forward_backward(model, configs, batch, seed, step, *more)
        if step in bad_steps:
            for tensor in (losses, *gradients.values()):
                tensor[bad_row] = float("nan")
        return losses, gradients

    monkeypatch.setattr("decoder.step.forward_backward", broken)


def test_a_skipped_step_has_no_update_and_is_counted(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms: list[dict[str, Any]] = [{}, {"optim.on_non_finite": "skip", "optim.ema_decay": 0.5}]
    pack = make_pack(arms)
    [untouched] = results_of(train(make_pack(arms[:1]), dataset)).values()
    break_steps(monkeypatch, bad_row=1, bad_steps={3, 5, 6})  # the step of an evaluation as well
    calm, skipped = (results_of(train(pack, dataset))[run.run_id] for run in pack.runs)
    for mine, theirs in zip(calm.history, untouched.history, strict=True):
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-4)
    assert (skipped.status, skipped.n_skipped_steps, skipped.n_steps_done) == ("ok", 3, 12)
    assert [row["update_norm"] == 0 for row in skipped.history] == [True, False, False]
    for row in skipped.history:
        assert math.isfinite(row["train_loss"]) and math.isfinite(row["val_loss"])
    assert all(math.isfinite(value) for value in skipped.grad_norm_quantiles.values())
    break_steps(monkeypatch, bad_row=0, bad_steps={3, 5, 6})
    [ended] = results_of(train(make_pack(arms[:1]), dataset)).values()
    assert (ended.status, ended.n_skipped_steps, ended.n_steps_done) == ("diverged", 0, 3)


def test_skipped_steps_are_counted_through_a_resume(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoder.state.MAX_SKIPPED_IN_A_ROW", 4)
    break_steps(monkeypatch, bad_row=0, bad_steps={1, 6, 7, 8, 9})
    pack = make_pack([{"optim.on_non_finite": "skip"}, {"optim.ema_decay": 0.5}])
    interrupted = train_on_cpu(
        pack, dataset, checkpoint_dir=tmp_path / "p", checkpoint_every_seconds=0.0
    )
    next(interrupted)
    next(interrupted)  # after step 8, that is amid the skipped ones
    interrupted.close()
    resumed = results_of(train_on_cpu(pack, dataset, checkpoint_dir=tmp_path / "p"))
    expected = results_of(train_on_cpu(pack, dataset))
    result = resumed[pack.runs[0].run_id]
    assert (result.status, result.n_skipped_steps, result.n_steps_done) == ("diverged", 5, 9)
    for run in pack.runs:
        assert resumed[run.run_id].history == expected[run.run_id].history


def test_averages_are_dropped_with_the_last_run_that_needs_them(dataset: Dataset) -> None:
    averaged = {"optim.ema_decay": 0.8, "train.n_steps": 6, "optim.lr_decay_steps": 12}
    pack = make_pack([{}, averaged])
    results = results_of(train(pack, dataset))
    assert [len(results[run.run_id].history) for run in pack.runs] == [3, 2]
    for run, arm in zip(pack.runs, ({}, averaged), strict=True):
        [alone] = results_of(train(make_pack([arm]), dataset)).values()  # type: ignore[list-item]
        for mine, theirs in zip(results[run.run_id].history, alone.history, strict=True):
            assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-4)
    state = PackState.start(pack, dataset, torch.device("cpu"))
    state.average(None)
    assert state.averages
    state.keep([0])
    assert not state.averages


def test_a_run_that_skips_a_step_keeps_its_averages(dataset: Dataset) -> None:
    pack = make_pack([{"optim.ema_decay": 0.5}, {"optim.ema_decay": 0.5}])
    state = PackState.start(pack, dataset, torch.device("cpu"))
    state.average(None)
    state.step = 1
    before = {name: average.clone() for name, average in state.averages.items()}
    for parameter in state.model.parameters():
        parameter.data += 1.0
    state.average(torch.tensor([True, False]))
    for name, average in state.averages.items():
        torch.testing.assert_close(average[0], before[name][0] + 0.5)
        torch.testing.assert_close(average[1], before[name][1], rtol=0, atol=0)


def test_a_run_that_skips_too_many_steps_in_a_row_has_diverged(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decoder.state.MAX_SKIPPED_IN_A_ROW", 3)
    break_steps(monkeypatch, bad_row=0, bad_steps={1, 3, 4, 6, 7, 8})
    [result] = results_of(train(make_pack([{"optim.on_non_finite": "skip"}]), dataset)).values()
    assert (result.status, result.n_skipped_steps, result.n_steps_done) == ("diverged", 6, 8)
    assert [row["step"] for row in result.history] == [4.0, 8.0]


def test_a_run_that_ends_amid_skipped_steps_with_broken_weights_has_diverged(
    dataset: Dataset,
) -> None:
    wild = {**WILD, "optim.on_non_finite": "skip"}
    pack = make_pack([wild, {}])
    bad, good = (results_of(train(pack, dataset))[run.run_id] for run in pack.runs)
    assert (bad.status, bad.history, bad.n_steps_done) == ("diverged", (), 12)
    assert bad.per_session == {} and bad.confusions == ()
    assert bad.n_skipped_steps == 10  # the first step has no learning rate, the second breaks it
    assert good.status == "ok" and len(good.history) == 3


def test_accumulated_batches_equal_one_batch_of_their_union(dataset: Dataset) -> None:
    plain = {
        "augment.white_noise_std": 0.0,
        "augment.constant_offset_std": 0.0,
        "augment.random_cut": 0,
        "model.rnn_dropout": 0.0,
        "model.input_dropout": 0.0,
        "optim.accumulation_steps": 3,
    }
    pack = make_pack([plain])
    state = PackState.start(pack, dataset, torch.device("cpu"))
    state.step = 2
    trials = Trials.select(dataset, pack.runs[0].config)
    losses, gradients = step_gradients(state, trials, pack.seed)
    batches = [trials.draw(pack.seed, index) for index in (6, 7, 8)]
    width, length = (
        max(batch.labels.shape[1] for batch in batches),
        max(batch.features.shape[1] for batch in batches),
    )
    pad = torch.nn.functional.pad
    day = torch.cat([batch.day for batch in batches])
    order = day.argsort(stable=True)
    union = Batch(
        torch.cat([pad(b.features, (0, 0, 0, length - b.features.shape[1])) for b in batches]),
        torch.cat([batch.n_bins for batch in batches]),
        torch.cat([pad(batch.labels, (0, width - batch.labels.shape[1])) for batch in batches]),
        torch.cat([batch.n_labels for batch in batches]),
        day,
        torch.arange(len(day)),
    )
    tensors = [getattr(union, entry.name) for entry in fields(Batch) if entry.name != "host"]
    union = Batch(*[tensor[order] for tensor in tensors])
    expected, expected_gradients = forward_backward(
        state.model, state.configs, union, pack.seed, state.step
    )
    torch.testing.assert_close(losses, expected)
    assert set(gradients) == set(expected_gradients)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_averages_equal_torch_and_only_evaluation_uses_them(dataset: Dataset) -> None:
    decays = [0.9, 0.0, 0.3]
    pack = make_pack([{"optim.ema_decay": decay, "optim.lr_max": 0.01} for decay in decays])
    state = PackState.start(pack, dataset, torch.device("cpu"))
    names = [name for name, _ in state.model.named_parameters()]

    def row_of(row: int) -> torch.nn.ParameterList:
        return torch.nn.ParameterList(p.detach()[row].clone() for p in state.model.parameters())

    references = [
        AveragedModel(row_of(row), multi_avg_fn=get_ema_multi_avg_fn(decay))
        for row, decay in enumerate(decays)
    ]
    source = torch.Generator().manual_seed(0)
    for _ in range(6):
        for parameter in state.model.parameters():
            parameter.data += torch.randn(parameter.shape, generator=source)
        state.average(None)
        for row, reference in enumerate(references):
            reference.update_parameters(row_of(row))
        state.step += 1
    trained = [p.detach().clone() for p in state.model.parameters()]
    state.keep([2, 0])
    with state.evaluated_weights():
        seen = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    for row, index in enumerate([2, 0]):
        for name, expected in zip(names, references[index].module, strict=True):
            torch.testing.assert_close(seen[name][row], expected.detach())
    for parameter, expected in zip(state.model.parameters(), trained, strict=True):
        assert torch.equal(parameter, expected[[2, 0]])


def test_a_run_whose_weights_overflow_in_the_last_step_has_diverged(dataset: Dataset) -> None:
    """Their loss was finite, and no later step would show the overflow."""
    wild = {"optim.lr_max": 1e30, "optim.lr_min": 1e30, "optim.lr_warmup_steps": 0}
    wild |= {"train.n_steps": 1, "train.eval_every_steps": 1}
    calm = {"train.n_steps": 4, "train.eval_every_steps": 1}
    pack = make_pack([calm, wild])
    together = results_of(train(pack, dataset))
    bad = together[pack.runs[1].run_id]
    assert (bad.status, bad.history, bad.n_steps_done) == ("diverged", (), 1)
    [alone] = results_of(train(make_pack([calm]), dataset)).values()
    good = together[pack.runs[0].run_id]
    assert good.status == "ok"
    for mine, theirs in zip(good.history, alone.history, strict=True):
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-4)
    [by_itself] = results_of(train(make_pack([wild]), dataset)).values()
    assert by_itself.status == "diverged"


def test_a_run_whose_last_posteriors_are_nan_has_diverged(dataset: Dataset) -> None:
    """The weights are finite after the last step, but their output is not.

    Validation features of 1e25 are finite through the untrained day layers, and overflow in those
    of the wild run, on any device and in any order of summation.
    """
    val = replace(dataset.val, features=1e25 * dataset.val.features)
    wild = {"optim.lr_max": 1e15, "optim.lr_warmup_steps": 0, "optim.epsilon": 1e-8}
    wild |= {"train.n_steps": 1, "optim.grad_clip": None}
    pack = make_pack([{**arm, **BEAM} for arm in (wild, {})])
    bad, good = (
        results_of(train(pack, replace(dataset, val=val)))[run.run_id] for run in pack.runs
    )
    assert (bad.status, bad.history, bad.beam) == ("diverged", (), {})
    assert good.status == "ok" and good.beam["n_reference"] > 0
    [calm] = results_of(train(make_pack([wild]), dataset)).values()
    assert calm.status == "ok", "the weights or their update were not finite"


def test_a_pack_ends_if_every_run_diverges(dataset: Dataset) -> None:
    wild = {"optim.lr_max": 1e30, "optim.lr_min": 1e30, "optim.grad_clip": None}
    results = results_of(train(make_pack([wild]), dataset))
    assert [r.status for r in results.values()] == ["diverged"]


def test_a_run_with_a_smaller_budget_leaves_early_and_the_others_do_not_change(
    dataset: Dataset,
) -> None:
    short = {"train.n_steps": 6, "optim.lr_decay_steps": 12}
    pack = make_pack([{}, short])
    results = results_of(train(pack, dataset))
    long_run, short_run = (results[run.run_id] for run in pack.runs)
    assert [row["step"] for row in short_run.history] == [4.0, 6.0]
    assert [row["step"] for row in long_run.history] == [4.0, 8.0, 12.0]
    [alone] = results_of(train(make_pack([{}]), dataset)).values()
    for mine, theirs in zip(long_run.history, alone.history, strict=True):
        for column in ("train_loss", "grad_norm", "val_loss", "learning_dose"):
            assert mine[column] == pytest.approx(theirs[column], rel=1e-4)


def test_a_resumed_pack_is_bit_identical_to_an_uninterrupted_one(
    dataset: Dataset, tmp_path: Path
) -> None:
    falling = {**PLATEAU, "optim.plateau_patience": 0}  # the rate falls after step 12
    pack = make_pack([*MIXED[:4], *MIXED[8:], falling])
    expected = results_of(train_on_cpu(pack, dataset))
    folder = tmp_path / "pack"
    interrupted = train_on_cpu(pack, dataset, checkpoint_dir=folder, checkpoint_every_seconds=0.0)
    next(interrupted)
    next(interrupted)
    interrupted.close()
    assert list(folder.glob("step-*.json"))
    events = list(train_on_cpu(pack, dataset, checkpoint_dir=folder, checkpoint_every_seconds=0.0))
    assert events[0].step > 4, "it started again from the beginning"
    resumed = results_of(events)
    for name, result in expected.items():
        assert resumed[name].history == result.history
        assert resumed[name].grad_norm_quantiles == result.grad_norm_quantiles
        assert resumed[name].confusions == result.confusions
    assert not folder.exists()


def test_a_resumed_pack_without_its_recorded_runs_continues_exactly(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack(MIXED[:3])
    expected = results_of(train_on_cpu(pack, dataset))
    folder = tmp_path / "pack"
    interrupted = train_on_cpu(pack, dataset, checkpoint_dir=folder, checkpoint_every_seconds=0.0)
    next(interrupted)
    next(interrupted)
    interrupted.close()
    rest = Pack(pack.pack_id, pack.seed, pack.runs[1:])
    events = list(train_on_cpu(rest, dataset, checkpoint_dir=folder))
    assert events[0].step > 4
    for name, result in results_of(events).items():
        for mine, theirs in zip(result.history, expected[name].history, strict=True):
            assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5)


def test_a_retry_of_the_whole_pack_gets_the_ended_runs_and_continues(
    dataset: Dataset, tmp_path: Path
) -> None:
    short = {"train.n_steps": 4, "optim.lr_decay_steps": 12}
    pack = make_pack([{}, short, {"optim.epsilon": 1e-8}])
    expected = results_of(train_on_cpu(pack, dataset))
    folder = tmp_path / "pack"
    interrupted = train_on_cpu(pack, dataset, checkpoint_dir=folder, checkpoint_every_seconds=0.0)
    next(interrupted)
    next(interrupted)
    interrupted.close()
    events = list(train_on_cpu(pack, dataset, checkpoint_dir=folder))
    assert [result.run_id for result in events[0].finished] == [pack.runs[1].run_id]
    assert events[0].step > 4
    resumed = results_of(events)
    for name, result in expected.items():
        assert resumed[name].history == result.history
        assert resumed[name].per_session == result.per_session
        assert resumed[name].confusions == result.confusions


def test_a_paused_pack_continues_exactly_with_the_runs_that_are_kept(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack(MIXED[:4])
    expected = results_of(train_on_cpu(pack, dataset))
    folder = tmp_path / "pack"
    for _ in range(2):  # the second time there is nothing left to do up to the pause
        *_, last = train_on_cpu(pack, dataset, checkpoint_dir=folder, until_step=6)
        assert last.step == 6 and not last.finished
        assert last.paused.keys() == expected.keys()
        for name, rows in last.paused.items():
            assert rows == expected[name].history[:1]
    kept = Pack("pack", pack.seed, pack.runs[1:3])
    *_, last = train_on_cpu(kept, dataset, checkpoint_dir=folder, until_step=9)
    assert [len(rows) for rows in last.paused.values()] == [2, 2]
    resumed = results_of(train_on_cpu(kept, dataset, checkpoint_dir=folder))
    assert resumed.keys() == {run.run_id for run in kept.runs}
    for name, result in resumed.items():
        for mine, whole in zip(result.history, expected[name].history, strict=True):
            assert mine == pytest.approx(whole, rel=1e-4)
    assert not folder.exists()


def test_a_part_of_a_pack_keeps_its_results_in_its_folder(dataset: Dataset, tmp_path: Path) -> None:
    pack = make_pack(MIXED[:2])
    above, folder = tmp_path / "pack", tmp_path / "pack" / "part-0"
    list(train(pack, dataset, checkpoint_dir=above, until_step=6))
    part = Pack(pack.pack_id, pack.seed, pack.runs[:1])
    how: dict[str, Any] = {"checkpoint_dir": folder, "split_from": [above]}
    events = list(train(part, dataset, **how))
    assert events[0].step == 8, "it started again from the beginning"
    [again] = train(part, dataset, **how)
    assert again.finished[0] == results_of(events)[part.runs[0].run_id]
    assert list(above.glob("step-*.json"))


def test_batches_gathered_ahead_change_no_number_through_pauses_and_accumulation(
    dataset: Dataset, tmp_path: Path
) -> None:
    shared = {"optim.accumulation_steps": 3, "data.sampling": "shuffle"}
    pack = make_pack([shared, {**shared, "train.n_steps": 6}, {**shared, **WILD}])
    expected = results_of(train(pack, dataset, device="cpu"))
    events: list[Progress] = []
    for until in (2, 5, None):
        events += train(
            pack,
            dataset,
            device="cpu",
            checkpoint_dir=tmp_path / "pack",
            until_step=until,
            beside=True,
        )
    found = results_of(events)
    assert found.keys() == expected.keys()
    for name, result in expected.items():
        assert found[name].history == result.history
        assert found[name].grad_norm_quantiles == result.grad_norm_quantiles
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_a_pause_after_the_budget_has_no_effect(dataset: Dataset, tmp_path: Path) -> None:
    pack = make_pack([{}])
    events = list(train(pack, dataset, checkpoint_dir=tmp_path / "pack", until_step=12))
    assert results_of(events)[pack.runs[0].run_id].n_steps_done == 12
    assert not any(event.paused for event in events)


def test_a_resumed_pack_keeps_its_label_priors(dataset: Dataset, tmp_path: Path) -> None:
    short = {"train.n_steps": 4, "loss.label_prior_weight": 0.2, "optim.lr_decay_steps": 12}
    pack = make_pack([short, {}, {"loss.label_prior_weight": 0.5}])
    expected = results_of(train_on_cpu(pack, dataset))
    interrupted = train_on_cpu(
        pack, dataset, checkpoint_dir=tmp_path / "pack", checkpoint_every_seconds=0.0
    )
    next(interrupted)
    next(interrupted)
    interrupted.close()
    events = list(train_on_cpu(pack, dataset, checkpoint_dir=tmp_path / "pack"))
    assert events[0].step > 4
    for name, result in results_of(events).items():
        assert result.history == expected[name].history


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_all_augmentations_and_losses_train_together(
    architecture: str, precision: str, dataset: Dataset
) -> None:
    shared: dict[str, Any] = {
        "augment.random_cut": 3,
        "augment.smooth_causal": True,
        "loss.zero_infinity": True,
        "model.bidirectional": True,
        "model.architecture": architecture,
        "model.inter_ctc_layers": [1],
        "train.precision": precision,
        "train.n_steps": 6,
    }
    masks: dict[str, Any] = {
        "augment.time_warp_bins": 60,  # further than the trials are long, as the masks are wide
        "augment.time_mask_probability": 1.0,
        "augment.time_mask_width_bins": 400,
        "augment.feature_mask_probability": 0.5,
        "augment.speckle_rate": 0.3,
        "augment.patch_mask_max_share": 0.2,
        "loss.label_smoothing": 0.1,
    }
    arms = [
        shared,
        {**shared, **masks, "loss.focal_gamma": 0.5},
        {**shared, **masks, "loss.label_prior_weight": 0.5},
    ]
    for result in results_of(train(make_pack(arms), dataset)).values():
        assert result.status == "ok" and result.n_steps_done == 6
        assert all(math.isfinite(value) for row in result.history for value in row.values())


def test_a_checkpoint_of_other_runs_is_not_used(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    other = train_on_cpu(
        make_pack([{}]), dataset, checkpoint_dir=folder, checkpoint_every_seconds=0.0
    )
    next(other)
    next(other)
    other.close()
    pack = make_pack([{"optim.epsilon": 1e-3}])
    first, second, *_ = train_on_cpu(pack, dataset, checkpoint_dir=folder)
    assert str(folder) in first.remarks[0]
    assert second.step == 4  # from the start


def test_a_missing_gpu_is_refused(dataset: Dataset) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="no GPU"):
        next(train(make_pack([{}]), dataset, device="cuda"))


def test_every_history_row_has_every_column_and_is_finite(dataset: Dataset) -> None:
    for result in results_of(train(make_pack(MIXED), dataset)).values():
        assert len(result.history) == 3
        for row in result.history:
            assert tuple(row) == HISTORY_COLUMNS
            assert all(math.isfinite(value) for value in row.values())
            assert 0 <= row["blank_fraction"] <= 1
            assert 0 <= row["clipped_share"] <= 1
            assert row["per"] == row["n_edits"] / row["n_reference"]
            assert row["grad_norm_max"] >= row["grad_norm"]
        largest = max(row["grad_norm_max"] for row in result.history)
        assert result.grad_norm_quantiles["max"] == pytest.approx(largest)
        assert 0 < result.grad_norm_quantiles["p50"] <= result.grad_norm_quantiles["p99"]


def test_the_last_evaluation_breaks_down_the_errors(dataset: Dataset) -> None:
    pack = make_pack([{}, {"train.n_steps": 6, **BEAM}, {**BEAM, "evaluation.beam_width": 40}])
    results = results_of(train(pack, dataset))
    for run in pack.runs:
        result = results[run.run_id]
        last = result.history[-1]
        assert set(result.per_session) == set(dataset.sessions)
        edits, references = zip(*result.per_session.values(), strict=True)
        assert (sum(edits), sum(references)) == (last["n_edits"], last["n_reference"])
        assert sum(n for a, b, n in result.confusions if a != b) == last["n_edits"]
        assert sum(n for a, _, n in result.confusions if a) == last["n_reference"]
        if not run.config.evaluation.use_beam_search:
            assert result.beam == {}
            continue
        assert result.beam["beam_width"] == run.config.evaluation.beam_width
        assert result.beam["n_reference"] == last["n_reference"]
        assert result.beam["per"] == result.beam["n_edits"] / last["n_reference"]
        assert 0 <= last["n_edits_even"] <= last["n_edits"]
        assert 0 < last["n_reference_even"] < last["n_reference"]


@pytest.mark.parametrize("architecture", ["gru", "lstm", "transformer"])
def test_training_learns_the_prototypes(architecture: str, dataset: Dataset) -> None:
    arm = {
        "model.architecture": architecture,
        "model.n_heads": 2,
        "model.head_units": 16,
        "model.transformer_dropout": 0.1,
        "train.n_steps": 300,
        "train.eval_every_steps": 300,
        "model.n_units": 32,
        "optim.lr_max": 0.005,
        "optim.epsilon": 1e-8,
        "model.rnn_dropout": 0.0,
        "model.input_dropout": 0.0,
        "augment.white_noise_std": 0.1,
        "augment.constant_offset_std": 0.0,
    }
    [result] = results_of(train(make_pack([arm]), dataset)).values()
    assert result.history[-1]["per"] < 0.3


def test_bfloat16_trains_close_to_float32(dataset: Dataset) -> None:
    [exact] = results_of(train(make_pack([{}]), dataset)).values()
    [rounded] = results_of(train(make_pack([{"train.precision": "bfloat16"}]), dataset)).values()
    for mine, theirs in zip(rounded.history, exact.history, strict=True):
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=0.05)
        assert mine["val_loss"] != theirs["val_loss"]


# Every field, with a value other than SMALL's; path has no effect once a data set is open.
OTHER_VALUES: dict[str, Any] = {
    "data.sampling": "shuffle",
    "data.batch_size": 5,
    "data.days_per_batch": 2,
    "data.held_out_sessions": 1,
    "data.train_sessions_share": 0.75,
    "data.train_share": 0.5,
    "data.untrained_day_layer": "identity",
    "augment.static_gain_std": 0.1,
    "augment.white_noise_std": 0.5,
    "augment.constant_offset_std": 0.5,
    "augment.random_walk_std": 0.1,
    "augment.random_walk_axis": "time",
    "augment.random_cut": 0,
    "augment.time_warp_bins": 6,
    "augment.time_mask_probability": 0.9,
    "augment.time_mask_width_bins": 5,
    "augment.time_mask_max_count": 4,
    "augment.feature_mask_probability": 0.9,
    "augment.feature_mask_width": 2,
    "augment.feature_mask_max_count": 4,
    "augment.speckle_rate": 0.3,
    "augment.smooth": False,
    "augment.smooth_std_bins": 1.0,
    "augment.smooth_size_bins": 5,
    "augment.smooth_taps": "all",
    "augment.smooth_causal": True,
    "augment.patch_mask_max_share": 0.2,
    "augment.patch_mask_count": 3,
    "model.architecture": "lstm",
    "model.n_units": 10,
    "model.n_layers": 1,
    "model.bidirectional": True,
    "model.h0": "zero",
    "model.day_layer": "shared",
    "model.layer_norm": True,
    "model.post_rnn_layers": 1,
    "model.post_rnn_units": 8,
    "model.post_rnn_dropout": 0.3,
    "model.blank_bias": -2.0,
    "model.inter_ctc_layers": [1],
    "model.n_heads": 3,
    "model.head_units": 5,
    "model.ff_ratio": 2,
    "model.position": "sinusoidal",
    "model.transformer_dropout": 0.1,
    "model.mask_token": "learned",
    "loss.inter_ctc_weight": 0.6,
    "model.head_init": "uniform",
    "model.count_last_patch": False,
    "model.patch_size": 5,
    "model.patch_stride": 3,
    "model.rnn_dropout": 0.1,
    "model.input_dropout": 0.1,
    "loss.ctc_reduction": "mean",
    "loss.label_smoothing": 0.2,
    "loss.focal_gamma": 1.5,
    "loss.label_prior_weight": 0.4,
    "optim.algorithm": "adam",
    "optim.momentum": 0.5,
    "optim.nesterov": True,
    "optim.schedule": "constant",
    "optim.schedule_day": "linear",
    "optim.lr_max": 0.01,
    "optim.lr_min": 0.001,
    "optim.lr_warmup_steps": 1,
    "optim.lr_decay_steps": 9,
    "optim.lr_max_day": 0.01,
    "optim.lr_min_day": 0.002,
    "optim.lr_warmup_steps_day": 1,
    "optim.lr_decay_steps_day": 9,
    "optim.one_cycle_start_ratio": 0.5,
    "optim.step_every_steps": 2,
    "optim.step_factor": 0.5,
    "optim.plateau_factor": 0.5,
    "optim.plateau_patience": 0,
    "optim.beta1": 0.5,
    "optim.beta2": 0.5,
    "optim.epsilon": 1e-3,
    "optim.weight_decay": 0.5,
    "optim.weight_decay_day": 0.5,
    "optim.weight_decay_bias": 0.5,
    "optim.update_absent_days": True,
    "optim.grad_clip": 0.5,
    "optim.on_non_finite": "skip",
    "optim.ema_decay": 0.9,
    "optim.accumulation_steps": 2,
    "optim.frozen": ["day"],
    "train.n_steps": 10,
    "train.eval_every_steps": 3,
    "train.precision": "bfloat16",
    "evaluation.use_beam_search": True,
    "evaluation.beam_width": 1,
}
# Other changes that a field needs to have an effect.
WALK = {"augment.random_walk_std": 0.02}
SGD = {"optim.algorithm": "sgd", "optim.lr_max": 0.05}
BEAM = {"evaluation.use_beam_search": True}
WILD = {"optim.lr_max": 1e30, "optim.lr_min": 1e30, "optim.grad_clip": None}
PLATEAU = {"optim.schedule": "plateau", "optim.lr_max": 0.02, "train.n_steps": 16}
POST_RNN = {"model.post_rnn_layers": 1, "model.post_rnn_units": 6}
TRANSFORMER = {"model.architecture": "transformer", "model.n_heads": 2, "model.head_units": 4}
TIME_MASK = {"augment.time_mask_probability": 0.7, "augment.time_mask_width_bins": 12}
FEATURE_MASK = {"augment.feature_mask_probability": 0.7, "augment.feature_mask_width": 4}
MASKED = {"augment.patch_mask_max_share": 0.3, "augment.patch_mask_count": 2}
BASE_FOR: dict[str, dict[str, Any]] = {
    "data.untrained_day_layer": {"data.train_sessions_share": 0.75},
    "augment.time_mask_width_bins": TIME_MASK,
    "augment.time_mask_max_count": TIME_MASK,
    "augment.feature_mask_width": FEATURE_MASK,
    "augment.feature_mask_max_count": FEATURE_MASK,
    "augment.patch_mask_count": MASKED,
    "model.mask_token": MASKED,
    "model.post_rnn_units": POST_RNN,
    "model.post_rnn_dropout": POST_RNN,
    "model.n_heads": TRANSFORMER,
    "model.head_units": TRANSFORMER,
    "model.ff_ratio": TRANSFORMER,
    "model.position": TRANSFORMER,
    "model.transformer_dropout": TRANSFORMER,
    "loss.inter_ctc_weight": {"model.inter_ctc_layers": [1]},
    "augment.random_walk_axis": WALK,
    "evaluation.beam_width": BEAM,
    "optim.momentum": SGD,
    "optim.nesterov": SGD,
    "optim.on_non_finite": WILD,
    "optim.one_cycle_start_ratio": {"optim.schedule": "one_cycle"},
    "optim.step_every_steps": {"optim.schedule": "step"},
    "optim.step_factor": {"optim.schedule": "step", "optim.step_every_steps": 2},
    "optim.plateau_factor": {**PLATEAU, "optim.plateau_patience": 0},
    "optim.plateau_patience": PLATEAU,
}
# Fields that act before training, only on trials without an alignment, only on disk, or on a GPU;
# for those of the start see test_start.py.
ELSEWHERE = {
    "data.path",
    "data.sessions",
    "data.feature_subset",
    "loss.zero_infinity",
    "train.deterministic",
    "train.keep_weights",
    "train.keep_logits",
    "train.start_from",
    "train.start_sessions",
    "train.start_new_days",
    *(path for path in config_paths() if path.startswith("evaluation.words.")),
}


def test_every_field_is_tried_here_or_listed_as_acting_elsewhere() -> None:
    assert set(OTHER_VALUES) | ELSEWHERE == set(config_paths())


Trained = Callable[[Mapping[str, Any]], RunResult]


@pytest.fixture(scope="module")
def trained(dataset: Dataset) -> Trained:
    """Trains a run alone, once."""
    known: dict[str, RunResult] = {}

    def alone(changes: Mapping[str, Any]) -> RunResult:
        pack = make_pack([changes])
        if pack.runs[0].run_id not in known:
            known.update(results_of(train(pack, dataset)))
        return known[pack.runs[0].run_id]

    return alone


def arm_of(path: str) -> dict[str, Any]:
    return {**BASE_FOR.get(path, {}), path: OTHER_VALUES[path]}


@pytest.mark.parametrize("path", sorted(OTHER_VALUES))
def test_changing_a_field_changes_the_history(path: str, trained: Trained) -> None:
    expected, changed = trained(BASE_FOR.get(path, {})), trained(arm_of(path))
    seen, other = (
        [result.n_steps_done, *result.beam.values(), *[row["val_loss"] for row in result.history]]
        for result in (expected, changed)
    )
    assert len(seen) != len(other) or seen != pytest.approx(other, rel=1e-6)


def test_every_value_trains_the_same_alone_and_in_a_pack_of_different_values(
    dataset: Dataset, trained: Trained
) -> None:
    packs: dict[str, list[dict[str, Any]]] = {}
    for path in OTHER_VALUES:
        arm = arm_of(path)
        packs.setdefault(pack_key(make_config(arm)), []).append(arm)
    assert max(len(arms) for arms in packs.values()) > 30
    for arms in packs.values():
        if len(arms) == 1:  # no other value has the same shape: add scalars that may differ
            arms = [*arms, {**arms[0], "optim.epsilon": 0.03, "model.input_dropout": 0.4}]
        pack = make_pack(arms)
        together = results_of(train(pack, dataset))
        for run, arm in zip(pack.runs, arms, strict=True):
            alone = trained(arm)
            assert together[run.run_id].beam.keys() == alone.beam.keys()
            if torch.cuda.is_available():  # rounding there may turn a close decision of the search
                assert together[run.run_id].beam == pytest.approx(alone.beam, rel=0.05)
            else:
                assert together[run.run_id].beam == alone.beam
            for mine, theirs in zip(together[run.run_id].history, alone.history, strict=True):
                for column in ("val_loss", "train_loss", "lr"):
                    assert mine[column] == pytest.approx(theirs[column], rel=1e-4), (arm, column)


def test_zero_infinity_trains_on_trials_without_an_alignment_and_counts_them_in_per(
    dataset: Dataset,
) -> None:
    """With few patches most trials have no alignment: they have no loss, but reference phonemes."""
    few = {"model.patch_stride": 16, "augment.random_cut": 0, "train.n_steps": 4}
    with pytest.raises(DataError, match="too short for their targets"):
        next(train(make_pack([few]), dataset))
    [result] = results_of(train(make_pack([{**few, "loss.zero_infinity": True}]), dataset)).values()
    assert result.status == "ok" and 0 < result.n_dropped_trials < 60
    last = result.history[-1]
    assert last["n_reference"] == len(dataset.val.labels)
    assert 0 < last["train_loss"] < math.inf


def test_only_fields_that_may_differ_within_a_pack_keep_the_pack_key() -> None:
    for path, marks in config_paths().items():
        if path in OTHER_VALUES:
            key = pack_key(make_config(BASE_FOR.get(path, {})))
            assert (pack_key(make_config(arm_of(path))) == key) == marks.per_run, path
