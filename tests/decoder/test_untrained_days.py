"""Sessions held out reach nothing but their own PER, by the day layer of trained sessions."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from decoder.data.store import Dataset, Split
from decoder.data.trials import Trials
from decoder.errors import DataError
from decoder.evaluation import evaluate
from decoder.pack import HELD_OUT_COLUMNS, HISTORY_COLUMNS, Pack, RunResult
from decoder.train import train
from decoder.weights import build_decoder, read_weights

from .test_train import SMALL, make_pack

DAYS = {"data.days_per_batch": 2, "train.n_steps": 8}
LAST = {**DAYS, "data.held_out_sessions": 1}  # day 3
INNER = {**DAYS, "data.held_out_sessions": ["t15.2000.01.02", "t15.2000.01.04"]}  # days 1 and 3
# What may follow validation: choice of weights, schedules, averages, absent days, skipped steps.
ARMS: list[dict[str, Any]] = [
    {"train.keep_weights": "best"},
    {"optim.schedule": "plateau", "optim.plateau_patience": 0, "optim.lr_warmup_steps": 0},
    {"optim.ema_decay": 0.5, "optim.update_absent_days": True, "optim.algorithm": "adam"},
    {"loss.label_prior_weight": 0.2, "optim.on_non_finite": "skip"},
]


def poisoned(split: Split, days: set[int]) -> Split:
    """The split with NaN in every trial of some days."""
    features = split.features.copy()
    for trial in np.flatnonzero(np.isin(split.day, sorted(days))):
        features[split.offsets[trial] : split.offsets[trial + 1]] = np.nan
    return replace(split, features=features)


def without_days(split: Split, n_days: int) -> Split:
    """The split without the days from `n_days` on, which are its last trials."""
    n = int((split.day < n_days).sum())
    return Split(
        split.features[: split.offsets[n]],
        split.offsets[: n + 1],
        split.labels[: split.label_offsets[n]],
        split.label_offsets[: n + 1],
        split.day[:n],
        split.block[:n],
        split.trial_number[:n],
    )


def trained(pack: Pack, dataset: Dataset, **options: Any) -> list[RunResult]:
    events = train(pack, dataset, device="cpu", **options)
    results = {result.run_id: result for event in events for result in event.finished}
    return [results[run.run_id] for run in pack.runs]


def timeless(result: RunResult) -> RunResult:
    return replace(result, pack_seconds=0.0, peak_memory_bytes=0)


def columns(result: RunResult, names: tuple[str, ...]) -> list[tuple[float, ...]]:
    return [tuple(row[name] for name in names) for row in result.history]


def weights_in(folder: Path) -> Mapping[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.*"))}


@pytest.mark.parametrize("apart", [LAST, INNER], ids=["last", "named"])
@pytest.mark.parametrize("sampling", ["days", "shuffle"])
def test_no_training_trial_of_sessions_held_out_reaches_anything(
    apart: dict[str, Any], sampling: str, dataset: Dataset, tmp_path: Path
) -> None:
    days = {3} if apart is LAST else {1, 3}
    pack = make_pack([{**apart, "data.sampling": sampling, **arm} for arm in ARMS])
    sound = trained(pack, dataset, weights_dir=tmp_path / "sound")
    bad = replace(dataset, train=poisoned(dataset.train, days))
    assert np.isnan(bad.train.features).any()
    found = trained(pack, bad, weights_dir=tmp_path / "bad")
    assert [timeless(one) for one in found] == [timeless(one) for one in sound]
    assert weights_in(tmp_path / "bad") == weights_in(tmp_path / "sound") != {}
    assert all(
        math.isfinite(value) for one in found for row in one.history for value in row.values()
    )


def test_the_same_poison_in_a_trained_session_is_found(dataset: Dataset) -> None:
    bad = replace(dataset, train=poisoned(dataset.train, {0}))
    with pytest.raises(DataError, match=r"t15\.2000\.01\.01"):
        trained(make_pack([LAST]), bad)


def test_no_validation_trial_of_theirs_reaches_training_or_tuning(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack([{**LAST, **arm} for arm in ARMS])
    sound = trained(pack, dataset, weights_dir=tmp_path / "sound")
    bad = replace(dataset, val=poisoned(dataset.val, {3}))
    found = trained(pack, bad, weights_dir=tmp_path / "bad")
    for one, other in zip(found, sound, strict=True):
        assert columns(one, HISTORY_COLUMNS) == columns(other, HISTORY_COLUMNS)
        assert (one.per_session, one.confusions) == (other.per_session, other.confusions)
    assert any(
        columns(one, HELD_OUT_COLUMNS) != columns(other, HELD_OUT_COLUMNS)
        for one, other in zip(found, sound, strict=True)
    )
    run_id = pack.runs[0].run_id
    kept = [
        load_file(tmp_path / which / run_id / "weights.safetensors") for which in ("sound", "bad")
    ]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


def test_holding_out_trains_as_without_the_session(dataset: Dataset) -> None:
    """Everything but the errors held out is as if the last session were not in the recordings."""
    smaller = replace(
        dataset,
        sessions=dataset.sessions[:3],
        train=without_days(dataset.train, 3),
        val=without_days(dataset.val, 3),
    )
    [apart] = trained(make_pack([LAST]), dataset)
    [without] = trained(make_pack([DAYS]), smaller)
    # The number of parameters is another, and it is a factor of this column.
    names = tuple(name for name in HISTORY_COLUMNS if name != "epsilon_over_grad_rms")
    assert columns(apart, names) == columns(without, names)
    assert apart.per_session == without.per_session
    assert (apart.n_train_trials, apart.n_train_sessions) == (36, 3)
    assert (without.n_train_trials, without.n_train_sessions) == (36, 3)
    assert without.held_out == {} and set(without.history[0]) == set(HISTORY_COLUMNS)


def test_errors_held_out_are_counted_by_session_and_distance(dataset: Dataset) -> None:
    [result] = trained(make_pack([INNER]), dataset)
    last = result.history[-1]
    assert {name: one["days"] for name, one in result.held_out.items()} == {
        "t15.2000.01.02": 1,
        "t15.2000.01.04": 1,
    }
    assert set(result.per_session) == {"t15.2000.01.01", "t15.2000.01.03"}
    n_edits = sum(one["n_edits"] for one in result.held_out.values())
    n_reference = sum(one["n_reference"] for one in result.held_out.values())
    assert (last["n_edits_held_out"], last["n_reference_held_out"]) == (n_edits, n_reference)
    assert last["per_held_out"] == n_edits / n_reference
    val = dataset.val
    for day, name in ((1, "t15.2000.01.02"), (3, "t15.2000.01.04")):
        assert result.held_out[name]["n_reference"] == val.label_counts[val.day == day].sum()


def day_layers(folder: Path, run_id: str) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    tensors = load_file(folder / run_id / "weights.safetensors")
    return {
        day: (tensors[f"day_layer.weights.{day}"], tensors[f"day_layer.biases.{day}"])
        for day in range(4)
    }


def test_the_runs_of_a_pack_have_each_their_own_kind_of_layer(
    dataset: Dataset, tmp_path: Path
) -> None:
    """Kept weights have the lent layers, and give the errors that the run recorded."""
    fast = {"train.keep_weights": "final", "optim.lr_max": 0.03, "train.n_steps": 40}
    kinds = ("nearest", "mean", "identity")
    arms = [{**LAST, **fast, "data.untrained_day_layer": kind} for kind in kinds]
    pack = make_pack(arms)
    results = trained(pack, dataset, weights_dir=tmp_path)
    for kind, run, result in zip(kinds, pack.runs, results, strict=True):
        layers = day_layers(tmp_path, run.run_id)
        for which in (0, 1):
            own = [layers[day][which] for day in range(3)]
            assert not any(torch.equal(own[i], own[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
            identity = torch.eye(8) if which == 0 else torch.zeros(1, 8)
            expected = {"nearest": own[2], "mean": sum(own) / 3, "identity": identity}[kind]
            torch.testing.assert_close(layers[3][which], expected, rtol=0, atol=1e-7)
        decoder = build_decoder(read_weights(tmp_path / run.run_id), run.config)
        batches = Trials.select(dataset, run.config).held_out_batches()
        [row] = evaluate(decoder, [run.config], batches, torch.device("cpu")).metrics.rows()
        assert row["n_edits"] == result.history[-1]["n_edits_held_out"]
        assert columns(result, HISTORY_COLUMNS) == columns(results[0], HISTORY_COLUMNS)


def test_sessions_that_no_share_takes_are_evaluated_by_a_trained_layer(
    dataset: Dataset, tmp_path: Path
) -> None:
    some = {
        **SMALL,
        "data.days_per_batch": 1,
        "data.train_sessions_share": 0.5,
        "train.keep_weights": "final",
    }
    pack = make_pack([some, {**some, "data.untrained_day_layer": "identity"}])
    results = trained(pack, dataset, weights_dir=tmp_path)
    assert [one.n_train_sessions for one in results] == [2, 2]
    assert all(one.n_train_trials == 24 and one.held_out == {} for one in results)
    assert all(set(one.per_session) == set(dataset.sessions) for one in results)
    by_day = Trials.select(dataset, pack.runs[0].config, pack.seed).train_by_day
    own = {int(dataset.train.day[trials[0]]) for trials in by_day}
    lent, identity = (day_layers(tmp_path, run.run_id) for run in pack.runs)
    for day in set(range(4)) - own:
        assert any(torch.equal(lent[day][0], lent[other][0]) for other in own)
        assert torch.equal(identity[day][0], torch.eye(8))


@pytest.mark.parametrize("day_layer", ["shared", "none"])
def test_without_layers_for_each_day_nothing_is_lent(day_layer: str, dataset: Dataset) -> None:
    [result] = trained(make_pack([{**LAST, "model.day_layer": day_layer}]), dataset)
    assert result.status == "ok" and result.held_out["t15.2000.01.04"]["days"] == 1


def test_a_resumed_pack_has_the_errors_held_out_of_an_uninterrupted_one(
    dataset: Dataset, tmp_path: Path
) -> None:
    pack = make_pack([LAST, {**LAST, "train.n_steps": 4}])
    whole = trained(pack, dataset)
    for _ in train(
        pack,
        dataset,
        device="cpu",
        checkpoint_dir=tmp_path,
        checkpoint_every_seconds=0.0,
        until_step=6,
    ):
        pass
    resumed = trained(pack, dataset, checkpoint_dir=tmp_path)
    assert [timeless(one) for one in resumed] == [timeless(one) for one in whole]
    assert all(one.held_out for one in resumed)


def test_decoding_beside_training_gives_the_same_errors_held_out(dataset: Dataset) -> None:
    pack = make_pack([INNER, {**INNER, "evaluation.use_beam_search": True}])
    late = trained(pack, dataset, beside=True)
    assert [timeless(one) for one in late] == [timeless(one) for one in trained(pack, dataset)]


def test_a_smaller_share_of_trials_trains_other_weights(dataset: Dataset) -> None:
    [half] = trained(make_pack([{"data.train_share": 0.5}]), dataset)
    [whole] = trained(make_pack([{}]), dataset)
    assert (half.n_train_trials, whole.n_train_trials) == (24, 48)
    assert half.n_train_sessions == whole.n_train_sessions == 4
    assert half.history != whole.history
