"""Smooth articulator movements for phonemes, from which synthetic recordings are generated.

Each phoneme has a target for each of `N_ARTICULATORS` articulatory dimensions, built from textbook
features (place, manner, voicing; height, backness, rounding). Targets last as long as the phoneme
and are smoothed in time, so that neighbouring phonemes influence each other (coarticulation).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from decoder.phonemes import ARPABET, N_CLASSES, SEPARATOR_ID

DIMENSIONS = (
    "lip_closure",
    "lip_rounding",
    "tongue_tip_height",
    "tongue_tip_frontness",
    "tongue_body_height",
    "tongue_body_frontness",
    "jaw_opening",
    "velum_opening",
    "voicing",
    "frication",
    "closure",
    "lateral",
    "rhotic",
    "glottis_opening",
)
N_ARTICULATORS = len(DIMENSIONS)

_PLACES = {
    "labial": {"lip_closure": 1.0},
    "labiodental": {"lip_closure": 0.6, "jaw_opening": -0.4},
    "dental": {"tongue_tip_height": 0.6, "tongue_tip_frontness": 1.0},
    "alveolar": {"tongue_tip_height": 1.0, "tongue_tip_frontness": 0.3},
    "postalveolar": {
        "tongue_tip_height": 0.7,
        "tongue_tip_frontness": -0.7,
        "lip_rounding": 0.4,
        "tongue_body_height": 0.4,
    },
    "palatal": {"tongue_body_height": 0.9, "tongue_body_frontness": 1.0},
    "velar": {"tongue_body_height": 1.0, "tongue_body_frontness": -0.8},
    "labiovelar": {"lip_rounding": 1.0, "tongue_body_height": 0.7, "tongue_body_frontness": -0.9},
    "glottal": {"glottis_opening": 1.0, "jaw_opening": 0.2},
}
_MANNERS = {
    "stop": {"closure": 1.0, "jaw_opening": -0.5},
    "affricate": {"closure": 0.7, "frication": 0.7, "jaw_opening": -0.5},
    "fricative": {"frication": 1.0, "jaw_opening": -0.3},
    "nasal": {"closure": 0.6, "velum_opening": 1.0},
    "lateral": {"lateral": 1.0},
    "rhotic": {"rhotic": 1.0, "lip_rounding": 0.3},
    "glide": {},
}
_CONSONANTS = {
    "B": "labial stop voiced",
    "CH": "postalveolar affricate",
    "D": "alveolar stop voiced",
    "DH": "dental fricative voiced",
    "F": "labiodental fricative",
    "G": "velar stop voiced",
    "HH": "glottal fricative",
    "JH": "postalveolar affricate voiced",
    "K": "velar stop",
    "L": "alveolar lateral voiced",
    "M": "labial nasal voiced",
    "N": "alveolar nasal voiced",
    "NG": "velar nasal voiced",
    "P": "labial stop",
    "R": "postalveolar rhotic voiced",
    "S": "alveolar fricative",
    "SH": "postalveolar fricative",
    "T": "alveolar stop",
    "TH": "dental fricative",
    "V": "labiodental fricative voiced",
    "W": "labiovelar glide voiced",
    "Y": "palatal glide voiced",
    "Z": "alveolar fricative voiced",
    "ZH": "postalveolar fricative voiced",
}
# Height, frontness and rounding at the start and, for diphthongs, at the end.
_VOWELS = {
    "AA": ((-1.0, -0.6, 0.0),),
    "AE": ((-0.8, 0.8, 0.0),),
    "AH": ((-0.2, -0.1, 0.0),),
    "AO": ((-0.5, -0.9, 0.6),),
    "AW": ((-0.9, 0.0, 0.0), (0.6, -0.8, 0.9)),
    "AY": ((-0.9, -0.2, 0.0), (0.7, 0.8, 0.0)),
    "EH": ((-0.3, 0.7, 0.0),),
    "ER": ((0.1, -0.1, 0.3),),
    "EY": ((0.1, 0.8, 0.0), (0.8, 1.0, 0.0)),
    "IH": ((0.6, 0.6, 0.0),),
    "IY": ((1.0, 1.0, -0.3),),
    "OW": ((0.0, -0.7, 0.6), (0.6, -0.9, 1.0)),
    "OY": ((-0.4, -0.9, 0.8), (0.7, 0.8, 0.0)),
    "UH": ((0.5, -0.6, 0.4),),
    "UW": ((0.9, -0.8, 1.0),),
}

# Duration relative to the recipe's median phoneme, and the spread of its logarithm.
_VOWEL_DURATION = (1.3, 0.30)
_CONSONANT_DURATIONS = {
    "stop": (0.8, 0.25),
    "affricate": (1.1, 0.25),
    "fricative": (1.1, 0.30),
    "nasal": (0.9, 0.25),
    "lateral": (0.85, 0.25),
    "rhotic": (0.85, 0.25),
    "glide": (0.8, 0.25),
}
_SEPARATOR_DURATION = (0.9, 0.45)


@cache
def targets() -> NDArray[np.float64]:
    """(N_CLASSES, 2, N_ARTICULATORS) first and last target of each class; 0 for the blank."""
    table = np.zeros((N_CLASSES, 2, N_ARTICULATORS))
    for index, phoneme in enumerate(ARPABET, start=1):
        ends = _vowel_ends(phoneme) if phoneme in _VOWELS else [_consonant(phoneme)]
        table[index, 0], table[index, 1] = _vector(ends[0]), _vector(ends[-1])
    table[SEPARATOR_ID] = _vector({"jaw_opening": -0.6, "voicing": -0.4, "glottis_opening": 0.3})
    return table


@cache
def durations() -> NDArray[np.float64]:
    """(N_CLASSES, 2) relative median duration of each class, and the std of its logarithm."""
    table = np.ones((N_CLASSES, 2))
    for index, phoneme in enumerate(ARPABET, start=1):
        if phoneme in _VOWELS:
            table[index] = _VOWEL_DURATION
        else:
            table[index] = _CONSONANT_DURATIONS[_CONSONANTS[phoneme].split()[1]]
    table[SEPARATOR_ID] = _SEPARATOR_DURATION
    return table


def draw_durations(
    labels: NDArray[np.int64], median_bins: float, rate_std: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the duration of each phoneme of a sentence.

    Args:
        labels: (L,) int64 classes.
        median_bins: median duration of a phoneme whose relative duration is 1.
        rate_std: std of the logarithm of the sentence's speaking rate.
        rng: the source of randomness.

    Returns:
        (L,) int64 bins, each at least 2.
    """
    medians, spreads = durations()[labels].T
    logs = np.log(median_bins * medians) + spreads * rng.standard_normal(len(labels))
    logs = logs + rate_std * rng.standard_normal()
    duration_bins: NDArray[np.int64] = np.maximum(np.rint(np.exp(logs)), 2).astype(np.int64)
    return duration_bins


