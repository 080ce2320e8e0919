"""The errors of a run's last evaluation, by session, by phoneme, and under beam search.

Dimensions: P patches, C classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from decoder.beam import prefix_beam_search
from decoder.ctc import edit_distance
from decoder.phonemes import BLANK
from decoder.training_sections import EvaluationConfig


@dataclass
class Breakdown:
    """Sums over the validation trials of one run.

    Attributes:
        config: whether there is a beam search, and its width.
        edits: day → edits of greedy decoding.
        reference: day → reference phonemes.
        confusions: (reference, emitted) → count over best alignments. Class 0 stands for nothing:
            (0, c) counts insertions and (c, 0) deletions.
        n_beam_edits: edits of beam search.
        held_out: the same sums over the sessions held out; None without any.
        words: what words were decoded with, see `decoder.pack.RunResult`.
    """

    config: EvaluationConfig
    edits: Counter[int] = field(default_factory=Counter)
    reference: Counter[int] = field(default_factory=Counter)
    confusions: Counter[tuple[int, int]] = field(default_factory=Counter)
    n_beam_edits: int = 0
    held_out: "Breakdown | None" = None
    words: Mapping[str, str | int | float | None] = field(default_factory=dict)

    def add(
        self,
        target: Sequence[int],
        emitted: Sequence[int],
        day: int,
        log_probs: NDArray[np.floating] | None = None,
    ) -> None:
        """Add one trial.

        Args:
            target: its reference classes. A trial without any has no PER and is skipped.
            emitted: the classes from greedy decoding.
            day: its recording day.
            log_probs: (P, C) log posteriors of its valid patches, for a beam search.
        """
        if not target:
            return
        pairs = aligned_pairs(target, emitted)
        self.confusions.update(pairs)
        self.edits[day] += sum(a != b for a, b in pairs)
        self.reference[day] += len(target)
        if not self.config.use_beam_search:
            return
        assert log_probs is not None, "a beam search needs posteriors"
        # NaN posteriors mean that the run has diverged, and nothing reads its breakdown.
        if not np.isnan(log_probs).any():
            [best, *_] = prefix_beam_search(log_probs, self.config.beam_width)
            self.n_beam_edits += edit_distance(best.classes, target)

    def per_session(self, sessions: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Session → edits and reference phonemes, for sessions with validation trials."""
        return {sessions[day]: (self.edits[day], self.reference[day]) for day in self.reference}

    def confusion_counts(self) -> tuple[tuple[int, int, int], ...]:
        """(reference, emitted, count), sorted by class."""
        return tuple((a, b, count) for (a, b), count in sorted(self.confusions.items()))

    def beam(self) -> Mapping[str, float]:
        """PER of beam search and its counts; empty if there was no beam search."""
        if not self.config.use_beam_search:
            return {}
        n_reference = self.reference.total()
        return {
            "per": self.n_beam_edits / max(n_reference, 1),
            "n_edits": self.n_beam_edits,
            "n_reference": n_reference,
            "beam_width": self.config.beam_width,
        }


def aligned_pairs(target: Sequence[int], emitted: Sequence[int]) -> list[tuple[int, int]]:
    """(reference, emitted) along one best alignment; 0 stands for a gap."""
    pairs: list[tuple[int, int]] = []
    for span in Levenshtein.opcodes(target, emitted):
        references = list(target[span.src_start : span.src_end])
        outputs = list(emitted[span.dest_start : span.dest_end])
        if span.tag == "delete":
            outputs = [BLANK] * len(references)
        elif span.tag == "insert":
            references = [BLANK] * len(outputs)
        pairs += zip(references, outputs, strict=True)
    return pairs
