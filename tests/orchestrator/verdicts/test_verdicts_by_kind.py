"""Verdicts on equivalence, looks, fractions, metrics and exploratory claims, paired by block."""

import functools
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import made_claims
import numpy as np
import pandas as pd
import pytest

from decoder.errors import ConfigError
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.report.wording import blocking_text, explain, first_sentence
from orchestrator.spec.schema import Hypothesis
from orchestrator.stats import effects as stats
from orchestrator.stats.effects import Interval
from orchestrator.stats.shares import (
    Share,
    share_bounds,
    share_contrast,
    share_contrast_p,
    share_tost,
)
from orchestrator.verdicts.evidence import Assessment
from orchestrator.verdicts.rule import judge
from orchestrator.verdicts.verdicts import Verdict, decide

BASE = [0.30, 0.31, 0.29, 0.32, 0.28, 0.30, 0.31, 0.29, 0.32, 0.28]


claim = functools.partial(made_claims.claim, contrast={"factor": "A", "from": "off", "to": "on"})


def verdicts_of(
    hypotheses: Mapping[str, Any],
    arms: Mapping[str, Sequence[Any]],
    columns: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    **spec: Any,
) -> list[Verdict]:
    """Verdicts on arms that are named by signs, such as ``"+-"`` for A on and B off.

    Args:
        hypotheses: the claims.
        arms: arm → for every seed, a PER or the ending of a run without one.
        columns: further columns: name → arm → values.
        spec: further keys of the ablation file.
    """
    level = {"+": "on", "-": "off"}
    factors = "ABCD"[: len(next(iter(arms)))]
    n_seeds = len(next(iter(arms.values())))
    document = {
        "name": "t",
        "question": "?",
        "base": "b.yaml",
        "factors": {factor: {"off": {}, "on": {}} for factor in factors},
        "seeds": list(range(n_seeds)),
        "hypotheses": dict(hypotheses),
        **spec,
    }
    cells = {
        arm: {factor: level[sign] for factor, sign in zip(factors, arm, strict=True)}
        for arm in arms
    }
    plan = made_claims.bare_plan(document, cells)
    rows = [
        {
            "arm": arm,
            "block": seed,
            "seed": seed,
            "outcome": entry if isinstance(entry, str) else "ok",
            "per": {"collapsed": 0.97, "diverged": 1.0}.get(entry, math.nan)
            if isinstance(entry, str)
            else entry,
            "escape_step": math.nan if isinstance(entry, str) else 100.0,
            "n_steps": 400,
            **{name: of_arm[arm][seed] for name, of_arm in (columns or {}).items()},
        }
        for arm, entries in arms.items()
        for seed, entry in enumerate(entries)
    ]
    return decide(plan, pd.DataFrame(rows))


def one(
    hypothesis: Mapping[str, Any], off: Sequence[Any], on: Sequence[Any], **more: Any
) -> Verdict:
    return verdicts_of({"h": hypothesis}, {"-": off, "+": on}, **more)[0]


def text_of(verdict: Verdict) -> str:
    verdicts_table([verdict])
    return f"{first_sentence(verdict)} {explain(verdict)}"


# Equivalence --------------------------------------------------------------------------------

WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.0, 0.0])


def test_no_difference_is_supported_by_two_one_sided_tests() -> None:
    verdict = one(claim(direction="no_difference"), BASE[:6], list(np.array(BASE[:6]) + WOBBLE))
    assert (verdict.word, verdict.strong) == ("supported", True)
    # Mean 0, standard error .0141 / √6: t = .05 / .00577 with 5 degrees of freedom.
    assert verdict.evidence.p == pytest.approx(stats.tost_paired(WOBBLE, 0.05))
    assert verdict.evidence.p == pytest.approx(0.00016, abs=2e-5)
    assert verdict.evidence.test == "tost"
    assert "p = .00017" in text_of(verdict) and "±5.0 PER points" in text_of(verdict)


