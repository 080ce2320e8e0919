"""What the tests of a design can reach at best: which claims no result could support."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from orchestrator.spec.cells import fraction_of
from orchestrator.spec.claims import Correction, Test, choose_test, corrections_of, looks_of
from orchestrator.spec.schema import AblationSpec, Hypothesis, Look
from orchestrator.stats import effects as stats
from orchestrator.stats.shares import Share, boschloo, share_contrast_tost, share_tost

Adjust = Callable[[Sequence[float]], list[float]]

_N_SEEDS_SEARCHED = 1000
_N_EXACT_SHARES = 30  # seeds per arm beyond which the lowest p of two shares is told no lower


@lru_cache(maxsize=4096)
def lowest_p(
    test: Test, n_seeds: int, margin: float = 1.0, weights: tuple[float, ...] = (1, -1)
) -> float:
    """The lowest p `test` can reach with `n_seeds` per arm.

    For a difference that is complete separation (two-sided p); for an equivalence claim no
    difference at all, without spread, or without an event in either arm.

    Args:
        test: the test.
        n_seeds: seeds per arm.
        margin: of an equivalence claim about shares.
        weights: of the arms, for such a claim about more than two.
    """
    if n_seeds < 2:
        return 1.0
    none = Share(0, n_seeds)
    if test == "sign_flip":
        return min(1.0, 2.0 ** (1 - n_seeds))
    if test == "log_rank":
        return min(1.0, 2 / math.comb(2 * n_seeds, n_seeds))
    if test == "tost":
        return 0.0
    if test == "tost_shares":
        return share_tost(none, none, margin)
    if test == "tost_contrast":
        return share_contrast_tost([none] * len(weights), weights, margin)
    if n_seeds > _N_EXACT_SHARES:  # far below any level of interest, and costly to compute
        return lowest_p("boschloo", _N_EXACT_SHARES)
    return boschloo(Share(n_seeds, n_seeds), none)


class Reach(NamedTuple):
    """A test, and what its reach depends on where it is about equal shares, see `lowest_p`."""

    test: Test
    margin: float = 1.0
    weights: tuple[float, ...] = (1, -1)

    def lowest(self, n_seeds: int) -> float:
        """The lowest p it can come to."""
        return lowest_p(self.test, n_seeds, self.margin, self.weights)


def attainable(tests: Sequence[Reach], n_seeds: int, adjust: Adjust = stats.holm) -> list[float]:
    """The lowest adjusted p of each test of a family, when all of them do their best."""
    return adjust([one.lowest(n_seeds) for one in tests])


def seeds_to_reach(
    tests: Sequence[Reach],
    index: int,
    alpha: float,
    adjust: Adjust = stats.holm,
) -> int | None:
    """Fewest seeds per arm at which test `index` of a family can come below `alpha`.

    None beyond 1000.
    """
    return first_seeds(lambda n: attainable(tests, n, adjust)[index] < alpha)


def first_seeds(holds: Callable[[int], bool]) -> int | None:
    """Fewest seeds at which a condition holds that, once true, stays so; None beyond 1000."""
    high = 2
    while not holds(high):
        if high >= _N_SEEDS_SEARCHED:
            return None
        high = min(2 * high, _N_SEEDS_SEARCHED)
    low = max(1, high // 2)  # too few, unless high is 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def adjustment(correction: Correction) -> Adjust:
    """The function that adjusts the p-values of a correction."""
    return stats.holm if correction.method == "Holm" else stats.benjamini_hochberg


def reach_of(spec: AblationSpec, name: str) -> Reach:
    """What the reach of one hypothesis depends on.

    Raises:
        ConfigError: the design is a fraction that cannot be made.
    """
    hypothesis = spec.hypotheses[name]
    signs = (1.0, -1.0, -1.0, 1.0) if hypothesis.interaction is not None else (1.0, -1.0)
    n_each = fraction_of(spec).n_arms // len(signs) if spec.design == "fractional" else 1
    weights = tuple(sign / n_each for sign in signs for _ in range(n_each))
    return Reach(choose_test(hypothesis, spec.design), hypothesis.margin, weights)


class Untestable(NamedTuple):
    """Why a hypothesis cannot be supported by its design, and the seeds per arm that would do."""

    reason: str
    seeds_needed: int | None


def untestable(spec: AblationSpec) -> dict[str, Untestable]:
    """The hypotheses that no result of this design could support, before any run is made.

    The correction's best case is assumed: every claim of the family comes out as clearly as its
    test allows (`cautions` names the claims that need it). With looks, the kindest of them.
    """
    found = {}
    for correction in corrections_of(spec):
        tests = [reach_of(spec, name) for name in correction.names]
        adjust = adjustment(correction)
        for index, name in enumerate(correction.names):
            hypothesis = spec.hypotheses[name]
            largest = _largest_effect(hypothesis)
            if hypothesis.margin > largest and hypothesis.direction != "none":
                found[name] = Untestable(
                    f"a margin of {hypothesis.margin:g} is more than the outcome can change "
                    f"({largest:g} at most)",
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


def cautions(spec: AblationSpec) -> dict[str, str]:
    """The testable hypotheses that can be supported only if others of their family are too.

    At six seeds a PER claim has a lowest p of .031, so in a family of three it is lost unless
    two others come out significant, however clear its own effect.
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
                f"with {last.seeds} seeds its p cannot come below {reach.lowest(last.seeds):.3g}, "
                f"so among the {m} claims of family '{correction.family}' it is supported only if "
                f"at least {k} other{'s' * (k != 1)} come{'s' * (k == 1)} out significant too; "
                f"{alone} seeds lift this condition, or a family of its own"
            )
    return {name: found[name] for name in spec.hypotheses if name in found}


def _scaled(correction: Correction, p: float, n_others: int) -> float:
    """Adjusted p where `n_others` claims of the family are significant beside this one."""
    m = len(correction.names)
    return p * (m - n_others) if correction.method == "Holm" else p * m / (n_others + 1)


def _out_of_reach(correction: Correction, look: Look, p: float, needed: int | None) -> str:
    n_claims = len(correction.names)
    remedy = f"{needed} seeds would do" if needed else "not even 1,000 seeds would do"
    return (
        f"with {look.seeds} seed{'s' * (look.seeds != 1)} the adjusted p cannot come below "
        f"{p:.3g}, so it cannot be supported (alpha is {look.alpha:g}, {n_claims} "
        f"claim{'s' * (n_claims != 1)} in family '{correction.family}'); {remedy}"
    )


def _largest_effect(hypothesis: Hypothesis) -> float:
    if hypothesis.outcome not in ("per", "collapsed", "diverged"):
        return math.inf
    return 1.0 if hypothesis.interaction is None else 2.0
