import functools
import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from made_claims import claim
from scipy import stats as scipy_stats

from orchestrator.spec.schema import AblationSpec
from orchestrator.stats import effects as stats
from orchestrator.stats.reach import (
    Reach,
    attainable,
    cautions,
    first_seeds,
    idle_looks,
    idle_texts,
    lowest_p,
    reach_of,
    seeds_to_reach,
    untestable,
)
from orchestrator.stats.shares import Share, share_contrast_p, share_contrast_tost, share_tost

exact = functools.partial(claim, test="exact")
collapse = functools.partial(claim, outcome="collapsed", margin=0.5)


def reach(test: Any) -> Reach:
    return Reach(test, 1.0, (1, -1))


def spec_with(hypotheses: dict[str, Any], n_seeds: int, **changes: Any) -> AblationSpec:
    return AblationSpec.model_validate(
        {
            "name": "t",
            "question": "?",
            "base": "b.yaml",
            "factors": {"loss": {"sum": {}, "mean": {}}},
            "seeds": list(range(n_seeds)),
            "hypotheses": hypotheses,
            **changes,
        }
    )


# The table of VERDICTS.md: the lowest two-sided p that complete separation can reach.
@pytest.mark.parametrize(
    ("n_seeds", "fisher", "boschloo", "sign_flip"),
    [
        (3, 0.100, 0.031, 0.250),
        (4, 0.029, 0.008, 0.125),
        (5, 0.008, 0.002, 0.0625),
        (6, 0.002, 0.0005, 0.031),
    ],
)
def test_lowest_p_of_each_test_is_that_of_the_seed_table(
    n_seeds: int, fisher: float, boschloo: float, sign_flip: float
) -> None:
    assert round(lowest_p("boschloo", n_seeds), 3 if n_seeds < 6 else 4) == boschloo
    assert round(lowest_p("sign_flip", n_seeds), 4 if n_seeds == 5 else 3) == sign_flip
    exact = scipy_stats.fisher_exact([[n_seeds, 0], [0, n_seeds]]).pvalue
    assert round(exact, 3) == fisher
    # A log-rank permutation has as many splits as Fisher's table.
    assert lowest_p("log_rank", n_seeds) == pytest.approx(exact)


def test_lowest_p_is_reached_by_complete_separation() -> None:
    for n in (2, 3, 5, 6):
        assert stats.sign_flip(np.full(n, 0.2)) == pytest.approx(lowest_p("sign_flip", n))
        steps, never = np.arange(n) + 10.0, np.full(n, 400.0)
        p = stats.log_rank(never, np.zeros(n, bool), steps, np.ones(n, bool))
        assert p == pytest.approx(lowest_p("log_rank", n))


def test_attainable_is_holm_of_the_best_each_test_can_do() -> None:
    flip, boschloo = reach("sign_flip"), reach("boschloo")
    assert attainable([flip] * 2, 6) == pytest.approx([0.0625, 0.0625])
    assert attainable([boschloo, flip], 6) == pytest.approx([2 * 2**-11, 2**-5])
    assert seeds_to_reach([flip], 0, 0.05) == 6
    assert seeds_to_reach([flip] * 4, 2, 0.05) == 8
    assert seeds_to_reach([boschloo], 0, 0.05) == 3


def test_a_design_that_cannot_reach_alpha_is_untestable_with_the_seeds_that_would_do() -> None:
    found = untestable(spec_with({"h": exact()}, 5))
    assert found["h"].seeds_needed == 6 and "6 seeds" in found["h"].reason
    assert untestable(spec_with({"h": exact()}, 6)) == {}
    assert untestable(spec_with({"h": claim(outcome="collapsed", margin=0.5)}, 3)) == {}
    both = {"a": exact(), "b": exact()}
    assert {name: u.seeds_needed for name, u in untestable(spec_with(both, 6)).items()} == {
        "a": 7,
        "b": 7,
    }


