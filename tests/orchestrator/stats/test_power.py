import functools
import math
from itertools import product
from typing import Any

import made_claims
import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from orchestrator.spec.schema import AblationSpec, Hypothesis
from orchestrator.stats import effects as stats
from orchestrator.stats import power
from orchestrator.stats.power import (
    outlook,
    power_equivalence,
    power_log_rank,
    power_paired,
    power_share_contrast,
    power_shares,
    power_studentized,
    separation,
)
from orchestrator.stats.power_forecast import PowerForecast, forecast_power
from orchestrator.stats.reach import lowest_p
from orchestrator.stats.shares import (
    Share,
    boschloo,
    boschloo_table,
    contrast_bounds,
    share_contrast_p,
)

claim = functools.partial(made_claims.claim, margin=0.02)


def hypothesis(**changes: Any) -> Hypothesis:
    return Hypothesis.model_validate(claim(**changes))


@pytest.mark.parametrize(("n", "effect"), [(8, 1.0), (10, 0.5), (20, 0.7), (50, 0.4)])
def test_power_is_that_of_the_paired_t_test(n: int, effect: float) -> None:
    expected = TTestPower().power(effect, n, 0.05)
    assert power_paired(effect, 1.0, n, 0.05) == pytest.approx(expected, abs=0.0005)
    assert power_paired(effect / 50, 0.02, n, 0.05) == pytest.approx(expected, abs=0.0005)


def test_power_of_the_studentized_test_is_that_of_simulated_studies() -> None:
    samples = np.random.default_rng(3).normal(1.2, 1.0, (4000, 6))
    significant = np.array([stats.studentized(row) < 0.05 and row.mean() > 0 for row in samples])
    reached = samples.mean(axis=1) >= 1.0
    assert power_studentized(1.2, 1.0, 6, 0.05) == pytest.approx(significant.mean(), abs=0.02)
    with_margin = np.mean(significant & reached)
    assert power_studentized(1.2, 1.0, 6, 0.05, 1.0) == pytest.approx(with_margin, abs=0.02)
    in_points = power_studentized(0.012, 0.01, 6, 0.05, 0.01)
    assert in_points == pytest.approx(power_studentized(1.2, 1.0, 6, 0.05, 1.0))
    assert power_studentized(100.0, 1.0, 2, 0.05) == 0.0
    # Just below and from 50 seeds on, one is a sample and the other the t distribution.
    sampled, exact = (power_studentized(0.4, 1.0, n, 0.05) for n in (49, 50))
    assert exact == pytest.approx(sampled, abs=0.02)


def test_power_of_a_contrast_of_shares_is_that_of_simulated_studies() -> None:
    rates, weights = (0.9, 0.1, 0.1, 0.1), (1, -1, -1, 1)
    counts = np.random.default_rng(4).binomial(6, rates, (3000, 4))
    supported = 0
    for row in counts:
        shares = [Share(int(k), 6) for k in row]
        effect = row @ np.array(weights) / 6
        supported += effect >= 0.5 - 1e-12 and share_contrast_p(shares, weights) < 0.05
    expected = supported / len(counts)
    assert power_share_contrast(rates, weights, 6, 0.05, 0.5) == pytest.approx(expected, abs=0.03)
    turned = [-weight for weight in weights]
    assert power_share_contrast(rates, turned, 6, 0.05, 0.5) == pytest.approx(expected, abs=0.03)


def test_either_direction_is_forecast_where_there_is_room() -> None:
    both = hypothesis(outcome="collapsed", margin=0.4, direction="either")
    down = hypothesis(outcome="collapsed", margin=0.4, direction="decrease")
    assert outlook("boschloo", both, 8, 0.05, rate_from=0.9) == outlook(
        "boschloo", down, 8, 0.05, rate_from=0.9
    )


def test_power_at_the_fewest_seeds_is_the_chance_that_all_agree() -> None:
    rng = np.random.default_rng(5)
    samples = rng.normal(1.2, 1.0, (4000, 6))
    agree = np.mean((samples > 0).all(axis=1))
    assert power_paired(1.2, 1.0, 6, 0.05) == pytest.approx(agree, abs=0.02)
    assert power_paired(100.0, 1.0, 5, 0.05) == 0.0


