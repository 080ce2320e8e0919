"""Sentences as words by one rule, and word errors as sums over sentences."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from decoder.data.pronunciation import words_of


def normalise(sentence: str) -> list[str]:
    """The words of a sentence, the same rule for references, language models and output.

    Letters lose their accents and become lower case. Punctuation is deleted and leaves no space.
    Curly apostrophes become straight ones. Words are what white space separates; apostrophes and
    hyphens at their ends are dropped and those inside are kept. Digits and other signs stay.
    The official T15 code keeps apostrophes at the ends of words and drops digits.
    """
    return [word for word in words_of(sentence) if word.strip("'-")]


class WordErrors(NamedTuple):
    """Sums over sentences; `combined` adds several.

    Attributes:
        n_sentences: number of sentences.
        n_reference: words of the references.
        n_substitutions: words of the output in place of others.
        n_deletions: words of the references that the output lacks.
        n_insertions: words of the output that the references lack.
        n_oracle: edits of the best candidate of each sentence.
        n_out_of_vocabulary: words of the references that the lexicon lacks.
    """

    n_sentences: int = 0
    n_reference: int = 0
    n_substitutions: int = 0
    n_deletions: int = 0
    n_insertions: int = 0
    n_oracle: int = 0
    n_out_of_vocabulary: int = 0

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
        """Share of reference words that the lexicon lacks."""
        return self._share(self.n_out_of_vocabulary)

    def _share(self, count: int) -> float:
        return count / self.n_reference if self.n_reference else float("nan")


def combined(parts: Iterable[WordErrors]) -> WordErrors:
    """The sums of several sets of sentences."""
    return WordErrors(*(sum(counts) for counts in zip(WordErrors(), *parts, strict=True)))


def sentence_errors(
    reference: Sequence[str],
    candidates: Sequence[Sequence[str]],
    vocabulary: Collection[str],
) -> WordErrors:
    """The word errors of one sentence.

    Args:
        reference: its words.
        candidates: the words of each candidate, best first; without any, every word is deleted.
        vocabulary: the words of the lexicon.
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
        n_out_of_vocabulary=sum(word not in vocabulary for word in reference),
    )
