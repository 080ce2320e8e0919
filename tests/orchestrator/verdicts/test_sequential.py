import numpy as np
import pandas as pd
import pytest
from made_claims import bare_plan, claim

from orchestrator.plan.document import PlanDocument, SeedsAdded
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.report.wording import explain
from orchestrator.spec.claim_text import what_counts
from orchestrator.spec.claims import bound_error, looks_of
from orchestrator.spec.seeds import SeedSteps
from orchestrator.verdicts.sequential import LookDecision, take_look
from orchestrator.verdicts.verdicts import decide

STEPS = {"start": 4, "max": 12, "step": 4}
LEVELS = ("sum", "mean", "half")


def plan_of(hypotheses: dict[str, object], **changes: object) -> PlanDocument:
    """One factor with three levels; an arm is named by its level."""
    spec = {
        "name": "t",
        "question": "?",
        "base": "b.yaml",
        "factors": {"loss": {level: {} for level in LEVELS}},
        "seeds": STEPS,
        "hypotheses": hypotheses,
        **changes,
    }
    return bare_plan(spec, {level: {"loss": level} for level in LEVELS})


def runs_of(
    shifts: dict[str, float], n_seeds: dict[str, int], spread: float = 0.01
) -> pd.DataFrame:
    """PER of 0.3 and a shift for each arm, with noise; the other runs are missing."""
    rows = []
    for position, (arm, shift) in enumerate(shifts.items()):
        noise = np.random.default_rng(position).standard_normal(12)
        for seed in range(1, 13):
            is_there = seed <= n_seeds[arm]
            per = 0.3 + shift + spread * noise[seed - 1] if is_there else np.nan
            rows.append((arm, seed, "ok" if is_there else "missing", per, 100.0, 400))
    columns = ["arm", "seed", "outcome", "per", "escape_step", "n_steps"]
    return pd.DataFrame(rows, columns=columns)


def half_claim(**changes: object) -> dict[str, object]:
    return claim(contrast={"factor": "loss", "from": "sum", "to": "half"}, **changes)


PLAN = plan_of({"large": claim(), "unclear": half_claim()})
SHIFTS = {"sum": 0.0, "mean": 0.2, "half": 0.048}


def look(runs: pd.DataFrame, index: int, before: LookDecision | None) -> LookDecision:
    taken = take_look(PLAN, runs, (), index, before)
    assert taken is not None
    return taken


def test_steps_are_seeds_from_one_and_a_look_after_each() -> None:
    assert PLAN.spec.seeds == tuple(range(1, 13))
    assert [one.seeds for one in looks_of(PLAN.spec)] == [4, 8, 12]


def test_a_settled_claim_stops_and_its_arms_train_no_further_seeds() -> None:
    first = look(runs_of(SHIFTS, {"sum": 4, "mean": 4, "half": 4}), 0, None)
    assert {name: one.state for name, one in first.claims.items()} == {
        "large": "supported",
        "unclear": "open",
    }
    assert first.needed == ("sum", "half")
    runs = runs_of(SHIFTS, {"sum": 8, "mean": 4, "half": 8})
    second = look(runs, 1, first)
    assert second.claims["large"] == first.claims["large"]
    assert (second.look, second.n_seeds, second.claims["unclear"].look) == (2, 8, 2)


def test_a_look_waits_for_every_run_of_the_open_claims() -> None:
    first = look(runs_of(SHIFTS, {"sum": 4, "mean": 4, "half": 4}), 0, None)
    assert take_look(PLAN, runs_of(SHIFTS, {"sum": 8, "mean": 4, "half": 7}), (), 1, first) is None
    assert take_look(PLAN, runs_of(SHIFTS, {"sum": 4, "mean": 3, "half": 4}), (), 0, None) is None


def test_the_verdicts_of_stopped_runs_are_those_of_the_looks() -> None:
    runs = runs_of(SHIFTS, {"sum": 12, "mean": 4, "half": 12})
    before = None
    for index in range(3):
        before = look(runs, index, before)
    assert before is not None
    found = {one.name: (one.word, one.look, one.p_adjusted) for one in decide(PLAN, runs)}
    for name, state in before.claims.items():
        word = state.state if state.state in ("supported", "refuted") else "inconclusive"
        assert found[name] == (word, state.look, state.p_adjusted)


