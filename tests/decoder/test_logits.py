"""`decoder.logits`: what is written comes back, in a file that NumPy alone can read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoder.api import predict_trials
from decoder.atomic import sha256_of
from decoder.config import DecoderConfig, override, pack_key, resolve, run_id
from decoder.ctc import edit_distance, greedy_decode
from decoder.data.alignment import check_trainable
from decoder.data.prepare import prepare
from decoder.data.store import Dataset
from decoder.data.synthetic import RECIPES, make_synthetic
from decoder.errors import CheckpointError, DataError
from decoder.logits import LogitTrial, half, read_logits, write_logits
from decoder.pack import Pack, Run, RunResult
from decoder.phonemes import CLASSES, N_CLASSES
from decoder.train import train
from decoder.weights import read_weights

SMALL: dict[str, Any] = {
    "data.batch_size": 6,
    "data.days_per_batch": 3,
    "model.n_units": 8,
    "model.n_layers": 1,
    "model.patch_size": 6,
    "model.patch_stride": 4,
    "optim.lr_warmup_steps": 2,
    "train.n_steps": 6,
    "train.eval_every_steps": 3,
    "train.keep_logits": "validation",
}


def some_trials() -> list[LogitTrial]:
    rng = np.random.default_rng(0)

    def trial(n_patches: int, labels: list[int], session: str, number: int) -> LogitTrial:
        scores = rng.normal(size=(n_patches, N_CLASSES)).astype(np.float32)
        return LogitTrial(scores, np.array(labels, np.int64), session, 3, number)

    return [trial(5, [1, 40, 39], "a", 0), trial(0, [], "a", 1), trial(7, [2], "b", 0)]


def config_of(**changes: Any) -> DecoderConfig:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return resolve(override(DecoderConfig(), {**SMALL, **named}, "test"))


def trained(
    dataset: Dataset, folder: Path, beside: bool | None = None, **arms: DecoderConfig
) -> dict[str, RunResult]:
    pack = Pack("pack", 5, tuple(Run(name, config) for name, config in arms.items()))
    events = train(pack, dataset, device="cpu", weights_dir=folder, beside=beside)
    return {result.run_id: result for event in events for result in event.finished}


def test_trials_come_back_as_they_were_up_to_float16(tmp_path: Path) -> None:
    trials = some_trials()
    write_logits(tmp_path / "logits.npz", trials, {"run_id": "r", "per": 0.25})
    for kept in (read_logits(tmp_path / "logits.npz"), read_logits(tmp_path)):
        assert kept.facts == {"run_id": "r", "per": 0.25}
        for given, found in zip(trials, kept.trials, strict=True):
            assert found.logits.dtype == np.float16 and found[2:] == given[2:]
            np.testing.assert_array_equal(found.logits, half(given.logits))
            np.testing.assert_array_equal(found.labels, given.labels)


def test_the_file_has_the_order_of_classes_that_the_official_language_model_reads(
    tmp_path: Path,
) -> None:
    """`rearrange_speech_logits_pt` of the official T15 code: blank, SIL, phonemes."""
    trials = some_trials()
    write_logits(tmp_path / "logits.npz", trials, {})
    with np.load(tmp_path / "logits.npz", allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    scores = trials[2].logits[None]
    official = np.concatenate((scores[:, :, :1], scores[:, :, -1:], scores[:, :, 1:-1]), axis=-1)
    start, stop = found["offsets"][2:4]
    np.testing.assert_array_equal(found["logits"][start:stop], half(official[0]))
    assert found["classes"].tolist() == ["BLANK", "SIL", *CLASSES[1:-1]]
    labels = found["labels"][: found["label_offsets"][1]]
    assert found["classes"][labels].tolist() == ["AA", "SIL", "ZH"]
    assert found["session"].tolist() == ["a", "a", "b"] and found["trial"].tolist() == [0, 1, 0]


def test_the_same_trials_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_logits(tmp_path / name / "logits.npz", some_trials(), {})
    one, two = ((tmp_path / name / "logits.npz").read_bytes() for name in ("one", "two"))
    assert one == two


def test_the_best_class_is_at_zero_and_posteriors_of_zero_become_the_lowest_finite_number() -> None:
    given = np.array([[-1e9, -np.inf, -0.5, -1.0]], np.float32)
    assert half(given).tolist() == [[-65504, -65504, 0, -0.5]]


def test_the_best_class_stays_the_best_where_float16_alone_would_not_tell_it() -> None:
    given = np.array([[-3.7151, -3.7150, -9.0]], np.float32)
    assert given.astype(np.float16)[0, 0] == given.astype(np.float16)[0, 1]
    assert half(given)[0].argmax() == 1 and half(given)[0, 0] < 0


@pytest.mark.parametrize("what", ["npz", "json", "cut", "format", "labels"])
def test_a_file_that_is_damaged_or_incomplete_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "logits.npz"
    write_logits(path, some_trials(), {})
    content, beside = path.read_bytes(), path.with_suffix(".json")
    if what == "npz":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif what == "json":
        beside.unlink()
    elif what == "cut":
        path.write_bytes(content[:-50])
    elif what == "labels":  # whose checksum is right
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        np.savez(path, **{**arrays, "labels": arrays["labels"] + 41})
        document = json.loads(beside.read_text())
        beside.write_text(json.dumps({**document, "sha256": sha256_of(path.read_bytes())}))
    else:
        beside.write_text(json.dumps([]))
    with pytest.raises(CheckpointError, match=r"logits\.npz"):
        read_logits(path)


def test_a_run_without_logits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read_logits(tmp_path)


@pytest.mark.parametrize("beside", [False, True])
def test_kept_logits_decode_to_the_recorded_errors(
    beside: bool, dataset: Dataset, tmp_path: Path
) -> None:
    arms = {
        "kept": config_of(),
        "early": config_of(train__n_steps=3, optim__lr_max=0.02),
        "none": config_of(train__keep_logits="none"),
    }
    results = trained(dataset, tmp_path, beside, **arms)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["early", "kept"]
    for name in ("early", "kept"):
        last, kept = results[name].history[-1], read_logits(tmp_path / name)
        assert kept.facts["step"] == last["step"] == arms[name].train.n_steps
        assert kept.facts["run_id"] == name
        n_edits = n_reference = 0
        for trial in kept.trials:
            best = np.ascontiguousarray(trial.logits.argmax(-1))[None]
            [emitted] = greedy_decode(*_tensors(best))
            n_edits += edit_distance(emitted, trial.labels.tolist())
            n_reference += len(trial.labels)
            assert (trial.logits.max(-1) == 0).all()
        assert (n_edits, n_reference) == (last["n_edits"], last["n_reference"])
        days = [dataset.sessions.index(trial.session) for trial in kept.trials]
        numbers = [(trial.block, trial.number) for trial in kept.trials]
        split = dataset.val
        assert days == split.day.tolist()
        assert numbers == list(zip(split.block.tolist(), split.trial_number.tolist(), strict=True))


def _tensors(best: Any) -> Any:
    import torch

    return torch.from_numpy(best), torch.tensor([best.shape[1]])


def test_a_diverged_run_keeps_no_logits(dataset: Dataset, tmp_path: Path) -> None:
    wild = config_of(optim__lr_max=1e30, optim__lr_min=1e30, optim__grad_clip=1e30)
    results = trained(dataset, tmp_path, wild=wild)
    assert results["wild"].status == "diverged" and not (tmp_path / "wild").exists()


def test_keeping_logits_changes_neither_identity_nor_pack_nor_results(
    dataset: Dataset, tmp_path: Path
) -> None:
    kept, none = config_of(), config_of(train__keep_logits="none")
    assert run_id(kept, 0, "d") == run_id(none, 0, "d") and pack_key(kept) == pack_key(none)
    histories = [
        trained(dataset, tmp_path / name, run=config)["run"].history
        for name, config in (("kept", kept), ("none", none))
    ]
    assert histories[0] == histories[1]


@pytest.fixture(params=["tiny", "t12_tiny"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Dataset, Path]:
    """A data set of each layout with two days, four trials without labels, and its recordings."""
    folder = tmp_path / "recordings"
    make_synthetic(RECIPES[request.param], folder)
    return prepare(str(folder), None, None, tmp_path / "datasets"), folder


SMALL_OF: dict[str, Any] = {"data.days_per_batch": 1, "train.keep_weights": "final"}


@pytest.mark.parametrize("beside", [False, True])
def test_kept_logits_of_trials_without_labels_are_those_that_predict_writes(
    beside: bool, packed: tuple[Dataset, Path], tmp_path: Path
) -> None:
    dataset, folder = packed
    arms = {
        "both": config_of(**SMALL_OF, train__keep_logits="both"),
        "test": config_of(**SMALL_OF, train__keep_logits="test", train__n_steps=3),
        "validation": config_of(**SMALL_OF, optim__lr_max=0.02),
    }
    results = trained(dataset, tmp_path / "w", beside, **arms)
    kept = {path.parent.name for path in (tmp_path / "w").glob("*/logits.npz")}
    of_test = {path.parent.name for path in (tmp_path / "w").glob("*/test_logits.npz")}
    assert (kept, of_test) == ({"both", "validation"}, {"both", "test"})
    for name in of_test:
        found = read_logits(tmp_path / "w" / name / "test_logits.npz")
        weights = read_weights(tmp_path / "w" / name)
        expected = predict_trials(weights, folder, device="cpu")
        assert len(found.trials) == len(expected) == 4
        assert found.facts["split"] == "test" and found.facts["run_id"] == name
        assert found.facts["step"] == results[name].history[-1]["step"]
        for one, other in zip(found.trials, expected, strict=True):
            assert one[2:] == other.logits[2:] and not len(one.labels)
            np.testing.assert_allclose(
                *(half(np.asarray(t.logits, np.float32)) for t in (one, other.logits)), atol=0.01
            )


def test_a_session_held_out_keeps_logits_by_the_layer_that_it_is_lent(
    packed: tuple[Dataset, Path], tmp_path: Path
) -> None:
    dataset, folder = packed
    config = config_of(**SMALL_OF, train__keep_logits="test", data__held_out_sessions=1)
    trained(dataset, tmp_path / "w", run=config)
    found = read_logits(tmp_path / "w" / "run" / "test_logits.npz")
    assert [trial.session for trial in found.trials] == [
        *([dataset.sessions[0]] * 2),
        *([dataset.sessions[1]] * 2),
    ]
    expected = predict_trials(read_weights(tmp_path / "w" / "run"), folder, device="cpu")
    for one, other in zip(found.trials, expected, strict=True):
        assert len(one.logits) == len(other.logits.logits)
        np.testing.assert_array_equal(one.logits.argmax(-1), half(other.logits.logits).argmax(-1))


def test_a_run_whose_trials_without_labels_are_missing_is_refused_before_it_trains(
    packed: tuple[Dataset, Path], tmp_path: Path
) -> None:
    dataset, folder = packed
    config = config_of(**SMALL_OF, train__keep_logits="test", data__path=str(folder))
    for path in [*folder.glob("*/data_test.hdf5"), *folder.glob("competitionHoldOut/*")]:
        path.unlink()
    for check in (
        lambda: trained(dataset, tmp_path / "w", run=config),
        lambda: check_trainable(dataset, config),
    ):
        with pytest.raises(DataError, match=r"train\.keep_logits: .*holds no test trials"):
            check()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no folder .*recordings.*predict"):
        trained(dataset, tmp_path / "w", run=config)
    assert not (tmp_path / "w").exists()