def test_no_difference_is_refuted_only_by_a_bound_beyond_the_margin() -> None:
    for sign in (1, -1):
        shifted = list(np.array(BASE[:6]) + WOBBLE + sign * 0.1)
        verdict = one(claim(direction="no_difference"), BASE[:6], shifted)
        assert (verdict.word, verdict.reason) == ("refuted", "different")
        assert "5.0 PER points" in text_of(verdict)
    near = one(claim(direction="no_difference"), BASE[:6], list(np.array(BASE[:6]) + WOBBLE + 0.05))
    assert (near.word, near.reason) == ("inconclusive", "undecided")
    assert "±5.0 PER points" in text_of(near)


def test_no_difference_in_collapse_has_an_exact_test() -> None:
    hypothesis = claim(direction="no_difference", outcome="collapsed", margin=0.4)
    verdict = one(hypothesis, BASE, BASE)
    assert verdict.word == "supported"
    assert verdict.evidence.p == share_tost(Share(0, 10), Share(0, 10), 0.4)
    few = one(hypothesis, BASE[:4], BASE[:4])
    assert few.word == "inconclusive" and few.seeds_needed in range(5, 100)


@pytest.mark.parametrize("p", [0.001, 0.2])
def test_no_effect_is_ever_both_equal_and_different(p: float) -> None:
    hypothesis = Hypothesis.model_validate(claim(direction="no_difference"))
    for effect, half in product(np.linspace(-0.2, 0.2, 41), (0.001, 0.03, 0.2)):
        interval = Interval(effect - half, effect + half)
        bounds = Interval(effect - 0.8 * half, effect + 0.8 * half)
        word, _, strong = judge(hypothesis, [Assessment(effect, interval, bounds, p)], p, 0.05)
        beyond = bounds.low >= 0.05 or bounds.high <= -0.05
        assert word == (
            "supported"
            if p < 0.05 and abs(effect) < 0.05
            else "refuted"
            if beyond
            else "inconclusive"
        )
        assert not strong or max(abs(interval.low), abs(interval.high)) < 0.05


# Either direction ---------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_an_effect_in_either_direction_supports_a_two_sided_claim(sign: int) -> None:
    shifted = list(np.array(BASE[:6]) + WOBBLE + sign * 0.1)
    verdict = one(claim(direction="either"), BASE[:6], shifted)
    assert (verdict.word, verdict.strong) == ("supported", True)
    assert verdict.evidence.p == pytest.approx(stats.studentized(WOBBLE + 0.1))
    assert verdict.claimed_effect == pytest.approx(0.1) and verdict.wins == 6
    assert verdict.claimed_bounds.low > 0.05
    assert "5.0 PER points" in text_of(verdict)


def test_a_small_change_refutes_a_two_sided_claim_that_equivalence_would_support() -> None:
    # The first of the stories: "PER depends on it", for a change of a tenth of the margin.
    near = list(np.array(BASE[:6]) + 0.2 * WOBBLE - 0.005)
    verdict = one(claim(direction="either"), BASE[:6], near)
    assert (verdict.word, verdict.reason) == ("refuted", "equivalent")
    assert one(claim(direction="no_difference"), BASE[:6], near).word == "supported"
    assert one(claim(direction="none"), BASE[:6], near).word == "supported"


@pytest.mark.parametrize("p", [0.001, 0.2])
def test_a_two_sided_claim_is_judged_alike_on_both_sides(p: float) -> None:
    hypothesis = Hypothesis.model_validate(claim(direction="either"))
    for effect, half in product(np.linspace(-0.2, 0.2, 41), (0.001, 0.03, 0.2)):
        interval = Interval(effect - half, effect + half)
        bounds = Interval(effect - 0.8 * half, effect + 0.8 * half)
        word, reason, strong = judge(hypothesis, [Assessment(effect, interval, bounds, p)], p, 0.05)
        large = abs(effect) >= 0.05 - 1e-12
        inside = bounds.low > -0.05 and bounds.high < 0.05
        assert word == (
            "supported" if p < 0.05 and large else "refuted" if inside else "inconclusive"
        )
        assert reason == {"supported": "", "refuted": "equivalent"}.get(word, "undecided")
        assert strong == (word == "supported" and abs(effect) - half >= 0.05 - 1e-12)


