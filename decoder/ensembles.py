"""Ensembles: PER of decoders whose log posteriors are averaged, from their kept logits.

The mean of log posteriors gives the geometric mean of the posteriors. The mean of logits, which is
computed here, differs from it by a constant of each patch, which greedy decoding does not see.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from decoder.ctc import edit_distance, greedy_decode
from decoder.logits import KeptLogits


class EnsembleScore(NamedTuple):
    """Errors of greedy decoding, as sums over trials."""

    n_edits: int
    n_reference: int

    @property
    def per(self) -> float:
        """Phoneme error rate; NaN without reference phonemes."""
        return self.n_edits / self.n_reference if self.n_reference else float("nan")


class Ensemble:
    """Decoders that were evaluated on the same trials, any of which can be averaged.

    Args:
        members: at least one; their frames must align, see `frames_align`.
    """

    def __init__(self, members: Sequence[KeptLogits]) -> None:
        assert members and frames_align(members)
        trials = [one for one in members[0].trials if len(one.labels)]  # others do not count
        self._targets = [one.labels.tolist() for one in trials]
        self._lengths = np.array([len(one.logits) for one in trials], np.int64)
        self._logits = [
            np.concatenate([one.logits for one in member.trials if len(one.labels)])
            for member in members
            if trials
        ]

    def score(self, chosen: Sequence[int]) -> EnsembleScore:
        """Decode the mean of some members' log posteriors greedily, and count edits.

        Args:
            chosen: positions of the members, at least one.
        """
        if not self._targets:
            return EnsembleScore(0, 0)
        total = self._logits[chosen[0]].astype(np.float32)  # (sum of P, C)
        for member in chosen[1:]:
            total += self._logits[member]
        within = np.arange(self._lengths.max()) < self._lengths[:, None]  # (B, P)
        best = np.zeros(within.shape, np.int64)
        best[within] = total.argmax(-1)
        emitted = greedy_decode(torch.from_numpy(best), torch.from_numpy(self._lengths))
        return EnsembleScore(
            sum(map(edit_distance, emitted, self._targets)), sum(map(len, self._targets))
        )


def frames_align(members: Sequence[KeptLogits]) -> bool:
    """Whether all members have the same trials, with the same labels and numbers of patches."""
    return all(_shape(one) == _shape(members[0]) for one in members[1:])


def _shape(kept: KeptLogits) -> list[tuple[object, ...]]:
    return [
        (one.session, one.block, one.number, one.logits.shape, one.labels.tobytes())
        for one in kept.trials
    ]
