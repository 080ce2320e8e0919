"""Measures how often intervals of Kendall's tau hold the true one, at few arms and few seeds.

    python benchmarks/rank_agreement.py            # two minutes on one core
    python benchmarks/rank_agreement.py --quick    # seconds, to see that it runs

Each line is the worst case over four kinds of data and five strengths of dependence.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orchestrator.stats.rank_agreement import between_units, within_groups

Floats = NDArray[np.float64]
Draw = Callable[[float, tuple[int, int], np.random.Generator], tuple[Floats, Floats]]
RHOS = (0.0, 0.5, 0.8, 0.95, 0.99)
N_TRUE = 400_000  # pairs that give the true tau of a kind of data


def normal(rho: float, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Bivariate normal values."""
    x, e = rng.standard_normal((2, *shape))
    return x, rho * x + math.sqrt(1 - rho**2) * e


def heavy(rho: float, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Bivariate t with 2 degrees of freedom: both are extreme together."""
    x, y = normal(rho, shape, rng)
    scale = np.sqrt(rng.chisquare(2, shape) / 2)
    return x / scale, y / scale


def clayton(rho: float, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Clayton's copula, whose low values agree more than its high ones; tau as of `normal`."""
    tau = 2 / math.pi * math.asin(rho)
    u, v = rng.random((2, *shape))
    if tau == 0:
        return u, v
    theta = 2 * tau / (1 - tau)
    return u, (u**-theta * (v ** (-theta / (1 + theta)) - 1) + 1) ** (-1 / theta)


def two_clusters(
    rho: float, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Normal values, of which a fifth is far higher in both."""
    x, y = normal(rho, shape, rng)
    higher = 8.0 * (rng.random(shape) < 0.2)
    return x + higher, y + higher


KINDS: tuple[Draw, ...] = (normal, heavy, clayton, two_clusters)


def fieller(tau: float, n: int) -> tuple[float, float]:
    """The interval of Fieller, Hartley and Pearson (1957)."""
    z = math.atanh(tau) if abs(tau) < 1 else math.copysign(math.inf, tau)
    half = 1.96 * math.sqrt(0.437 / (n - 4))
    return math.tanh(z - half), math.tanh(z + half)


def arms_lines(n_studies: int, rng: np.random.Generator) -> None:
    """Print coverage over the means of independent arms."""
    print(
        "| arms | lowest | mean | Fieller, lowest | width at τ = .8, normal |\n|---:|" + "---:|" * 4
    )
    for n in (5, 6, 8, 10, 12, 15, 16, 20, 30, 40):
        covered, theirs, widths = [], [], []
        for draw in KINDS:
            for rho in RHOS:
                x, y = draw(rho, (N_TRUE, 2), rng)
                true = float(np.mean(np.sign(x[:, 0] - x[:, 1]) * np.sign(y[:, 0] - y[:, 1])))
                found = [
                    between_units(a, b)
                    for a, b in zip(*draw(rho, (n_studies, n), rng), strict=True)
                ]
                held = [one.interval.low <= true <= one.interval.high for one in found]
                covered.append(float(np.mean(held)))
                bounds = [fieller(one.tau, n) for one in found]
                theirs.append(float(np.mean([low <= true <= high for low, high in bounds])))
                if draw is normal and rho == 0.95:
                    widths = [one.interval.high - one.interval.low for one in found]
        cells = (min(covered), float(np.mean(covered)), min(theirs), float(np.mean(widths)))
        print(f"| {n} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |", flush=True)


def seeds_lines(n_studies: int, rng: np.random.Generator) -> None:
    """Print coverage over the runs within arms, whose seeds are shared."""
    print("\n| arms | seeds | variance of the seed | lowest | mean |\n|---:|" + "---:|" * 4)
    for n_arms, n_seeds in ((4, 4), (8, 4), (6, 6), (10, 6), (10, 10)):
        arm, seed = np.indices((n_arms, n_seeds)).reshape(2, -1)
        for shared in (0.0, 0.5, 0.9):
            covered = []
            for rho in (0.0, 0.5, 0.9):
                true = 2 / math.pi * math.asin(rho)
                own = normal(rho, (n_studies, n_arms, n_seeds), rng)
                common = normal(rho, (n_studies, 1, n_seeds), rng)
                x, y = (
                    (math.sqrt(1 - shared) * a + math.sqrt(shared) * b).reshape(n_studies, -1)
                    for a, b in zip(own, common, strict=True)
                )
                found = [within_groups(a, b, arm, seed) for a, b in zip(x, y, strict=True)]
                held = [one.interval.low <= true <= one.interval.high for one in found]
                covered.append(float(np.mean(held)))
            print(
                f"| {n_arms} | {n_seeds} | {shared:.0%} | {min(covered):.2f} | "
                f"{np.mean(covered):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    n_studies = 20 if parser.parse_args().quick else 1000
    generator = np.random.default_rng(20_261_128)
    arms_lines(n_studies, generator)
    seeds_lines(n_studies, generator)
