import math

import numpy as np
import pytest
from scipy import special

from orchestrator.spec.claims import bound_error, looks_of
from orchestrator.spec.compared import Compared
from orchestrator.spec.schema import AblationSpec
from orchestrator.stats.power import power_studentized
from orchestrator.stats.runs_forecast import ExpectedRuns, expected_runs

STEPS = {"start": 4, "max": 20, "step": 4}
SPREAD = 0.04


def spec_of(names: tuple[str, ...] = ("h",), **changes: object) -> AblationSpec:
    one = {
        "claim": "It matters.",
        "contrast": {"factor": "f", "from": "a", "to": "b"},
        "outcome": "per",
        "direction": "increase",
        "margin": 0.03,
        **changes,
    }
    return AblationSpec.model_validate(
        {
            "name": "t",
            "question": "?",
            "base": "b.yaml",
            "factors": {"f": {"a": {}, "b": {}}},
            "seeds": STEPS,
            "hypotheses": dict.fromkeys(names, one),
        }
    )


def pair(to: str, reference: str = "base") -> tuple[Compared, ...]:
    return (Compared(to, 1.0, 0), Compared(reference, -1.0, 1))


def forecast(spec: AblationSpec, n_arms: int = 2, **more: object) -> tuple[ExpectedRuns, ...]:
    compared = {name: pair(name) for name in spec.hypotheses}
    return expected_runs(spec, compared, n_arms, {"per": SPREAD}, **more)  # type: ignore[arg-type]


def test_the_runs_are_those_of_studies_that_stop_by_the_rule() -> None:
    """The rule once more, for one claim, on other random numbers."""
    spec = spec_of()
    found = forecast(spec)
    rng = np.random.default_rng(3)
    for one, effect in zip(found, (0.0, 0.03, 0.06), strict=True):
        studies = effect + SPREAD * rng.standard_normal((4000, 20))
        n_left, seeds = np.ones(4000, dtype=bool), np.full(4000, 20.0)
        for look in looks_of(spec):
            n = look.seeds
            mean, error = studies[:, :n].mean(1), studies[:, :n].std(1, ddof=1) / math.sqrt(n)
            p = 2 * special.stdtr(n - 1, -np.abs(mean) / error)
            up = special.stdtr(n - 1, (mean - 0.03) / error) < bound_error(spec, look)
            now = n_left & (((p < look.alpha) & (mean >= 0.03)) | up)
            seeds[now], n_left = n, n_left & ~now
        # Futility stops some earlier, and the correction for skewness some later.
        assert one.n_runs == pytest.approx(2 * seeds.mean(), rel=0.08)


def test_the_fixed_design_has_the_power_of_the_looks() -> None:
    one = forecast(spec_of())[2]
    assert one.scenario == "twice the margin" and one.fixed_runs == 2 * one.fixed_seeds
    exact = power_studentized(0.06, SPREAD, one.fixed_seeds, 0.05, 0.03)
    assert exact == pytest.approx(one.power, abs=0.06)
    assert power_studentized(0.06, SPREAD, one.fixed_seeds - 1, 0.05, 0.03) < one.power + 0.03


def test_arms_that_no_claim_compares_train_the_first_seeds_only() -> None:
    few, more = forecast(spec_of()), forecast(spec_of(), n_arms=5)
    for one, other in zip(few, more, strict=True):
        assert other.n_runs == pytest.approx(one.n_runs + 3 * 4)
        assert other.fixed_runs == 5 * one.fixed_seeds


def test_a_shared_arm_goes_on_as_long_as_any_of_its_claims() -> None:
    one, three = forecast(spec_of()), forecast(spec_of(("h", "i", "j")), n_arms=4)
    for alone, together in zip(one, three, strict=True):
        assert together.n_runs > 2 * alone.n_runs  # a family of three needs more seeds
        assert together.n_runs <= 4 * 20


def test_a_claim_of_no_difference_is_supported_without_an_effect() -> None:
    none, margin, twice = forecast(spec_of(direction="no_difference", margin=0.06))
    assert none.power > 0.8 and twice.power > 0.8 and margin.power < 0.06


def test_shares_need_no_spread_and_unknown_spreads_give_nothing() -> None:
    shares = spec_of(outcome="collapsed", margin=0.4)
    assert len(expected_runs(shares, {"h": pair("h")}, 2, {}, {"h": 0.1})) == 3
    assert expected_runs(spec_of(), {"h": pair("h")}, 2, {}) == ()
