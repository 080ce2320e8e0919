"""Prefix beam search: the phoneme sequence with the highest probability over all its alignments.

Greedy decoding takes the single most likely alignment, but many alignments give the same sequence.
There is no language model.

Dimensions: P patches, C classes, W prefixes kept.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.phonemes import BLANK

Floats = NDArray[np.float64]


class Hypothesis(NamedTuple):
    """A sequence of classes, and the log of the total probability of its alignments."""

    classes: tuple[int, ...]
    log_probability: float


def prefix_beam_search(log_probs: NDArray[np.floating], width: int) -> list[Hypothesis]:
    """The most likely sequences, best first.

    The sums lack the alignments of prefixes that were dropped on the way. A probability is
    therefore a lower bound; it is exact if `width` covers every prefix.

    Args:
        log_probs: (P, C) floating-point log posteriors.
        width: number of prefixes kept after each patch.

    Returns:
        At most `width` hypotheses.

    Follows algorithm 1 of Hannun, Maas, Jurafsky & Ng 2014, arXiv:1408.2873, without the
    language model and in logarithms.
    """
    log_probs = np.asarray(log_probs, np.float64)
    n_classes = log_probs.shape[1]
    prefixes: list[tuple[int, ...]] = [()]
    in_blank, in_class = np.zeros(1), np.full(1, -np.inf)  # (W,): alignments that end in either
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
        for row, prefix in enumerate(prefixes):  # also reached from a shorter prefix that was kept
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
