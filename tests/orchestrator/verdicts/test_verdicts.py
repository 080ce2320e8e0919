import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_claims import bare_plan, claim

from decoder.errors import ConfigError
from orchestrator.plan.document import PlanDocument
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.report.wording import explain, first_sentence, verdict_title
from orchestrator.spec.load import AblationSpec, Hypothesis
from orchestrator.stats import effects as stats
from orchestrator.stats import shares
from orchestrator.stats.effects import Interval
from orchestrator.stats.reach import untestable
from orchestrator.tables.tables import make_tables
from orchestrator.verdicts.evidence import Assessment
from orchestrator.verdicts.rule import judge
from orchestrator.verdicts.verdicts import Verdict, decide

Build = Callable[..., Any]
LEVELS = ("sum", "mean")


def plan_of(
    hypotheses: Mapping[str, Any], n_seeds: int, factors: Sequence[str] = ("loss",)
) -> PlanDocument:
    """A plan over two-level factors: arms are named by their levels."""
    arms = [{}]
    for factor in factors:
        arms = [{**arm, factor: level} for arm in arms for level in LEVELS]
    spec = AblationSpec.model_validate(
        {
            "name": "t",
            "question": "?",
            "base": "b.yaml",
            "factors": {factor: {level: {} for level in LEVELS} for factor in factors},
            "seeds": list(range(n_seeds)),
            "hypotheses": hypotheses,
        }
    )
    return bare_plan(spec, {"+".join(arm.values()): arm for arm in arms})


