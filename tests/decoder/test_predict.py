"""`python -m decoder predict`: every trial of a competition, in its order, from each layout."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from decoder.__main__ import main
from decoder.api import evaluate_weights, predict_trials
from decoder.config import DecoderConfig
from decoder.ctc import edit_distance
from decoder.data.writers import SentenceToWrite, TrialToWrite, write_session, write_t12_session
from decoder.importing import import_mapping
from decoder.logits import read_logits
from decoder.model.decoder import PackedDecoder
from decoder.official_weights import save_official
from decoder.phonemes import CLASSES
from decoder.predict import Prediction, csv_of
from decoder.weights import read_weights

from .test_scoring import DAYS, T12, T15, F, decode, make_model

Given = tuple[Path, Path, Path, PackedDecoder, DecoderConfig, dict[str, list[Any]]]


@pytest.fixture
def t15(tmp_path: Path) -> Given:
    """T15 recordings of three days, whose day layers are not in the order of their names."""
    rng = np.random.default_rng(3)

    def trial(number: int, n_bins: int) -> TrialToWrite:
        features = rng.normal(size=(n_bins, F)).astype(np.float32)
        return TrialToWrite(features, rng.integers(1, 41, 5).tolist(), "a", 1, number)

    tests = {}
    for session in DAYS:
        tests[session] = [trial(i, int(rng.integers(30, 60))) for i in range(3)]
        splits = {"train": [trial(0, 30)], "val": [trial(7, 40), trial(8, 33)]}
        if session == DAYS[0]:
            tests[session].append(trial(3, 4))  # shorter than one patch
        if session != DAYS[2]:  # a session without test trials
            splits["test"] = tests[session]
        write_session(tmp_path / "data", session, splits)
    del tests[DAYS[2]]
    config = import_mapping(T15, "args").config
    model = make_model(config, len(DAYS), F)
    path, args = tmp_path / "best_checkpoint", tmp_path / "args.yaml"
    save_official(path, model, 0, config, "t15", {})
    args.write_text(yaml.safe_dump(T15))
    return path, args, tmp_path / "data", model, config, tests


def command(*words: str | Path) -> int:
    return main(["predict", "--device", "cpu", *map(str, words)])


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_test_trials_are_predicted_by_day_with_the_day_layer_of_each(
    t15: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, data, model, config, tests = t15
    words = ["--checkpoint", path, "--config", args, "--data", data, "--output", tmp_path / "p.csv"]
    assert command(*words, "--logits", tmp_path / "p.npz", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    expected = []
    for session in sorted(tests):
        for trial in tests[session]:
            [emitted] = (
                decode(model, config, [trial.features], DAYS.index(session))
                if len(trial.features) >= config.model.patch_size
                else [[]]
            )
            expected.append(" ".join(CLASSES[one] for one in emitted))
    rows = rows_of(tmp_path / "p.csv")
    assert [row["text"] for row in rows] == expected and len(set(expected)) > 4
    assert [row["id"] for row in rows] == [str(i) for i in range(7)]
    assert document["n_trials"] == 7 and document["n_empty"] == expected.count("") >= 1

    kept = read_logits(tmp_path / "p.npz")
    where = [(one.session, one.number) for one in kept.trials]
    assert where == [(s, t.number) for s in sorted(tests) for t in tests[s]]
    assert all(not len(one.labels) for one in kept.trials)
    lengths = [len(one.logits) for one in kept.trials]
    bins = [len(t.features) for s in sorted(tests) for t in tests[s]]
    assert lengths == [max(0, (n - 6) // 3 + 1) for n in bins]


def test_predictions_of_the_labelled_split_make_the_errors_that_evaluate_counts(
    t15: Given,
) -> None:
    path, args, data, *_ = t15
    weights = read_weights(path)
    given = {"config_file": args, "device": "cpu"}
    predictions = predict_trials(weights, data, split="val", **given)
    score = evaluate_weights(weights, data, split="val", **given)
    n_edits = sum(
        edit_distance([CLASSES.index(one) for one in text.split()], logits.labels.tolist())
        for text, logits in predictions
    )
    assert n_edits == score.total.n_edits and len(predictions) == score.total.n_trials == 6


def test_what_turns_posteriors_into_text_can_be_replaced(t15: Given) -> None:
    path, args, data, *_ = t15
    shapes: list[tuple[int, ...]] = []

    def words(log_posteriors: Any) -> str:
        shapes.append(log_posteriors.shape)
        return f"{len(shapes)} words"

    found = predict_trials(read_weights(path), data, config_file=args, device="cpu", to_text=words)
    assert [one.text for one in found] == [*(f"{i} words" for i in range(1, 7)), ""]
    assert all(shape[1] == 41 for shape in shapes)


def test_the_hold_out_of_t12_is_predicted(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    days = ("t12.2000.01.02", "t12.2000.01.01")

    def sentence(n_bins: int) -> SentenceToWrite:
        tx1, power = rng.poisson(2, (n_bins, 256)), rng.gamma(2.0, size=(n_bins, 256))
        return SentenceToWrite(tx1, power, "a", 1)

    holdout = {}
    for day in days:
        holdout[day] = [sentence(n) for n in (40, 52)]
        splits = {"train": [sentence(30)], "val": [sentence(36)], "test": holdout[day]}
        write_t12_session(tmp_path / "data", day, splits)
    config = import_mapping(T12, "args").config
    model = make_model(config, 2, 256)
    save_official(tmp_path / "modelWeights", model, 0, config, "t12", {})
    (tmp_path / "args.yaml").write_text(yaml.safe_dump(T12))
    expected = []
    for index, day in enumerate(sorted(days)):
        raw = [
            np.concatenate([one.tx1[:, :128], one.spike_pow[:, :128]], 1) for one in holdout[day]
        ]
        bins = np.concatenate(raw)
        for one in raw:
            scored = ((one - bins.mean(0)) / (bins.std(0) + 1e-8)).astype(np.float32)
            [emitted] = decode(model, config, [scored], index)
            expected.append(" ".join(CLASSES[c] for c in emitted))
    words = ["--checkpoint", tmp_path / "modelWeights", "--config", tmp_path / "args.yaml"]
    words += ["--data", tmp_path / "data", "--output", tmp_path / "p.csv"]
    assert command(*words) == 0
    assert [row["text"] for row in rows_of(tmp_path / "p.csv")] == expected
    assert len(set(expected)) == 4


def test_text_with_commas_and_quotes_is_read_back_by_csv() -> None:
    texts = ["", 'he said "no", twice', "plain"]
    found = csv_of([Prediction(text, None) for text in texts])  # type: ignore[arg-type]
    assert [row["text"] for row in csv.DictReader(io.StringIO(found))] == texts


@pytest.mark.parametrize("what", ["exists", "name", "no trials", "unknown day"])
def test_what_cannot_be_predicted_is_refused_and_nothing_is_written(
    what: str, t15: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, args, data, *_ = t15
    words = ["--checkpoint", path, "--config", args, "--data", data, "--output", tmp_path / "p.csv"]
    code = 2
    if what == "exists":
        (tmp_path / "p.json").write_text("{}")
        words += ["--logits", tmp_path / "p.npz"]
    elif what == "name":
        words += ["--logits", tmp_path / "p.hdf5"]
    elif what == "no trials":
        code = 3
        for file in data.glob("*/data_test.hdf5"):
            file.unlink()
    else:
        features = torch.zeros(30, F).numpy()
        trial = TrialToWrite(features, [1], "a", 1, 0)
        write_session(data, "t15.2000.02.01", {"train": [trial], "val": [], "test": [trial]})
    assert command(*words) == code
    said = capsys.readouterr().err
    assert {"exists": "p.json", "name": "p.hdf5", "no trials": "data_test.hdf5"}.get(
        what, "t15.2000.02.01"
    ) in said
    assert not (tmp_path / "p.csv").exists() and not (tmp_path / "p.npz").exists()
