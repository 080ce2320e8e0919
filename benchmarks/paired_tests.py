"""Compares tests of paired differences on effects that are zero, and their power.

    OMP_NUM_THREADS=1 python benchmarks/paired_tests.py            # about ten minutes on one core
    OMP_NUM_THREADS=1 python benchmarks/paired_tests.py --quick    # seconds, to see that it runs

`verdict_calibration.py` measures the engine as it is. This benchmark measures the choice: Student's
t, the engine's studentized test (t with Johnson's correction for skewness) and the exact sign-flip
or log-rank permutation, with Holm's correction over the claims of a sweep.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from calibration_sweeps import Floats
from scipy import special
from usual_practice import Rate
from verdict_calibration import _table

from orchestrator.stats import effects
from orchestrator.stats.power import power_paired, power_studentized
from orchestrator.stats.reach import first_seeds
from orchestrator.stats.run_values import restricted
from orchestrator.stats.shares import Share, share_contrast_p

SEEDS = (3, 4, 6, 10, 20)
MARGIN = 0.03  # of PER
BUDGET, STEPS_MARGIN = 1000, 40.0
_CORRELATION = 0.5
_SEED = 20_220_425

Test = Callable[[Floats], float]


def noise(shape: tuple[int, int, int], rng: np.random.Generator) -> Floats:
    """Standard normal noise, correlated between the arms of a seed."""
    shared = rng.standard_normal((shape[0], 1, shape[2]))
    return np.asarray(
        np.sqrt(_CORRELATION) * shared + np.sqrt(1 - _CORRELATION) * rng.standard_normal(shape)
    )


def null_pers(
    shape: tuple[int, int, int], rng: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    """PERs of arms with equal means, (n_sweeps, n_arms, n_seeds), in ten shapes."""
    spread = np.where(np.arange(shape[1]) == 0, 0.01, 0.04)[None, :, None]
    yield "normal", 0.3 + 0.02 * noise(shape, rng)
    yield "skewed", 0.3 * np.exp(0.25 * noise(shape, rng))
    tails = rng.standard_t(3, (shape[0], 1, shape[2])) + rng.standard_t(3, shape)
    yield "t with 3 degrees of freedom", 0.3 + 0.02 * tails
    yield "unequal spreads, 1 to 4", 0.3 + spread * noise(shape, rng)
    for rate in (0.25, 0.04):
        collapsed = rng.random(shape) < rate
        runs = 0.3 + 0.02 * noise(shape, rng)
        stuck = 0.97 + 0.005 * rng.standard_normal(shape)
        yield f"{rate:.0%} collapse in every arm", np.where(collapsed, stuck, runs)
    diverged = rng.random(shape) < 0.03
    yield "3% diverge in every arm", np.where(diverged, 1.0, 0.3 + 0.02 * noise(shape, rng))
    yield (
        "ties (PER in steps of 2 points)",
        np.round((0.3 + 0.02 * noise(shape, rng)) / 0.02) * 0.02,
    )
    for sign, side in ((1, "right"), (-1, "left")):
        runs = 0.3 + 0.01 * noise(shape, rng)
        tail = np.exp(0.5 * rng.standard_normal((shape[0], shape[1] - 1, shape[2])))
        runs[:, 1:] += sign * 0.04 * (tail - np.exp(0.125))
        yield f"arms skewed to the {side}, base normal", runs


def null_steps(
    shape: tuple[int, int, int], rng: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    """Steps to escape of two arms with equal restricted means; NaN for a run that never does."""
    spread = np.array([10, 100])[None, :, None]
    half = rng.random(shape) < 0.5
    yield "normal", 300 + 30 * noise(shape, rng)
    yield "skewed", 300 * np.exp(0.5 * noise(shape, rng))
    yield "half never escape", np.where(half, np.nan, 300 + 30 * noise(shape, rng))
    yield "evaluated every 50 steps", np.ceil((300 + 30 * noise(shape, rng)) / 50) * 50
    yield "unequal spreads, 1 to 10", 400 + spread * noise(shape, rng)


def student(differences: Floats) -> float:
    """Student's paired t."""
    if not effects.has_spread(differences):
        return effects.sign_flip(differences)
    n = len(differences)
    t = differences.mean() / differences.std(ddof=1) * np.sqrt(n)
    return float(2 * special.stdtr(n - 1, -abs(t)))


TESTS: dict[str, Test] = {
    "Student's t": student,
    "studentized": effects.studentized,
    "sign-flip": effects.sign_flip,
}


def false_support(differences: Floats, test: Test, margin: float) -> list[Rate]:
    """How often a sweep supports any claim of a zero effect: of an increase, and of either
    direction, each with the test alone and with the margin.

    Args:
        differences: (n_sweeps, n_claims, n_seeds).
        test: gives the p of one claim.
        margin: smallest effect that matters.
    """
    p = np.array([effects.holm([test(claim) for claim in sweep]) for sweep in differences])
    effect, n = differences.mean(axis=2), len(differences)
    significant = p < 0.05
    return [
        Rate(int((significant & supported).any(axis=1).sum()), n)
        for supported in (effect > 0, effect >= margin, effect != 0, abs(effect) >= margin)
    ]