def test_a_studentized_claim_is_testable_from_three_seeds_on_whatever_the_family() -> None:
    many = {name: claim() for name in "abcdefgh"}
    assert set(untestable(spec_with(many, 2))) == set(many)
    assert untestable(spec_with(many, 3)) == {} == cautions(spec_with(many, 3))
    assert untestable(spec_with(many, 2))["a"].seeds_needed == 3


def test_a_contrast_of_shares_reaches_its_lowest_p_by_complete_separation() -> None:
    weights = (1.0, -1.0, -1.0, 1.0)
    every = product([Share(k, 4) for k in range(5)], repeat=4)
    lowest = min(share_contrast_p(shares, weights) for shares in every)
    assert lowest_p("share_contrast", 4, weights=weights) == pytest.approx(lowest)


def test_a_margin_no_outcome_can_reach_is_untestable() -> None:
    found = untestable(spec_with({"h": claim(margin=1.5)}, 10))
    assert found["h"].seeds_needed is None and "margin" in found["h"].reason


def test_equal_collapse_is_shown_best_by_no_collapse_at_all() -> None:
    # (1 - .3)^9 = .040 is the first below .05.
    assert lowest_p("tost_shares", 9, 0.3) == pytest.approx(0.7**9)
    found = untestable(
        spec_with({"h": claim(outcome="collapsed", direction="no_difference", margin=0.3)}, 8)
    )
    assert found["h"].seeds_needed == 9
    assert untestable(spec_with({"h": claim(direction="no_difference")}, 3)) == {}


@pytest.mark.parametrize(("n", "margin"), [(4, 0.6), (6, 0.45), (9, 0.3), (10, 0.4)])
def test_no_outcome_shows_equality_more_clearly_than_no_collapse_at_all(
    n: int, margin: float
) -> None:
    every = product([Share(k, n) for k in range(n + 1)], repeat=2)
    lowest = min(share_tost(to, reference, margin) for to, reference in every)
    assert lowest == pytest.approx(lowest_p("tost_shares", n, margin))


def test_looks_that_leave_too_little_alpha_are_untestable() -> None:
    looks = [{"seeds": 5, "alpha": 0.04}, {"seeds": 6, "alpha": 0.01}]
    found = untestable(spec_with({"h": exact()}, 6, looks=looks))
    # .031 at six seeds is above .01, .0625 at five above .04; 2^-7 is the first below .01.
    assert found["h"].seeds_needed == 8 and "0.01" in found["h"].reason
    assert untestable(spec_with({"h": exact()}, 8, looks=[{"seeds": 8, "alpha": 0.01}])) == {}


def test_exploratory_claims_need_only_what_benjamini_and_hochberg_ask() -> None:
    claims = {name: exact(exploratory=True) for name in "abc"}
    assert untestable(spec_with(claims, 6)) == {}
    assert set(untestable(spec_with({name: exact() for name in "abc"}, 6))) == set("abc")


def test_a_caution_names_claims_that_hang_on_others_of_their_family() -> None:
    collapse = claim(outcome="collapsed", margin=0.5)
    spec = spec_with({"per": exact(), "one": collapse, "two": collapse}, 6)
    assert untestable(spec) == {}
    # 3 * .031 and 2 * .031 are above .05: both others must be significant first.
    found = cautions(spec)
    assert set(found) == {"per"}
    assert "2 others" in found["per"] and "7 seeds" in found["per"]
    assert cautions(spec_with({"per": exact(), "one": collapse, "two": collapse}, 7)) == {}
    assert cautions(spec_with({"per": exact()}, 6)) == {}


def test_what_is_cautioned_comes_out_only_with_the_others() -> None:
    p_values = [2 / 64, 0.001, 0.2]
    assert stats.holm(p_values)[0] > 0.05
    assert stats.holm([2 / 64, 0.001, 0.002])[0] < 0.05


