"""PER of a decoder's weights on a folder of recordings, per session, as the official code does.

Trials are read in the order of the files and batched as the official trainers batch them, because
the output of a bidirectional net depends on the padding of the batch that a trial is in.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from decoder.config import DecoderConfig, override
from decoder.data.alignment import n_patches_needed, output_lengths
from decoder.data.batches import Batch
from decoder.data.layouts import find_layout
from decoder.data.recordings import Problems, TrialFile
from decoder.data.trials import EVALUATION_BATCH_SIZE
from decoder.errors import ConfigError, DataError
from decoder.evaluation import evaluate
from decoder.model.decoder import PackedDecoder
from decoder.weights import Weights, build_decoder

Split = Literal["train", "val"]


class Trial(NamedTuple):
    """One trial to decode: (T, F) float32 features, (L,) int64 classes, and its day."""

    features: NDArray[np.float32]
    target: NDArray[np.int64]
    day: int


class SessionScore(NamedTuple):
    """Counts of one session's trials."""

    session: str
    n_trials: int
    n_edits: int
    n_reference: int

    @property
    def per(self) -> float:
        """Phoneme error rate: total edits over total reference phonemes; NaN without phonemes."""
        return self.n_edits / self.n_reference if self.n_reference else float("nan")


class Score(NamedTuple):
    """The errors of a decoder on one split.

    Attributes:
        sessions: the sessions with trials, in day order.
        n_too_short: trials shorter than one patch; all their phonemes count as deletions.
        n_not_alignable: trials whose target is longer than the output; decoded and counted.
        n_empty: trials without a target; they have no PER and are left out.
        missing: sessions of the decoder that the folder does not hold.
        unlisted: sessions of the folder that the decoder has no day layer for.
        beam: PER of a prefix beam search with its counts and width; empty without one.
    """

    sessions: tuple[SessionScore, ...]
    n_too_short: int
    n_not_alignable: int
    n_empty: int
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]
    beam: dict[str, float]

    @property
    def total(self) -> SessionScore:
        """The sums over the sessions."""
        return SessionScore(
            "all",
            sum(one.n_trials for one in self.sessions),
            sum(one.n_edits for one in self.sessions),
            sum(one.n_reference for one in self.sessions),
        )


def score(
    weights: Weights,
    config: DecoderConfig,
    folder: Path,
    split: Split,
    device: torch.device,
    *,
    sessions: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    passed_over: Sequence[str] = (),
    beam_width: int | None = None,
) -> Score:
    """Decode every trial of a split and count edits.

    Args:
        weights: from `decoder.weights.read_weights`.
        config: the configuration they were trained with. Its precision is used on a GPU; on a CPU
            everything is float32, as in the official code.
        folder: recordings in the T15 or the T12 layout.
        split: of the recordings; `val` is the T12 release's ``test``.
        device: where to decode.
        sessions: names in the order of the day layers; None takes those of the folder, sorted, and
            then there must be as many as day layers.
        only: the sessions to score; None takes all.
        passed_over: sessions not to score unless `only` names them; official T15 files list some.
        beam_width: of a prefix beam search in addition to greedy decoding; None for none.

    Raises:
        ConfigError: weights, configuration and sessions do not fit together.
        DataError: the recordings cannot be read or have other features.
    """
    model = build_decoder(weights, config).to(device)
    layout = find_layout(folder)
    found = layout.reader.find_sessions(folder)
    names = day_order(weights, model, sessions, found, folder)
    chosen = _chosen(names, only, passed_over, found)
    problems = Problems()
    index = layout.reader.read_index(folder, chosen, problems)
    problems.raise_if_any()
    files = index.val if split == "val" else index.train
    columns = columns_of(model, config, index.n_features, folder)

    def read(file: TrialFile, session: str) -> Iterator[Trial]:
        for header, features in layout.reader.iterate_features(file, columns, problems):
            yield Trial(features, header.labels, names.index(session))
        problems.raise_if_any()

    def read_all() -> Iterator[Trial]:
        for file, session in zip(files, chosen, strict=True):
            yield from read(file, session)

    counts: Counter[str] = Counter()
    missed: Counter[int] = Counter()  # day → phonemes of trials that are too short to decode
    per_day: Counter[int] = Counter()
    trials = _countable(read_all(), config, counts, missed, per_day)
    across_days = layout.name == "T12"
    batches = (
        _like_training(trials)
        if weights.layout == "ours" and config.model.bidirectional
        else _in_order(trials, config.data.batch_size, across_days)
    )
    settings: dict[str, Any] = {
        "evaluation.use_beam_search": beam_width is not None,
        "train.precision": config.train.precision if device.type == "cuda" else "float32",
    }
    if beam_width is not None:
        settings["evaluation.beam_width"] = beam_width
    configs = [override(config, settings, "evaluate")]
    breakdown = evaluate(model, configs, batches, device, last=[0]).breakdowns[0]
    if not per_day:
        raise DataError(f"{folder}: no {split} trial with a target in {', '.join(chosen)}")
    return Score(
        sessions=tuple(
            SessionScore(
                names[day],
                per_day[day],
                breakdown.edits[day] + missed[day],
                breakdown.reference[day] + missed[day],
            )
            for day in sorted(per_day)
        ),
        n_too_short=counts["too short"],
        n_not_alignable=counts["not alignable"],
        n_empty=counts["empty"],
        missing=tuple(name for name in names if name not in found),
        unlisted=tuple(name for name in found if name not in names),
        beam=_with_missed(dict(breakdown.beam()), missed.total()),
    )