def test_power_counts_only_estimates_that_reach_the_margin() -> None:
    # At a true effect of the margin half of the estimates fall short of it, at any n.
    assert power_paired(0.5, 1.0, 200, 0.05) > 0.99
    assert power_paired(0.5, 1.0, 200, 0.05, margin=0.5) == pytest.approx(0.5, abs=0.01)
    rng = np.random.default_rng(2)
    samples = rng.normal(1.0, 1.0, (20000, 9))
    error = samples.std(axis=1, ddof=1) / 3
    mean = samples.mean(axis=1)
    hits = np.mean((mean / error > stats.t_quantile(0.975, 8)) & (mean >= 0.8))
    assert power_paired(1.0, 1.0, 9, 0.05, margin=0.8) == pytest.approx(hits, abs=0.01)


def test_power_of_two_shares_by_hand() -> None:
    # At three seeds only 3 of 3 against 0 of 3 is below .05.
    assert power_shares(0.9, 0.1, 3, 0.05) == pytest.approx(0.9**3 * 0.9**3)
    assert power_shares(0.9, 0.1, 2, 0.05) == 0.0
    expected = sum(
        math.comb(6, a) * 0.8**a * 0.2 ** (6 - a) * math.comb(6, b) * 0.2**b * 0.8 ** (6 - b)
        for a in range(7)
        for b in range(a)
        if boschloo(Share(a, 6), Share(b, 6)) < 0.05 and a - b >= 3
    )
    assert power_shares(0.8, 0.2, 6, 0.05, margin=0.5) == pytest.approx(expected)
    assert power_shares(0.8, 0.2, 6, 0.05, margin=4 / 6) == pytest.approx(expected)
    for to, reference in ((0.8, 0.2), (0.2, 0.8)):  # only 6 of 6 against none differ by 90 %
        assert power_shares(to, reference, 6, 0.05, margin=0.9) == pytest.approx(0.8**12)
    assert power_shares(1.0, 0.0, 1, 0.05) == 0.0


def test_power_of_two_shares_is_continued_by_its_approximation() -> None:
    exact, beyond = power_shares(0.5, 0.1, 30, 0.05), power_shares(0.5, 0.1, 31, 0.05)
    assert beyond == pytest.approx(exact, abs=0.06)
    k = np.arange(31)
    more = (boschloo_table(30, 30) < 0.05) & (k[:, None] > k)
    by_hand = scipy_stats.binom.pmf(k, 30, 0.5) @ more @ scipy_stats.binom.pmf(k, 30, 0.1)
    assert exact == pytest.approx(by_hand)


def test_separation_is_the_chance_that_all_of_one_arm_exceed_all_of_the_other() -> None:
    assert separation(0.0, 3) == pytest.approx(1 / math.comb(6, 3), abs=1e-4)
    assert separation(1.5, 1) == pytest.approx(0.8556, abs=1e-3)  # Φ(1.5 / √2)
    assert power_log_rank(2.0, math.sqrt(2), 4, 0.05) == pytest.approx(separation(2.0, 4))
    assert power_log_rank(2.0, 1.0, 3, 0.05) == 0.0


def test_power_of_an_equivalence_claim_is_that_of_simulated_studies() -> None:
    samples = np.random.default_rng(3).normal(0, 0.02, (4000, 8))
    shown = np.mean([stats.tost_paired(row, 0.03) < 0.05 for row in samples])
    assert power_equivalence(0.03, 0.02, 8, 0.05) == pytest.approx(shown, abs=0.02)
    assert power_equivalence(1.0, 0.02, 8, 0.05) == pytest.approx(1.0)
    assert power_equivalence(1e6, 1.0, 2, 0.05) == 1.0
    assert power_equivalence(1e6, 1.0, 1, 0.05) == 0.0
    # Just below and from 50 seeds on, one is a sample and the other the t distribution.
    sampled, exact = (power_equivalence(0.4, 1.0, n, 0.05) for n in (49, 50))
    assert exact == pytest.approx(sampled, abs=0.02)
    assert power_equivalence(0.1, 1.0, 50, 0.05) == 0.0


