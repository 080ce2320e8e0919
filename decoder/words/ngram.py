"""An n-gram model of sentences: interpolated Kneser-Ney with one discount, and its ARPA file."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from decoder.atomic import write_atomically
from decoder.errors import DataError

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_NEVER = -99.0  # log10 of a probability of zero, as ARPA files write it

Words = tuple[str, ...]


class KneserNey:
    """Interpolated Kneser-Ney, as Chen & Goodman 1999, section 4.1.6, with one discount.

    Sentences are padded with order - 1 starts, which are never predicted, and one end. Without
    words outside the sentences, the numbers are those of ``nltk.lm.KneserNeyInterpolated``.

    Args:
        sentences: their words.
        order: words of an n-gram, 1 or more; with 1, probabilities are shares of the counts.
        discount: what each count above zero loses, in (0, 1).
        n_unknown: words that the lexicon holds and the sentences lack. The discount of single
            words is shared equally by all words, these included. With 0 nothing is set aside, and
            the probability of an unknown word is zero.

    Raises:
        DataError: there is no sentence, or a word is one of the marks of ARPA files.
        ValueError: order, discount or number of unknown words are out of bounds.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        order: int,
        discount: float = 0.75,
        n_unknown: int = 0,
    ) -> None:
        if order < 1 or not 0 < discount < 1 or n_unknown < 0:
            raise ValueError(
                "order must be at least 1, discount in (0, 1) and n_unknown at least 0, but got "
                f"{order}, {discount} and {n_unknown}"
            )
        if not sentences:
            raise DataError("an n-gram model needs at least one sentence, but got none")
        self.order, self.discount, self.n_unknown = order, discount, n_unknown
        self._counts = _counts(sentences, order)
        self._totals = {context: words.total() for context, words in self._counts.items()}
        self.vocabulary = tuple(sorted(self._counts[()]))

    def probability(self, word: str, context: Words = ()) -> float:
        """The probability of a word after others.

        Args:
            word: a word, or the end of a sentence; what is not in the vocabulary is unknown.
            context: the words before it; a start of a sentence is order - 1 times ``START``.
        """
        context = context[-(self.order - 1) :] if self.order > 1 else ()
        if not context:
            return self._of_single(word)
        lower = self.probability(word, context[1:])
        words = self._counts.get(context)
        if words is None:
            return lower
        kept = max(words[word] - self.discount, 0.0) / self._totals[context]
        return kept + self._backoff(context) * lower

    def log_probability(self, sentence: Sequence[str]) -> float:
        """The natural logarithm of a sentence's probability, its end included."""
        padded = (START,) * (self.order - 1) + (*sentence, END)
        chances = [
            self.probability(padded[i], padded[:i]) for i in range(self.order - 1, len(padded))
        ]
        return sum(math.log(p) if p > 0 else -math.inf for p in chances)

    def arpa(self) -> str:
        """The model as the text of an ARPA file, in a fixed order."""
        lines: list[dict[Words, str]] = [{} for _ in range(self.order)]
        lines[0][(UNKNOWN,)] = f"{_log10(self._of_single(UNKNOWN))}\t{UNKNOWN}"
        if self.order > 1:
            weight = _log10(self._start_backoff((START,) * (self.order - 1)))
            lines[0][(START,)] = f"{_NEVER}\t{START}\t{weight}"
        for context, words in self._counts.items():
            starts = context.count(START)
            if starts and len(context) < self.order - 1:
                continue  # the same words with all starts before them stand for these
            for word in words:
                gram = (*context[max(starts - 1, 0) :], word)
                line = f"{_log10(self.probability(word, context))}\t{' '.join(gram)}"
                if len(gram) < self.order and word != END:
                    longer = (*context, word)[-(self.order - 1) :]
                    line += f"\t{_log10(self._start_backoff(longer))}"
                lines[len(gram) - 1][gram] = line
        parts = ["\\data\\", *(f"ngram {n}={len(some)}" for n, some in enumerate(lines, 1))]
        for n, some in enumerate(lines, 1):
            parts += ["", f"\\{n}-grams:", *(some[gram] for gram in sorted(some))]
        return "\n".join([*parts, "", "\\end\\", ""])

    def write_arpa(self, path: Path) -> None:
        """Write the ARPA file; it is complete or absent.

        Raises:
            StorageError: see `write_atomically`.
        """
        write_atomically(path, self.arpa().encode())

    def _of_single(self, word: str) -> float:
        count, total = self._counts[()][word], self._totals[()]
        if not self.n_unknown:
            return count / total
        n_words = len(self._counts[()])
        shared = self.discount * n_words / total / (n_words + self.n_unknown)
        return max(count - self.discount, 0.0) / total + shared

    def _backoff(self, context: Words) -> float:
        words = self._counts.get(context)
        return self.discount * len(words) / self._totals[context] if words else 1.0

    def _start_backoff(self, context: Words) -> float:
        """The weight of a context; one with several starts also passes those with fewer."""
        weight = self._backoff(context)
        while context.count(START) > 1:
            context = context[1:]
            weight *= self._backoff(context)
        return weight


def _counts(sentences: Sequence[Sequence[str]], order: int) -> dict[Words, Counter[str]]:
    """Context → how often each word follows: as counted for the longest, as kinds for others."""
    grams: Counter[Words] = Counter()
    for sentence in sentences:
        wrong = {START, END, UNKNOWN} & set(sentence)
        if wrong:
            raise DataError(
                f"'{' '.join(sentence)}': {', '.join(sorted(wrong))} cannot be a word, because "
                "ARPA files use it as a mark; remove it from the sentence"
            )
        padded = (START,) * (order - 1) + (*sentence, END)
        grams.update(padded[i : i + order] for i in range(len(padded) - order + 1))
    counts: defaultdict[Words, Counter[str]] = defaultdict(Counter)
    while True:
        for gram, count in grams.items():
            counts[gram[:-1]][gram[-1]] += count
        if () in counts:
            return dict(counts)
        grams = Counter(gram[1:] for gram in grams)  # each kind counts once


def _log10(probability: float) -> str:
    return f"{math.log10(probability):.7f}" if probability > 0 else str(_NEVER)
