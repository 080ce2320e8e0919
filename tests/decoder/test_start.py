"""Weights to start from: matched by day, equal to the file to the bit, refused in one message."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from decoder.config import DecoderConfig, override, pack_key, resolve, run_id
from decoder.data.store import Dataset
from decoder.errors import ConfigError, DataError
from decoder.model.decoder import PackedDecoder
from decoder.official_weights import save_official
from decoder.pack import Pack, Progress, Run
from decoder.phonemes import N_CLASSES
from decoder.regular import sha256_of_file
from decoder.start import (
    check_start,
    match_days,
    read_start,
    seen_before,
    start_runs,
    with_start_hash,
)
from decoder.train import train
from decoder.weights import read_weights, weights_of, write_weights

SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 3,
    "model.n_units": 8,
    "model.n_layers": 2,
    "model.patch_size": 6,
    "model.patch_stride": 2,
    "optim.lr_warmup_steps": 1,
    "train.n_steps": 6,
    "train.eval_every_steps": 3,
}
T12 = {
    "augment.smooth_taps": "all",
    "augment.smooth_size_bins": 20,
    "model.bidirectional": True,
    "model.h0": "zero",
    "model.count_last_patch": False,
}
N_FEATURES = 8
DAYS = tuple(f"t15.2000.01.0{day}" for day in range(1, 5))  # those of the data set


def configure(changes: Mapping[str, Any] = {}) -> DecoderConfig:
    return resolve(override(DecoderConfig(), {**SMALL, **changes}, "test"))


def run_of(changes: Mapping[str, Any], name: str = "") -> Run:
    config = with_start_hash(configure(changes))
    return Run(name or run_id(config, 1, "data"), config)


def decoder(
    config: DecoderConfig, n_days: int, seed: int = 7, n_features: int = N_FEATURES
) -> PackedDecoder:
    """A decoder whose every value is drawn, day layers included."""
    model = PackedDecoder(config.model, 1, n_days, n_features, N_CLASSES, seed)
    source = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=source)
    return model


def write(folder: Path, sessions: Sequence[str] = DAYS, seed: int = 7, **changes: Any) -> Path:
    """A file of ours with day layers of these sessions."""
    config = configure({key.replace("__", "."): value for key, value in changes.items()})
    tensors = weights_of(decoder(config, len(sessions), seed), 0)
    write_weights(folder, tensors, config, sessions, {})
    return folder / "weights.safetensors"


def begun(runs: Sequence[Run], dataset: Dataset) -> PackedDecoder:
    """The decoders of a pack at step 0."""
    model = PackedDecoder(
        runs[0].config.model, len(runs), len(dataset.sessions), N_FEATURES, N_CLASSES, seed=1
    )
    start_runs(model, runs, dataset)
    return model


def rows(model: PackedDecoder, row: int) -> dict[str, Tensor]:
    return {name: p.detach()[row] for name, p in model.named_parameters()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_a_run_starts_from_the_file_to_the_bit_with_its_days_matched_by_name(
    dataset: Dataset, tmp_path: Path
) -> None:
    shuffled = (DAYS[2], "t15.1999.01.01", DAYS[0], DAYS[3], DAYS[1])
    path = write(tmp_path, shuffled)
    file = read_weights(path).tensors
    found = rows(begun([run_of({"train.start_from": str(path)})], dataset), 0)
    for name, value in found.items():
        stem, _, number = name.rpartition(".")
        source = name
        if name.startswith("day_layer."):
            source = f"{stem}.{shuffled.index(DAYS[int(number)])}"
        assert torch.equal(value, file[source]), name
    folder = rows(begun([run_of({"train.start_from": str(tmp_path)})], dataset), 0)
    assert same(folder, found)


def test_a_session_held_out_needs_no_day_layer_in_the_file(
    dataset: Dataset, tmp_path: Path
) -> None:
    """It is lent that of the nearest trained session, whatever the file holds."""
    apart = {
        "data.held_out_sessions": 1,
        "optim.frozen": ["day"],
        "train.keep_weights": "final",
    }
    files = [write(tmp_path / "three", DAYS[:3]), write(tmp_path / "four", DAYS)]
    runs = tuple(
        run_of({**apart, "train.start_from": str(file)}, name)
        for file, name in zip(files, ("three", "four"), strict=True)
    )
    for _ in train(Pack("pack", 1, runs), dataset, device="cpu", weights_dir=tmp_path / "kept"):
        pass
    for file, run in zip(files, runs, strict=True):
        layer = "day_layer.weights"
        kept = read_weights(tmp_path / "kept" / run.run_id).tensors
        assert torch.equal(kept[f"{layer}.3"], read_weights(file).tensors[f"{layer}.2"])
    start = read_start(runs[0].config.train)
    with pytest.raises(ConfigError, match=DAYS[3]):
        match_days(start, runs[0].config.train, DAYS)
    with pytest.raises(ConfigError, match="no day in common"):
        match_days(start, runs[0].config.train, ("t15.1999.01.01", DAYS[0]), held_out={1})


def test_weights_say_whether_they_have_seen_sessions_held_out(tmp_path: Path) -> None:
    config = configure({"data.held_out_sessions": 2, "train.start_from": "-"})

    def seen(path: Path) -> tuple[str, ...]:
        return seen_before(read_start(config.train, path), config, DAYS)

    assert seen(write(tmp_path / "all")) == DAYS[2:]
    assert seen(write(tmp_path / "some", DAYS[:3])) == (DAYS[2],)
    assert seen(write(tmp_path / "last", data__held_out_sessions=1)) == (DAYS[2],)
    assert seen(write(tmp_path / "none", data__held_out_sessions=list(DAYS[1:]))) == ()


@pytest.mark.parametrize("new_days", ["mean", "identity"])
def test_a_new_day_starts_from_the_mean_or_the_identity(
    dataset: Dataset, tmp_path: Path, new_days: str
) -> None:
    known = ("t15.1999.01.01", DAYS[0], DAYS[3])
    path = write(tmp_path, known)
    start = {"train.start_from": str(path), "train.start_new_days": new_days}
    found = rows(begun([run_of(start)], dataset), 0)
    file = read_weights(path).tensors
    weights, biases = (
        torch.stack([file[f"day_layer.{kind}.{day}"] for day in range(3)])
        for kind in ("weights", "biases")
    )
    wanted = {
        "mean": (weights.double().mean(0).float(), biases.double().mean(0).float()),
        "identity": (torch.eye(N_FEATURES), torch.zeros(1, N_FEATURES)),
    }[new_days]
    for day in (1, 2):
        assert torch.equal(found[f"day_layer.weights.{day}"], wanted[0])
        assert torch.equal(found[f"day_layer.biases.{day}"], wanted[1])
    assert torch.equal(found["day_layer.weights.3"], weights[2])


def test_official_files_start_a_run_to_the_bit(dataset: Dataset, tmp_path: Path) -> None:
    """The names of T15 days stand in the trainer's arguments; those of T12 days are given."""
    t15, t12 = tmp_path / "best_checkpoint", tmp_path / "modelWeights"
    model = decoder(configure(), 4)
    save_official(t15, model, 0, configure(), "t15", {"val_PER": 0.5})
    (tmp_path / "args.yaml").write_text(yaml.safe_dump({"dataset": {"sessions": [*DAYS]}}))
    assert same(rows(begun([run_of({"train.start_from": str(t15)})], dataset), 0), rows(model, 0))
    assert same(
        rows(begun([run_of({"train.start_from": str(tmp_path)})], dataset), 0), rows(model, 0)
    )
    model = decoder(configure(T12), 4)
    save_official(t12, model, 0, configure(T12), "t12", {})
    (tmp_path / "args.yaml").unlink()
    named = {**T12, "train.start_from": str(t12), "train.start_sessions": [*DAYS]}
    assert same(rows(begun([run_of(named)], dataset), 0), rows(model, 0))


