"""Prefix beam search: the likeliest phoneme sequence summed over its CTC alignments.

Greedy decoding takes the likeliest alignment, and many alignments give the same sequence. No
language model takes part.

Dimensions: P patches, C classes, W prefixes kept.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.phonemes import BLANK

Floats = NDArray[np.float64]


class Hypothesis(NamedTuple):
    """A sequence of classes, and the log of the summed probability of its alignments."""

    classes: tuple[int, ...]
    log_probability: float


def prefix_beam_search(log_probs: NDArray[np.floating], width: int) -> list[Hypothesis]:
    """The likeliest sequences, the best first.

    Alignments of prefixes that were dropped on the way are missing from the sums, so a
    probability is a lower bound, and exact where `width` covers every prefix.

    Args:
        log_probs: (P, C) log posteriors.
        width: prefixes kept after each patch.

    Returns:
        At most `width` hypotheses.

    Follows algorithm 1 of Hannun, Maas, Jurafsky & Ng 2014, arXiv:1408.2873, without the
    language model, in logarithms.
    """
    log_probs = np.asarray(log_probs, np.float64)
    n_classes = log_probs.shape[1]
    prefixes: list[tuple[int, ...]] = [()]
    in_blank, in_class = np.zeros(1), np.full(1, -np.inf)  # (W,): by what the alignment ends in
    for frame in log_probs:  # (C,)
        last = np.array([prefix[-1] if prefix else BLANK for prefix in prefixes])
        total = np.logaddexp(in_blank, in_class)
        stay_blank = total + frame[BLANK]
        stay_class = np.where(last == BLANK, -np.inf, in_class + frame[last])
        longer = total[:, None] + frame  # (W, C)
        rows = np.arange(len(prefixes))
        longer[rows, last] = in_blank + frame[last]  # a repeat needs a blank in between
        longer[:, BLANK] = -np.inf
        place = {prefix: row for row, prefix in enumerate(prefixes)}
        for row, prefix in enumerate(prefixes):  # reached from a shorter one that was kept too
            shorter = place.get(prefix[:-1]) if prefix else None
            if shorter is not None:
                joined = longer[shorter, prefix[-1]]
                stay_class[row] = np.logaddexp(stay_class[row], joined)
                longer[shorter, prefix[-1]] = -np.inf
        scores = np.concatenate([np.logaddexp(stay_blank, stay_class), longer.ravel()])
        kept = np.argsort(-scores, kind="stable")[:width]
        kept = kept[np.isfinite(scores[kept])]
        stays = kept[kept < len(prefixes)]
        source, added = np.divmod(kept[kept >= len(prefixes)] - len(prefixes), n_classes)
        grown = [(*prefixes[i], int(c)) for i, c in zip(source, added, strict=True)]
        prefixes = [*(prefixes[i] for i in stays), *grown]
        in_blank = np.concatenate([stay_blank[stays], np.full(len(grown), -np.inf)])
        in_class = np.concatenate([stay_class[stays], longer[source, added]])
    total = np.logaddexp(in_blank, in_class)
    return [Hypothesis(prefixes[i], float(total[i])) for i in np.argsort(-total, kind="stable")]