def per_rows(n_claims: int, n_sweeps: int, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """The false support of each test, in every shape."""
    for n_seeds in SEEDS:
        for shape, runs in null_pers((n_sweeps, n_claims + 1, n_seeds), rng):
            differences = runs[:, 1:] - runs[:, :1]
            rates = [false_support(differences, test, MARGIN) for test in TESTS.values()]
            # Increase alone of every test; the other three of the studentized test.
            yield (
                *(shape, str(n_seeds)),
                *(f"{100 * rate[0].value:.1f}" for rate in rates),
                *(f"{100 * rate.value:.1f}" for rate in rates[1][1:]),
            )


def step_rows(n_sweeps: int, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """False support of claims about steps to escape by the two tests."""
    for n_seeds in (3, 4, 6, 10):
        for shape, raw in null_steps((n_sweeps, 2, n_seeds), rng):
            escaped = np.isfinite(raw) & (raw <= BUDGET)
            steps = restricted(raw, BUDGET)
            differences = steps[:, 1] - steps[:, 0]
            log_rank = np.array(
                [
                    effects.log_rank(s[1], e[1], s[0], e[0])
                    for s, e in zip(steps, escaped, strict=True)
                ]
            )
            own = np.array(
                [
                    effects.studentized(d) if effects.has_spread(d) else p
                    for d, p in zip(differences, log_rank, strict=True)
                ]
            )
            mean = differences.mean(axis=1)
            yield (
                *(shape, str(n_seeds)),
                *(
                    f"{100 * ((p < 0.05) & supported).mean():.1f}"
                    for p in (own, log_rank)
                    for supported in (mean > 0, mean >= STEPS_MARGIN)
                ),
            )


def share_rows(n_sweeps: int, rng: np.random.Generator) -> Iterator[tuple[str, ...]]:
    """Support of an interaction of collapse: without one, and with one of 60 and of 90 points."""
    weights = (1, -1, -1, 1)
    cases = {
        "none: all rates 25 %": (0.25, 0.25, 0.25, 0.25),
        "none: all rates 50 %": (0.5, 0.5, 0.5, 0.5),
        "none: 70, 30, 70 and 30 %": (0.7, 0.3, 0.7, 0.3),
        "60 points": (0.8, 0.2, 0.2, 0.2),
        "90 points": (0.95, 0.05, 0.05, 0.05),
    }
    for n_seeds in (4, 5, 6, 10):
        for what, rates in cases.items():
            for shared in (False, True):
                shape = (n_sweeps, 1 if shared else 4, n_seeds)
                runs = rng.random(shape) < np.array(rates)[None, :, None]
                found = {"contrast": 0, "flip": 0}
                for sweep in runs:
                    shares = [Share(int(arm.sum()), n_seeds) for arm in sweep]
                    differences = np.array(weights) @ sweep
                    up = differences.mean() > 1e-9
                    found["contrast"] += up and share_contrast_p(shares, weights) < 0.05
                    found["flip"] += up and effects.sign_flip(differences) < 0.05
                yield (
                    *(what, "the same" if shared else "independent", str(n_seeds)),
                    *(f"{100 * count / n_sweeps:.1f}" for count in found.values()),
                )


def seed_rows() -> Iterator[tuple[str, ...]]:
    """Fewest seeds with 80 % power, by the size of the effect and the number of claims."""
    for size in (1, 2, 3, 5):
        row = [f"{size}"]
        for n_claims in (1, 3, 5):
            for power in (power_studentized, power_paired):
                needed = first_seeds(lambda n: power(size, 1.0, n, 0.05 / n_claims) >= 0.8)  # noqa: B023
                row.append(str(needed))
        yield tuple(row)


def report(n_sweeps: int) -> Iterator[str]:
    """Yield the tables, each as soon as it is done."""
    rng = np.random.default_rng(_SEED)
    columns = (
        *("shape", "seeds"),
        *(f"increase, {name}" for name in TESTS),
        *("increase, margin of 3 points", "either", "either, margin of 3 points"),
    )
    for n_claims in (1, 3):
        title = f"PER, no effect, {n_claims} claim{'s' * (n_claims > 1)}: sweeps with false support"
        yield _table(title, columns, list(per_rows(n_claims, n_sweeps, rng)))
    yield _table(
        "Steps to escape, equal restricted means: false support of an increase",
        ("shape", "seeds", "studentized", "with a margin of 40", "log-rank", "with a margin of 40"),
        list(step_rows(n_sweeps // 4, rng)),
    )
    yield _table(
        "Interactions of collapse: support of an increase",
        ("interaction", "draws of the arms", "seeds", "Clopper–Pearson contrast", "sign-flip"),
        list(share_rows(n_sweeps // 8, rng)),
    )
    claims = [f"{m} claim{'s' * (m > 1)}, {t}" for m in (1, 3, 5) for t in ("studentized", "exact")]
    yield _table("Fewest seeds with 80 % power", ("effect, spreads", *claims), list(seed_rows()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=20_000, help="sweeps for each line")
    parser.add_argument("--quick", action="store_true", help="a few sweeps of every kind")
    options = parser.parse_args(arguments)
    n_sweeps = 80 if options.quick else options.sweeps
    started = time.monotonic()
    for table in report(n_sweeps):
        print(table, flush=True)
    print(f"{n_sweeps:,} sweeps a line for PER, in percent; {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