def test_what_a_look_decided_does_not_depend_on_later_runs() -> None:
    few = look(runs_of(SHIFTS, {"sum": 4, "mean": 4, "half": 4}), 0, None)
    assert look(runs_of(SHIFTS, {"sum": 12, "mean": 12, "half": 12}), 0, None) == few


def noisy_plan(n_claims: int) -> PlanDocument:
    """Claims about one contrast, whose margin is far below the noise."""
    names = [f"h{index}" for index in range(n_claims)]
    return plan_of({name: claim(margin=0.0001) for name in names})


def test_a_claim_that_no_seeds_up_to_the_last_look_will_decide_is_futile() -> None:
    plan, runs = noisy_plan(1), runs_of(dict.fromkeys(SHIFTS, 0.0), dict.fromkeys(SHIFTS, 8), 0.05)
    first = take_look(plan, runs, (), 0, None)
    assert first is not None
    taken = first if not first.needed else take_look(plan, runs, (), 1, first)
    assert taken is not None and taken.claims["h0"].state == "futile" and taken.needed == ()
    verdict = decide(plan, runs)[0]
    assert (verdict.word, verdict.reason) == ("inconclusive", "out of reach")
    assert verdict.is_settled and verdict.next_look_seeds is None


def test_claims_of_a_family_share_the_error_of_the_bounds_that_refute() -> None:
    """Once some are refuted, the others have it among them, as in Holm's method."""
    same = {"sum": 0.0, "mean": 0.0, "half": 0.0}
    runs = runs_of(same, dict.fromkeys(same, 4), spread=0.002)
    alone = decide(plan_of({"a": claim()}), runs)[0]
    wide = claim(margin=10.0)
    both = decide(plan_of({"a": claim(), "b": wide}), runs)
    assert [verdict.word for verdict in both] == ["refuted", "refuted"]
    assert both[0].evidence.bound_error < 0.6 * alone.evidence.bound_error
    barely = float(np.nextafter(alone.claimed_bounds.high, 1.0))
    last = decide(plan_of({"a": claim(margin=barely), "b": wide}), runs)
    # Refuted claims leave their part to the others, whose bound is then almost as if alone.
    assert last[0].evidence.bound_error == 2 * both[0].evidence.bound_error


def test_claims_locked_in_steps_keep_their_rule_when_the_file_lists_more_seeds() -> None:
    runs = runs_of(dict.fromkeys(SHIFTS, 0.0), dict.fromkeys(SHIFTS, 12), spread=0.05)
    claims = {"a": claim(margin=0.0001), "b": claim(margin=10.0)}
    lock = SeedsAdded(locked=tuple(range(1, 13)), steps=SeedSteps.model_validate(STEPS), n_added=1)
    longer = plan_of(claims, seeds=list(range(1, 14)))
    longer = longer.model_copy(update={"seeds_added": dict.fromkeys(claims, lock)})
    stepped = decide(plan_of(claims), runs)
    assert [one.reason for one in stepped] == ["out of reach", "equivalent"]
    facts = [(one.word, one.reason, one.look, one.evidence.bound_error) for one in stepped]
    locked = decide(longer, runs)
    assert [(v.word, v.reason, v.look, v.evidence.bound_error) for v in locked] == facts


LATE_STEPS = {"start": 8, "max": 12, "step": 4}


def test_no_claim_is_out_of_reach_while_a_run_of_its_family_is_missing() -> None:
    plan = plan_of({"a": claim(margin=0.0001), "b": half_claim()}, seeds=LATE_STEPS)
    flat = dict.fromkeys(SHIFTS, 0.0)
    every = runs_of(flat, dict.fromkeys(SHIFTS, 8), spread=0.05)
    assert decide(plan, every)[0].reason == "out of reach"
    some = runs_of(flat, {"sum": 8, "mean": 8, "half": 7}, spread=0.05)
    assert decide(plan, some)[0].reason == "between looks"