def trajectory(
    labels: NDArray[np.int64],
    duration_bins: NDArray[np.int64],
    n_silent_bins: int,
    smooth_std_bins: float,
) -> NDArray[np.float64]:
    """The coarticulated movement of a sentence.

    Args:
        labels: (L,) int64 classes.
        duration_bins: (L,) int64 duration of each.
        n_silent_bins: bins at rest before the first and after the last phoneme.
        smooth_std_bins: width of the Gaussian that blends neighbouring targets.

    Returns:
        (T, 2 * N_ARTICULATORS) float64: positions, then velocities per bin.
    """
    steps = [np.zeros((n_silent_bins, N_ARTICULATORS))]
    for label, n_bins in zip(labels, duration_bins, strict=True):
        first, last = targets()[label]
        share = np.linspace(0.0, 1.0, n_bins)[:, None]  # (n_bins, 1)
        steps.append((1.0 - share) * first + share * last)
    steps.append(np.zeros((n_silent_bins, N_ARTICULATORS)))
    held = np.concatenate(steps)  # (T, N_ARTICULATORS)
    reach = int(np.ceil(3.0 * smooth_std_bins))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / smooth_std_bins) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(held, ((reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=0)
    positions = windows @ kernel  # (T, N_ARTICULATORS)
    velocities = np.gradient(positions, axis=0)
    return np.concatenate([positions, velocities], axis=1)


def _vowel_ends(phoneme: str) -> list[dict[str, float]]:
    ends = []
    for height, frontness, rounding in _VOWELS[phoneme]:
        end = {
            "tongue_body_height": height,
            "tongue_body_frontness": frontness,
            "lip_rounding": rounding,
            "jaw_opening": 0.6 - 0.6 * height,
            "voicing": 1.0,
        }
        ends.append(end | ({"rhotic": 0.9} if phoneme == "ER" else {}))
    return ends


def _consonant(phoneme: str) -> dict[str, float]:
    place, manner, *voiced = _CONSONANTS[phoneme].split()
    target = dict(_PLACES[place])
    for name, value in _MANNERS[manner].items():
        target[name] = target.get(name, 0.0) + value
    target["voicing"] = 0.8 if voiced else -0.8
    return target | ({} if voiced else {"glottis_opening": target.get("glottis_opening", 0.5)})


def _vector(values: dict[str, float]) -> NDArray[np.float64]:
    return np.array([values.get(name, 0.0) for name in DIMENSIONS])
