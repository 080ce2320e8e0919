"""Predictions for trials, with or without labels, in the order in which competitions score them.

The order is by session name, which is the order of the days, then that of the trials in the file.
Each trial is decoded alone, as the official trainers do it for a competition, so that the padding
of a batch has no effect.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from decoder.config import DecoderConfig
from decoder.ctc import greedy_decode
from decoder.data.alignment import output_lengths
from decoder.data.layouts import Layout, find_layout
from decoder.data.recordings import Problems, TrialFile
from decoder.errors import ConfigError, DataError
from decoder.logits import LogitTrial
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.precision import autocast
from decoder.phonemes import CLASSES
from decoder.scoring import columns_of, day_order
from decoder.smoothing import smooth_batch
from decoder.weights import Weights, build_decoder

PredictSplit = Literal["val", "test"]


class Prediction(NamedTuple):
    """The prediction for one trial: its text, and the logits that it was decoded from."""

    text: str
    logits: LogitTrial


def phonemes_of(log_posteriors: NDArray[np.float32]) -> str:
    """The phonemes of a trial by greedy decoding, as in ``HH AY SIL``.

    Args:
        log_posteriors: (P, C).
    """
    best = torch.from_numpy(log_posteriors.argmax(-1))[None]  # (1, P)
    [classes] = greedy_decode(best, torch.tensor([best.shape[1]]))
    return " ".join(CLASSES[one] for one in classes)


def predict(
    weights: Weights,
    config: DecoderConfig,
    folder: Path,
    split: PredictSplit,
    device: torch.device,
    *,
    sessions: Sequence[str] | None = None,
    to_text: Callable[[NDArray[np.float32]], str] = phonemes_of,
) -> list[Prediction]:
    """Decode every trial of a split. A trial that is shorter than one patch has an empty text.

    Args:
        weights, config, folder, device, sessions: see `decoder.scoring.score`.
        split: ``test`` has no labels (T12: ``competitionHoldOut``); ``val`` has.
        to_text: (P, C) log posteriors of a trial → its text.

    Raises:
        ConfigError: weights, configuration and sessions do not fit together, or a session has no
            day layer.
        DataError: the recordings cannot be read, have other features, or no trial of the split.
    """
    model = build_decoder(weights, config).to(device)
    layout = find_layout(folder)
    found = layout.reader.find_sessions(folder)
    names = day_order(weights, model, sessions, found, folder)
    problems = Problems()
    files = _files(layout, folder, found, split, problems)
    if not files:
        raise DataError(
            f"{folder}: holds no {split} trials "
            f"({layout.reader.split_path(folder, 'SESSION', split)}); copy them there"
        )
    _check_days(model, [name for name, _ in files], names, weights.path)
    n_features = files[0][1].trials[0].n_features
    columns = columns_of(model, config, n_features, folder)
    predictions = []
    for session, file in files:
        day = names.index(session) if session in names else 0
        for header, features in layout.reader.iterate_features(file, columns, problems):
            scores = _log_posteriors(model, config, device, features, day)
            trial = LogitTrial(scores, header.labels, session, header.block, header.number)
            predictions.append(Prediction(to_text(scores) if len(scores) else "", trial))
        problems.raise_if_any()
    return predictions


def csv_of(predictions: Sequence[Prediction]) -> str:
    """The predictions as the competition's CSV: ``id,text``, ids from 0."""
    lines = [f"{i},{_cell(one.text)}" for i, one in enumerate(predictions)]
    return "\n".join(["id,text", *lines, ""])


def _cell(text: str) -> str:
    if not any(mark in text for mark in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def _files(
    layout: Layout, folder: Path, found: Sequence[str], split: PredictSplit, problems: Problems
) -> list[tuple[str, TrialFile]]:
    """(session, file) of the sessions with trials in the split, in the order of their names."""
    names = sorted(found)
    if split == "test":
        files = layout.reader.read_test(folder, names, problems)
    else:
        files = layout.reader.read_index(folder, names, problems).val
    problems.raise_if_any()
    return [(name, file) for name, file in zip(names, files, strict=True) if file.trials]


def _check_days(
    model: PackedDecoder, wanted: Sequence[str], names: Sequence[str], path: Path
) -> None:
    """Refuse sessions without a day layer: a competition scores every trial."""
    unknown = [name for name in wanted if name not in names]
    if unknown and model.config.day_layer == "per_day":
        raise ConfigError(
            f"{path}: has no day layer for {', '.join(unknown[:5])}"
            f"{', ...' if len(unknown) > 5 else ''} ({len(unknown)} of {len(wanted)} sessions with "
            "trials to predict); give weights that were trained on these sessions, or put only the "
            "others into the folder"
        )


@torch.no_grad()
def _log_posteriors(
    model: PackedDecoder,
    config: DecoderConfig,
    device: torch.device,
    features: NDArray[np.float32],
    day: int,
) -> NDArray[np.float32]:
    """(P, C) log posteriors of one trial. features: (T, F)."""
    n_bins = torch.tensor([len(features)])
    length = output_lengths(n_bins, config.model)
    if not int(length):
        return np.zeros((0, len(CLASSES)), np.float32)
    x = smooth_batch(torch.from_numpy(features)[None].to(device), config.augment)  # (1, T, F)
    precision = config.train.precision if device.type == "cuda" else "float32"
    with autocast(precision, device):
        days = day_slices(torch.tensor([day]))
        out = model(x[None], days, n_patches=length.to(device), n_bins=n_bins.to(device))
    scores = out.logits[0, : int(length), 0].float().log_softmax(-1)  # (P, C)
    return np.asarray(scores.cpu().numpy())
