"""Candidates for the function that says how much of an error rate each look may spend."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy import special
from usual_practice import Rate

from orchestrator.spec.spending import levels_that_spend, spent
from orchestrator.stats.effects import Floats, upper_bounds

AT = (4, 6, 8, 10, 12, 14, 16, 18, 20)
_SEED = 15_000_300

_SPENDING: Mapping[str, Callable[[float, float], float] | None] = {
    "plain splitting": None,
    "Pocock-like (Lan & DeMets)": lambda t, a: a * math.log(1 + (math.e - 1) * t),
    "in proportion to seeds": spent,
    "power 1.5": lambda t, a: a * t**1.5,
    "power 2": lambda t, a: a * t**2,
    "O'Brien-Fleming-like (Lan & DeMets)": lambda t, a: float(
        2 * special.ndtr(special.ndtri(a / 2) / math.sqrt(t))
    ),
}


def spending_rows(n_sweeps: int) -> Iterator[tuple[str, ...]]:
    """Candidates for the spending function: seeds and power for one claim with normal differences.

    The last two columns are for effects of twice the margin and for none, each as seeds needed over
    the fixed seeds that decide as often.
    """
    studies = np.random.default_rng(_SEED).standard_normal((n_sweeps, AT[-1]))
    for name, shares in _SPENDING.items():
        alphas, errors = (
            [total / len(AT) for _ in AT]
            if shares is None
            else levels_that_spend(AT, [shares(n / AT[-1], total) for n in AT])
            for total in (0.05, 0.10)
        )
        rules = list(zip(AT, alphas, [error / 2 for error in errors], strict=True))
        for margin in (0.5, 0.75, 1.0, 1.5):
            cells = []
            for effect, column in ((2 * margin, 0), (0.0, 1)):
                *decided, seeds = _of_rule(studies + effect, margin, rules)
                same = next(
                    n
                    for n in range(3, AT[-1] + 1)
                    if n == AT[-1]
                    or _of_rule(studies + effect, margin, [(n, 0.05, 0.05)])[column]
                    >= decided[column]
                )
                power = Rate(decided[column] * n_sweeps, n_sweeps)
                cells += [str(power), f"{seeds:.1f}", f"{100 * seeds / same:.0f} %"]
            yield name, f"{margin:g}", *cells


def _of_rule(
    studies: Floats, margin: float, rules: Sequence[tuple[int, float, float]]
) -> tuple[float, float, float]:
    """Shares of studies that are supported and refuted, and their mean number of seeds."""
    words = np.zeros(len(studies), dtype=int)
    seeds = np.full(len(studies), rules[-1][0])
    for n, alpha, error in rules:
        seen = studies[:, :n]
        supported = (upper_bounds(-seen, alpha / 2) < 0) & (seen.mean(axis=1) >= margin)
        refuted = ~supported & (upper_bounds(seen, error) < margin)
        now = (words == 0) & (supported | refuted)
        words[now], seeds[now] = np.where(supported, 1, 2)[now], n
    return float((words == 1).mean()), float((words == 2).mean()), float(seeds.mean())