def day_order(
    weights: Weights,
    model: PackedDecoder,
    sessions: Sequence[str] | None,
    found: Sequence[str],
    folder: Path,
) -> list[str]:
    """The session of each day layer; see `score` for `sessions`.

    Args:
        found: the sessions of `folder`, sorted.

    Raises:
        ConfigError: there are not as many as day layers.
    """
    names = list(found if sessions is None else sessions)
    if model.config.day_layer == "per_day" and len(names) != weights.n_days:
        whose = f"{folder} holds" if sessions is None else "the configuration names"
        raise ConfigError(
            f"{weights.path}: has {weights.n_days} day layers, but {whose} {len(names)} sessions; "
            "give the sessions it was trained on, in order, as data.sessions (T15: "
            "dataset.sessions) of --config"
        )
    return names


def _chosen(
    names: Sequence[str],
    only: Sequence[str] | None,
    passed_over: Sequence[str],
    found: Sequence[str],
) -> list[str]:
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise ConfigError(
            f"--sessions: this decoder has no {', '.join(unknown)}; it has "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        )
    chosen = [
        name
        for name in names
        if name in found and (name in only if only is not None else name not in passed_over)
    ]
    if not chosen:
        raise DataError(
            f"the recordings ({', '.join(found[:3])}, ...) hold none of the sessions to score "
            f"({', '.join(names[:3])}, ...)"
        )
    return chosen


def columns_of(
    model: PackedDecoder, config: DecoderConfig, n_features: int, folder: Path
) -> NDArray[np.int64] | None:
    """The features of recordings that a decoder reads; None for all.

    Raises:
        DataError: the recordings have other features.
    """
    subset = config.data.feature_subset
    columns = None if subset is None else np.array(subset, np.int64)
    kept = n_features if columns is None else len(columns)
    if columns is not None and n_features and columns.max() >= n_features:
        raise DataError(
            f"{folder}: has {n_features} features, but data.feature_subset keeps number "
            f"{columns.max()}"
        )
    if model.day_layer is not None:
        expected = model.day_layer.weights[0].shape[-1]
        if kept != expected:
            raise DataError(
                f"{folder}: has {kept} features to decode, but the decoder was trained on "
                f"{expected}; set data.feature_subset, or give other recordings"
            )
    return columns


def _countable(
    trials: Iterable[Trial],
    config: DecoderConfig,
    counts: Counter[str],
    missed: Counter[int],
    per_day: Counter[int],
) -> Iterator[Trial]:
    """The trials to decode; the others and special cases are counted in the last arguments."""
    for trial in trials:
        if not len(trial.target):
            counts["empty"] += 1
            continue
        per_day[trial.day] += 1
        if len(trial.features) < config.model.patch_size:
            counts["too short"] += 1
            missed[trial.day] += len(trial.target)
            continue
        length = int(output_lengths(np.array(len(trial.features)), config.model))
        counts["not alignable"] += n_patches_needed(trial.target) > length
        yield trial


def _in_order(trials: Iterable[Trial], batch_size: int, across_days: bool) -> Iterator[Batch]:
    """Batches in the order of the files, as in the validation of the official trainers.

    Args:
        trials: ordered by day.
        batch_size: largest number of trials in a batch.
        across_days: whether a batch may hold several days (T12) or only one (T15).
    """
    waiting: list[Trial] = []
    for trial in trials:
        if waiting and not across_days and trial.day != waiting[0].day:
            yield _collate(waiting)
            waiting = []
        waiting.append(trial)
        if len(waiting) == batch_size:
            yield _collate(waiting)
            waiting = []
    if waiting:
        yield _collate(waiting)


def _like_training(trials: Iterable[Trial]) -> Iterator[Batch]:
    """Batches of trials of similar length, as in the validation of our own training."""
    ordered = sorted(trials, key=lambda trial: -len(trial.features))
    for start in range(0, len(ordered), EVALUATION_BATCH_SIZE):
        batch = ordered[start : start + EVALUATION_BATCH_SIZE]
        yield _collate(sorted(batch, key=lambda trial: trial.day))


def _collate(trials: Sequence[Trial]) -> Batch:
    """Pad trials to the longest one."""
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(
        features=pad([torch.tensor(trial.features) for trial in trials], batch_first=True),
        n_bins=torch.tensor([len(trial.features) for trial in trials]),
        labels=pad([torch.tensor(trial.target) for trial in trials], batch_first=True),
        n_labels=torch.tensor([len(trial.target) for trial in trials]),
        day=torch.tensor([trial.day for trial in trials]),
        index=torch.arange(len(trials)),
    )


def _with_missed(beam: dict[str, float], n_missed: int) -> dict[str, float]:
    """The counts of a beam search plus the phonemes of trials that are too short to decode."""
    if beam and n_missed:
        beam = {**beam, "n_edits": beam["n_edits"] + n_missed}
        beam["n_reference"] = beam["n_reference"] + n_missed
        beam["per"] = beam["n_edits"] / beam["n_reference"]
    return beam