@pytest.mark.parametrize("n", [7, 9, 15])
def test_a_detectable_effect_has_80_percent_power(n: int) -> None:
    found = outlook("sign_flip", hypothesis(), n, 0.05, 0.02)
    assert power_paired(found.detectable, 0.02, n, 0.05, 0.02) == pytest.approx(0.8, abs=1e-6)
    equal = outlook("tost", hypothesis(direction="no_difference"), n, 0.05, 0.02)
    assert power_equivalence(equal.detectable, 0.02, n, 0.05) == pytest.approx(0.8, abs=1e-6)


def test_a_detectable_share_has_80_percent_power_and_needs_room() -> None:
    collapse = hypothesis(outcome="collapsed", margin=0.4)
    found = outlook("boschloo", collapse, 12, 0.05, rate_from=0.1)
    assert power_shares(0.1 + found.detectable, 0.1, 12, 0.05, 0.4) == pytest.approx(0.8, abs=1e-3)
    assert outlook("boschloo", collapse, 12, 0.05, rate_from=0.9).detectable == math.inf


def test_seeds_needed_are_the_fewest_with_80_percent_power() -> None:
    n = outlook("sign_flip", hypothesis(), 6, 0.05, 0.02).seeds_needed
    assert n is not None
    assert power_paired(0.02, 0.02, n, 0.05) >= 0.8 > power_paired(0.02, 0.02, n - 1, 0.05)
    assert outlook("sign_flip", hypothesis(margin=1e-6), 6, 0.05, 1.0).seeds_needed is None
    few = outlook("boschloo", hypothesis(outcome="collapsed", margin=0.9), 6, 0.05).seeds_needed
    assert few is not None and 3 <= few <= 5


def test_nothing_is_said_without_a_spread_or_within_reach_of_alpha() -> None:
    unknown = outlook("sign_flip", hypothesis(), 6, 0.05)
    assert math.isnan(unknown.power) and math.isnan(unknown.detectable)
    short = outlook("sign_flip", hypothesis(), 5, 0.05, 0.02)
    assert (short.power, short.detectable) == (0.0, math.inf)


def forecasts(n_seeds: list[int], **changes: Any) -> dict[tuple[str, int], PowerForecast]:
    spec = AblationSpec.model_validate(
        {
            "name": "t",
            "question": "?",
            "base": "b.yaml",
            "factors": {"loss": {"sum": {}, "mean": {}}},
            "seeds": [0, 1, 2, 3],
            "hypotheses": {
                "per": claim(),
                "exact": claim(test="exact", family="fourth"),
                "collapse": claim(outcome="collapsed", margin=0.6),
                "slow": claim(outcome="escape_step", margin=40, family="other"),
                "equal": claim(direction="no_difference", margin=0.03, family="third"),
            },
            **changes,
        }
    )
    found = forecast_power(spec, n_seeds, {"per": 0.01})
    return {(one.hypothesis, one.n_seeds): one for one in found}


def test_a_forecast_says_for_each_number_of_seeds_what_is_in_reach() -> None:
    found = forecasts([4, 6, 10])
    assert len(found) == 15
    assert [found["exact", n].reachable for n in (4, 6, 10)] == [False, True, True]
    assert found["exact", 4].power == 0.0 and math.isinf(found["exact", 4].detectable)
    assert found["exact", 10].power == pytest.approx(power_paired(0.02, 0.01, 10, 0.05))
    # Two claims in the family: α is halved.
    assert all(found["per", n].reachable for n in (4, 6, 10))
    assert found["per", 6].power == pytest.approx(power_studentized(0.02, 0.01, 6, 0.025))
    assert found["collapse", 6].power == pytest.approx(power_shares(0.6, 0.0, 6, 0.025))
    assert found["collapse", 6].basis == "best case"
    assert found["slow", 6].basis == "unknown" and math.isnan(found["slow", 6].power)
    assert found["equal", 6].power == pytest.approx(power_equivalence(0.03, 0.01, 6, 0.05))


def test_more_seeds_never_forecast_less() -> None:
    found = forecasts(list(range(3, 21)))
    for name in ("per", "equal"):
        powers = [found[name, n].power for n in range(3, 21)]
        sizes = [found[name, n].detectable for n in range(3, 21)]
        assert powers == sorted(powers) and sizes == sorted(sizes, reverse=True)


