"""`python -m decoder`: PER as in the official code, day layers by session, and export."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from decoder.__main__ import main
from decoder.config import DecoderConfig, override
from decoder.data.writers import SentenceToWrite, TrialToWrite, write_session, write_t12_session
from decoder.importing import import_mapping
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.official_weights import save_official
from decoder.smoothing import smooth_batch
from decoder.weights import read_weights, save_weights

F = 4
DAYS = ("t15.2000.01.03", "t15.2000.01.01", "t15.2000.01.02")  # not in order of their names
T15: dict[str, Any] = {
    "model": {"n_units": 5, "n_layers": 2, "patch_size": 6, "patch_stride": 3},
    "dataset": {"sessions": list(DAYS), "batch_size": 3, "days_per_batch": 1},
    "num_training_batches": 5,
}
T12: dict[str, Any] = {"nUnits": 4, "nLayers": 2, "kernelLen": 8, "strideLen": 4, "batchSize": 3}


def make_model(config: DecoderConfig, n_days: int, n_features: int) -> PackedDecoder:
    """A model far from its initial weights, so that it emits many classes and days differ."""
    model = PackedDecoder(config.model, 1, n_days, n_features, 41, seed=0).eval()
    source = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        scale = 0.1 if "bias" in name or "weight_hh" in name else 2.0
        parameter.data += scale * torch.randn(parameter.shape, generator=source)
    return model


def naive_edits(emitted: list[int], target: list[int]) -> int:
    row = list(range(len(target) + 1))
    for i, a in enumerate(emitted, start=1):
        row, last = [i], row
        for j, b in enumerate(target, start=1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (a != b)))
    return row[-1]


def decode(model: PackedDecoder, config: DecoderConfig, batch: list[Any], day: int) -> list[Any]:
    """Greedy classes of (T, F) arrays of one day, padded to the longest."""
    padded = torch.zeros(len(batch), max(len(x) for x in batch), batch[0].shape[1])
    for row, x in enumerate(batch):
        padded[row, : len(x)] = torch.tensor(x)
    x = smooth_batch(padded, config.augment)[None]
    with torch.no_grad():
        best = model(x, day_slices(torch.full((len(batch),), day))).logits[0].argmax(-1).T
    emitted = []
    for row, features in zip(best.tolist(), batch, strict=True):
        size, stride = config.model.patch_size, config.model.patch_stride
        length = (len(features) - size) // stride + int(config.model.count_last_patch)
        merged = [c for i, c in enumerate(row[:length]) if i == 0 or c != row[i - 1]]
        emitted.append([c for c in merged if c != 0])
    return emitted


@pytest.fixture(scope="module")
def trials() -> dict[str, list[TrialToWrite]]:
    rng = np.random.default_rng(0)

    def trial(number: int, n_bins: int, labels: list[int]) -> TrialToWrite:
        features = rng.normal(size=(n_bins, F)).astype(np.float32)
        return TrialToWrite(features, labels, "a", 1, number)

    return {
        session: [
            trial(i, int(rng.integers(30, 60)), rng.integers(1, 41, 5).tolist()) for i in range(4)
        ]
        for session in DAYS
    }


@pytest.fixture
def recordings(trials: dict[str, list[TrialToWrite]], tmp_path: Path) -> Path:
    for session, val in trials.items():
        train = [TrialToWrite(val[0].features, [1], "a", 2, 0)]
        write_session(tmp_path / "data", session, {"train": train, "val": val})
    return tmp_path / "data"


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, Path, PackedDecoder, DecoderConfig]:
    """Official T15 files, and the decoder in them."""
    config = import_mapping(T15, "args").config
    model = make_model(config, len(DAYS), F)
    path, args = tmp_path / "best_checkpoint", tmp_path / "args.yaml"
    save_official(path, model, 0, config, "t15", {"val_PER": 0.25})
    args.write_text(yaml.safe_dump(T15))
    return path, args, model, config


Checkpoint = tuple[Path, Path, PackedDecoder, DecoderConfig]


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    code = main(["evaluate", "--json", "--device", "cpu", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    code = main(["evaluate", "--device", "cpu", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert not out and len(err.strip().splitlines()) == 1, err
    return code, err


def test_each_session_is_scored_with_its_own_day_layer(
    checkpoint: Checkpoint,
    recordings: Path,
    trials: dict[str, list[TrialToWrite]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, args, model, config = checkpoint
    found = evaluate(capsys, "--checkpoint", path, "--config", args, "--data", recordings)
    expected = {}
    for day, session in enumerate(DAYS):
        features = [trial.features for trial in trials[session]]
        emitted = decode(model, config, features, day)
        assert emitted != decode(model, config, features, (day + 1) % 3), "any day would do"
        expected[session] = sum(
            naive_edits(sequence, list(trial.labels))
            for sequence, trial in zip(emitted, trials[session], strict=True)
        )
    assert {one["session"]: one["n_edits"] for one in found["sessions"]} == expected
    assert [one["session"] for one in found["sessions"]] == list(DAYS)
    assert found["all"]["n_edits"] == sum(expected.values())
    assert (found["all"]["n_trials"], found["all"]["n_reference"]) == (12, 60)
    assert found["all"]["per"] == sum(expected.values()) / 60
    assert found["said_by_checkpoint"] == {"val_PER": 0.25}


def test_fewer_or_more_sessions_in_the_folder_do_not_change_the_days(
    checkpoint: Checkpoint,
    recordings: Path,
    trials: dict[str, list[TrialToWrite]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, args, *_ = checkpoint
    given = ("--checkpoint", path, "--config", args, "--data", recordings)
    whole = {one["session"]: one for one in evaluate(capsys, *given)["sessions"]}
    (recordings / DAYS[1]).rename(recordings / "t15.1999.01.01")
    for split in ("train", "val"):  # of a session that the decoder has no layer for
        (recordings / "t15.1999.01.01" / f"data_{split}.hdf5").unlink()
    write_session(recordings, "t15.1999.01.01", {"train": trials[DAYS[1]][:1]})
    found = evaluate(capsys, *given)
    assert found["sessions"] == [whole[DAYS[0]], whole[DAYS[2]]]
    assert found["sessions_without_recordings"] == [DAYS[1]]
    assert found["recordings_without_day_layer"] == ["t15.1999.01.01"]
    one = evaluate(capsys, *given, "--sessions", DAYS[2])
    assert one["sessions"] == [whole[DAYS[2]]]


def test_sessions_that_the_official_file_does_not_validate_are_skipped(
    checkpoint: Checkpoint, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, *_ = checkpoint
    dataset = {**T15["dataset"], "dataset_probability_val": [1, 0, 1]}
    args.write_text(yaml.safe_dump({**T15, "dataset": dataset}))
    given = ("--checkpoint", path, "--config", args, "--data", recordings)
    assert [one["session"] for one in evaluate(capsys, *given)["sessions"]] == [DAYS[0], DAYS[2]]
    assert len(evaluate(capsys, *given, "--split", "train")["sessions"]) == 3
    assert len(evaluate(capsys, *given, "--sessions", DAYS[1])["sessions"]) == 1


def test_special_trials_are_counted_and_reported(
    checkpoint: Checkpoint, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial shorter than one patch is not decoded; a trial without a target has no PER."""
    path, args, *_ = checkpoint
    given = ("--checkpoint", path, "--config", args, "--data", recordings)
    before = evaluate(capsys, *given)["sessions"][0]
    rng = np.random.default_rng(2)
    odd = [(4, [1, 2, 3]), (40, []), (9, [4, 4, 4, 4])]
    more = [
        TrialToWrite(rng.normal(size=(n, F)).astype(np.float32), labels, "a", 7, number)
        for number, (n, labels) in enumerate(odd)
    ]
    path_val = recordings / DAYS[0] / "data_val.hdf5"
    path_val.unlink()
    write_session(recordings, DAYS[0], {"val": more[:1]})
    only = evaluate(capsys, *given)
    assert only["sessions"][0] == {
        "session": DAYS[0], "n_trials": 1, "n_edits": 3, "n_reference": 3, "per": 1.0
    }  # fmt: skip
    write_session(recordings, DAYS[0], {"val": more})
    found = evaluate(capsys, *given)
    assert (found["n_too_short"], found["n_not_alignable"], found["n_empty"]) == (1, 1, 1)
    first = found["sessions"][0]
    assert (first["n_trials"], first["n_reference"]) == (2, 7) and before["n_trials"] == 4


