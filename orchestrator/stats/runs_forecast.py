"""How many runs a design with looks takes, before its first run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from orchestrator.spec.claims import (
    BOUND_ERROR,
    bound_error,
    corrections_of,
    is_share,
    looks_of,
    sign_of,
)
from orchestrator.spec.compared import Compared
from orchestrator.spec.schema import AblationSpec, Hypothesis, Look
from orchestrator.stats.effects import holm, p_below
from orchestrator.stats.futility import LEAST_CHANCE, chance_to_decide
from orchestrator.stats.reach import Adjust, adjustment
from orchestrator.stats.run_values import Bools, Floats

Words = np.ndarray[tuple[int], np.dtype[np.str_]]

_N_STUDIES = 500
_LEAST_RATE = 0.05  # shares of few runs are moved a little towards one half
_SEED = 15

Scenario = Literal["no effect", "the margin", "twice the margin"]


class ExpectedRuns(NamedTuple):
    """What a design with looks costs if every effect has one size, beside fixed seeds.

    Attributes:
        scenario: the true effect of every claim.
        n_runs: mean number of runs with the looks.
        power: mean share of the claims that are decided as they should be: supported, or refuted if
            there is no effect (the other way round for a claim of no difference). At an effect of
            the margin, the share that is supported.
        fixed_seeds: seeds per arm of the design without looks that has this power.
        fixed_runs: its number of runs.
    """

    scenario: Scenario
    n_runs: float
    power: float
    fixed_seeds: int
    fixed_runs: int


_EFFECTS: Mapping[Scenario, float] = {"no effect": 0.0, "the margin": 1.0, "twice the margin": 2.0}


def expected_runs(
    spec: AblationSpec,
    compared: Mapping[str, Sequence[Compared]],
    n_arms: int,
    spreads: Mapping[str, float],
    rates: Mapping[str, float] | None = None,
) -> tuple[ExpectedRuns, ...]:
    """Expected runs under no effect, effects of the margin and of twice the margin.

    They are means over a fixed sample of 500 sweeps with normal differences that share their arms,
    accurate to a few percent; the rule is that of `orchestrator.verdicts.verdicts.decide`, with the
    studentized test in place of every other.

    Args:
        spec: the ablation; it has looks.
        compared: hypothesis → the arms that it compares.
        n_arms: arms in all; those that no claim compares train the seeds of the first look.
        spreads: outcome → standard deviation of per-seed differences of two arms, as in
            `orchestrator.stats.power_forecast.forecast_power`; not needed for shares.
        rates: hypothesis → share of runs in the reference arms; one half if unknown.

    Returns:
        One entry per scenario; empty if no claim has a known spread. Claims without one are left
        out, and their arms count as if no claim compared them.
    """
    looks, n_most = looks_of(spec), len(spec.seeds)
    shapes = {
        name: math.sqrt(sum(part.weight**2 for part in compared[name]) / 2)
        for name in spec.hypotheses
    }
    known = {
        name: spread * shapes[name]
        for name, claim in spec.hypotheses.items()
        if math.isfinite(spread := _spread(claim, name, spreads, rates or {})) and spread > 0
    }
    if not known:
        return ()
    found = []
    for scenario, effect in _EFFECTS.items():
        simulated = _Simulated(spec, compared, known, effect)
        errors = [bound_error(spec, look) for look in looks]
        outcomes = simulated.decide(looks, errors, is_stepped=spec.seed_steps is not None)
        power = simulated.power(outcomes)
        fixed = _fixed_seeds(simulated, power, n_most)
        found.append(
            ExpectedRuns(
                scenario,
                simulated.n_runs(outcomes, n_arms, looks[0].seeds),
                power,
                fixed,
                fixed * n_arms,
            )
        )
    return tuple(found)


def _spread(
    claim: Hypothesis, name: str, spreads: Mapping[str, float], rates: Mapping[str, float]
) -> float:
    if not is_share(claim.outcome):
        return spreads.get(claim.outcome, math.nan)
    rate = min(max(rates.get(name, 0.5), _LEAST_RATE), 1 - _LEAST_RATE)
    return math.sqrt(2 * rate * (1 - rate))


def _fixed_seeds(simulated: "_Simulated", power: float, n_most: int) -> int:
    """The fewest seeds without looks that have a power; all of them if fewer do not."""
    spec = simulated.spec
    low, high = 2, n_most
    while high - low > 1:
        middle = (low + high) // 2
        one = Look(seeds=middle, alpha=spec.alpha)
        outcomes = simulated.decide([one], [BOUND_ERROR], is_stepped=False)
        low, high = (low, middle) if simulated.power(outcomes) >= power else (middle, high)
    return high


class Tests(NamedTuple):
    """The tests of a claim at a look, in each of many sweeps.

    Attributes:
        p: p of its test.
        refuting: p of its refutation: the error at which its bounds refute.
        is_large: whether the effect is large enough for support.
        means: the effect, in the claimed direction.
        spreads: standard deviation of the effect in one seed; 0 if the claim cannot be futile.
    """

    p: Floats
    refuting: Floats
    is_large: Bools
    means: Floats
    spreads: Floats


class Outcomes(NamedTuple):
    """How the claims of many sweeps end.

    Attributes:
        words: hypothesis → ``open`` (after the last look), ``supported``, ``refuted``, ``futile``.
        seeds: hypothesis → the seeds of the look that settled it.
    """

    words: Mapping[str, Words]
    seeds: Mapping[str, Floats]


def settle(
    spec: AblationSpec,
    names: Sequence[str],
    looks: Sequence[Look],
    errors: Sequence[float],
    tests: Callable[[str, Look], Tests],
    *,
    is_stepped: bool,
) -> Outcomes:
    """Apply the rule of `orchestrator.verdicts.verdicts.decide` to many sweeps at once.

    Args:
        spec: the ablation, for its families.
        names: the hypotheses, all others are left out.
        looks: the looks.
        errors: error of the bounds that refute, at each look.
        tests: hypothesis and look → its tests.
        is_stepped: whether seeds are trained in steps, so that the claims of a family share the
            error of the bounds and claims out of reach stop.
    """
    n_studies = len(tests(names[0], looks[0]).p)
    words = {name: np.full(n_studies, "open", dtype="<U9") for name in names}
    seeds = {name: np.full(n_studies, float(looks[-1].seeds)) for name in names}
    for correction in corrections_of(spec):
        own = [name for name in correction.names if name in words]
        is_shared = is_stepped and correction.method == "Holm"
        rejected = np.zeros((n_studies, len(own)), dtype=bool)
        for look, error in zip(looks, errors, strict=True) if own else ():
            seen = [tests(name, look) for name in own]
            before = np.stack([words[name] for name in own], axis=1)  # (sweeps, claims)
            is_open = before == "open"
            p = np.stack([one.p for one in seen], axis=1)
            p = _by_row(adjustment(correction), np.where(is_open, p, np.where(rejected, 0.0, 1.0)))
            q = np.stack([one.refuting for one in seen], axis=1)
            q = np.where(is_open, q, np.where(before == "refuted", 0.0, 1.0))
            q = _by_row(holm, q) if is_shared else q
            rejected |= is_open & (p < look.alpha)
            for index, name in enumerate(own):
                here, one = is_open[:, index], seen[index]
                supported = here & (p[:, index] < look.alpha) & one.is_large
                refuted = here & ~supported & (q[:, index] < error)
                words[name][supported], words[name][refuted] = "supported", "refuted"
            now = np.stack([words[name] for name in own], axis=1)
            n_open = np.maximum(1, len(own) - rejected.sum(axis=1))
            n_shares = np.maximum(1, len(own) - (now == "refuted").sum(axis=1)) if is_shared else 1
            for index, name in enumerate(own):
                one, claim = seen[index], spec.hypotheses[name]
                if is_stepped and look.seeds < looks[-1].seeds:
                    chance = chance_to_decide(
                        one.means,
                        one.spreads,
                        look.seeds,
                        looks[-1].seeds,
                        direction=claim.direction,
                        margin=claim.margin,
                        alpha=looks[-1].alpha / n_open,
                        bound_error=errors[-1] / n_shares,
                    )
                    words[name][(now[:, index] == "open") & (chance < LEAST_CHANCE)] = "futile"
                seeds[name][is_open[:, index] & (words[name] != "open")] = look.seeds
    return Outcomes(words, seeds)


def tests_of(values: Floats, claim: Hypothesis, look: Look, simple: Floats | None = None) -> Tests:
    """The studentized tests of a claim at a look.

    Args:
        values: (sweeps, seeds) the effect in each seed, in the claimed direction.
        claim: the claim.
        look: the look.
        simple: (sweeps, seeds) for an interaction, the contrast at its ``to`` level.
    """
    seen, margin = values[:, : look.seeds], claim.margin
    means = seen.mean(axis=1)
    is_two_sided = claim.direction in ("either", "no_difference")
    sizes = np.abs(means) if is_two_sided else means
    refuting = p_below(seen, margin)
    if is_two_sided:
        refuting = np.maximum(refuting, p_below(-seen, margin))
    if claim.direction == "no_difference":
        p, large = refuting, sizes < margin
        refuting = np.minimum(p_below(-seen, -margin), p_below(seen, -margin))
    else:
        p, large = _two_sided(seen), sizes >= margin - 1e-12
    if simple is not None:
        its = simple[:, : look.seeds]
        p, large = np.maximum(p, _two_sided(its)), large & (its.mean(axis=1) >= margin - 1e-12)
    return Tests(p, refuting, large, means, seen.std(axis=1, ddof=1))


def _two_sided(values: Floats) -> Floats:
    return np.asarray(np.minimum(1.0, 2 * np.minimum(p_below(values, 0.0), p_below(-values, 0.0))))


@dataclass(frozen=True)
class _Simulated:
    """Sweeps of which every claim has the same true effect.

    Attributes:
        spec: the ablation.
        compared: hypothesis → the arms that it compares.
        spreads: hypothesis → standard deviation of its effect in one seed.
        effect: the true effect, in margins.
    """

    spec: AblationSpec
    compared: Mapping[str, Sequence[Compared]]
    spreads: Mapping[str, float]
    effect: float

    def decide(
        self, looks: Sequence[Look], errors: Sequence[float], *, is_stepped: bool
    ) -> Outcomes:
        """How the claims of all sweeps end."""

        def tests(name: str, look: Look) -> Tests:
            claim = self.spec.hypotheses[name]
            is_joint = claim.interaction is not None and claim.direction != "no_difference"
            simple = self._values(name, n_sides=2) if is_joint else None
            return tests_of(self._values(name), claim, look, simple)

        return settle(self.spec, list(self.spreads), looks, errors, tests, is_stepped=is_stepped)

    def _values(self, name: str, n_sides: int = 4) -> Floats:
        """The effect in each sweep and seed, in the claimed direction.

        Arms are shared by the claims about one outcome, and independent otherwise.
        """
        claim, parts = self.spec.hypotheses[name], self.compared[name]
        scale = self.spreads[name] / math.sqrt(sum(part.weight**2 for part in parts))
        total = sum(
            part.weight * _arm_values(claim.outcome, part.arm_id, len(self.spec.seeds))
            for part in parts
            if part.side < n_sides
        )
        return np.asarray(sign_of(claim) * scale * total + self.effect * claim.margin)

    def power(self, outcomes: Outcomes) -> float:
        """Mean share of the claims with the word that they should have."""
        shares = []
        for name, found in outcomes.words.items():
            is_real = self.effect > 0
            if self.spec.hypotheses[name].direction == "no_difference":
                is_real = self.effect < 2
            shares.append(float((found == ("supported" if is_real else "refuted")).mean()))
        return math.fsum(shares) / len(shares)

    def n_runs(self, outcomes: Outcomes, n_arms: int, n_first: int) -> float:
        """Mean number of runs: an arm trains until all claims that compare it are settled."""
        by_arm: dict[str, Floats] = {}
        for name, seeds in outcomes.seeds.items():
            for part in self.compared[name]:
                so_far = by_arm.get(part.arm_id, np.zeros(_N_STUDIES))
                by_arm[part.arm_id] = np.maximum(so_far, seeds)
        used = math.fsum(float(seeds.mean()) for seeds in by_arm.values())
        return used + n_first * (n_arms - len(by_arm))


@lru_cache(maxsize=512)
def _arm_values(outcome: str, arm_id: str, n_seeds: int) -> Floats:
    """Standard normal values of an arm in each sweep, (sweeps, seeds)."""
    rng = np.random.default_rng([_SEED, *f"{outcome} {arm_id}".encode()])
    return rng.standard_normal((_N_STUDIES, n_seeds))


def _by_row(adjust: Adjust, values: Floats) -> Floats:
    if values.shape[1] == 1:
        return values
    return np.array([adjust(row) for row in values.tolist()])
