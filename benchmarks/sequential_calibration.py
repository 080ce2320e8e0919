"""Seeds in steps against fixed seeds: errors, power, runs and estimates on simulated sweeps.

`verdict_calibration.py --sequential` prints these tables. All sweeps of a line are decided at once
by `orchestrator.stats.runs_forecast.settle`; the first ones of each line are decided by
`orchestrator.verdicts.verdicts.decide` as well, and must get the same words at the same looks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from calibration_sweeps import (
    KINDS,
    MARGINS,
    N_STEPS,
    Kind,
    Runs,
    Sweep,
    make_interaction,
    make_sweep,
    simulate,
)
from spending_functions import spending_rows
from usual_practice import Rate

from orchestrator.spec.claims import bound_error, looks_of
from orchestrator.spec.schema import AblationSpec, Hypothesis, Look
from orchestrator.stats import effects as stats
from orchestrator.stats.early_stopping import StoppingRule, corrected
from orchestrator.stats.effects import Interval
from orchestrator.stats.run_values import counted_values
from orchestrator.stats.runs_forecast import Outcomes, Tests, settle, tests_of
from orchestrator.stats.shares import Share, boschloo_table, share_bounds, share_contrast
from orchestrator.verdicts.verdicts import decide

STEPS = {"start": 4, "max": 20, "step": 2}
MOST = 20
ALL = tuple(range(MOST))
# Margins over those of the other tables, so that 20 seeds are neither far too many nor too few.
SCALES = {"collapsed": 0.6, "escape_step": 0.6}
PER_SCALES: dict[Kind, float] = {
    "normal": 0.5,
    "skewed": 2.0,
    "bimodal with collapse": 10.0,
    "rare divergence": 4.0,
    "infrastructure gaps": 4.0,
}
EFFECTS = {"none": 0.0, "the margin": 1.0, "twice the margin": 2.0}
_N_CHECKED = 20
_SEED = 15_000_000


class Case(NamedTuple):
    """A line of a table: what is claimed, and how the runs vary.

    Attributes:
        kind: how runs vary and fail.
        outcome: of every claim.
        n_claims: claims of one family that share the reference arm.
        direction: of every claim.
        is_interaction: whether the claim is that a first factor has an effect only with a second.
        most: seeds of the last look; fixed seeds are 20 in any case.
    """

    kind: Kind
    outcome: str
    n_claims: int = 1
    direction: str = "increase"
    is_interaction: bool = False
    most: int = MOST

    @property
    def title(self) -> str:
        outcome = {"per": "PER", "collapsed": "collapse", "escape_step": "escape"}[self.outcome]
        way = {"increase": "", "either": ", either", "no_difference": ", no difference"}
        claims = f", {self.n_claims} claims" if self.n_claims > 1 else ""
        only = ", only with" if self.is_interaction else ""
        most = f", up to {self.most} seeds" if self.most != MOST else ""
        return f"{outcome}{way[self.direction]}{only}{claims}, {self.kind}{most}"

    @property
    def steps(self) -> dict[str, int]:
        return {**STEPS, "max": self.most}

    @property
    def margin(self) -> float:
        scale = PER_SCALES[self.kind] if self.outcome == "per" else SCALES[self.outcome]
        return scale * MARGINS[self.outcome]

    @property
    def n_arms(self) -> int:
        return 4 if self.is_interaction else self.n_claims + 1

    def sweep(self, seeds: Any, margin: float | None = None) -> Sweep:
        own = self.margin if margin is None else margin
        given = seeds if isinstance(seeds, dict) else list(seeds)
        if self.is_interaction:
            return make_interaction(self.outcome, MOST, own, seeds=given)
        outcomes = [self.outcome] * self.n_claims
        return make_sweep(outcomes, MOST, self.direction, {self.outcome: own}, seeds=given)

    def runs(self, n_sweeps: int, effect: float, rng: np.random.Generator) -> Runs:
        """Runs whose true effect is a multiple of the case's margin."""
        size = effect * self.margin / MARGINS[self.outcome]
        shape = (n_sweeps, self.n_arms, self.most)
        by_arm = [0.0, 2.0, -1.0, 1.0 + size] if self.is_interaction else size
        return simulate(self.kind, self.outcome, shape, by_arm, rng)


