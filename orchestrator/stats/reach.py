"""The lowest p a design can reach, and which claims it therefore cannot support."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from orchestrator.spec.cells import fraction_of
from orchestrator.spec.claims import (
    Correction,
    Test,
    choose_test,
    corrections_of,
    is_equivalence,
    looks_of,
)
from orchestrator.spec.names import listed
from orchestrator.spec.schema import AblationSpec, Hypothesis, Look
from orchestrator.stats import effects as stats
from orchestrator.stats.shares import (
    Share,
    boschloo,
    share_contrast_p,
    share_contrast_tost,
    share_tost,
)

Adjust = Callable[[Sequence[float]], list[float]]

_N_SEEDS_SEARCHED = 1000
_N_EXACT_SHARES = 30  # with more seeds per arm, the lowest p of two shares is taken at this number


@lru_cache(maxsize=4096)
def lowest_p(
    test: Test, n_seeds: int, margin: float = 1.0, weights: tuple[float, ...] = (1, -1)
) -> float:
    """The lowest p that `test` can reach with `n_seeds` per arm.

    A test of a difference reaches it when the arms are completely separated (two-sided p); a test
    of equivalence when there is no difference, or no event in any arm. The studentized tests have
    no lowest p: it falls as the spread of the differences does.

    Args:
        test: the test.
        n_seeds: seeds per arm.
        margin: the margin of an equivalence claim about shares.
        weights: the weights of the arms, for a claim about shares of more than two arms.
    """
    if n_seeds < 2 or (test == "studentized" and n_seeds < stats.FEWEST_STUDENTIZED):
        return 1.0
    none = Share(0, n_seeds)
    if test == "sign_flip":
        return 2.0 ** (1 - n_seeds)
    if test == "log_rank":
        return 2 / math.comb(2 * n_seeds, n_seeds)
    if test in ("tost", "studentized"):
        return 0.0
    if test == "share_contrast":
        return share_contrast_p(
            [Share(n_seeds if weight > 0 else 0, n_seeds) for weight in weights], weights
        )
    if test == "tost_shares":
        return share_tost(none, none, margin)
    if test == "tost_contrast":
        return share_contrast_tost([none] * len(weights), weights, margin)
    n = min(n_seeds, _N_EXACT_SHARES)  # more are expensive, and p is below any level of interest
    return boschloo(Share(n, n), Share(0, n))


class Reach(NamedTuple):
    """A test with what its lowest p depends on, see `lowest_p`."""

    test: Test
    margin: float
    weights: tuple[float, ...]

    def lowest(self, n_seeds: int) -> float:
        """The lowest p it can reach."""
        return lowest_p(self.test, n_seeds, self.margin, self.weights)


def attainable(tests: Sequence[Reach], n_seeds: int, adjust: Adjust = stats.holm) -> list[float]:
    """The lowest adjusted p of each test of a family, when every test reaches its lowest p."""
    return adjust([one.lowest(n_seeds) for one in tests])


def seeds_to_reach(
    tests: Sequence[Reach],
    index: int,
    alpha: float,
    adjust: Adjust = stats.holm,
) -> int | None:
    """Fewest seeds per arm with which test `index` of a family can reach a p below `alpha`.

    None if more than 1000 are needed.
    """
    return first_seeds(lambda n: attainable(tests, n, adjust)[index] < alpha)


def first_seeds(holds: Callable[[int], bool]) -> int | None:
    """Fewest seeds for which a monotone condition holds; None if more than 1000 are needed.

    Args:
        holds: number of seeds → condition. Once true, it must stay true for more seeds.
    """
    high = 2
    while not holds(high):
        if high >= _N_SEEDS_SEARCHED:
            return None
        high = min(2 * high, _N_SEEDS_SEARCHED)
    low = high // 2  # too few, unless high is 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def adjustment(correction: Correction) -> Adjust:
    """The function that adjusts the p-values of a correction."""
    return stats.holm if correction.method == "Holm" else stats.benjamini_hochberg


def reach_of(spec: AblationSpec, name: str) -> Reach:
    """The test of one hypothesis with what its lowest p depends on.

    Raises:
        ConfigError: the design is a fraction that cannot be constructed.
    """
    hypothesis = spec.hypotheses[name]
    signs = (1.0, -1.0, -1.0, 1.0) if hypothesis.interaction is not None else (1.0, -1.0)
    n_each = fraction_of(spec).n_arms // len(signs) if spec.design == "fractional" else 1
    weights = tuple(sign / n_each for sign in signs for _ in range(n_each))
    return Reach(choose_test(hypothesis, spec.design), hypothesis.margin, weights)


class Untestable(NamedTuple):
    """Why no result of a design can support a hypothesis.

    Attributes:
        reason: one sentence.
        seeds_needed: seeds per arm with which it could be supported; None if no number up to 1000
            is enough.
    """

    reason: str
    seeds_needed: int | None


def untestable(spec: AblationSpec) -> dict[str, Untestable]:
    """The hypotheses that no result of this design could support.

    Every claim of a family is assumed to come out as clearly as its test allows, which is the best
    case of the correction (`cautions` lists the claims that depend on it). With interim looks, the
    most favourable look counts.
    """
    found = {}
    for correction in corrections_of(spec):
        tests = [reach_of(spec, name) for name in correction.names]
        adjust = adjustment(correction)
        for index, name in enumerate(correction.names):
            hypothesis = spec.hypotheses[name]
            largest = _largest_effect(hypothesis)
            if hypothesis.margin > largest and not is_equivalence(hypothesis):
                found[name] = Untestable(
                    f"its margin of {hypothesis.margin:g} is more than the outcome can change "
                    f"(at most {largest:g}); lower the margin",
                    None,
                )
                continue
            reached = [attainable(tests, look.seeds, adjust)[index] for look in looks_of(spec)]
            if all(p >= look.alpha for p, look in zip(reached, looks_of(spec), strict=True)):
                last = looks_of(spec)[-1]
                needed = seeds_to_reach(tests, index, last.alpha, adjust)
                found[name] = Untestable(
                    _out_of_reach(correction, last, reached[-1], needed), needed
                )
    return {name: found[name] for name in spec.hypotheses if name in found}


def idle_looks(spec: AblationSpec) -> dict[str, tuple[int, ...]]:
    """The seeds of the looks at which no result could support a hypothesis, if others can.

    As in `untestable`, every claim of a family is assumed to come out as clearly as its test
    allows. A look may still refute the claim.
    """
    hopeless, found = untestable(spec), {}
    for correction in corrections_of(spec):
        tests = [reach_of(spec, name) for name in correction.names]
        adjust = adjustment(correction)
        reached = [(look, attainable(tests, look.seeds, adjust)) for look in looks_of(spec)]
        for index, name in enumerate(correction.names):
            idle = tuple(look.seeds for look, p in reached if p[index] >= look.alpha)
            if idle and name not in hopeless:
                found[name] = idle
    return {name: found[name] for name in spec.hypotheses if name in found}


def idle_texts(spec: AblationSpec) -> dict[str, str]:
    """`idle_looks` as sentences."""
    return {
        name: f"no result can support it at the looks of {listed(seeds)} seeds, where its "
        "p cannot be low enough; they can only refute it"
        for name, seeds in idle_looks(spec).items()
    }


def cautions(spec: AblationSpec) -> dict[str, str]:
    """The testable hypotheses that can be supported only if others of their family are too.

    With six seeds, for example, the lowest p of an exact test of PER is .031. In a family of three
    such a claim can be supported only if both others are significant, however clear its own effect.
    """
    hopeless, found = untestable(spec), {}
    for correction in corrections_of(spec):
        m = len(correction.names)
        for name in correction.names:
            reach = reach_of(spec, name)
            others = [
                min(
                    n
                    for n in range(m)
                    if _scaled(correction, reach.lowest(look.seeds), n) < look.alpha
                )
                for look in looks_of(spec)
                if _scaled(correction, reach.lowest(look.seeds), m - 1) < look.alpha
            ]
            if name in hopeless or not others or min(others) == 0:
                continue
            last, k = looks_of(spec)[-1], min(others)
            alone = seeds_to_reach([reach], 0, last.alpha / m)
            found[name] = (
                f"with {last.seeds} seeds its p cannot be below {reach.lowest(last.seeds):.3g}, "
                f"so among the {m} claims of family '{correction.family}' it can be supported only "
                f"if at least {k} other{'s are' if k != 1 else ' is'} significant too; use {alone} "
                "seeds or a separate family to avoid this"
            )
    return {name: found[name] for name in spec.hypotheses if name in found}


def _scaled(correction: Correction, p: float, n_others: int) -> float:
    """Adjusted p if `n_others` other claims of the family are significant."""
    m = len(correction.names)
    return p * (m - n_others) if correction.method == "Holm" else p * m / (n_others + 1)


def _out_of_reach(correction: Correction, look: Look, p: float, needed: int | None) -> str:
    n_claims = len(correction.names)
    remedy = f"use at least {needed} seeds" if needed else "even 1,000 seeds are not enough"
    return (
        f"with {look.seeds} seed{'s' * (look.seeds != 1)} its adjusted p cannot be below "
        f"{p:.3g}, so it cannot be supported (alpha is {look.alpha:g}, {n_claims} "
        f"claim{'s' * (n_claims != 1)} in family '{correction.family}'); {remedy}"
    )


def _largest_effect(hypothesis: Hypothesis) -> float:
    if hypothesis.outcome not in ("per", "collapsed", "diverged"):
        return math.inf
    return 1.0 if hypothesis.interaction is None else 2.0