def test_a_two_sided_claim_needs_one_direction_whatever_a_gap_was() -> None:
    hypothesis = Hypothesis.model_validate(claim(direction="either"))
    sides = [
        Assessment(effect, Interval(effect, effect), Interval(effect, effect), 0.001)
        for effect in (-0.1, 0.1)
    ]
    assert judge(hypothesis, sides, 0.001, 0.05) == ("inconclusive", "gaps", False)
    assert judge(hypothesis, sides[:1] * 2, 0.001, 0.05) == ("supported", "", True)


def test_only_there_in_either_direction_needs_the_same_direction_there() -> None:
    hypothesis = Hypothesis.model_validate(claim(direction="either"))
    for simple, word in ((0.1, "supported"), (0.01, "inconclusive"), (-0.1, "inconclusive")):
        seen = Assessment(0.1, Interval(0.08, 0.12), Interval(0.08, 0.12), 0.001, simple)
        assert judge(hypothesis, [seen], 0.001, 0.05)[0] == word


def test_a_two_sided_claim_about_collapse() -> None:
    hypothesis = claim(direction="either", outcome="collapsed", margin=0.5)
    gone = one(hypothesis, ["collapsed"] * 6, BASE[:6])
    assert (gone.word, gone.claimed_effect) == ("supported", 1.0)
    assert one(hypothesis, BASE, BASE).reason == "equivalent"


def test_equivalence_claims_are_corrected_with_their_family() -> None:
    claims = {"same": claim(direction="no_difference"), "more": claim()}
    verdicts = verdicts_of(claims, {"-": BASE, "+": list(np.array(BASE) + 0.1)})
    assert [v.word for v in verdicts] == ["refuted", "supported"]
    assert verdicts[1].p_adjusted == pytest.approx(2 * 2 / 2**10)


# Looks --------------------------------------------------------------------------------------

LOOKS = [{"seeds": 5, "alpha": 0.01}, {"seeds": 10, "alpha": 0.04}]


def test_a_look_uses_its_alpha_on_its_first_seeds_and_its_verdict_stands() -> None:
    hypothesis = claim(outcome="collapsed", margin=0.6)
    off, on = BASE, ["collapsed"] * 5 + BASE[:5]
    verdict = one(hypothesis, off, on, looks=LOOKS)
    assert (verdict.word, verdict.look, verdict.alpha) == ("supported", 1, 0.01)
    assert verdict.evidence.p == pytest.approx(2 / 2**10)  # Boschloo, 5 of 5 against 0 of 5
    assert "α = .01" in explain(verdict) and verdict.n_looks == 2
    assert one(hypothesis, off, on).word != "supported", "without looks all ten seeds count"


def test_a_later_look_judges_all_seeds_so_far_at_its_own_alpha() -> None:
    on = list(np.array(BASE) + 0.2 + 0.01 * np.arange(10))
    verdict = one(claim(test="exact"), BASE, on, looks=LOOKS)
    # Five seeds cannot come below .0625, so the second look decides.
    assert (verdict.word, verdict.look, verdict.alpha) == ("supported", 2, 0.04)
    assert len(verdict.evidence.differences) == 10 and verdict.next_look_seeds is None


@pytest.mark.parametrize("n_done", [5, 7, 9])
def test_between_looks_no_test_is_made(n_done: int) -> None:
    on = [*(list(np.array(BASE) + 0.2)[:n_done]), *["missing"] * (10 - n_done)]
    verdict = one(claim(), BASE, on, looks=LOOKS)
    assert (verdict.word, verdict.reason) == ("inconclusive", "between looks")
    assert (verdict.look, verdict.next_look_seeds) == (1, 10)
    assert len(verdict.evidence.differences) == 5
    assert "10 seeds" in text_of(verdict)


def test_a_look_with_missing_runs_is_not_taken() -> None:
    on = [*BASE[:3], *["missing"] * 7]
    verdict = one(claim(), BASE, on, looks=LOOKS)
    assert (verdict.word, verdict.reason, verdict.look) == ("inconclusive", "gaps", 1)
    assert verdict.p_adjusted is None and "8 of 10" in explain(verdict)


