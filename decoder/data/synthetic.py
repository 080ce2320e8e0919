"""Generates recordings in either layout: sentences, articulation, tuned and noisy channels.

The generated features have the difficulties of real ones: coarticulation, weak and mixed tuning,
counts and powers instead of Gaussians, noise shared between channels and over time, and tuning
that drifts from day to day. The seed of the recipe decides all draws.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from decoder.atomic import sha256_of, storage_error, write_atomically
from decoder.data.articulation import N_ARTICULATORS, draw_durations, trajectory
from decoder.data.files import building_folder, storage_errors
from decoder.data.generated import write_digests
from decoder.data.lexicon import Sentence, draw_sentence, pronunciation_file
from decoder.data.pronunciation import FILE_NAME
from decoder.data.recordings import BIN_MS
from decoder.data.t12 import N_AREA_6V, N_COLUMNS, N_FEATURES
from decoder.data.t15 import FEATURE_CLIP
from decoder.data.writers import SentenceToWrite, TrialToWrite, write_session, write_t12_session
from decoder.errors import StorageError
from decoder.marks import Probability, Section

# Incremented whenever a change of this code, the lexicon or the articulation changes the result.
GENERATOR_VERSION = 1

# Rates and features are rounded, because their last bits differ between processors.
_DECIMALS = 5

_MAX_LOG_MEAN = float(np.log(8.0))  # 8 crossings in 20 ms are 400 Hz
_POWER_UV2 = 20.0  # µV² of spike-band power in the T12 layout, per unit of generated power
_FIRST_DAY = date(2000, 1, 1)  # long before any real session
_DAYS_BETWEEN_SESSIONS = 7


class SyntheticRecipe(Section):
    """The parameters of a generated data set.

    Attributes:
        layout: the layout to write. ``t15``: z-scored features, labels, and splits drawn within
            blocks. ``t12``: counts and powers as recorded, whose scale differs between blocks,
            text instead of labels, and splits of whole blocks.
        seed: decides all draws.
        n_sessions: number of recording days.
        n_train, n_val, n_test: trials in each session.
        n_trials_per_block: trials that are z-scored together.
        n_features: number of features. The first half are threshold crossings, the second half the
            spike-band power of the same channels. The T12 layout always has 256.
        min_words, max_words: length of a sentence.
        phoneme_bins: median duration of a phoneme, in bins.
        rate_std: spread of the speaking rate over sentences, as std of its logarithm.
        n_silent_bins: bins at rest before and after each sentence.
        coarticulation_bins: std of the Gaussian that blends neighbouring articulator targets.
        tuning_gain: mean change of a channel's log rate per unit of articulation: the signal.
        firing_rate_hz: median baseline rate of the threshold crossings.
        power_shape: shape of the gamma distribution of spike-band power; higher is less noisy.
        day_drift: weight of the part of the tuning that is new on each day; its square is the
            fraction of variance.
        shared_noise_std: std of the log-rate noise shared by the channels.
        shared_noise_rank: number of independent sources of shared noise.
        shared_noise_memory: correlation of shared noise from one bin to the next.
    """

    layout: Literal["t15", "t12"] = "t15"
    seed: NonNegativeInt
    n_sessions: PositiveInt
    n_train: PositiveInt
    n_val: NonNegativeInt
    n_test: NonNegativeInt
    n_trials_per_block: PositiveInt = 20
    n_features: int = Field(default=64, ge=2, multiple_of=2)
    min_words: PositiveInt = 3
    max_words: PositiveInt = 4
    phoneme_bins: PositiveFloat = 8.0
    rate_std: NonNegativeFloat = 0.1
    n_silent_bins: NonNegativeInt = 6
    coarticulation_bins: PositiveFloat = 1.5
    tuning_gain: NonNegativeFloat = 1.6
    firing_rate_hz: PositiveFloat = 30.0
    power_shape: PositiveFloat = 4.0
    day_drift: Probability = 0.4
    shared_noise_std: NonNegativeFloat = 0.2
    shared_noise_rank: PositiveInt = 4
    shared_noise_memory: Probability = 0.9

    @model_validator(mode="after")
    def _check_layout(self) -> "SyntheticRecipe":
        if self.layout == "t12" and self.n_features != N_FEATURES:
            raise ValueError(
                f"n_features must be {N_FEATURES} in the T12 layout, but got {self.n_features}"
            )
        return self


RECIPES: dict[str, SyntheticRecipe] = {
    # Four days, at a size that two CPU cores train in seconds. Sentences have few words, so that
    # trials are short, and are spoken slowly, so that most labels span several patches and the
    # decoder needs blanks.
    "small": SyntheticRecipe(seed=15, n_sessions=4, n_train=120, n_val=24, n_test=4),
    # Just enough to run every line of code.
    "tiny": SyntheticRecipe(
        seed=12,
        n_sessions=2,
        n_train=12,
        n_val=4,
        n_test=2,
        n_trials_per_block=9,
        n_features=16,
        min_words=2,
        max_words=3,
    ),
    # Eight weekly days as long as those of "small", of half as many trials: enough for a decoder to
    # train on some of them and to be evaluated on later ones, or on a share of them.
    "weeks": SyntheticRecipe(seed=8, n_sessions=8, n_train=60, n_val=24, n_test=2),
    # Longer sentences and more of them to validate, so that word errors and a language model of the
    # training sentences say something: each half of the validation trials has some 660 words.
    "sentences": SyntheticRecipe(
        seed=7, n_sessions=4, n_train=120, n_val=60, n_test=2, min_words=4, max_words=7
    ),
    # The shape of the T15 recordings: 45 sessions with 512 features, about as many trials as theirs
    # (8,072, 1,426 and 1,450), and about as long (138 to 1,025 bins, median 527). It takes minutes
    # to make and fills 10 GB or more.
    "t15_full": SyntheticRecipe(
        seed=45,
        n_sessions=45,
        n_train=180,
        n_val=32,
        n_test=32,
        n_trials_per_block=50,
        n_features=512,
        min_words=3,
        max_words=10,
        phoneme_bins=18.5,
    ),
    # The small one in the T12 layout, with more silence around sentences, because its patches are
    # longer.
    "t12_small": SyntheticRecipe(
        layout="t12",
        seed=28,
        n_sessions=4,
        n_train=120,
        n_val=20,
        n_test=20,
        n_features=N_FEATURES,
        n_silent_bins=16,
    ),
    "t12_tiny": SyntheticRecipe(
        layout="t12",
        seed=4,
        n_sessions=2,
        n_train=12,
        n_val=4,
        n_test=2,
        n_trials_per_block=6,
        n_features=N_FEATURES,
        min_words=1,
        max_words=2,
        n_silent_bins=24,
    ),
}


@dataclass(frozen=True, eq=False)
class _Tuning:
    """The tuning of C channels to the articulators on one day.

    Attributes:
        crossings, power: (C, 2 * N_ARTICULATORS) change of log rate and log power.
        log_rate: (C,) log of the mean threshold crossings in a bin.
        noise_mixing: (2 * C, rank) weights of the shared noise.
    """

    crossings: NDArray[np.float64]
    power: NDArray[np.float64]
    log_rate: NDArray[np.float64]
    noise_mixing: NDArray[np.float64]


def recipe_digest(recipe: SyntheticRecipe) -> str:
    """8 hex digits over the recipe and the generator's version."""
    values = recipe.model_dump_json(exclude={"layout"} if recipe.layout == "t15" else None)
    return sha256_of(f"{GENERATOR_VERSION} {values}".encode())[:8]