def test_beam_search_is_reported_in_addition_to_greedy_decoding(
    checkpoint: Checkpoint, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, *_ = checkpoint
    given = ("--checkpoint", path, "--config", args, "--data", recordings)
    greedy, beam = evaluate(capsys, *given), evaluate(capsys, *given, "--beam-width", "4")
    assert greedy["beam"] == {} and beam["beam"]["beam_width"] == 4
    assert beam["sessions"] == greedy["sessions"]
    assert beam["beam"]["n_reference"] == 60


def test_the_table_shows_every_session_and_the_total(
    checkpoint: Checkpoint, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, *_ = checkpoint
    given = ["--checkpoint", str(path), "--config", str(args), "--data", str(recordings)]
    document = evaluate(capsys, *given)
    assert main(["evaluate", *given, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["session", *DAYS, "all"]
    assert lines[4].split()[-2] == f"{100 * document['all']['per']:.2f}"
    assert lines[-1] == "PER when the weights were saved: 25.00 %"


def test_t12_batches_span_days_and_their_padding_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)

    def sentences(n: int) -> list[SentenceToWrite]:
        lengths = rng.integers(60, 200, n)
        return [
            SentenceToWrite(rng.poisson(2, (t, 256)), rng.random((t, 256)), "the cat", 1)
            for t in lengths
        ]

    names = ("t12.2022.04.28", "t12.2022.05.05")
    for name in names:
        write_t12_session(tmp_path / "data", name, {"train": sentences(2), "val": sentences(4)})
    config = import_mapping(T12, "args").config
    model = make_model(config, 2, 256)
    save_official(tmp_path / "modelWeights", model, 0, config, "t12", {})
    (tmp_path / "args.json").write_text(json.dumps(T12))
    given = ("--checkpoint", tmp_path / "modelWeights", "--config", tmp_path / "args.json")
    found = evaluate(capsys, *given, "--data", tmp_path / "data")
    from decoder.data.prepare import prepare

    dataset = prepare(str(tmp_path / "data"), None, None, tmp_path / "stores")
    val, edits = dataset.val, {name: 0 for name in names}
    for start in range(0, 8, 3):
        batch = list(range(start, min(start + 3, 8)))
        longest = max(val.n_bins(i) for i in batch)
        for i in batch:
            x = np.zeros((longest, 256), np.float32)
            x[: val.n_bins(i)] = val.trial_features(i)
            n = (val.n_bins(i) - 8) // 4
            with torch.no_grad():
                smoothed = smooth_batch(torch.tensor(x)[None, None], config.augment)
                day = torch.tensor([int(val.day[i])])
                best = model(smoothed, day_slices(day)).logits[0, :n, 0].argmax(-1).tolist()
            merged = [c for k, c in enumerate(best) if k == 0 or c != best[k - 1]]
            emitted = [c for c in merged if c != 0]
            edits[names[int(val.day[i])]] += naive_edits(emitted, val.target(i).tolist())
    assert {one["session"]: one["n_edits"] for one in found["sessions"]} == edits


def test_weights_of_ours_need_no_configuration_file_and_give_the_same_score(
    checkpoint: Checkpoint, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, model, config = checkpoint
    save_weights(tmp_path / "run", model, 0, config, DAYS, {"per": 0.5})
    official = evaluate(capsys, "--checkpoint", path, "--config", args, "--data", recordings)
    ours = evaluate(capsys, "--checkpoint", tmp_path / "run", "--data", recordings)
    assert ours["sessions"] == official["sessions"] and ours["layout"] == "ours"


def test_exported_files_have_the_format_of_the_official_code(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, model, config = checkpoint
    save_weights(tmp_path / "run", model, 0, config, DAYS, {"per": 0.5})
    output = tmp_path / "exported"
    arguments = ["export", "--checkpoint", str(tmp_path / "run"), "--output", str(output)]
    assert main([*arguments, "--to", "t15"]) == 0
    document = torch.load(output, weights_only=True)
    assert document["val_PER"] == 0.5
    assert torch.equal(document["model_state_dict"]["day_weights.2"], model.day_layer.weights[2][0])  # type: ignore[union-attr]
    assert read_weights(output).n_days == 3
    assert main([*arguments, "--to", "t15"]) == 2 and "exists already" in capsys.readouterr().err
    assert main([*arguments[:-1], str(tmp_path / "no"), "--to", "t12"]) == 2
    assert "model.h0" in capsys.readouterr().err


def test_mistakes_are_one_line_with_the_exit_code_of_their_kind(
    checkpoint: Checkpoint, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, _, config = checkpoint
    given = ("--checkpoint", path, "--config", args)
    code, message = refused(capsys, "--checkpoint", path, "--data", recordings)
    assert code == 2 and "--config" in message
    code, message = refused(capsys, "--checkpoint", tmp_path / "none", "--config", args)
    assert code == 5 and "cannot be read" in message
    code, message = refused(capsys, *given, "--data", tmp_path / "none")
    assert code == 3 and "no such folder" in message
    code, message = refused(capsys, *given, "--data", "synthetic:small")
    assert code == 2 and "data make" in message
    code, message = refused(capsys, *given, "--data", recordings, "--sessions", "t15.2000.01.09")
    assert code == 2 and "t15.2000.01.09" in message
    two = {**T15, "dataset": {**T15["dataset"], "sessions": list(DAYS[:2])}}
    args.write_text(yaml.safe_dump(two))
    code, message = refused(capsys, *given, "--data", recordings)
    assert code == 2 and "3 day layers" in message and "2 sessions" in message
    args.write_text(yaml.safe_dump(T15))
    wide = override(config, {"data.feature_subset": [0, 1, 2]}, "test").model_dump(mode="json")
    args.write_text(yaml.safe_dump({**wide, "data": {**wide["data"], "sessions": list(DAYS)}}))
    code, message = refused(capsys, *given, "--data", recordings)
    assert code == 3 and "3 features" in message


def test_a_file_that_does_not_hold_weights_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, args, *_ = checkpoint
    code, said = refused(capsys, "--checkpoint", args, "--config", args)
    assert code == 5 and "torch.save" in said and ".safetensors" in said
    code, said = refused(capsys, "--checkpoint", tmp_path)
    assert code == 5 and "train.keep_weights" in said


def test_an_unknown_device_is_refused(
    checkpoint: Checkpoint, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, *_ = checkpoint
    given = ("--checkpoint", path, "--config", args, "--data", recordings)
    code, said = refused(capsys, *given, "--device", "toaster")
    assert code == 2 and "toaster" in said and "cuda:N" in said