def test_looks_share_the_error_of_the_bound_that_refutes() -> None:
    wobble = np.tile([0.0, 0.012, -0.004, 0.008, 0.004], 2)
    on = list(np.array(BASE) + wobble)
    verdict = one(claim(), BASE, on, looks=LOOKS)
    assert verdict.evidence.bound_error == pytest.approx(0.01)
    assert verdict.evidence.shown.bounds == pytest.approx(stats.paired_bounds(wobble[:5], 0.01))
    assert verdict.word == "refuted" and "99 %" in explain(verdict)
    assert one(claim(), BASE, on).evidence.bound_error == 0.05
    assert share_bounds(Share(1, 6), Share(0, 6), 0.01).high > 0.6


def test_later_seeds_do_not_change_an_early_refutation() -> None:
    wobble = np.array([0.001, -0.001, 0.0, 0.002, -0.002])
    on = [*(np.array(BASE[:5]) + wobble), *(0.9 for _ in range(5))]
    verdict = one(claim(), BASE, on, looks=LOOKS)
    assert (verdict.word, verdict.look) == ("refuted", 1)


# Fractions ----------------------------------------------------------------------------------

SIGNS = [s for s in product("-+", repeat=4) if s[:3].count("-") % 2 == (s[3] == "-")]


def fraction(effects: Sequence[float]) -> dict[str, list[float]]:
    """Additive effects of A, B, C and D on six seeds, in the fraction D = ABC."""
    return {
        "".join(signs): [
            per + sum(e for e, sign in zip(effects, signs, strict=True) if sign == "+")
            for per in BASE[:6]
        ]
        for signs in SIGNS
    }


def test_a_main_effect_is_the_difference_of_averages_over_the_fraction() -> None:
    claims = {f: claim(contrast={"factor": f, "from": "off", "to": "on"}) for f in "ABCD"}
    verdicts = verdicts_of(claims, fraction([0.1, -0.2, 0.0, 0.07]), design="fractional")
    found = {v.name: v.evidence.shown.effect for v in verdicts}
    assert found == pytest.approx({"A": 0.1, "B": -0.2, "C": 0.0, "D": 0.07})
    assert all(len(v.evidence.cells) == 8 and v.evidence.test == "studentized" for v in verdicts)
    assert "4 arms" in first_sentence(verdicts[0])
    assert {v.name: v.word for v in verdicts}["B"] == "refuted"


def test_a_main_effect_on_collapse_counts_the_runs_of_all_its_arms() -> None:
    arms: dict[str, list[Any]] = dict(fraction([0, 0, 0, 0]))
    for arm in arms:
        if arm[0] == "+":
            arms[arm] = ["collapsed"] * 6
    hypothesis = claim(outcome="collapsed", margin=0.5)
    verdict = verdicts_of({"h": hypothesis}, arms, design="fractional")[0]
    shares = [Share(6, 6)] * 4 + [Share(0, 6)] * 4
    weights = [0.25] * 4 + [-0.25] * 4
    assert verdict.word == "supported"
    assert verdict.evidence.p == pytest.approx(share_contrast_p(shares, weights))
    assert verdict.evidence.shown.interval == pytest.approx(share_contrast(shares, weights))
    assert "24 of 24" in text_of(verdict) and "0 of 24" in text_of(verdict)


# Metrics, divergence, exploratory tables, pairing --------------------------------------------


def test_any_recorded_metric_can_be_claimed_about() -> None:
    columns = {"entropy_nats": {"-": [0.4, 0.5, 0.45] * 2, "+": [0.9, 1.1, 0.96] * 2}}
    hypothesis = claim(outcome="entropy_nats", margin=0.3)
    verdict = one(hypothesis, BASE[:6], BASE[:6], columns=columns)
    assert verdict.word == "supported" and verdict.evidence.test == "studentized"
    assert verdict.evidence.shown.effect == pytest.approx(0.53666666)
    assert "+0.537 entropy_nats" in text_of(verdict)
    with pytest.raises(ConfigError, match="'entropy_nats'"):
        one(hypothesis, BASE[:6], BASE[:6])


