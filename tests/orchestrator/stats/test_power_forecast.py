"""The forecast of power for each claim of a file: which test, which spread, which share."""

import math
from typing import Any

import pytest
from made_claims import claim

from orchestrator.spec.claims import choose_test
from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.stats.power import outlook
from orchestrator.stats.power_forecast import PowerForecast, forecast_power

OTHER = {"factor": "other", "from": "sum", "to": "mean"}
ALPHA = 0.05


def spec_of(hypotheses: dict[str, Any], **more: Any) -> AblationSpec:
    names = ["loss", "other", *(["third", "fourth"] if "design" in more else [])]
    return AblationSpec.model_validate(
        {
            "name": "t",
            "question": "?",
            "base": "b.yaml",
            "factors": {name: {"sum": {}, "mean": {}} for name in names},
            "seeds": list(range(8)),
            "hypotheses": hypotheses,
            **more,
        }
    )


def one(hypothesis: dict[str, Any], n: int = 8, **given: Any) -> PowerForecast:
    """The forecast of a claim alone; `given` are the spreads, and rates of shares."""
    more = {"design": "fractional"} if given.pop("fractional", False) else {}
    spec = spec_of({"h": hypothesis}, **more)
    [found] = forecast_power(spec, [n], given.get("spreads", {}), given.get("rates"))
    return found


def expected(hypothesis: dict[str, Any], spread: float, rate: float | None, **more: Any) -> float:
    claimed = Hypothesis.model_validate(hypothesis)
    test = choose_test(claimed, "fractional" if more.get("fractional") else "factorial")
    return outlook(test, claimed, 8, ALPHA, spread, rate, more.get("weights", (1, -1))).power


def test_a_metric_is_forecast_from_the_spread_of_its_differences() -> None:
    known = one(claim(), spreads={"per": 0.04})
    assert known.basis == "spread" and known.power == expected(claim(), 0.04, None)
    unknown = one(claim(), spreads={"val_loss": 0.04})
    assert unknown.basis == "unknown" and math.isnan(unknown.power)


def test_a_share_is_forecast_from_the_rate_of_its_own_claim_or_else_from_the_best_case() -> None:
    share = claim(outcome="collapsed", margin=0.5)
    rated = one(share, rates={"h": 0.3, "i": 0.1})
    assert rated.basis == "rate" and rated.power == expected(share, math.nan, 0.3)
    for rates in (None, {}, {"i": 0.3}):
        best = one(share, rates=rates)
        assert best.basis == "best case" and best.power == expected(share, math.nan, None)
    assert rated.power < best.power
    # The spread of a share follows from its rate; one that is given for its name is not read.
    assert one(share, spreads={"collapsed": 9.0}, rates={"h": 0.3}) == rated


def test_an_interaction_of_shares_has_its_own_test_and_weights() -> None:
    share = claim(outcome="collapsed", margin=0.5, interaction=OTHER)
    found = one(share, rates={"h": 0.1})
    weights = (1, -1, -1, 1)
    assert found.basis == "rate"
    assert found.power == expected(share, math.nan, 0.1, weights=weights)


def test_a_main_effect_over_a_fraction_has_the_test_and_weights_of_eight_arms() -> None:
    share = claim(outcome="collapsed", margin=0.5)
    found = one(share, rates={"h": 0.1}, fractional=True)
    weights = [0.25] * 4 + [-0.25] * 4
    assert found.basis == "rate"
    assert found.power == expected(share, math.nan, 0.1, weights=weights, fractional=True)


@pytest.mark.parametrize(
    ("rate", "used"), [(0.3, 0.3), (0.0, 0.05), (0.02, 0.05), (1.0, 0.95), (0.99, 0.95)]
)
def test_the_exact_test_of_an_interaction_of_shares_has_a_spread_from_the_rate(
    rate: float, used: float
) -> None:
    share = claim(outcome="collapsed", margin=0.5, interaction=OTHER, test="exact")
    found = one(share, rates={"h": rate})
    # Four runs whose shares are independent, each with a variance of p (1 - p).
    spread = math.sqrt(4 * used * (1 - used))
    assert found.basis == "rate"
    assert found.power == pytest.approx(expected(share, spread, rate), abs=1e-12)
    assert one(share).basis == "unknown"


def test_an_equivalence_claim_about_shares_assumes_the_best_case_whatever_the_rate() -> None:
    share = claim(outcome="collapsed", margin=0.5, direction="no_difference")
    assert one(share, rates={"h": 0.3}).basis == "best case"


def test_a_claim_is_reachable_if_its_lowest_p_is_below_alpha() -> None:
    share = claim(outcome="collapsed", margin=0.5, test="exact", interaction=OTHER)
    # The sign flip of n seeds has a lowest p of 2 ** (1 - n).
    assert [one(share, n).reachable for n in (5, 6)] == [False, True]
    spec = spec_of({"h": share}, alpha=2.0**-5)
    assert [f.reachable for f in forecast_power(spec, [6, 7], {})] == [False, True]


def test_exploratory_claims_are_adjusted_by_their_own_method() -> None:
    """Five claims of six seeds: 5 / 32 by Holm, 1 / 32 by Benjamini and Hochberg."""
    exact = claim(test="exact")
    holm = spec_of({name: exact for name in "abcde"})
    table = spec_of({name: {**exact, "exploratory": True} for name in "abcde"})
    assert not any(found.reachable for found in forecast_power(holm, [6], {"per": 0.01}))
    assert all(found.reachable for found in forecast_power(table, [6], {"per": 0.01}))