def test_a_forecast_under_looks_has_what_the_last_look_may_spend() -> None:
    looks = [{"seeds": 2, "alpha": 0.01}, {"seeds": 4, "alpha": 0.04}]
    found = forecasts([10], looks=looks)
    assert found["per", 10].power == pytest.approx(power_studentized(0.02, 0.01, 10, 0.02))


def test_a_forecast_takes_the_spread_of_what_is_compared() -> None:
    factors = {factor: {"off": {}, "on": {}} for factor in "ABCD"}
    contrast = {"factor": "A", "from": "off", "to": "on"}
    other = {"factor": "B", "from": "off", "to": "on"}
    where = {"B": "off", "C": "off", "D": "off"}
    claims = {
        "simple": claim(contrast=contrast, where=where, family="a"),
        "double": claim(contrast=contrast, interaction=other, where={"C": "off"}, family="b"),
    }
    spec = {"name": "t", "question": "?", "base": "b.yaml", "seeds": [1], "factors": factors}
    whole = AblationSpec.model_validate({**spec, "hypotheses": claims})
    simple, double = forecast_power(whole, [8], {"per": 0.02})
    assert simple.power == pytest.approx(power_studentized(0.02, 0.02, 8, 0.05))
    # Four arms instead of two: the variance is twice as large.
    assert double.power == pytest.approx(power_studentized(0.02, 0.02 * math.sqrt(2), 8, 0.05))
    main = {"main": claim(contrast=contrast)}
    part = AblationSpec.model_validate({**spec, "hypotheses": main, "design": "fractional"})
    # Eight arms: the averages of four against four have a quarter of the variance.
    assert forecast_power(part, [8], {"per": 0.02})[0].power == pytest.approx(
        power_studentized(0.02, 0.01, 8, 0.05)
    )


@pytest.mark.parametrize(("n", "distance"), [(8, 1.5), (20, 1.0)])
def test_power_of_the_log_rank_test_is_that_of_two_samples(n: int, distance: float) -> None:
    expected = TTestIndPower().power(distance, n, 0.05)
    found = power_log_rank(40.0 * distance, 40.0 * math.sqrt(2), n, 0.05)
    assert found == pytest.approx(expected, abs=0.0005)
    slow = hypothesis(outcome="escape_step", margin=40.0 * distance)
    assert outlook("log_rank", slow, n, 0.05, 40.0 * math.sqrt(2)).power == found


def test_a_margin_of_many_spreads_is_detected_just_beyond_it() -> None:
    found = outlook("studentized", hypothesis(margin=50.0), 6, 0.05, 1.0)
    assert (found.power, found.seeds_needed) == (1.0, 3)
    assert 50.2 < found.detectable < 50.5  # .84 standard errors beyond it


def test_the_best_case_of_a_share_is_where_it_has_most_room() -> None:
    up, down = (
        outlook("boschloo", hypothesis(outcome="collapsed", margin=0.7, direction=way), 6, 0.05)
        for way in ("increase", "decrease")
    )
    assert up == pytest.approx(down)
    assert up.power == pytest.approx(power_shares(0.7, 0.0, 6, 0.05))


def test_a_share_moves_where_its_claim_says_and_no_further_than_all_runs() -> None:
    def chance(direction: str, rate: float) -> float:
        claimed = hypothesis(outcome="collapsed", margin=0.4, direction=direction)
        return outlook("boschloo", claimed, 8, 0.05, rate_from=rate).power

    assert chance("increase", 0.9) == pytest.approx(power_shares(1.0, 0.9, 8, 0.05))
    assert chance("increase", 0.25) == pytest.approx(power_shares(0.65, 0.25, 8, 0.05))
    assert chance("decrease", 0.25) == pytest.approx(power_shares(0.0, 0.25, 8, 0.05))
    assert chance("either", 0.25) == pytest.approx(chance("increase", 0.25))
    assert chance("either", 0.9) == pytest.approx(power_shares(0.5, 0.9, 8, 0.05))


