"""Measures how often the verdict engine is wrong, on thousands of sweeps with known true effects.

    python benchmarks/verdict_calibration.py            # a few minutes on one core
    python benchmarks/verdict_calibration.py --quick    # seconds, to see that it runs
    python benchmarks/verdict_calibration.py --sequential    # seeds in steps against fixed seeds

Every sweep is a table of runs for `orchestrator.verdicts.verdicts.decide`. For comparison, the
usual practice is applied too: an unpaired t-test on the completed runs, and the percentile
bootstrap.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from calibration_sweeps import (
    KINDS,
    MARGINS,
    N_STEPS,
    OUTCOMES,
    Floats,
    Kind,
    Runs,
    Sweep,
    make_interaction,
    make_sweep,
    simulate,
)
from scipy import special
from sequential_calibration import TABLES
from usual_practice import Rate, usual_practice

from orchestrator.stats.power import (
    power_equivalence,
    power_shares,
    power_studentized,
    separation,
)
from orchestrator.stats.reach import untestable
from orchestrator.verdicts.verdicts import Verdict, decide

NULL_DESIGNS = ((3, 1), (4, 2), (6, 3), (10, 5), (20, 20))  # (seeds, hypotheses)
MARGIN_SEEDS = (3, 6, 10, 20)
INTERACTION_SEEDS = (6, 10)
# Main effects of two crossed factors, in margins. The first is so large that its simple effect is
# always detected, so "only with" depends on the difference of differences alone.
MAIN_EFFECTS = {"per": (2.0, -1.0), "collapsed": (0.4, -0.2)}
_SEED = 20_220_425


# The engine ---------------------------------------------------------------------------------


def verdicts_of(sweep: Sweep, runs: Runs) -> Iterator[list[Verdict]]:
    """The engine's verdicts on each simulated sweep."""
    for index in range(len(runs.per)):
        yield decide(sweep.plan, sweep.table(runs, index))