def test_a_diverged_run_has_no_value_of_a_metric_and_may_have_either_extreme() -> None:
    columns = {"entropy_nats": {"-": [0.4] * 6, "+": [0.9, 0.91, 0.92, 0.93, 0.94, 5.0]}}
    hypothesis = claim(outcome="entropy_nats", margin=0.5)
    verdict = one(hypothesis, BASE[:6], [*BASE[:5], "diverged"], columns=columns)
    effects = sorted(scenario.effect for scenario in verdict.evidence.scenarios)
    known = sum((0.5, 0.51, 0.52, 0.53, 0.54))
    assert effects == pytest.approx([(known + 0.0) / 6, (known + 0.54) / 6])
    assert (verdict.word, verdict.reason) == ("inconclusive", "gaps")
    assert "11 of 12" in text_of(verdict) and "1 diverged" in text_of(verdict)


def test_divergence_is_a_share_like_collapse() -> None:
    hypothesis = claim(outcome="diverged", margin=0.5)
    verdict = one(hypothesis, BASE[:4], ["diverged"] * 4)
    assert verdict.word == "supported" and verdict.evidence.test == "boschloo"
    collapse = one(hypothesis, BASE[:6], ["collapsed"] * 6)
    assert collapse.word == "refuted" and text_of(collapse).count("0 of 6") == 2


def test_exploratory_claims_are_corrected_separately_by_benjamini_and_hochberg() -> None:
    up = list(np.array(BASE) + 0.2)
    claims = {
        "a": claim(exploratory=True, where={"B": "off"}),
        "b": claim(exploratory=True, where={"B": "on"}, family="other"),
        "c": claim(where={"B": "on"}),
    }
    arms = {"--": BASE, "+-": up, "-+": BASE, "++": [*up[:9], 0.2]}
    verdicts = verdicts_of(claims, arms)
    raw = [v.evidence.p for v in verdicts]
    assert [v.p_adjusted for v in verdicts[:2]] == pytest.approx(stats.benjamini_hochberg(raw[:2]))
    assert verdicts[2].p_adjusted == pytest.approx(raw[2]) and not verdicts[2].exploratory
    assert verdicts[0].exploratory and "exploratory" in explain(verdicts[0])
    assert verdicts[0].correction.names == ("a", "b")
    assert "Benjamini–Hochberg" in explain(verdicts[0]) and "2 claims" in explain(verdicts[0])


def test_runs_are_paired_by_block_and_not_by_the_seed_trained_with() -> None:
    plan_seeds, shift = [3, 1, 2], 1000
    runs = pd.DataFrame(
        [
            {"arm": arm, "block": block, "seed": block + offset, "outcome": "ok", "n_steps": 400}
            | {"escape_step": 100.0, "per": 0.1 * block + extra}
            for arm, offset, extra in (("-", 0, 0.0), ("+", shift, 0.07))
            for block in (1, 2, 3)
        ]
    )
    spec = {
        "name": "t",
        "question": "?",
        "base": "b.yaml",
        "factors": {"A": {"off": {}, "on": {}}},
        "seeds": plan_seeds,
        "hypotheses": {"h": claim()},
    }
    plan = made_claims.bare_plan(spec, {"-": {"A": "off"}, "+": {"A": "on"}})
    evidence = decide(plan, runs)[0].evidence
    assert list(evidence.differences) == plan_seeds
    assert evidence.differences == pytest.approx(dict.fromkeys(plan_seeds, 0.07))
    assert evidence.pairing == pytest.approx((1.0, 1.0))


def test_the_correlation_over_seeds_and_the_runs_saved_by_blocking_are_reported() -> None:
    verdict = one(claim(), BASE, list(np.array(BASE) + 0.1))
    assert verdict.evidence.pairing == pytest.approx((1.0, 1.0))
    assert "100 %" in blocking_text(verdict)
    assert verdicts_table([verdict]).loc[0, "seed_correlation"] == pytest.approx(1.0)
    assert blocking_text(one(claim(), BASE[:2], BASE[:2])) == ""


def test_a_refuted_per_claim_gives_the_failure_rate_that_its_seeds_cannot_exclude() -> None:
    verdict = one(claim(), BASE[:6], list(np.array(BASE[:6]) + WOBBLE))
    # 1 - .05^(1/6) = .393
    assert verdict.word == "refuted" and "39 %" in explain(verdict)