def make_synthetic(recipe: SyntheticRecipe, folder: Path, *, replace: bool = False) -> None:
    """Generate a data set. The folder only appears when it is complete.

    Args:
        recipe: what to generate.
        folder: must not exist, or be empty.
        replace: whether it replaces whatever is there.

    Raises:
        StorageError: the folder is not empty, or the disk is full.
    """
    if not replace and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(f"{folder}: exists already; choose a new folder, or remove it first")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder, 0) from None
    with storage_errors(folder), building_folder(folder) as temporary:
        seeds = np.random.SeedSequence(recipe.seed).spawn(recipe.n_sessions + 1)
        tunings = _draw_tunings(recipe, np.random.default_rng(seeds[0]))
        for day, (tuning, seed) in enumerate(zip(tunings, seeds[1:], strict=True)):
            session_date = _FIRST_DAY + timedelta(days=day * _DAYS_BETWEEN_SESSIONS)
            session = f"{recipe.layout}.{session_date:%Y.%m.%d}"
            rng = np.random.default_rng(seed)
            if recipe.layout == "t15":
                write_session(temporary, session, _generate_session(recipe, tuning, rng))
            else:
                write_t12_session(temporary, session, _generate_t12(recipe, tuning, rng))
        if recipe.layout == "t12":
            write_atomically(temporary / FILE_NAME, pronunciation_file().encode())
        write_digests(temporary)


