"""Predictions for trials, with or without labels, in the order in which competitions score them.

See `decoder.data.in_order` for the order. Each trial is decoded alone, as the official trainers do
it for a competition, so that the padding of a batch has no effect.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from decoder.config import DecoderConfig
from decoder.ctc import greedy_decode
from decoder.data.alignment import output_lengths
from decoder.data.in_order import PredictSplit, TrialsInOrder
from decoder.errors import ConfigError
from decoder.life import show_sign
from decoder.logits import LogitTrial, half
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.precision import autocast
from decoder.phonemes import CLASSES
from decoder.scoring import columns_of, day_order
from decoder.smoothing import smooth_batch
from decoder.weights import Weights, build_decoder


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
    trials = TrialsInOrder.open(folder, split)
    found = trials.layout.reader.find_sessions(folder)
    names = day_order(weights, model, sessions, found, folder)
    _check_days(model, trials.sessions, names, weights.path)
    columns = columns_of(model, config, trials.n_features, folder)
    predictions = []
    for session, header, features in trials.read(columns):
        day = names.index(session) if session in names else 0
        [scores] = _log_posteriors(model, config, device, features, day)
        trial = LogitTrial(scores, header.labels, session, header.block, header.number)
        predictions.append(Prediction(to_text(scores) if len(scores) else "", trial))
    return predictions


def logits_of_pack(
    model: PackedDecoder,
    configs: Sequence[DecoderConfig],
    sessions: Sequence[str],
    trials: TrialsInOrder,
    device: torch.device,
    rows: Sequence[int],
) -> dict[int, list[LogitTrial]]:
    """The logits of trials without labels, decoded by some runs of a pack.

    Args:
        model: R decoders, on `device`.
        configs: one for each run.
        sessions: the names of the day layers, in their order.
        trials: of these sessions.
        rows: the runs.

    Returns:
        Row → its trials in order, with logits from `decoder.logits.half`.
    """
    shared, n_runs = configs[0], len(configs)
    subset = shared.data.feature_subset
    columns = None if subset is None else np.array(subset, np.int64)
    kept: dict[int, list[LogitTrial]] = {row: [] for row in rows}
    for session, header, features in trials.read(columns):
        show_sign()
        day = sessions.index(session)
        scores = _log_posteriors(model, shared, device, features, day, n_runs)
        for row in rows:
            own = half(scores[row])
            kept[row].append(LogitTrial(own, header.labels, session, header.block, header.number))
    return kept


def csv_of(predictions: Sequence[Prediction]) -> str:
    """The predictions as the competition's CSV: ``id,text``, ids from 0."""
    lines = [f"{i},{_cell(one.text)}" for i, one in enumerate(predictions)]
    return "\n".join(["id,text", *lines, ""])


def _cell(text: str) -> str:
    if not any(mark in text for mark in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


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
    n_runs: int = 1,
) -> NDArray[np.float32]:
    """(R, P, C) log posteriors of one trial. features: (T, F)."""
    n_bins = torch.tensor([len(features)])
    length = output_lengths(n_bins, config.model)
    if not int(length):
        return np.zeros((n_runs, 0, len(CLASSES)), np.float32)
    x = smooth_batch(torch.from_numpy(features)[None].to(device), config.augment)  # (1, T, F)
    precision = config.train.precision if device.type == "cuda" else "float32"
    with autocast(precision, device):
        days = day_slices(torch.tensor([day]))
        out = model(
            x.expand(n_runs, *x.shape), days, n_patches=length.to(device), n_bins=n_bins.to(device)
        )
    scores = out.logits[:, : int(length), 0].float().log_softmax(-1)  # (R, P, C)
    return np.asarray(scores.cpu().numpy())