def refused(dataset: Dataset, path: Path | str, **changes: Any) -> str:
    """The one message of a run that cannot start; training refuses what planning refuses."""
    given = {key.replace("__", "."): value for key, value in changes.items()}
    config = configure({"train.start_from": str(path), **given})
    with pytest.raises(ConfigError) as planned:
        start = read_start(with_start_hash(config).train)
        check_start(start, config, dataset.n_features, dataset.n_classes, dataset.sessions)
    [text] = planned.value.problems
    pack = Pack("pack", 1, (Run("run", config),))
    with pytest.raises(ConfigError) as trained:
        list(train(pack, dataset, device="cpu"))
    assert trained.value.problems == (text,) and "train.start_from" in text
    return text


def test_what_does_not_fit_is_one_clear_message(dataset: Dataset, tmp_path: Path) -> None:
    path = write(tmp_path)
    assert str(tmp_path / "gone") in refused(dataset, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "keep_weights" in refused(dataset, tmp_path / "empty")
    lstm = refused(dataset, path, model__architecture="lstm")
    assert "gru" in lstm and "lstm" in lstm
    wide = refused(dataset, path, model__n_units=10)
    assert "(24, 48)" in wide and "(30, 48)" in wide and "n_units is 10" in wide
    assert "'h0'" in refused(dataset, path, model__h0="zero")
    assert "layers.2" in refused(dataset, path, model__n_layers=3)
    classes = refused(replace(dataset, n_classes=31), path)
    assert "41 classes" in classes and "31" in classes
    features = refused(replace(dataset, n_features=9), path)
    assert "8 features" in features and "9" in features
    text = tmp_path / "notes.txt"
    text.write_text("my weights")
    assert "notes.txt" in refused(dataset, text)
    tensors = weights_of(decoder(configure(), 4), 0)
    tensors["head.bias"] = torch.full_like(tensors["head.bias"], float("nan"))
    write_weights(tmp_path / "broken", tensors, configure(), DAYS, {})
    assert "head.bias" in refused(dataset, tmp_path / "broken")


def test_days_that_cannot_be_matched_are_one_clear_message(
    dataset: Dataset, tmp_path: Path
) -> None:
    others = write(tmp_path / "others", ("t12.2022.04.28", "t12.2022.05.05"))
    text = refused(dataset, others)
    assert "no day in common" in text and "t12.2022.04.28" in text and DAYS[0] in text
    some = refused(dataset, write(tmp_path / "some", DAYS[:3]))
    assert DAYS[3] in some and DAYS[0] not in some and "train.start_new_days" in some
    t15 = tmp_path / "best_checkpoint"
    save_official(t15, decoder(configure(), 4), 0, configure(), "t15", {})
    assert "train.start_sessions" in refused(dataset, t15)
    assert "3 sessions" in refused(dataset, t15, train__start_sessions=[*DAYS[:3]])
    shared = write(tmp_path / "shared", DAYS[:1], model__day_layer="none")
    assert "no day layers" in refused(dataset, shared)


def test_a_file_that_changed_after_the_plan_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    run = run_of({"train.start_from": str(write(tmp_path))})
    write(tmp_path, seed=8)
    with pytest.raises(DataError, match="has changed"):
        start_runs(begun([run_of({})], dataset), [run], dataset)


def test_the_content_of_the_file_and_not_its_place_makes_the_run(tmp_path: Path) -> None:
    one, moved, other = (
        write(tmp_path / name, seed=seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    ids = [run_of({"train.start_from": str(path)}).run_id for path in (one, moved, other)]
    assert ids[0] == ids[1] != ids[2]
    assert run_of({}).run_id == run_of({"train.start_new_days": "mean"}).run_id not in ids
    keys = {pack_key(run_of({"train.start_from": str(path)}).config) for path in (one, other)}
    assert keys == {pack_key(run_of({}).config)}
    config = with_start_hash(configure({"train.start_from": str(one)}))
    assert config.files == {"train.start_from": sha256_of_file(one)}


def test_the_arguments_that_name_the_days_are_part_of_the_identity(tmp_path: Path) -> None:
    t15, arguments = tmp_path / "best_checkpoint", tmp_path / "args.yaml"
    save_official(t15, decoder(configure(), 4), 0, configure(), "t15", {})
    ids = []
    for names in (DAYS, DAYS[::-1]):
        arguments.write_text(yaml.safe_dump({"dataset": {"sessions": [*names]}}))
        ids.append(run_of({"train.start_from": str(t15)}).run_id)
    assert ids[0] != ids[1]


def results(events: Sequence[Progress]) -> dict[str, Any]:
    return {r.run_id: r.history for event in events for r in event.finished}


def test_runs_of_a_pack_start_from_their_own_files_as_they_do_alone(
    dataset: Dataset, tmp_path: Path
) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", DAYS[:2], seed=8)
    runs = [
        run_of({"train.start_from": str(first), "train.keep_weights": "final"}, "a"),
        run_of({"train.start_from": str(second), "train.start_new_days": "identity"}, "b"),
        run_of({}, "scratch"),
    ]
    together = begun(runs, dataset)
    for row, run in enumerate(runs):
        assert same(rows(together, row), rows(begun([run], dataset), 0))
    pack = Pack("pack", 1, tuple(runs))
    packed = results(list(train(pack, dataset, device="cpu")))
    for run in runs:
        alone = results(list(train(Pack("one", 1, (run,)), dataset, device="cpu")))
        for mine, theirs in zip(packed[run.run_id], alone[run.run_id], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4)
    assert packed["a"][0]["val_loss"] != packed["b"][0]["val_loss"]


def test_frozen_parts_keep_their_weights_and_count_in_no_norm(
    dataset: Dataset, tmp_path: Path
) -> None:
    """Decay acts on everything else, and the gradients of frozen parts are left out of clipping."""
    path = write(tmp_path / "start")
    common = {
        "train.start_from": str(path),
        "train.keep_weights": "final",
        "optim.lr_max": 0.01,
        "optim.weight_decay": 0.5,
        "optim.weight_decay_day": 0.5,
        "optim.weight_decay_bias": 0.5,
        "optim.update_absent_days": True,
    }
    frozen = [("day",), ("layers",), ("head",), ("day", "layers"), ()]
    runs = [run_of({**common, "optim.frozen": parts}, "-".join(parts) or "all") for parts in frozen]
    pack = Pack("pack", 1, tuple(runs))
    packed = results(list(train(pack, dataset, device="cpu", weights_dir=tmp_path)))
    before, parts_of = read_weights(path).tensors, begun([runs[0]], dataset).model_parts()
    assert set(parts_of.values()) == {"day", "layers", "head"}
    for run in runs:
        after = read_weights(tmp_path / run.run_id).tensors
        for name, value in after.items():
            stays = parts_of[name] in run.config.optim.frozen
            assert torch.equal(value, before[name]) == stays, (run.run_id, name)
        alone = results(list(train(Pack("one", 1, (run,)), dataset, device="cpu")))
        for mine, theirs in zip(packed[run.run_id], alone[run.run_id], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4)
    norms = {name: history[0]["grad_norm"] for name, history in packed.items()}
    assert norms["day-layers"] < norms["day"] < norms["all"]


def test_a_pack_that_started_from_weights_resumes_to_the_bit_without_the_file(
    dataset: Dataset, tmp_path: Path
) -> None:
    path = write(tmp_path / "start")
    start = {"train.start_from": str(path), "optim.frozen": ["day"]}
    pack = Pack("pack", 1, (run_of(start, "a"), run_of({"optim.lr_max": 0.01}, "b")))
    whole = results(list(train(pack, dataset, device="cpu")))
    folder = tmp_path / "pack"
    paused = list(train(pack, dataset, device="cpu", checkpoint_dir=folder, until_step=4))
    assert paused[-1].paused.keys() == {"a", "b"}
    path.unlink()
    resumed = results(list(train(pack, dataset, device="cpu", checkpoint_dir=folder)))
    assert resumed == whole


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optim.frozen": ["day", "layers", "head"]}, "optim.frozen"),
        ({"optim.frozen": ["head", "layers"], "model.day_layer": "none"}, "optim.frozen"),
        ({"optim.frozen": ["day"], "model.day_layer": "none"}, "model.day_layer"),
        ({"train.start_from": "x", "model.blank_bias": -1.0}, "model.blank_bias"),
    ],
)
def test_a_combination_without_sense_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        configure(changes)


def test_parts_are_frozen_in_any_order() -> None:
    one, other = (
        configure({"optim.frozen": parts}) for parts in (["head", "day"], ["day", "head"])
    )
    assert one == other and run_id(one, 1, "data") == run_id(other, 1, "data")