def in_layout(recipe: SyntheticRecipe, layout: str) -> SyntheticRecipe:
    """The recipe in the layout ``t15`` or ``t12``.

    A T15 recipe in the T12 layout gets the 256 features of that layout and more silence, because
    the patches of the T12 decoder are longer.
    """
    changes: dict[str, str | int] = {"layout": layout}
    if layout == "t12" and recipe.layout != "t12":
        changes |= {"n_features": N_FEATURES, "n_silent_bins": recipe.n_silent_bins + 9}
    return SyntheticRecipe.model_validate(recipe.model_dump() | changes)


def _generate_session(
    recipe: SyntheticRecipe, tuning: _Tuning, rng: np.random.Generator
) -> dict[str, list[TrialToWrite]]:
    """Split → trials of one day, in the order of recording. Trials are split at random."""
    n_trials = recipe.n_train + recipe.n_val + recipe.n_test
    split_of = np.repeat(["train", "val", "test"], [recipe.n_train, recipe.n_val, recipe.n_test])
    rng.shuffle(split_of)
    splits: dict[str, list[TrialToWrite]] = {"train": [], "val": [], "test": []}
    for first in range(0, n_trials, recipe.n_trials_per_block):
        split_of_block = split_of[first : first + recipe.n_trials_per_block]
        block = 1 + first // recipe.n_trials_per_block
        for number, trial in enumerate(_generate_block(recipe, tuning, len(split_of_block), rng)):
            features, labels, text = trial
            splits[split_of_block[number]].append(
                TrialToWrite(features, labels, text, block, number)
            )
    return splits


def _generate_block(
    recipe: SyntheticRecipe, tuning: _Tuning, n_trials: int, rng: np.random.Generator
) -> list[tuple[NDArray[np.float32], tuple[int, ...], str]]:
    """Trials that are z-scored together: (T, F) features, labels and text of each."""
    recorded = [_record_sentence(recipe, tuning, rng) for _ in range(n_trials)]
    block = np.concatenate([raw for raw, _ in recorded])  # (T of all trials, F)
    mean, std = block.mean(axis=0), block.std(axis=0) + 1e-8
    trials = []
    for raw, sentence in recorded:
        features = np.minimum(np.round((raw - mean) / std, _DECIMALS), FEATURE_CLIP)
        trials.append((features.astype(np.float32), sentence.labels, sentence.text))
    return trials


def _generate_t12(
    recipe: SyntheticRecipe, tuning: _Tuning, rng: np.random.Generator
) -> dict[str, list[SentenceToWrite]]:
    """Split → trials of one day; as in the release, ``test`` is first and ``val`` last."""
    splits: dict[str, list[SentenceToWrite]] = {"train": [], "val": [], "test": []}
    block = 0
    for split, n_trials in (
        ("test", recipe.n_test),
        ("train", recipe.n_train),
        ("val", recipe.n_val),
    ):
        for first in range(0, n_trials, recipe.n_trials_per_block):
            block += 1
            n_of_block = min(recipe.n_trials_per_block, n_trials - first)
            splits[split] += _generate_t12_block(recipe, tuning, block, n_of_block, rng)
    return splits


def _generate_t12_block(
    recipe: SyntheticRecipe,
    tuning: _Tuning,
    block: int,
    n_trials: int,
    rng: np.random.Generator,
) -> list[SentenceToWrite]:
    """Trials of one block. Each electrode has its own sensitivity, gain and offset in it."""
    share_crossing = rng.uniform(0.6, 1.0, N_COLUMNS)
    gain = np.round(np.exp(0.4 * rng.standard_normal(N_COLUMNS)), _DECIMALS)
    offset = rng.uniform(0.0, 3.0, N_COLUMNS)
    trials = []
    for _ in range(n_trials):
        raw, sentence = _record_sentence(recipe, tuning, rng)
        shape = (len(raw), N_COLUMNS - N_AREA_6V)  # area 44, which has no tuning
        crossings = np.concatenate(
            [raw[:, :N_AREA_6V], rng.poisson(np.exp(np.round(tuning.log_rate, _DECIMALS)), shape)],
            axis=1,
        )
        power = np.concatenate(
            [raw[:, N_AREA_6V:], rng.gamma(recipe.power_shape, 1.0, shape)], axis=1
        )
        trials.append(
            SentenceToWrite(
                rng.binomial(crossings.astype(np.int64), share_crossing).astype(np.uint8),
                np.round(_POWER_UV2 * (gain * power + offset), 2).astype(np.float32),
                f"{sentence.text[0].upper()}{sentence.text[1:]}.",
                block,
            )
        )
    return trials