@pytest.mark.parametrize("m", [1, 3, 20])
def test_seeds_to_reach_are_the_fewest_that_do(m: int) -> None:
    for test in ("sign_flip", "boschloo", "log_rank"):
        tests = [reach(test)] * m
        n = seeds_to_reach(tests, 0, 0.05)
        assert n is not None
        assert attainable(tests, n)[0] < 0.05 <= attainable(tests, n - 1)[0]
        assert math.isclose(attainable(tests, n)[0], m * lowest_p(test, n))


def test_too_few_seeds_reach_no_p_and_studentized_tests_any() -> None:
    assert lowest_p("studentized", 2) == lowest_p("boschloo", 1) == lowest_p("sign_flip", 1) == 1.0
    assert lowest_p("studentized", 3) == lowest_p("tost", 2) == 0.0


def test_an_equal_contrast_is_shown_best_by_no_event_in_any_arm() -> None:
    weights, none = (0.5, 0.5, -0.5, -0.5), [Share(0, 9)] * 4
    expected = share_contrast_tost(none, weights, 0.4)
    assert 0 < expected < 1 and lowest_p("tost_contrast", 9, 0.4, weights) == expected


def test_a_p_of_just_alpha_is_not_below_it() -> None:
    assert seeds_to_reach([reach("sign_flip")], 0, 2**-5) == 7
    claims = {"per": exact(), "one": collapse()}
    # Alone, twice 2^-5 is alpha itself.
    assert set(cautions(spec_with(claims, 6, alpha=2**-4))) == {"per"}
    assert cautions(spec_with(claims, 6, alpha=2**-4 + 1e-9)) == {}


def test_the_reach_of_a_claim_has_the_test_and_the_weights_of_its_design() -> None:
    factors = {factor: {"off": {}, "on": {}} for factor in "ABCD"}
    claims = {"main": claim(contrast={"factor": "A", "from": "off", "to": "on"})}
    for outcome, test in (("per", "studentized"), ("collapsed", "share_contrast")):
        claims["main"]["outcome"] = outcome
        spec = spec_with(claims, 4, factors=factors, design="fractional")
        assert reach_of(spec, "main") == (test, 0.05, (0.25,) * 4 + (-0.25,) * 4)
    other = {"factor": "B", "from": "off", "to": "on"}
    claims["main"] |= {"interaction": other, "where": {"C": "off", "D": "off"}}
    double, weights = reach_of(spec_with(claims, 4, factors=factors), "main"), (1, -1, -1, 1)
    assert double == ("share_contrast", 0.05, weights)
    assert double.lowest(4) == lowest_p("share_contrast", 4, 0.05, weights)


def test_one_look_within_reach_makes_a_claim_testable() -> None:
    def looks(*pairs: tuple[int, float]) -> list[dict[str, float]]:
        return [{"seeds": seeds, "alpha": alpha} for seeds, alpha in pairs]

    # .0625 at five seeds is above .04; .0078 at eight is below .01.
    assert untestable(spec_with({"h": exact()}, 8, looks=looks((5, 0.04), (8, 0.01)))) == {}
    family = {"per": exact(), "one": collapse(), "two": collapse()}
    # Six seeds need both others; eight need one: 2 * .0078 is below .016.
    found = cautions(spec_with(family, 8, looks=looks((6, 0.034), (8, 0.016))))
    assert set(found) == {"per"} and "1 other is" in found["per"] and "3 claims" in found["per"]
    # Nine seeds need none: 3 * .0039 is below .012.
    assert cautions(spec_with(family, 9, looks=looks((6, 0.038), (9, 0.012)))) == {}
    # Four seeds are out of reach of any claim of PER: .125 is above .01.
    found = cautions(
        spec_with({"per": exact(), "one": collapse()}, 6, looks=looks((4, 0.01), (6, 0.04)))
    )
    assert set(found) == {"per"}


def test_exploratory_claims_hang_on_as_many_others_as_benjamini_and_hochberg_ask() -> None:
    claims = {name: exact(exploratory=True) for name in "abc"}
    # 3 * .031 / 2 is below .05.
    found = cautions(spec_with(claims, 6))
    assert set(found) == set("abc") and all("1 other is" in text for text in found.values())
    assert {u.seeds_needed for u in untestable(spec_with(claims, 5)).values()} == {6}