def runs_of(arms: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A runs table; an entry is a PER, ``("escape", step or None)`` or the ending of a run."""
    rows = []
    for arm, entries in arms.items():
        for seed, entry in enumerate(entries):
            outcome, per, escape = "ok", 0.3, 100.0
            if isinstance(entry, str):
                outcome = entry
                per = 1.0 if entry in ("collapsed", "diverged") else math.nan
                escape = math.nan
            elif isinstance(entry, tuple):
                escape = math.nan if entry[1] is None else float(entry[1])
            else:
                per = entry
            collapsed = {"ok": 0, "collapsed": 1, "diverged": 1}.get(outcome)
            rows.append((arm, seed, outcome, per, collapsed, escape, 400))
    columns = ["arm", "seed", "outcome", "per", "collapsed", "escape_step", "n_steps"]
    return pd.DataFrame(rows, columns=columns).astype({"collapsed": "Int64", "n_steps": "Int64"})


def decide_one(hypothesis: Mapping[str, Any], arms: Mapping[str, Sequence[Any]]) -> Verdict:
    n_seeds = len(next(iter(arms.values())))
    factors = ("loss", "other") if "+" in next(iter(arms)) else ("loss",)
    return decide(plan_of({"h": hypothesis}, n_seeds, factors), runs_of(arms))[0]


BASE = [0.30, 0.31, 0.29, 0.32, 0.28, 0.30]


def test_a_clear_effect_beyond_the_margin_is_supported_strongly() -> None:
    verdict = decide_one(claim(), {"sum": BASE, "mean": [p + 0.2 for p in BASE]})
    assert (verdict.word, verdict.strong, verdict.wins) == ("supported", True, 6)
    assert verdict.evidence.p == pytest.approx(2 / 64)
    assert verdict.evidence.shown.effect == pytest.approx(0.2)
    assert list(verdict.evidence.differences) == list(range(6))


def test_support_is_weak_where_the_interval_reaches_below_the_margin() -> None:
    shifts = [0.01, 0.11, 0.02, 0.12, 0.01, 0.11]
    verdict = decide_one(
        claim(), {"sum": BASE, "mean": [p + d for p, d in zip(BASE, shifts, strict=True)]}
    )
    assert (verdict.word, verdict.strong) == ("supported", False)


def test_five_seeds_of_per_cannot_support_and_a_large_p_does_not_refute() -> None:
    verdict = decide_one(claim(), {"sum": BASE[:5], "mean": [p + 0.2 for p in BASE[:5]]})
    assert (verdict.word, verdict.reason) == ("inconclusive", "undecided")
    noisy = decide_one(claim(), {"sum": BASE, "mean": [0.1, 0.6, 0.2, 0.5, 0.15, 0.4]})
    assert noisy.evidence.p > 0.5 and noisy.word == "inconclusive"
    assert noisy.detectable > 0.05 and noisy.seeds_needed is not None and noisy.seeds_needed > 6


@pytest.mark.parametrize(
    ("shift", "reason"), [(0.0, "equivalent"), (-0.2, "reversed"), (0.03, "equivalent")]
)
def test_an_upper_bound_below_the_margin_refutes(shift: float, reason: str) -> None:
    wobble = [0.01, -0.01, 0.005, -0.005, 0.01, -0.01]
    to = [p + shift + w for p, w in zip(BASE, wobble, strict=True)]
    verdict = decide_one(claim(), {"sum": BASE, "mean": to})
    assert (verdict.word, verdict.reason) == ("refuted", reason)


def test_a_bound_between_zero_and_the_margin_with_a_wide_lower_side_is_negligible() -> None:
    to = [p + d for p, d in zip(BASE, [-0.2, 0.02, -0.15, 0.01, -0.1, 0.0], strict=True)]
    verdict = decide_one(claim(), {"sum": BASE, "mean": to})
    assert (verdict.word, verdict.reason) == ("refuted", "negligible")
    assert 0 <= verdict.claimed_bounds.high < 0.05


def test_a_claimed_decrease_mirrors_a_claimed_increase() -> None:
    up = decide_one(claim(), {"sum": BASE, "mean": [p + 0.2 for p in BASE]})
    down = decide_one(claim(direction="decrease"), {"sum": [p + 0.2 for p in BASE], "mean": BASE})
    assert down.word == "supported" and down.evidence.shown.effect == pytest.approx(-0.2)
    assert down.claimed_interval == pytest.approx(up.claimed_interval)
    wrong = decide_one(claim(direction="decrease"), {"sum": BASE, "mean": [p + 0.2 for p in BASE]})
    assert (wrong.word, wrong.reason) == ("refuted", "reversed")


def test_diverged_runs_count_as_a_per_of_one() -> None:
    to = ["diverged", "diverged", "diverged", 0.2, 0.2, 0.2]
    verdict = decide_one(claim(direction="decrease"), {"sum": BASE, "mean": to})
    assert verdict.word != "supported"
    assert verdict.evidence.cells[0].n == 6 and verdict.evidence.cells[0].n_diverged == 3
    assert verdict.evidence.shown.effect > 0


def test_collapse_is_decided_by_boschloo_with_newcombes_interval() -> None:
    hypothesis = claim(outcome="collapsed", margin=0.5)
    verdict = decide_one(hypothesis, {"sum": BASE[:4], "mean": ["collapsed"] * 3 + ["diverged"]})
    assert verdict.word == "supported"
    assert verdict.evidence.p == pytest.approx(0.0078125)
    assert verdict.evidence.shown.interval == shares.share_difference(
        [shares.Share(4, 4)], [shares.Share(0, 4)]
    )
    nothing = decide_one(hypothesis, {"sum": BASE, "mean": BASE})
    assert (nothing.word, nothing.reason, nothing.evidence.p) == ("refuted", "equivalent", 1.0)
    three = decide_one(hypothesis, {"sum": BASE[:3], "mean": BASE[:3]})
    assert three.word == "inconclusive", "at a true share of a half, 0 of 3 has probability 1/8"


def test_steps_to_escape_are_cut_at_the_budget() -> None:
    fast = [("escape", s) for s in (40, 60, 60, 80, 80, 100)]
    slow = [("escape", s) for s in (260, 300, None, 320, None, 340)]
    verdict = decide_one(claim(outcome="escape_step", margin=100), {"sum": fast, "mean": slow})
    assert verdict.word == "supported"
    steps = np.array([260, 300, 400, 320, 400, 340]) - [40, 60, 60, 80, 80, 100]
    assert verdict.evidence.p == pytest.approx(stats.studentized(steps))
    assert verdict.evidence.shown.effect == pytest.approx((2020 - 420) / 6)
    assert [cell.n_escaped for cell in verdict.evidence.cells] == [4, 6]


def test_steps_that_differ_by_the_same_in_every_seed_are_tested_by_the_log_rank() -> None:
    # Evaluations every 20 steps: without a spread there is nothing to studentize by.
    fast, slow = [("escape", 40)] * 4, [("escape", None)] * 4
    arms = {"sum": fast, "mean": slow}
    verdict = decide_one(claim(outcome="escape_step", margin=100), arms)
    assert (verdict.word, verdict.evidence.p) == ("supported", pytest.approx(2 / math.comb(8, 4)))


def test_an_exact_test_is_taken_on_request() -> None:
    fast = [("escape", s) for s in (40, 60, 60, 80, 80, 100)]
    slow = [("escape", s) for s in (260, 300, None, 320, None, 340)]
    asked = claim(outcome="escape_step", margin=100, test="exact")
    verdict = decide_one(asked, {"sum": fast, "mean": slow})
    assert (verdict.evidence.test, verdict.evidence.p) == (
        "log_rank",
        pytest.approx(2 / math.comb(12, 6)),
    )
    shifted = {"sum": BASE, "mean": [p + 0.2 + 0.01 * p for p in BASE]}
    verdict = decide_one(claim(test="exact"), shifted)
    assert (verdict.evidence.test, verdict.evidence.p) == ("sign_flip", pytest.approx(2 / 64))


def test_a_claim_locked_with_the_exact_test_keeps_it() -> None:
    arms = {"sum": BASE, "mean": [p + 0.2 + 0.01 * p for p in BASE]}
    plan = plan_of({"h": claim()}, 6)
    (now,) = decide(plan, runs_of(arms))
    (locked,) = decide(plan.model_copy(update={"exact_locked": ("h",)}), runs_of(arms))
    assert (now.evidence.test, locked.evidence.test) == ("studentized", "sign_flip")
    assert locked.evidence.p == pytest.approx(2 / 64) and now.evidence.p < 1e-6
    assert locked.evidence.shown.effect == now.evidence.shown.effect


def test_a_verdict_has_the_slice_that_follows_from_the_design() -> None:
    plan = plan_of({"h": claim()}, 6, ("loss", "other"))
    plan = bare_plan(
        plan.spec.model_copy(update={"design": "one_factor"}),
        {arm: levels for arm, levels in plan.cells.items() if arm != "mean+mean"},
    )
    [verdict] = decide(plan, runs_of({"sum+sum": BASE, "mean+sum": [p + 0.2 for p in BASE]}))
    assert verdict.hypothesis.where == {"other": "sum"}
    assert "other = sum" in first_sentence(verdict)


@pytest.mark.parametrize("direction", ["increase", "none"])
def test_runs_that_never_escaped_exclude_no_effect(direction: str) -> None:
    """With a budget of 400 steps, the effect is unbounded if an arm never escapes."""
    late = [("escape", s) for s in (360, 380, 360, 380, 360, 380)]
    never = [("escape", None)] * 6
    for sum_arm in (late, never):
        verdict = decide_one(
            claim(outcome="escape_step", margin=40, direction=direction),
            {"sum": sum_arm, "mean": never},
        )
        assert verdict.word == "inconclusive"
        text = first_sentence(verdict) + explain(verdict)
        assert "inf" not in text and "nan" not in text
    assert math.isinf(verdict.claimed_bounds.high)


def test_an_early_escape_is_refuted_although_the_reference_was_cut() -> None:
    late = [("escape", s) for s in (360, 380, None, 380, None, 380)]
    early = [("escape", s) for s in (40, 60, 40, 60, 40, 60)]
    verdict = decide_one(claim(outcome="escape_step", margin=40), {"sum": late, "mean": early})
    assert (verdict.word, verdict.reason) == ("refuted", "reversed")


def test_an_interaction_needs_the_simple_effect_that_it_claims() -> None:
    """The mean lowers PER at both levels, less at the second: it does not raise PER there."""
    arms = {
        "sum+sum": BASE,
        "mean+sum": [p - 0.2 - 0.001 * i for i, p in enumerate(BASE)],
        "sum+mean": [p + 0.5 for p in BASE],
        "mean+mean": [p + 0.5 - 0.01 for p in BASE],
    }
    other = {"factor": "other", "from": "sum", "to": "mean"}
    verdict = decide_one(claim(interaction=other), arms)
    assert verdict.evidence.shown.effect > 0.15
    assert verdict.evidence.shown.simple == pytest.approx(-0.01)
    assert verdict.word == "inconclusive"
    assert "−1.0" in explain(verdict), "the simple effect"


def test_an_interaction_is_the_difference_of_differences_of_each_seed() -> None:
    arms = {
        "sum+sum": BASE,
        "mean+sum": [p + 0.1 for p in BASE],
        "sum+mean": [p + 0.3 for p in BASE],
        "mean+mean": [p + 0.3 + 0.1 + 0.2 + 0.01 * i for i, p in enumerate(BASE)],
    }
    other = {"factor": "other", "from": "sum", "to": "mean"}
    verdict = decide_one(claim(interaction=other), arms)
    assert verdict.evidence.differences == pytest.approx({i: 0.2 + 0.01 * i for i in range(6)})
    assert verdict.word == "supported"
    assert [(c.arm, c.weight) for c in verdict.evidence.cells] == [
        ("mean+mean", 1),
        ("sum+mean", -1),
        ("mean+sum", -1),
        ("sum+sum", 1),
    ]
    assert decide_one(claim(where={"other": "mean"}), arms).word == "supported"


def test_an_interaction_of_collapse_has_an_interval_of_positive_width() -> None:
    arms = {
        "sum+sum": BASE,
        "mean+sum": BASE,
        "sum+mean": BASE,
        "mean+mean": ["collapsed"] * 6,
    }
    other = {"factor": "other", "from": "sum", "to": "mean"}
    verdict = decide_one(claim(interaction=other, outcome="collapsed", margin=0.5), arms)
    assert verdict.word == "supported" and not verdict.strong
    counts = [shares.Share(6, 6), *[shares.Share(0, 6)] * 3]
    assert verdict.evidence.p == pytest.approx(shares.share_contrast_p(counts, (1, -1, -1, 1)))
    assert verdict.evidence.shown.interval.low < 0.5


@pytest.mark.parametrize(("stuck", "mostly"), [(0, False), (2, False), (3, True), (6, True)])
def test_a_claim_about_per_says_how_many_runs_learned_nothing(stuck: int, mostly: bool) -> None:
    # The third of the stories: a clear difference of PER between arms that mostly collapse.
    learned = [0.30 + 0.01 * i for i in range(6 - stuck)]
    arms = {"sum": ["collapsed"] * stuck + learned, "mean": [1.2] * 6}
    verdict = decide_one(claim(), arms)
    assert [cell.n_learned_nothing for cell in verdict.evidence.cells] == [6, stuck]
    one = decide_one(claim(), {"sum": [0.4] * 6, "mean": ["collapsed"] * stuck + learned})
    assert one.mostly_learned_nothing == mostly
    assert one.evidence.cells[0].n_learned_nothing == stuck
    said = f"{stuck} of 6 of mean" in first_sentence(one)
    assert said == (stuck > 0)
    assert ("mostly collapsed" in verdict_title(one)) == (mostly and one.word != "inconclusive")


def test_the_share_of_collapsed_runs_and_steps_to_escape_may_be_about_runs_that_collapse() -> None:
    arms = {"sum": ["collapsed"] * 6, "mean": ["collapsed"] * 6}
    for outcome, margin in (("collapsed", 0.5), ("escape_step", 40)):
        verdict = decide_one(claim(outcome=outcome, margin=margin), arms)
        assert not verdict.mostly_learned_nothing
        assert "learned nothing" not in first_sentence(verdict)


def test_missing_runs_give_no_verdict() -> None:
    verdict = decide_one(claim(), {"sum": BASE, "mean": [p + 0.2 for p in BASE[:5]] + ["missing"]})
    assert (verdict.word, verdict.reason, verdict.p_adjusted) == ("inconclusive", "gaps", None)
    assert "11 of 12" in explain(verdict)
    assert len(verdict.evidence.differences) == 5


def test_a_verdict_must_hold_for_every_value_that_a_failed_run_could_have_had() -> None:
    arms = {"sum": ["failed", *BASE], "mean": [p + 0.2 for p in [0.3, *BASE]]}
    verdict = decide_one(claim(), arms)
    assert (verdict.word, verdict.reason) == ("inconclusive", "gaps")
    assert verdict.evidence.shown.effect == pytest.approx(0.2)
    hypothesis = claim(outcome="collapsed", margin=0.5)
    arms = {"sum": [*BASE, "failed"], "mean": ["collapsed"] * 7}
    verdict = decide_one(hypothesis, arms)
    assert verdict.word == "supported" and len(verdict.evidence.scenarios) == 2
    # The p is that of the worst case, one collapse among the seven.
    assert verdict.evidence.p == pytest.approx(
        shares.boschloo(shares.Share(7, 7), shares.Share(1, 7))
    )
    assert verdict.evidence.shown.effect == 1.0
    few = decide_one(hypothesis, {"sum": [0.3, 0.3, "failed"], "mean": ["collapsed"] * 3})
    assert (few.word, few.reason) == ("inconclusive", "gaps")


def test_a_gap_does_not_loosen_the_correction_of_its_family() -> None:
    hypotheses = {
        "whole": claim(where={"other": "sum"}),
        "gappy": claim(where={"other": "mean"}),
    }
    arms = {
        "sum+sum": BASE,
        "mean+sum": [p + 0.2 for p in BASE],
        "sum+mean": BASE,
        "mean+mean": ["missing"] * 6,
    }
    verdicts = decide(plan_of(hypotheses, 6, ("loss", "other")), runs_of(arms))
    assert verdicts[0].p_adjusted == pytest.approx(4 / 64)
    assert verdicts[0].word == "inconclusive"


def test_families_are_corrected_separately() -> None:
    hypotheses = {
        "one": claim(where={"other": "sum"}),
        "two": claim(where={"other": "mean"}, family="exploratory"),
    }
    arms = {
        "sum+sum": BASE,
        "mean+sum": [p + 0.2 for p in BASE],
        "sum+mean": BASE,
        "mean+mean": BASE,
    }
    verdicts = decide(plan_of(hypotheses, 6, ("loss", "other")), runs_of(arms))
    assert [v.n_family for v in verdicts] == [1, 1]
    assert [v.word for v in verdicts] == ["supported", "refuted"]


def test_the_same_configuration_under_two_names_shows_no_difference() -> None:
    verdict = decide_one(claim(), {"sum": BASE, "mean": BASE})
    assert (verdict.word, verdict.reason, verdict.evidence.p) == ("refuted", "equivalent", 1.0)


def test_an_altered_hypothesis_is_exploratory() -> None:
    plan = plan_of({"h": claim()}, 6).model_copy(update={"lock_changed": ("h",)})
    verdict = decide(plan, runs_of({"sum": BASE, "mean": BASE}))[0]
    assert verdict.exploratory and "exploratory" in explain(verdict)


def test_a_contrast_that_fits_no_arm_is_refused_by_name() -> None:
    arms = {"sum+sum": BASE, "mean+sum": BASE, "sum+mean": BASE, "mean+mean": BASE}
    with pytest.raises(ConfigError, match=r"hypotheses\.h\.where: "):
        decide_one(claim(), arms)
    with pytest.raises(ConfigError, match=r"hypotheses\.h: .*other=none"):
        decide_one(claim(where={"other": "none"}), arms)


def assessment(effect: float, half: float) -> Assessment:
    return Assessment(
        effect,
        Interval(effect - half, effect + half),
        Interval(effect - 0.8 * half, effect + 0.8 * half),
        0.01,
    )


@pytest.mark.parametrize("direction", ["increase", "decrease"])
@pytest.mark.parametrize("p", [0.0, 0.049, 0.05, 1.0])
def test_no_effect_is_ever_both_supported_and_refuted(direction: str, p: float) -> None:
    hypothesis = Hypothesis.model_validate(claim(direction=direction))
    for tenths in range(-20, 21):
        for half in (0.001, 0.03, 0.2):
            word, _, strong = judge(hypothesis, [assessment(tenths / 100, half)], p, 0.05)
            sign = 1 if direction == "increase" else -1
            effect = sign * tenths / 100
            expected = (
                "supported"
                if p < 0.05 and effect >= 0.05
                else "refuted"
                if effect + 0.8 * half < 0.05
                else "inconclusive"
            )
            assert word == expected
            assert not strong or effect - half >= 0.05 - 1e-9


def spec_with(hypotheses: Mapping[str, Any], n_seeds: int) -> AblationSpec:
    return plan_of(hypotheses, n_seeds).spec


def test_an_untestable_claim_is_not_supported_even_by_complete_separation() -> None:
    for n_seeds in (2, 3, 4, 5, 6):
        for outcome, margin in (("per", 0.05), ("collapsed", 0.5)):
            hypothesis = claim(outcome=outcome, margin=margin)
            best = {
                "sum": [0.1 + 0.001 * i for i in range(n_seeds)],
                "mean": ["collapsed"] * n_seeds,
            }
            supported = decide_one(hypothesis, best).word == "supported"
            assert supported == (untestable(spec_with({"h": hypothesis}, n_seeds)) == {})


def test_verdicts_on_the_simulated_ablation_are_those_of_its_truth(twelve_arms: Any) -> None:
    runs = make_tables(*twelve_arms).runs
    words = {v.name: (v.word, v.reason) for v in decide(twelve_arms.plan, runs)}
    assert words == {
        "weak-augmentation": ("refuted", "equivalent"),
        "small-learning-rate": ("supported", ""),
        "loss-scale": ("supported", ""),
        "escape": ("supported", ""),
        "interaction": ("supported", ""),
    }


def test_a_verdict_states_budget_data_slice_and_numbers(twelve_arms: Any) -> None:
    verdicts = decide(twelve_arms.plan, make_tables(*twelve_arms).runs)
    by_name = {verdict.name: verdict for verdict in verdicts}
    text = first_sentence(by_name["loss-scale"])
    for fact in ("400 steps", "synthetic:small", "augmentation = official", "6 of 6", "0 of 6"):
        assert fact in text
    assert "Holm" in explain(by_name["loss-scale"])
    assert by_name["loss-scale"].n_family == 4
    assert 0.05 < by_name["small-learning-rate"].detectable < 0.1
    for verdict in verdicts:
        assert first_sentence(verdict).count("400 steps") == 1
        assert not any("nan" in text for text in (first_sentence(verdict), explain(verdict)))


def test_the_verdicts_table_holds_what_is_needed_to_check_by_hand(twelve_arms: Any) -> None:
    verdicts = decide(twelve_arms.plan, make_tables(*twelve_arms).runs)
    table = verdicts_table(verdicts).set_index("hypothesis")
    row = table.loc["small-learning-rate"]
    differences = json.loads(row["differences"])
    assert sum(differences.values()) / 6 == pytest.approx(row["effect"])
    assert stats.studentized(list(differences.values())) == pytest.approx(row["p"])
    assert [cell["arm"] for cell in json.loads(row["arms"])] == [
        "official+0.002+sum",
        "official+0.005+sum",
    ]
    assert row["interval"] == "95 % skewness-corrected paired t"
    assert row["test"] == "skewness-corrected paired t"
    assert verdicts_table([]).empty


@pytest.mark.parametrize("outcome", ["per", "collapsed", "escape_step"])
@pytest.mark.parametrize("entries", [["missing"] * 2, ["failed"] * 2, [0.3, "failed"], [0.3, 0.4]])
def test_a_verdict_without_results_has_a_text(outcome: str, entries: list[Any]) -> None:
    verdict = decide_one(claim(outcome=outcome), {"sum": entries, "mean": [0.3, 0.3]})
    text = first_sentence(verdict) + explain(verdict)
    assert verdict.word == "inconclusive" and "nan" not in text and "inf" not in text
    verdicts_table([verdict])


def test_one_seed_excludes_no_effect() -> None:
    verdict = decide_one(claim(), {"sum": [0.3], "mean": [0.3]})
    assert verdict.word == "inconclusive"
    assert verdict.evidence.shown.interval == (-math.inf, math.inf)
    assert "inf" not in first_sentence(verdict)