# The engine, all sweeps at once ----------------------------------------------------------------


def outcomes_of(case: Case, sweep: Sweep, runs: Runs) -> Outcomes:
    """How the claims of every sweep end; the first sweeps are checked against `decide`."""
    spec = sweep.plan.spec
    n_seeds = len(spec.seeds)
    runs = Runs(*(part[:, :, :n_seeds] for part in runs))
    looks = looks_of(spec)
    errors = [bound_error(spec, look) for look in looks]
    scenarios = _scenarios(case, runs)

    def tests(name: str, look: Look) -> Tests:
        claim, index = spec.hypotheses[name], list(spec.hypotheses).index(name)
        if case.outcome == "collapsed":
            error = errors[looks.index(look)]
            return _tests_of_shares(scenarios[0], claim, look, error)
        seen = []
        for values in scenarios:
            effects, simple = _effects(case, values, index)
            seen.append(tests_of(effects, claim, look, simple))
        if len(seen) == 1:
            return seen[0]
        has_gap = (runs.outcome[:, [0, index + 1], : look.seeds] == "failed").any(axis=(1, 2))
        return Tests(
            np.maximum(seen[0].p, seen[1].p),
            np.maximum(seen[0].refuting, seen[1].refuting),
            seen[0].is_large & seen[1].is_large,
            seen[0].means,
            np.where(has_gap, 0.0, seen[0].spreads),
        )

    is_stepped = spec.seed_steps is not None
    found = settle(spec, list(spec.hypotheses), looks, errors, tests, is_stepped=is_stepped)
    _check(sweep, runs, found)
    return found


def _scenarios(case: Case, runs: Runs) -> list[stats.Floats]:
    """What the runs count as, (sweeps, arms, seeds); with gaps, the best and the worst for all."""
    column = {"per": runs.per, "escape_step": runs.escape}.get(case.outcome, runs.per)
    flat = counted_values(case.outcome, runs.outcome.ravel(), column.ravel(), N_STEPS)
    values = flat.reshape(column.shape)
    gaps = np.isnan(values)
    if not gaps.any():
        return [values]
    assert case.outcome == "per" and np.nanmax(values) <= 1
    is_base = (np.arange(values.shape[1]) == 0)[None, :, None]
    return [np.where(gaps, np.where(is_base == is_best, 0.0, 1.0), values) for is_best in (1, 0)]


def _effects(
    case: Case, values: stats.Floats, index: int
) -> tuple[stats.Floats, stats.Floats | None]:
    """The effect in each sweep and seed, and the simple effect of an interaction."""
    if not case.is_interaction:
        return values[:, index + 1] - values[:, 0], None
    simple = values[:, 3] - values[:, 2]
    return simple - (values[:, 1] - values[:, 0]), simple


def _tests_of_shares(values: stats.Floats, claim: Hypothesis, look: Look, error: float) -> Tests:
    n = look.seeds
    to, reference = (values[:, arm, :n].sum(axis=1).astype(int) for arm in (1, 0))
    high = np.array(
        [[share_bounds(Share(a, n), Share(b, n), error).high for b in range(n + 1)]
         for a in range(n + 1)]
    )  # fmt: skip
    means = (to - reference) / n
    rates = [(k + 0.5) / (n + 1) for k in (to, reference)]
    spreads = np.sqrt(sum(rate * (1 - rate) for rate in rates))
    return Tests(
        boschloo_table(n, n)[to, reference],
        np.where(high[to, reference] < claim.margin, 0.0, 1.0),
        means >= claim.margin - 1e-12,
        means,
        spreads,
    )


def _check(sweep: Sweep, runs: Runs, found: Outcomes) -> None:
    """Compare the first sweeps with the whole engine."""
    n_seeds = [look.seeds for look in looks_of(sweep.plan.spec)]
    for index in range(min(_N_CHECKED, len(runs.per))):
        for verdict in decide(sweep.plan, sweep.table(runs, index)):
            word, seeds = found.words[verdict.name][index], found.seeds[verdict.name][index]
            is_futile = verdict.reason == "out of reach"
            same = "futile" if is_futile else verdict.word.replace("inconclusive", "open")
            assert word == same, (index, verdict.name, word, same)
            assert seeds == n_seeds[verdict.look - 1]