def test_an_untestable_claim_is_not_cautioned_too_and_says_what_it_would_need() -> None:
    three = {name: exact() for name in "abc"}
    assert set(untestable(spec_with(three, 6))) == set("abc")
    assert cautions(spec_with(three, 6)) == {}
    reason = untestable(spec_with(three, 6))["a"].reason
    assert all(fact in reason for fact in ("6 seeds", "0.0938", "0.05", "3 claims", "7 seeds"))
    one = untestable(spec_with({"h": exact()}, 1))["h"].reason
    assert all(fact in one for fact in ("with 1 seed its", "1 claim in family", "6 seeds"))


@pytest.mark.parametrize("outcome", ["per", "collapsed", "diverged"])
def test_an_interaction_of_rates_may_be_as_large_as_two(outcome: str) -> None:
    factors = {factor: {"off": {}, "on": {}} for factor in ("loss", "norm")}
    contrast = {"factor": "loss", "from": "off", "to": "on"}
    both = {
        "contrast": contrast,
        "interaction": {**contrast, "factor": "norm"},
        "outcome": outcome,
    }
    for margin, testable in ((1.9, True), (2.5, False)):
        spec = spec_with({"h": claim(**both, margin=margin)}, 9, factors=factors)
        assert (untestable(spec) == {}) == testable
    alone = {**both, "interaction": None, "where": {"norm": "off"}}
    assert (
        "at most 1"
        in untestable(spec_with({"h": claim(**alone, margin=1.5)}, 9, factors=factors))["h"].reason
    )
    steps = spec_with({"h": claim(outcome="escape_step", margin=900.0)}, 9)
    assert untestable(steps) == {}


@pytest.mark.parametrize("fewest", [2, 3, 4, 5, 17, 999, 1000])
def test_the_fewest_seeds_are_found_up_to_a_thousand(fewest: int) -> None:
    assert first_seeds(lambda n: n >= fewest) == fewest
    assert first_seeds(lambda n: n > 1000) is None


def test_each_claim_is_judged_whatever_comes_before_it() -> None:
    wide = {"a": claim(margin=1.5), "b": claim(margin=1.0), "c": claim(margin=2.5)}
    assert list(untestable(spec_with(wide, 9))) == ["a", "c"]
    assert list(untestable(spec_with({"h": exact()}, 6, alpha=2**-5))) == ["h"]
    mixed = {"one": collapse(), "two": collapse(), "per": exact()}
    assert list(cautions(spec_with(mixed, 6))) == ["per"]
    # 2^-5 at six seeds is all that the first look may spend, and 2^-6 at seven is below .018.
    looks = [{"seeds": 6, "alpha": 2**-5}, {"seeds": 7, "alpha": 0.05 - 2**-5}]
    spec = spec_with({"h": exact()}, 7, looks=looks)
    assert untestable(spec) == {} == cautions(spec)


def test_a_margin_too_small_for_a_thousand_seeds_is_said_to_be() -> None:
    equal = claim(outcome="collapsed", direction="no_difference", margin=0.001)
    found = untestable(spec_with({"h": equal}, 3))["h"]
    assert found.seeds_needed is None and "1,000 seeds" in found.reason


def test_looks_that_no_result_can_pass_are_named() -> None:
    looks = [{"seeds": 4, "alpha": 0.01}, {"seeds": 6, "alpha": 0.01}, {"seeds": 9, "alpha": 0.03}]
    spec = spec_with({"h": exact(), "t": exact(test=None)}, 9, looks=looks)
    assert idle_looks(spec) == {"h": (4, 6)}  # 2^-5 at six seeds is more than .01
    assert "4, 6 seeds" in idle_texts(spec)["h"]
    assert idle_looks(spec_with({"h": exact()}, 8)) == {}
    assert "h" not in idle_looks(spec_with({"h": exact()}, 4))  # nothing could support it at all