def test_the_unit_of_an_outcome_changes_no_power() -> None:
    for unit in (1e-3, 1e3):
        for power_of in (power_studentized, power_paired, power_log_rank):
            for n in (6, 7, 60):
                found = power_of(1.2 * unit, unit, n, 0.05, unit)
                assert found == pytest.approx(power_of(1.2, 1.0, n, 0.05, 1.0))
            assert power_of(1.2 * unit, unit, 7, 0.05) == pytest.approx(power_of(1.2, 1.0, 7, 0.05))
        for n in (6, 60):
            found = power_equivalence(0.9 * unit, unit, n, 0.05)
            assert found == pytest.approx(power_equivalence(0.9, 1.0, n, 0.05))
        for test in ("studentized", "tost"):
            one = outlook(test, hypothesis(margin=1.0), 8, 0.05, 1.0)
            scaled = outlook(test, hypothesis(margin=unit), 8, 0.05, unit)
            assert scaled == pytest.approx(one._replace(detectable=unit * one.detectable))


def test_from_fifty_seeds_on_power_follows_from_the_t_distribution() -> None:
    expected = TTestPower().power(0.4, 50, 0.05)
    assert power_studentized(0.4, 1.0, 50, 0.05) == pytest.approx(expected, abs=1e-4)
    critical = scipy_stats.t.ppf(0.95, 49)
    spread = scipy_stats.chi(49, scale=1 / 7)
    equal = spread.expect(
        lambda s: np.maximum(2 * scipy_stats.norm.cdf(0.3 * math.sqrt(50) - critical * s) - 1, 0.0)
    )
    assert 0.3 < equal < 0.9
    assert power_equivalence(0.3, 1.0, 50, 0.05) == pytest.approx(equal, abs=1e-4)


def test_an_exact_test_is_bounded_where_only_full_agreement_reaches_alpha() -> None:
    agree = scipy_stats.norm.cdf(1.2) ** 6
    assert power_paired(1.2, 1.0, 6, 2**-5) == 0.0  # the lowest p is alpha itself
    assert power_paired(1.2, 1.0, 6, 2**-4) == pytest.approx(agree)
    assert power_paired(1.2, 1.0, 6, 2**-4 + 0.02) > agree + 0.05
    apart = separation(1.2 * math.sqrt(2), 4)
    assert power_log_rank(1.2, 1.0, 4, 2 / 70) == 0.0
    assert power_log_rank(1.2, 1.0, 4, 4 / 70) == pytest.approx(apart)
    assert power_log_rank(1.2, 1.0, 4, 5 / 70) > apart + 0.05
    assert power_shares(0.9, 0.1, 3, boschloo(Share(3, 3), Share(0, 3))) == 0.0


