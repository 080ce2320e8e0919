"""Fractions of two-level designs: their generators, resolution and aliased effects.

The letters A, B, C, ... stand for the factors in their order, without I, which is the identity. The
first level of a factor is low, the second high. ``E=ABC`` sets factor E high if an odd number of A,
B and C are high (see Box, Hunter and Hunter, ch. 6).
"""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from decoder.errors import ConfigError

LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
MIN_RESOLUTION = 4
_ROMAN = ("0", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
_GENERATOR = re.compile(r"([A-Z])\s*=\s*([+-]?)\s*([A-Z]{2,})")
# Limits of the search for generators, which then takes the best ones found so far.
_MOST_NODES = 10_000
_MOST_WORDS = 10_000_000
_SHOWN_WORDS = 31

Masks = np.ndarray[Any, np.dtype[np.uint32]]


@dataclass(frozen=True)
class Generator:
    """A factor that is the product of base factors.

    Attributes:
        factor: its index.
        mask: the base factors, one bit each.
        sign: +1 or -1.
    """

    factor: int
    mask: int
    sign: int

    @property
    def text(self) -> str:
        return f"{LETTERS[self.factor]}={'-' * (self.sign < 0)}{_letters(self.mask)}"


@dataclass(frozen=True)
class FractionDocument:
    """A fraction as the plan document stores it.

    Attributes:
        letters: letter → factor.
        generators: the generators as text, such as ``E=ABC``.
        resolution: a roman numeral.
        defining_relation: the shortest words of the defining relation.
        n_defining_words: the number of all its words.
        aliases: effect → the effects that cannot be separated from it.
    """

    letters: Mapping[str, str]
    generators: tuple[str, ...]
    n_arms: int
    resolution: str
    defining_relation: tuple[str, ...]
    n_defining_words: int
    aliases: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class FractionalDesign:
    """A 2^(k-p) fraction.

    Attributes:
        factors: the names of the k factors, in the order of the letters.
        generators: the p generators.
        resolution: length of the shortest word of the defining relation.
        aliases: main effect or two-factor interaction → those that cannot be separated from it.
    """

    factors: tuple[str, ...]
    generators: tuple[Generator, ...]
    resolution: int
    aliases: Mapping[str, tuple[str, ...]]

    @property
    def n_arms(self) -> int:
        return 1 << (len(self.factors) - len(self.generators))

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Each arm: 0 (first level) or 1 (second level) for every factor."""
        k = len(self.factors)
        generated = {generator.factor: generator for generator in self.generators}
        base = [index for index in range(k) if index not in generated]
        for choice in itertools.product((0, 1), repeat=len(base)):
            row = dict(zip(base, choice, strict=True))
            for index, generator in generated.items():
                n_low = sum(not row[i] for i in base if generator.mask >> i & 1)
                row[index] = int((n_low % 2 == 0) == (generator.sign > 0))
            yield tuple(row[index] for index in range(k))

    def document(self) -> FractionDocument:
        """The fraction as the plan document stores it."""
        words = sorted(
            defining_words(self.generators),
            key=lambda word: (word[0].bit_count(), _letters(word[0])),
        )
        return FractionDocument(
            letters=dict(zip(LETTERS, self.factors, strict=False)),
            generators=tuple(generator.text for generator in self.generators),
            n_arms=self.n_arms,
            resolution=roman(self.resolution),
            defining_relation=tuple(
                "-" * (sign < 0) + _letters(mask) for mask, sign in words[:_SHOWN_WORDS]
            ),
            n_defining_words=len(words),
            aliases=dict(self.aliases),
        )


@functools.cache
def fractional(
    factors: tuple[str, ...], generators: tuple[str, ...] | None, n_arms: int | None
) -> FractionalDesign:
    """The fraction that a file describes.

    Args:
        generators: the generators as written; None searches for the best ones.
        n_arms: the number of arms for that search; None takes the fewest of resolution IV.

    Raises:
        ConfigError: the generators cannot be read, no fraction has this number of arms, or the
            resolution is below IV.
    """
    k = len(factors)
    if k > len(LETTERS):
        raise ConfigError(
            f"factors: a fraction has at most {len(LETTERS)}, but got {k}; leave factors out"
        )
    if generators is not None:
        chosen = _parse(generators, factors)
    else:
        chosen = _search(k, _n_base(k, n_arms))
    words = defining_words(chosen)
    shortest = min((mask for mask, _ in words), key=int.bit_count, default=(1 << k + 1) - 1)
    if (resolution := shortest.bit_count()) < MIN_RESOLUTION:
        named = " × ".join(factors[i] for i in range(k) if shortest >> i & 1)
        raise ConfigError(
            f"fraction.generators: must give at least resolution {roman(MIN_RESOLUTION)}, but got "
            f"{roman(resolution)} ({named} is constant, so a main effect is aliased with another "
            "effect of at most two factors); use longer generators or more arms"
        )
    return FractionalDesign(
        factors=tuple(factors),
        generators=chosen,
        resolution=resolution,
        aliases=_aliases(factors, [mask for mask, _ in words if mask.bit_count() == 4]),
    )


def effect_name(factors: Sequence[str]) -> str:
    """The name of a main effect or an interaction in an alias table."""
    return " × ".join(factors)


def roman(resolution: int) -> str:
    """A resolution as a roman numeral."""
    return _ROMAN[resolution] if resolution < len(_ROMAN) else str(resolution)


def defining_words(generators: Sequence[Generator]) -> list[tuple[int, int]]:
    """The words of the defining relation: the products of factors that are constant.

    Returns:
        (factors as a mask, sign) of each word.
    """
    words: list[tuple[int, int]] = [(0, 1)]
    for generator in generators:
        mask = generator.mask | 1 << generator.factor
        words += [(mask ^ other, generator.sign * sign) for other, sign in words]
    return words[1:]


def _aliases(factors: Sequence[str], words: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Aliases among main effects and two-factor interactions, from the words of four letters.

    At resolution IV a main effect has no such alias, and an interaction is aliased with those that
    complete it to a word.
    """
    k = len(factors)
    table: dict[str, tuple[str, ...]] = {name: () for name in factors}
    for i, j in itertools.combinations(range(k), 2):
        pair = 1 << i | 1 << j
        others = sorted(word ^ pair for word in words if word & pair == pair)
        table[effect_name((factors[i], factors[j]))] = tuple(
            effect_name([factors[n] for n in range(k) if other >> n & 1]) for other in others
        )
    return table


def _parse(texts: Sequence[str], factors: Sequence[str]) -> tuple[Generator, ...]:
    known = LETTERS[: len(factors)]
    found: list[Generator] = []
    problems = []
    for text in texts:
        match = _GENERATOR.fullmatch(text.strip())
        letters = match[1] + match[3] if match else ""
        if match is None or len(set(letters)) < len(letters):
            problems.append(f"'{text}' is not a generator; write for example E=ABC or E=-ABC")
        elif unknown := sorted(set(letters) - set(known)):
            problems.append(
                f"'{text}' names {', '.join(unknown)}, but the {len(factors)} factors are "
                f"{known[0]} to {known[-1]} (without I); use these letters"
            )
        else:
            mask = sum(1 << known.index(letter) for letter in match[3])
            found.append(Generator(known.index(match[1]), mask, -1 if match[2] == "-" else 1))
    generated = [generator.factor for generator in found]
    for generator in found:
        if generated.count(generator.factor) > 1:
            problems.append(f"{LETTERS[generator.factor]} is generated twice; keep one of them")
        if nested := [i for i in generated if generator.mask >> i & 1]:
            problems.append(
                f"'{generator.text}' uses {LETTERS[nested[0]]}, which is generated too; use "
                "letters of base factors only"
            )
    if problems:
        raise ConfigError([f"fraction.generators: {text}" for text in dict.fromkeys(problems)])
    return tuple(found)


def _n_base(k: int, n_arms: int | None) -> int:
    """The number of base factors, whose combinations are all trained."""
    fewest = 1 << (2 * k - 1).bit_length()  # 2k arms are needed to keep main effects clear
    if k < MIN_RESOLUTION:
        raise ConfigError(
            f"design: main effects would be aliased in a fraction of {k} factors; use design: "
            f"factorial, which has {1 << k} arms"
        )
    if n_arms is None:
        return fewest.bit_length() - 1
    if n_arms & (n_arms - 1) or not fewest <= n_arms < 1 << k:
        raise ConfigError(
            f"fraction.n_arms: must be a power of two from {fewest} to {1 << (k - 1)} for {k} "
            f"factors at resolution IV, but got {n_arms}"
        )
    return n_arms.bit_length() - 1


def _search(k: int, n_base: int) -> tuple[Generator, ...]:
    """The generators with the least aberration, that is with the fewest short words.

    Their signs are chosen so that the arm with every factor at its first level is in the fraction.
    """
    subsets = [mask for mask in range(1 << n_base) if mask.bit_count() >= 3]
    # Words of even length never alias main effects, so generators that make them are tried first.
    subsets.sort(key=lambda mask: (mask.bit_count() % 2 == 0, -mask.bit_count(), mask))
    best: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    n_nodes = n_words = 0
    stack: list[tuple[int, tuple[int, ...], Masks]] = [(0, (), np.zeros(1, np.uint32))]
    while stack and n_nodes < _MOST_NODES and n_words < _MOST_WORDS:
        start, chosen, words = stack.pop()
        n_nodes, n_words = n_nodes + 1, n_words + len(words)
        pattern = tuple(np.bincount(np.bitwise_count(words), minlength=k + 1).tolist()[1:])
        # Further generators only add words, so a branch never improves.
        if any(pattern[: MIN_RESOLUTION - 1]) or (best is not None and pattern >= best[0]):
            continue
        if len(chosen) == k - n_base:
            best = (pattern, chosen)
            continue
        branches = []
        for index in range(start, len(subsets)):
            mask = subsets[index]
            # Base factors can be renamed, so one first generator of each length is enough.
            if not chosen and mask != (1 << mask.bit_count()) - 1:
                continue
            word = np.uint32(mask | 1 << (n_base + len(chosen)))
            branches.append((index + 1, (*chosen, mask), np.concatenate([words, words ^ word])))
        stack += reversed(branches)
    assert best is not None  # subsets of odd size are enough, and are tried first
    return tuple(
        Generator(n_base + index, mask, 1 if mask.bit_count() % 2 else -1)
        for index, mask in enumerate(best[1])
    )


def _letters(mask: int) -> str:
    return "".join(letter for index, letter in enumerate(LETTERS) if mask >> index & 1)