def null_row(kind: Kind, n_sweeps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Family-wise false support if nothing differs, for every design.

    The margins are almost zero, so that only the tests decide.
    """
    rows = []
    for n_seeds, n_claims in NULL_DESIGNS:
        wrong, total = 0, 0
        for outcome in OUTCOMES:
            n = -(-n_sweeps // len(OUTCOMES))
            sweep = make_sweep([outcome] * n_claims, n_seeds, margins=dict.fromkeys(OUTCOMES, 1e-9))
            runs = simulate(kind, outcome, (n, n_claims + 1, n_seeds), 0.0, rng)
            for verdicts in verdicts_of(sweep, runs):
                wrong += any(verdict.word == "supported" for verdict in verdicts)
            total += n
        per = simulate(kind, "per", (n_sweeps, n_claims + 1, n_seeds), 0.0, rng)
        usual = usual_practice(per, 0.0, rng)
        rows.append(
            (kind, str(n_seeds), str(n_claims), str(Rate(wrong, total)), str(usual.claimed))
        )
    return rows


def margin_row(kind: Kind, n_sweeps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """False refutation and coverage if every true effect equals the margin."""
    rows = []
    for n_seeds in MARGIN_SEEDS:
        refuted, covered = dict.fromkeys(OUTCOMES, Rate(0, 0)), Rate(0, 0)
        for outcome in OUTCOMES:
            sweep = make_sweep([outcome], n_seeds)
            runs = simulate(kind, outcome, (n_sweeps, 2, n_seeds), 1.0, rng)
            found = [verdict for verdicts in verdicts_of(sweep, runs) for verdict in verdicts]
            refuted[outcome] = Rate(sum(v.word == "refuted" for v in found), len(found))
            if outcome == "per":
                low_high = [v.evidence.shown.interval for v in found if v.evidence.differences]
                hits = sum(low <= MARGINS["per"] <= high for low, high in low_high)
                covered = Rate(hits, len(low_high))
        per = simulate(kind, "per", (n_sweeps, 2, n_seeds), 1.0, rng)
        usual = usual_practice(per, MARGINS["per"], rng)
        rates = [str(refuted[outcome]) for outcome in OUTCOMES]
        rows.append(
            (kind, str(n_seeds), *rates, str(covered), str(usual.dismissed), str(usual.covered))
        )
    return rows


# Where the exact value is known -------------------------------------------------------------


def power_rows(n_sweeps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Power of the engine and its exact value."""
    rows = []

    def add(what: str, sweep: Sweep, runs: Runs, exact: float) -> None:
        words = [verdicts[0].word for verdicts in verdicts_of(sweep, runs)]
        found = Rate(words.count("supported"), len(words))
        rows.append((what, str(found), f"{100 * exact:.1f}", f"{100 * (found.value - exact):+.1f}"))

    for n_seeds, size in ((3, 5.0), (4, 3.0), (6, 2.0), (10, 1.0)):
        sweep = make_sweep(["per"], n_seeds, margins={"per": 0.01})
        runs = _two_arms(n_sweeps, n_seeds, rng.normal(0.02 * size, 0.02, (n_sweeps, n_seeds)))
        exact = power_studentized(0.02 * size, 0.02, n_seeds, 0.05, 0.01)
        what = f"PER, {n_seeds} seeds, effect of {size:g} spreads: 10,000 studies"
        add(what, sweep, runs, exact)
    for size in (1.0, 2.0):  # the margin is so small that only agreement of all seeds counts
        sweep = make_sweep(["per"], 6, margins={"per": 1e-9}, test="exact")
        runs = _two_arms(n_sweeps, 6, rng.normal(0.02 * size, 0.02, (n_sweeps, 6)))
        exact = float(special.ndtr(size)) ** 6
        add(f"PER, exact test, 6 seeds, effect of {size:g} spreads: all agree", sweep, runs, exact)
    for n_seeds, low, high in ((4, 0.05, 0.95), (6, 0.1, 0.8), (10, 0.2, 0.8)):
        events = rng.random((n_sweeps, 2, n_seeds)) < np.array([low, high])[None, :, None]
        outcome = np.where(events, "collapsed", "ok")
        runs = Runs(outcome, np.full(events.shape, 0.3), np.full(events.shape, 100.0))
        exact = power_shares(high, low, n_seeds, 0.05, margin=0.5)
        what = f"collapse, {n_seeds} seeds, {low:g} against {high:g}: every table counted"
        add(what, make_sweep(["collapsed"], n_seeds), runs, exact)
    for size in (1.5, 3.0):
        steps = 300 + 30 * rng.standard_normal((n_sweeps, 2, 4))
        steps[:, 1] += 30 * size
        runs = Runs(np.full(steps.shape, "ok"), np.full(steps.shape, 0.3), steps)
        sweep = make_sweep(["escape_step"], 4, margins={"escape_step": 1e-6}, test="exact")
        what = f"escape, exact test, 4 seeds, {size:g} spreads apart: complete separation"
        add(what, sweep, runs, separation(size, 4))
    for n_seeds in (5, 8):
        sweep = make_sweep(["per"], n_seeds, "no_difference")
        runs = _two_arms(n_sweeps, n_seeds, rng.normal(0, 0.025, (n_sweeps, n_seeds)))
        exact = power_equivalence(MARGINS["per"], 0.025, n_seeds, 0.05)
        add(f"no difference in PER, {n_seeds} seeds: 10,000 studies", sweep, runs, exact)
    return rows


def error_rows(n_sweeps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Errors of equivalence claims, looks and exploratory tables; each must be at most 5 %."""
    rows = []
    for n_seeds in (3, 6, 10, 20):
        for kind in KINDS[:4]:
            sweep = make_sweep(["per"], n_seeds, "either", margins={"per": 1e-9})
            runs = simulate(kind, "per", (n_sweeps, 2, n_seeds), 0.0, rng)
            null = Rate(_count(sweep, runs, "supported"), n_sweeps)
            rows.append(
                (f"'either' supported without an effect, {kind}, {n_seeds} seeds", str(null))
            )
            sweep = make_sweep(["per"], n_seeds, "either")
            runs = simulate(kind, "per", (n_sweeps, 2, n_seeds), 1.0, rng)
            real = Rate(_count(sweep, runs, "refuted"), n_sweeps)
            what = f"'either' refuted at a true effect of the margin, {kind}, {n_seeds} seeds"
            rows.append((what, str(real)))
    for n_seeds in (6, 10):
        sweep = make_sweep(["per"], n_seeds, "no_difference")
        runs = _two_arms(n_sweeps, n_seeds, rng.normal(MARGINS["per"], 0.02, (n_sweeps, n_seeds)))
        words = [verdicts[0].word for verdicts in verdicts_of(sweep, runs)]
        for word in ("supported", "refuted"):
            what = f"'no difference' {word} at a true effect of the margin, {n_seeds} seeds"
            rows.append((what, str(Rate(words.count(word), len(words)))))
    looks = [{"seeds": 5, "alpha": 0.01}, {"seeds": 10, "alpha": 0.04}]
    claims = {"PER": ("per", {"per": 1e-9}), "collapse": ("collapsed", {"collapsed": 1e-9})}
    for title, (outcome, margins) in claims.items():
        sweep = make_sweep([outcome], 10, margins=margins, looks=looks)
        runs = simulate("normal", outcome, (n_sweeps, 2, 10), 0.0, rng)
        found = Rate(_count(sweep, runs, "supported"), n_sweeps)
        rows.append(
            (f"{title}, no difference, looks at 5 (α .01) and 10 (α .04): supported", str(found))
        )
    sweep = make_sweep(["per"], 10, looks=looks)
    runs = simulate("normal", "per", (n_sweeps, 2, 10), 1.0, rng)
    found = Rate(_count(sweep, runs, "refuted"), n_sweeps)
    rows.append(("PER, effect of the margin, the same looks: refuted", str(found)))
    n_null, n_real = 10, 10
    sweep = make_sweep(["per"] * (n_null + n_real), 10, exploratory=True, margins={"per": 1e-9})
    runs = simulate("normal", "per", (n_sweeps, n_null + n_real + 1, 10), 0.0, rng)
    runs.per[:, 1 + n_null :] += 0.04
    shares = []
    for verdicts in verdicts_of(sweep, runs):
        hits = [index for index, verdict in enumerate(verdicts) if verdict.word == "supported"]
        shares.append(sum(index < n_null for index in hits) / max(1, len(hits)))
    mean, error = 100 * np.mean(shares), 100 * np.std(shares) / math.sqrt(n_sweeps)
    what = "exploratory table, 10 of 20 claims true: share of false ones among the supported"
    rows.append((what, f"{mean:.1f} ± {error:.1f}"))
    return rows


def limit_rows(n_sweeps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """The limits of the error rate of 'refuted': effects that most seeds do not show at all."""
    rows = []
    for n_seeds in (6, 10, 20):
        sweep = make_sweep(["per"], n_seeds)
        shape = (n_sweeps, 2, n_seeds)
        rare = simulate("normal", "per", shape, 0.0, rng)
        gone = rng.random((n_sweeps, n_seeds)) < MARGINS["per"] / 0.67  # to a PER of .97
        rare.per[:, 1] = np.where(gone, 0.97, rare.per[:, 1])
        rare.outcome[:, 1] = np.where(gone, "collapsed", rare.outcome[:, 1])
        one = Rate(_count(sweep, rare, "refuted"), n_sweeps)
        tail = simulate("normal", "per", shape, 0.0, rng)
        tail.per[:, 1] = tail.per[:, 0] + rng.exponential(MARGINS["per"], (n_sweeps, n_seeds))
        two = Rate(_count(sweep, tail, "refuted"), n_sweeps)
        rows.append((str(n_seeds), str(one), str(two)))
    return rows


def dropped_rows(n_sweeps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """An arm that diverges in half of its runs and is better in the others."""
    rows = []
    for n_seeds in (5, 6, 10):
        sweep = make_sweep(["per"], n_seeds, "decrease")
        runs = simulate("normal", "per", (n_sweeps, 2, n_seeds), 0.0, rng)
        gone = rng.random((n_sweeps, n_seeds)) < 0.5
        runs.per[:, 1] = np.where(gone, 1.0, runs.per[:, 1] - 0.06)
        runs.outcome[:, 1] = np.where(gone, "diverged", "ok")
        better = Rate(_count(sweep, runs, "supported"), n_sweeps)
        mirrored = Runs(runs.outcome, -runs.per, runs.escape)
        usual = usual_practice(mirrored, 0.0, rng).claimed
        rows.append((str(n_seeds), str(better), str(usual)))
    return rows


def coding_rows(n_sweeps: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """A collapsed run's PER: as measured, or 1.0."""
    rows = []
    sweep = make_sweep(["per"], 8, margins={"per": 0.02})
    shape = (n_sweeps, 2, 8)
    # Both arms have the same PER near the threshold; one is below it more often.
    below = rng.random(shape) < np.array([0.1, 0.9])[None, :, None]
    near = Runs(
        np.where(below, "collapsed", "ok"),
        0.96 + 0.01 * rng.standard_normal(shape),
        np.full(shape, np.nan),
    )
    far = simulate("bimodal with collapse", "per", shape, 0.0, rng)
    real = simulate("bimodal with collapse", "per", shape, 0.0, rng)
    more = rng.random((n_sweeps, 8)) < 0.7
    real.per[:, 1] = np.where(more, 0.97, real.per[:, 1])
    real.outcome[:, 1] = np.where(more, "collapsed", real.outcome[:, 1])
    cases = (
        ("same PER near the threshold, 10 % against 90 % below it: supported", near),
        ("no difference, a quarter collapses in both arms: supported", far),
        ("a quarter collapses against three quarters: supported", real),
    )
    for what, runs in cases:
        fixed = Runs(
            runs.outcome, np.where(runs.outcome == "collapsed", 1.0, runs.per), runs.escape
        )
        rates = [Rate(_count(sweep, each, "supported"), n_sweeps) for each in (runs, fixed)]
        rows.append((what, *(str(rate) for rate in rates)))
    return rows


def interaction_rows(
    kind: Kind, outcome: str, n_sweeps: int, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Claims of "only with": no interaction, and an interaction of the size of the margin."""
    first, second = MAIN_EFFECTS[outcome]
    rows = []
    for n_seeds in INTERACTION_SEEDS:
        shape = (n_sweeps, 4, n_seeds)
        runs = simulate(kind, outcome, shape, [0.0, first, second, first + second], rng)
        wrong = Rate(_count(make_interaction(outcome, n_seeds, 1e-9), runs, "supported"), n_sweeps)
        runs = simulate(kind, outcome, shape, [0.0, first, second, first + second + 1.0], rng)
        sweep = make_interaction(outcome, n_seeds, MARGINS[outcome])
        found = [verdicts[0] for verdicts in verdicts_of(sweep, runs)]
        refuted = Rate(sum(verdict.word == "refuted" for verdict in found), n_sweeps)
        intervals = [v.evidence.shown.interval for v in found if v.evidence.differences]
        hits = sum(low <= MARGINS[outcome] <= high for low, high in intervals)
        covered = Rate(hits, len(intervals))
        rows.append((kind, outcome, str(n_seeds), str(wrong), str(refuted), str(covered)))
    return rows


def reach_row(seeds: Sequence[int], claims: Sequence[int]) -> tuple[str, ...]:
    """Designs that `untestable` flags, compared with the verdict of the clearest result."""
    flagged, missed, wrongly, n_designs = 0, 0, 0, 0
    for n_seeds in seeds:
        for n_claims in claims:
            for outcome in OUTCOMES:
                sweep = make_sweep([outcome] * n_claims, n_seeds)
                shape = (1, n_claims + 1, n_seeds)
                apart = np.ones(shape, dtype=bool)
                apart[:, 0] = False
                runs = Runs(
                    np.where(apart, "collapsed", "ok"),
                    np.where(apart, 0.97, 0.3 + 0.001 * np.arange(n_seeds)),
                    np.where(apart, np.nan, 100.0 + np.arange(n_seeds)),
                )
                verdicts = next(verdicts_of(sweep, runs))
                out = untestable(sweep.plan.spec)
                for verdict in verdicts:
                    n_designs += 1
                    is_out = verdict.name in out
                    flagged += is_out
                    missed += not is_out and verdict.word != "supported"
                    wrongly += is_out and verdict.word == "supported"
    return str(n_designs), str(flagged), str(missed), str(wrongly)


def _two_arms(n_sweeps: int, n_seeds: int, differences: Floats) -> Runs:
    per = np.full((n_sweeps, 2, n_seeds), 0.3)
    per[:, 1] += differences
    return Runs(np.full(per.shape, "ok"), per, np.full(per.shape, N_STEPS / 4))


def _count(sweep: Sweep, runs: Runs, word: str) -> int:
    return sum(verdicts[0].word == word for verdicts in verdicts_of(sweep, runs))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"### {title}", "", "| " + " | ".join(columns) + " |"]
    lines.append("|" + "---|" * len(columns))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def report(n_sweeps: int, kinds: Sequence[Kind] = KINDS, reach_to: int = 20) -> Iterator[str]:
    """Yield the tables, each as soon as it is done."""
    rng = np.random.default_rng(_SEED)
    yield _table(
        "Nothing differs: how often a sweep supports any of its claims (at most 5 %)",
        ("scenario", "seeds", "claims", "engine", "t-test, completed runs"),
        [row for kind in kinds for row in null_row(kind, n_sweeps, rng)],
    )
    yield _table(
        "Every effect equals the margin: claims refuted (at most 5 %), intervals that cover it",
        (
            "scenario",
            "seeds",
            "PER refuted",
            "collapse refuted",
            "escape refuted",
            "95 % interval of PER covers",
            "t-test p ≥ .05, 'no effect'",
            "bootstrap interval covers",
        ),
        [row for kind in kinds for row in margin_row(kind, n_sweeps, rng)],
    )
    yield _table(
        "Power",
        ("claim", "engine supports", "exact", "difference"),
        power_rows(n_sweeps, rng),
    )
    yield _table(
        "Equivalence, looks, exploratory tables (at most 5 %)",
        ("error", "rate"),
        error_rows(n_sweeps, rng),
    )
    yield _table(
        "An arm that diverges in every second run and is 6 points better in the others",
        ("seeds", "engine: 'lower PER' supported", "t-test, completed runs"),
        dropped_rows(n_sweeps, rng),
    )
    yield _table(
        "Limits of the error rate: PER claims refuted, for an effect of the size of the margin",
        ("seeds", "a collapse in 4 % of runs", "an exponential tail of one arm"),
        limit_rows(n_sweeps, rng),
    )
    yield _table(
        "The PER of a collapsed run (margin 2 points, 8 seeds)",
        ("case", "as measured", "set to 1.0"),
        coding_rows(n_sweeps, rng),
    )
    yield interaction_table(n_sweeps, kinds)
    row = reach_row(range(2, reach_to + 1), (1, 2, 3, 5, 10, 20))
    yield _table(
        f"Reach, 2 to {reach_to} seeds, families of 1 to 20",
        ("claims", "flagged as untestable", "untestable but not flagged", "flagged but testable"),
        [row],
    )


def interaction_table(n_sweeps: int, kinds: Sequence[Kind] = KINDS) -> str:
    """The table of interactions; its random numbers do not depend on the other tables."""
    rng = np.random.default_rng([_SEED, 1])
    cases = [*((kind, "per") for kind in kinds), ("normal", "collapsed")]
    return _table(
        "Interactions: both factors have an effect, without or with an interaction of the margin",
        (
            "scenario",
            "outcome",
            "seeds",
            "no interaction: supported",
            "interaction of the margin: refuted",
            "interaction of the margin: 95 % interval covers",
        ),
        [row for kind, outcome in cases for row in interaction_rows(kind, outcome, n_sweeps, rng)],
    )


def sequential_tables(which: str, n_sweeps: int) -> Iterator[str]:
    """The tables of seeds in steps, each with its own random numbers."""
    for name, (title, columns, rows) in TABLES.items():
        if which in ("all", name):
            yield _table(title, columns, list(rows(n_sweeps)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=2000, help="sweeps for each line of a table")
    parser.add_argument("--interactions", action="store_true", help="only that table")
    parser.add_argument(
        "--sequential",
        nargs="?",
        const="all",
        choices=("all", *TABLES),
        help="only the tables of seeds in steps, or one of them",
    )
    parser.add_argument("--quick", action="store_true", help="a few sweeps of every kind")
    options: Any = parser.parse_args(arguments)
    n_sweeps = 6 if options.quick else options.sweeps
    started = time.monotonic()
    if options.sequential:
        tables = sequential_tables(options.sequential, n_sweeps)
    elif options.interactions:
        tables = iter([interaction_table(n_sweeps)])
    else:
        tables = report(n_sweeps, reach_to=6 if options.quick else 20)
    for table in tables:
        print(table, flush=True)
    print(
        f"{n_sweeps:,} sweeps a line, in percent ± Monte-Carlo standard error; "
        f"{time.monotonic() - started:.0f} s."
    )


if __name__ == "__main__":
    main()