def test_beyond_thirty_seeds_two_shares_are_compared_on_the_arcsine_scale() -> None:
    distance = 2 * (math.asin(math.sqrt(0.5)) - math.asin(math.sqrt(0.1)))
    expected = scipy_stats.norm.cdf(distance * math.sqrt(31 / 2) - scipy_stats.norm.ppf(0.975))
    assert power_shares(0.5, 0.1, 31, 0.05) == pytest.approx(expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("margin", [0.0, 0.75])
def test_power_of_a_contrast_of_three_shares_is_that_of_every_table(
    sign: int, margin: float
) -> None:
    rates, weights = (0.9, 0.8, 0.15), (0.5, 0.5, -1.0)
    chances = scipy_stats.binom.pmf(np.arange(5), 4, np.array(rates)[:, None])  # (3, 5)
    expected = 0.0
    for table in product(range(5), repeat=3):
        low, _ = contrast_bounds([Share(k, 4) for k in table], weights, 0.1)
        if low > 0 and np.dot(weights, table) / 4 >= margin:
            expected += math.prod(chances[arm, k] for arm, k in enumerate(table))
    found = power_share_contrast(rates, [sign * w for w in weights], 4, 0.2, margin)
    assert 0.2 < expected < 0.9 and found == pytest.approx(expected, abs=0.02)


def test_two_seeds_are_the_fewest_for_a_contrast_of_shares() -> None:
    assert power_share_contrast((1.0, 0.0), (1, -1), 2, 0.4) == 1.0
    assert power_share_contrast((1.0, 0.0), (1, -1), 1, 0.4) == 0.0


def test_an_equal_outcome_needs_the_fewest_seeds_with_80_percent_power() -> None:
    equal = outlook("tost", hypothesis(direction="no_difference"), 6, 0.05, 0.02)
    n = equal.seeds_needed
    assert n is not None
    assert (
        power_equivalence(0.02, 0.02, n, 0.05) >= 0.8 > power_equivalence(0.02, 0.02, n - 1, 0.05)
    )
    share = hypothesis(direction="no_difference", outcome="collapsed", margin=0.3)
    assert outlook("tost_shares", share, 6, 0.05).seeds_needed == 9  # (1 - .3)^9 is below .05
    assert outlook("tost_shares", share, 9, lowest_p("tost_shares", 9, 0.3)).power == 0.0
    assert math.isnan(outlook("tost", hypothesis(direction="no_difference"), 6, 0.05, 0.0).power)


def test_a_detectable_contrast_of_shares_has_80_percent_power_at_its_margin() -> None:
    claimed, weights = hypothesis(outcome="collapsed", margin=0.6), (0.5, 0.5, -0.5, -0.5)
    found = outlook("share_contrast", claimed, 8, 0.05, rate_from=0.1, weights=weights).detectable
    rates = [0.1 + found] * 2 + [0.1] * 2
    assert power_share_contrast(rates, weights, 8, 0.05, 0.6) == pytest.approx(0.8, abs=0.005)
    assert found > 0.6


def test_a_power_from_a_sample_is_the_same_in_every_process() -> None:
    found = [power_equivalence(0.9, 1.0, 8, 0.05), power_studentized(0.9, 1.0, 8, 0.05)]
    power._studies.cache_clear()
    power._studentized_studies.cache_clear()
    assert found == [power_equivalence(0.9, 1.0, 8, 0.05), power_studentized(0.9, 1.0, 8, 0.05)]


# Shares of runs in designs of several factors ------------------------------------------------

A, B = ({"factor": factor, "from": "off", "to": "on"} for factor in "AB")
QUARTERS = (0.25,) * 4 + (-0.25,) * 4


def of_shares(design: str, rate: float | None, **changes: Any) -> PowerForecast:
    """The forecast at six seeds of a claim about collapse in a design of four factors."""
    made = claim(contrast=A, outcome="collapsed", margin=0.5, **changes)
    if design == "factorial":
        made["where"] = {f: "off" for f in "BCD" if f != "B" or "interaction" not in changes}
    spec = {
        "name": "t",
        "question": "?",
        "base": "b.yaml",
        "seeds": [1],
        "design": design,
        "factors": {factor: {"off": {}, "on": {}} for factor in "ABCD"},
        "hypotheses": {"h": made},
    }
    rates = None if rate is None else {"h": rate}
    (found,) = forecast_power(AblationSpec.model_validate(spec), [6], {}, rates)
    return found


def test_a_contrast_of_shares_moves_one_side_of_a_fraction_or_one_arm_of_an_interaction() -> None:
    fraction = of_shares("fractional", 0.25)
    moved = [0.75] * 4 + [0.25] * 4
    assert fraction.power == pytest.approx(power_share_contrast(moved, QUARTERS, 6, 0.05))
    double = of_shares("factorial", 0.25, interaction=B)
    moved = [0.75, 0.25, 0.25, 0.25]
    assert double.power == pytest.approx(power_share_contrast(moved, (1, -1, -1, 1), 6, 0.05))
    assert 0 < double.power < fraction.power < 1
    assert double.basis == fraction.basis == "rate"


def test_equal_shares_are_forecast_from_no_event_in_any_of_the_arms_compared() -> None:
    for design, changes, test, weights in (
        ("factorial", {}, "tost_shares", (1, -1)),
        ("factorial", {"interaction": B}, "tost_contrast", (1, -1, -1, 1)),
        ("fractional", {}, "tost_contrast", QUARTERS),
    ):
        found = of_shares(design, 0.25, direction="no_difference", **changes)
        assert found.power == (lowest_p(test, 6, 0.5, weights) < 0.05)
        assert found.basis == "best case"
        assert lowest_p(test, 6, found.detectable, weights) == pytest.approx(0.05, abs=1e-6)
    assert found.power == 1.0 and found.detectable < 0.3