def test_a_claim_that_a_look_found_out_of_reach_stays_so() -> None:
    plan = plan_of({"a": claim(margin=0.0001)}, seeds=LATE_STEPS)
    flat = dict.fromkeys(SHIFTS, 0.0)
    first = take_look(plan, runs_of(flat, dict.fromkeys(SHIFTS, 8), spread=0.05), (), 0, None)
    assert first is not None and first.claims["a"].state == "futile"
    runs = runs_of(SHIFTS, dict.fromkeys(SHIFTS, 12))
    assert decide(plan, runs)[0].word == "supported"
    kept = decide(plan.model_copy(update={"looks_taken": (first,)}), runs)[0]
    assert (kept.word, kept.reason, kept.look) == ("inconclusive", "out of reach", 1)
    assert kept.is_settled


def test_listed_looks_keep_their_alphas_and_their_bounds_per_claim() -> None:
    looks = [{"seeds": 4, "alpha": 0.01}, {"seeds": 12, "alpha": 0.04}]
    plan = plan_of({"a": claim(), "b": claim()}, seeds=list(range(1, 13)), looks=looks)
    runs = runs_of(SHIFTS, dict.fromkeys(SHIFTS, 4))
    assert [one.alpha for one in looks_of(plan.spec)] == [0.01, 0.04]
    assert {one.evidence.bound_error for one in decide(plan, runs)} == {0.05 * 0.01 / 0.05}


def test_an_early_support_has_a_corrected_estimate_that_is_smaller() -> None:
    runs = runs_of({**SHIFTS, "mean": 0.06}, dict.fromkeys(SHIFTS, 12), spread=0.03)
    settled = decide(plan_of({"a": claim()}), runs)[0]
    assert (settled.word, settled.look) == ("supported", 2)
    effect, interval = settled.corrected_effect, settled.corrected_interval
    assert effect is not None and interval is not None
    assert 0.05 < effect < settled.evidence.shown.effect - 0.001
    assert interval.low < effect < interval.high


def test_an_open_claim_has_no_corrected_estimate() -> None:
    open_ = decide(PLAN, runs_of(SHIFTS, dict.fromkeys(SHIFTS, 4)))[1]
    assert open_.next_look_seeds == 8 and open_.corrected_effect is None


def test_a_claimed_decrease_is_corrected_as_its_mirror_image() -> None:
    runs = runs_of(SHIFTS, dict.fromkeys(SHIFTS, 4), spread=0.025)
    mirrored = runs.assign(per=1 - runs["per"])
    up = decide(plan_of({"a": claim()}), runs)[0]
    down = decide(plan_of({"a": claim(direction="decrease")}), mirrored)[0]
    assert up.word == down.word == "supported"
    assert up.corrected_effect is not None and up.corrected_interval is not None
    assert down.corrected_effect == pytest.approx(-up.corrected_effect)
    low, high = up.corrected_interval
    assert down.corrected_interval == pytest.approx((-high, -low))


def test_the_table_has_corrected_columns_only_with_looks() -> None:
    runs = runs_of(SHIFTS, dict.fromkeys(SHIFTS, 12))
    table = verdicts_table(decide(PLAN, runs))
    columns = ["corrected_effect", "corrected_low", "corrected_high"]
    assert table[columns].notna().all(axis=None)
    fixed = plan_of({"a": claim()}, seeds=list(range(1, 13)))
    assert not set(columns) & set(verdicts_table(decide(fixed, runs)))


def test_the_decision_says_at_which_look_and_what_the_corrected_effect_is() -> None:
    settled = decide(PLAN, runs_of(SHIFTS, dict.fromkeys(SHIFTS, 4), spread=0.025))[0]
    assert "look 1 of 3" in explain(settled)
    assert settled.corrected_effect is not None
    assert f"{100 * settled.corrected_effect:+.1f}" in explain(settled)


def test_the_rule_in_words_says_that_claims_share_the_bounds() -> None:
    stepped = what_counts(PLAN.spec)
    fixed = what_counts(plan_of({"large": claim(), "unclear": half_claim()}, seeds=[1, 2, 3]).spec)
    assert {text.count("Holm over 2 claims") for text in stepped.values()} == {2}
    assert {text.count("Holm over 2 claims") for text in fixed.values()} == {1}
    verdicts = decide(PLAN, runs_of(SHIFTS, {"sum": 4, "mean": 4, "half": 4}))
    whole = bound_error(PLAN.spec, looks_of(PLAN.spec)[0])
    assert {one.evidence.bound_error for one in verdicts} == {whole / 2}