def _record_sentence(
    recipe: SyntheticRecipe, tuning: _Tuning, rng: np.random.Generator
) -> tuple[NDArray[np.float64], Sentence]:
    """Draw a sentence. → (T, F) crossings and power while it is spoken, and the sentence."""
    n_words = int(rng.integers(recipe.min_words, recipe.max_words, endpoint=True))
    sentence = draw_sentence(n_words, rng)
    labels = np.array(sentence.labels)
    duration_bins = draw_durations(labels, recipe.phoneme_bins, recipe.rate_std, rng)
    movement = trajectory(labels, duration_bins, recipe.n_silent_bins, recipe.coarticulation_bins)
    return _record(recipe, tuning, movement, rng), sentence


def _record(
    recipe: SyntheticRecipe,
    tuning: _Tuning,
    movement: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """(T, F) threshold crossings, then spike-band power, of a (T, 2 * N_ARTICULATORS) movement."""
    shared = _shared_noise(recipe, len(movement), rng) @ tuning.noise_mixing.T  # (T, F)
    n_channels = recipe.n_features // 2
    log_crossings = tuning.log_rate + movement @ tuning.crossings.T + shared[:, :n_channels]
    log_power = movement @ tuning.power.T + shared[:, n_channels:]
    log_means = np.concatenate([log_crossings, log_power], axis=1)  # (T, F)
    means = np.exp(np.round(np.minimum(log_means, _MAX_LOG_MEAN), _DECIMALS))
    crossings = rng.poisson(means[:, :n_channels])
    power = rng.gamma(recipe.power_shape, means[:, n_channels:])
    return np.concatenate([crossings, power], axis=1)


def _shared_noise(
    recipe: SyntheticRecipe, n_bins: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(T, rank) independent first-order autoregressive processes of unit variance."""
    memory = recipe.shared_noise_memory
    noise = rng.standard_normal((n_bins, recipe.shared_noise_rank))
    noise[1:] *= np.sqrt(1.0 - memory**2)
    for t in range(1, n_bins):
        noise[t] += memory * noise[t - 1]
    return noise


def _draw_tunings(recipe: SyntheticRecipe, rng: np.random.Generator) -> list[_Tuning]:
    """The tuning of each day: a random walk of constant variance, with a gain for each channel."""
    n_channels = recipe.n_features // 2
    mean_rate = recipe.firing_rate_hz * BIN_MS / 1000.0
    log_rate = np.log(mean_rate) + 0.5 * rng.standard_normal(n_channels)
    gains = recipe.tuning_gain * np.exp(0.5 * rng.standard_normal((n_channels, 1)))
    noise_mixing = recipe.shared_noise_std * rng.standard_normal(
        (recipe.n_features, recipe.shared_noise_rank)
    )
    noise_mixing /= np.sqrt(recipe.shared_noise_rank)
    kept, new = np.sqrt(1.0 - recipe.day_drift**2), recipe.day_drift
    directions = _draw_directions(n_channels, rng)
    tunings = []
    for day in range(recipe.n_sessions):
        if day:
            directions = kept * directions + new * _draw_directions(n_channels, rng)
            log_rate = log_rate + 0.5 * new * rng.standard_normal(n_channels)
        crossings, own = directions
        # The power of an electrode comes from the same cells as its crossings, and from others.
        power = 0.5 * (0.8 * crossings + 0.6 * own)
        tunings.append(_Tuning(gains * crossings, gains * power, log_rate, noise_mixing))
    return tunings


def _draw_directions(n_channels: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, C, 2 * N_ARTICULATORS) random preferred movements of crossings and of power."""
    scale = 1.0 / np.sqrt(N_ARTICULATORS)
    return rng.normal(0.0, scale, (2, n_channels, 2 * N_ARTICULATORS))
