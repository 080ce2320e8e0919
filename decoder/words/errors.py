"""Word errors as sums over sentences."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein


class WordErrors(NamedTuple):
    """Sums over sentences; `combined` adds several.

    Attributes:
        n_sentences: number of sentences.
        n_reference: words of the references.
        n_substitutions: words of the output in place of others.
        n_deletions: words of the references that the output lacks.
        n_insertions: words of the output that the references lack.
        n_oracle: edits of the best candidate of each sentence.
        n_out_of_vocabulary: words of the references that the lexicon lacks; None if it is not known
            which words the decoder could give.
    """

    n_sentences: int = 0
    n_reference: int = 0
    n_substitutions: int = 0
    n_deletions: int = 0
    n_insertions: int = 0
    n_oracle: int = 0
    n_out_of_vocabulary: int | None = 0

    @property
    def n_edits(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.n_substitutions + self.n_deletions + self.n_insertions

    @property
    def wer(self) -> float:
        """Word error rate: total edits over total reference words; NaN without words."""
        return self._share(self.n_edits)

    @property
    def wer_oracle(self) -> float:
        """Word error rate if the best candidate of each sentence was chosen."""
        return self._share(self.n_oracle)

    @property
    def out_of_vocabulary(self) -> float:
        """Share of reference words that the lexicon lacks; NaN if it is not known."""
        return self._share(self.n_out_of_vocabulary)

    def _share(self, count: int | None) -> float:
        return count / self.n_reference if count is not None and self.n_reference else float("nan")


def combined(parts: Iterable[WordErrors]) -> WordErrors:
    """The sums of several sets of sentences."""
    sums = WordErrors()
    for part in parts:
        pairs = zip(sums, part, strict=True)
        sums = WordErrors(*(None if None in pair else sum(pair) for pair in pairs))  # type: ignore[arg-type]
    return sums


def sentence_errors(
    reference: Sequence[str],
    candidates: Sequence[Sequence[str]],
    vocabulary: Collection[str] | None,
) -> WordErrors:
    """The word errors of one sentence.

    Args:
        reference: its words.
        candidates: the words of each candidate, best first; without any, every word is deleted.
        vocabulary: the words of the lexicon; None if it is not known.
    """
    best: Sequence[str] = candidates[0] if candidates else ()
    kinds = [edit.tag for edit in Levenshtein.editops(list(reference), list(best))]
    distances = [Levenshtein.distance(list(reference), list(words)) for words in candidates]
    return WordErrors(
        n_sentences=1,
        n_reference=len(reference),
        n_substitutions=kinds.count("replace"),
        n_deletions=kinds.count("delete"),
        n_insertions=kinds.count("insert"),
        n_oracle=min(distances, default=len(reference)),
        n_out_of_vocabulary=None
        if vocabulary is None
        else sum(word not in vocabulary for word in reference),
    )