def _share_of_words(found: Outcomes, word: str) -> Rate:
    """Share of the claims with this word; claims of one sweep are not independent."""
    shares = np.mean([words == word for words in found.words.values()], axis=0)
    return Rate(float(shares.sum()), len(shares))


def _any(found: Outcomes, word: str) -> Rate:
    hits = np.any([words == word for words in found.words.values()], axis=0)
    return Rate(int(hits.sum()), len(hits))


# Tables -------------------------------------------------------------------------------------

ERROR_CASES = (
    *(Case(kind, "per") for kind in KINDS),
    Case("normal", "per", 3),
    Case("skewed", "per", 3),
    Case("infrastructure gaps", "per", 3),
    Case("normal", "collapsed"),
    Case("normal", "escape_step"),
    Case("skewed", "escape_step"),
    Case("normal", "per", 1, "either"),
    Case("skewed", "per", 1, "either"),
    Case("normal", "per", 1, "no_difference"),
    Case("normal", "per", is_interaction=True),
    Case("skewed", "per", is_interaction=True),
)
RUN_CASES = (
    *(Case(kind, "per") for kind in KINDS),
    Case("normal", "per", 3),
    Case("normal", "collapsed"),
    Case("normal", "escape_step"),
    Case("normal", "per", 1, "either"),
    Case("normal", "per", 1, "no_difference"),
    Case("normal", "per", most=28),
    Case("skewed", "per", most=28),
    Case("normal", "per", 3, most=32),
    Case("normal", "collapsed", most=32),
    Case("normal", "escape_step", most=28),
)
ESTIMATE_CASES = (
    *(Case(kind, "per") for kind in KINDS[:4]),
    Case("normal", "per", 1, "no_difference"),
    Case("normal", "collapsed"),
)


def error_rows(n_sweeps: int) -> Iterator[tuple[str, ...]]:
    """How often a sweep supports a claim that is false, or refutes one that is true."""
    for index, case in enumerate(ERROR_CASES):
        rng = np.random.default_rng([_SEED, index])
        rates = []
        for seeds in (STEPS, ALL):
            runs = case.runs(n_sweeps, 1.0, rng)
            margin = outcomes_of(case, case.sweep(seeds), runs)
            if case.direction == "no_difference":  # an effect of the margin is a difference
                rates += [str(_any(margin, "supported")), ""]
                continue
            # The margins are almost zero, so that only the tests decide.
            nothing = case.runs(n_sweeps, 0.0, rng)
            none = outcomes_of(case, case.sweep(seeds, margin=1e-9), nothing)
            rates += [str(_any(none, "supported")), str(_any(margin, "refuted"))]
        yield case.title, rates[0], rates[2], rates[1], rates[3]


def run_rows(n_sweeps: int) -> Iterator[tuple[str, ...]]:
    """Power and runs of seeds in steps, and of the fixed seeds with at least the same power."""
    for index, case in enumerate(RUN_CASES):
        for name, effect in EFFECTS.items():
            runs = case.runs(n_sweeps, effect, np.random.default_rng([_SEED, 100 + index]))
            is_real = effect < 2 if case.direction == "no_difference" else effect > 0
            word = "supported" if is_real else "refuted"
            found = outcomes_of(case, case.sweep(case.steps), runs)
            power = _share_of_words(found, word)
            whole = _share_of_words(outcomes_of(case, case.sweep(ALL), runs), word)
            each = np.array(list(found.seeds.values()))  # (claims, sweeps)
            used = (each.max(axis=0) + each.sum(axis=0)) / case.n_arms  # a mean over the arms
            mean, error = used.mean(), used.std() / math.sqrt(n_sweeps)
            same = ("", "")
            if effect != 1:  # at the margin, power is about one half for any number of seeds
                n_same = _fixed_seeds(case, runs, word, min(power.value, whole.value))
                same = (str(n_same), f"{100 * mean / n_same:.0f} %")
            yield (
                case.title,
                name,
                word,
                str(power),
                str(whole),
                str(_share_of_words(found, "futile")),
                f"{mean:.1f} ± {error:.1f}",
                f"{100 * mean / MOST:.0f} %",
                *same,
            )


def _fixed_seeds(case: Case, runs: Runs, word: str, power: float) -> int:
    """The fewest fixed seeds that reach a power on the same sweeps."""
    low, high = 2, MOST
    while high - low > 1:
        middle = (low + high) // 2
        found = outcomes_of(case, case.sweep(range(middle)), runs)
        low, high = (low, middle) if _share_of_words(found, word).value >= power else (middle, high)
    return high


def estimate_rows(n_sweeps: int) -> Iterator[tuple[str, ...]]:
    """Bias and coverage of the plain and of the corrected estimate."""
    for index, case in enumerate(ESTIMATE_CASES):
        for name, effect in EFFECTS.items():
            runs = case.runs(n_sweeps, effect, np.random.default_rng([_SEED, 200 + index]))
            sweep = case.sweep(STEPS)
            seeds = outcomes_of(case, sweep, runs).seeds["f0"].astype(int)
            rule = stopping_rule(sweep.plan.spec)
            true, (values,) = effect * case.margin, _scenarios(case, runs)
            stopped = zip(values[:, :2], seeds, strict=True)
            pairs = [_estimates(both[:, :n], case, rule) for both, n in stopped]
            plain, mended = ([pair[which] for pair in pairs] for which in (0, 1))
            yield (
                case.title,
                name,
                *(
                    _bias(np.array([one[0] for one in each]) - true, case)
                    for each in (plain, mended)
                ),
                *(_covered([one[1] for one in each], true) for each in (plain, mended)),
            )


def stopping_rule(spec: AblationSpec) -> StoppingRule:
    """When the only claim of an ablation stops."""
    (claim,), looks = spec.hypotheses.values(), looks_of(spec)
    return StoppingRule(
        claim.direction,
        claim.margin,
        tuple(look.seeds for look in looks),
        tuple(look.alpha for look in looks),
        tuple(bound_error(spec, look) for look in looks),
    )


def _estimates(
    values: stats.Floats, case: Case, rule: StoppingRule
) -> list[tuple[float, Interval]]:
    """Estimate and interval of a sweep that stopped, plain and corrected."""
    differences, n = values[1] - values[0], values.shape[1]
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    interval = stats.paired_interval(differences)
    if case.outcome == "collapsed":
        shares = [Share(int(values[arm].sum()), n) for arm in (1, 0)]
        interval = share_contrast(shares, (1, -1))
        rates = [(share.n_events + 0.5) / (n + 1) for share in shares]
        spread = math.sqrt(sum(rate * (1 - rate) for rate in rates))
    fair = corrected(mean, spread, n, rule, interval)
    return [(mean, interval), (fair.effect, fair.interval)]


def _bias(errors: Sequence[float], case: Case) -> str:
    scaled = 100 * np.array(errors) / case.margin
    return f"{scaled.mean():+.1f} ± {scaled.std() / math.sqrt(len(scaled)):.1f}"


def _covered(intervals: Sequence[Interval], true: float) -> str:
    return str(Rate(sum(low <= true <= high for low, high in intervals), len(intervals)))


TABLES: Mapping[str, tuple[str, tuple[str, ...], Callable[[int], Iterator[tuple[str, ...]]]]] = {
    "errors": (
        "Steps: sweeps with a false word (at most 5 %)",
        (
            "claims",
            "supported, nothing differs: steps",
            "fixed, 20 seeds",
            "refuted, an effect of the margin: steps",
            "fixed, 20 seeds",
        ),
        error_rows,
    ),
    "runs": (
        "Steps: power and runs",
        (
            "claims",
            "true effect",
            "right word",
            "steps find it",
            "20 fixed seeds find it",
            "out of reach",
            "seeds per arm",
            "runs, of 20 seeds",
            "fixed seeds of the same power",
            "runs, of those",
        ),
        run_rows,
    ),
    "estimates": (
        "Steps: estimates, in percent of the margin, and 95 % intervals",
        (
            "claims",
            "true effect",
            "bias of the mean",
            "bias, corrected",
            "interval of the mean covers",
            "corrected interval covers",
        ),
        estimate_rows,
    ),
    "spending": (
        "Steps: spending functions, one claim, normal differences, no futility",
        (
            "spending",
            "margin / spread",
            "supported at twice the margin",
            "seeds",
            "of fixed seeds of the same power",
            "refuted without an effect",
            "seeds",
            "of fixed seeds of the same power",
        ),
        spending_rows,
    ),
}
