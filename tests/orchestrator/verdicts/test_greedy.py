"""`orchestrator.verdicts.greedy` and its report: a path with interactions, worked by hand."""

import math
from collections.abc import Callable, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.plan.document import ArmEntry
from orchestrator.report.figures.greedy import draw_greedy, greedy_data
from orchestrator.report.greedy import greedy_grid
from orchestrator.report.prose import prose
from orchestrator.spec.arms import GreedyCandidate
from orchestrator.spec.schema import AblationSpec
from orchestrator.verdicts.greedy import Round, greedy_rounds, greedy_table, n_greedy_arms_left

# a helps a little, c more, b only together with c; all three help a little less than b and c.
PER = {"": 0.50, "a": 0.45, "b": 0.48, "c": 0.40, "ab": 0.44, "ac": 0.41, "bc": 0.30, "abc": 0.33}
STATED = ("", "a", "ab", "abc")
SEEDS = (1, 2, 3, 4)

Study = tuple[AblationSpec, list[dict[str, Any]], pd.DataFrame]


def study(
    arms: tuple[str, ...], ended: Mapping[tuple[str, int], str] | None = None, **greedy: Any
) -> Study:
    """An ablation of three changes with these arms; `ended` gives the runs that are not ok."""
    spec = AblationSpec.model_validate(
        {
            "name": "g", "question": "?", "base": "b.yaml", "design": "path", "seeds": SEEDS,
            "factors": {name: {"off": {}, "on": {}} for name in "abc"}, "greedy": greedy,
        }
    )  # fmt: skip
    entries = [
        ArmEntry(
            arm_id=f"[{arm}]",
            levels={name: "on" if name in arm else "off" for name in "abc"},
            in_design=arm in STATED,
            candidate=None if arm in STATED else GreedyCandidate(len(arm), "?"),
        )
        for arm in arms
    ]
    rows = []
    for arm, seed in product(arms, SEEDS):
        outcome = (ended or {}).get((arm, seed), "ok")
        per = {"diverged": 1.0, "failed": math.nan}.get(outcome, PER[arm] + 0.01 * (seed % 2))
        counted = outcome != "failed"
        rows.append(
            {
                "arm": f"[{arm}]", "block": seed, "outcome": outcome, "in_design": arm in STATED,
                "per": per, "collapsed": float(outcome != "ok") if counted else math.nan,
            }
        )  # fmt: skip
    return spec, entries, pd.DataFrame(rows)


def chosen(rounds: tuple[Round, ...]) -> str:
    return "".join(one.chosen or "?" for one in rounds)


def test_interacting_changes_are_kept_in_a_different_order_from_the_stated_path() -> None:
    rounds = greedy_rounds(*study(tuple(PER)))
    assert chosen(rounds) == "cba"
    first, second, third = rounds
    assert [t.change.effect for t in first.tried] == pytest.approx([-0.05, -0.02, -0.10])
    assert [t.change.factor for t in second.tried] == ["a", "b"]
    assert [t.change.effect for t in second.tried] == pytest.approx([0.01, -0.10])
    assert second.before == "[c]" and second.kept and second.kept.mean == pytest.approx(0.305)
    assert [t.change.effect for t in third.tried] == pytest.approx([0.03])
    assert third.tried[0].change.arm == "[abc]"  # where the stated path ends as well
    assert first.tried[0].change.n_blocks == len(SEEDS)


@pytest.mark.parametrize("seed", range(5))
def test_any_path_takes_the_best_step_of_each_round_and_ends_with_all_changes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = {"".join(on): float(rng.random()) for n in range(4) for on in combinations("abc", n)}
    spec, arms, runs = study(tuple(PER))
    by_arm = {f"[{arm}]": mean for arm, mean in means.items()}
    runs = runs.assign(per=runs["arm"].map(by_arm))
    table = greedy_table(greedy_rounds(spec, arms, runs))
    assert table["arm"].is_unique and len(table) == 3 + 2 + 1
    kept = table[table["kept"]]
    assert sorted(kept["factor"]) == ["a", "b", "c"] and kept["arm"].iloc[-1] == "[abc]"
    assert kept["mean"].tolist() == pytest.approx(table.groupby("round")["mean"].min().tolist())
    assert kept["before"].tolist() == ["[]", *kept["arm"].iloc[:-1]]
    assert kept["effect"].sum() == pytest.approx(means["abc"] - means[""])


def test_with_direction_increase_it_keeps_the_highest_mean() -> None:
    rounds = greedy_rounds(*study(tuple(PER), direction="increase"))
    assert chosen(rounds) == "bac"


def test_it_waits_for_the_stated_path_and_then_plans_one_round_after_another() -> None:
    assert greedy_rounds(*study(STATED, {("ab", 3): "missing"})) == ()
    (first,) = greedy_rounds(*study(STATED))
    assert (first.chosen, first.untried) == ("", ("b", "c"))
    rounds = greedy_rounds(*study((*STATED, "b", "c")))
    assert chosen(rounds) == "c?"
    assert rounds[1].untried == ("a", "b")


def test_a_diverged_run_counts_and_a_failed_one_keeps_the_round_open() -> None:
    rounds = greedy_rounds(*study(tuple(PER), {("c", 1): "diverged"}))
    assert chosen(rounds)[0] == "a"  # .41, 1, .41, .40 are worse on average than .45
    (first,) = greedy_rounds(*study(tuple(PER), {("c", 1): "failed"}))
    assert (first.chosen, first.untried) == ("", ())
    assert [tried.n_gaps for tried in first.tried] == [0, 0, 1]
    assert "[c] 1" in " ".join(prose("greedy", greedy=study(STATED)[0].greedy, rounds=(first,)))


def test_collapse_can_decide_and_the_first_of_equal_changes_is_kept() -> None:
    gone = {("c", seed): "collapsed" for seed in SEEDS[:3]}
    first = greedy_rounds(*study(tuple(PER), gone, outcome="collapsed"))[0]
    assert first.chosen == "a"
    assert [t.change.effect for t in first.tried] == [0.0, 0.0, 0.75]
    assert -1 <= first.tried[2].change.interval.low < 0.75 < first.tried[2].change.interval.high


@pytest.mark.parametrize("n_factors", [1, 2, 3, 6])
def test_the_arms_left_are_those_of_all_rounds_without_the_two_of_the_stated_path(
    n_factors: int,
) -> None:
    every = n_factors * (n_factors + 1) // 2
    assert n_greedy_arms_left(n_factors, 0) == max(0, every - 2)
    assert n_greedy_arms_left(n_factors, n_factors) == 0
    after_one = every - n_factors - (n_factors > 1)
    assert n_greedy_arms_left(n_factors, 1) == max(0, after_one)


def test_the_report_shows_both_orders_and_calls_the_greedy_one_exploratory() -> None:
    spec, arms, runs = study(tuple(PER))
    rounds = greedy_rounds(spec, arms, runs)
    grid = greedy_grid(arms, spec, runs, rounds)
    assert [row[1:5:2] for row in grid.rows] == [("+ a", "+ c"), ("+ b", "+ b"), ("+ c", "+ a")]
    assert [row[4] for row in grid.rows] == ["−10.0", "−10.0", "+3.0"]
    assert grid.rows[0][-1] == "a −5.0; b −2.0"
    text = " ".join(prose("greedy", greedy=spec.greedy, rounds=rounds))
    assert "exploratory" in text and all(one.chosen for one in rounds)


def test_the_figure_holds_the_means_of_both_paths() -> None:
    spec, arms, runs = study(tuple(PER))
    data = greedy_data(spec, arms, runs, greedy_rounds(spec, arms, runs))
    assert data.kept == ("c", "b", "a") and data.stated == ("a", "b", "c")
    assert data.kept_means == pytest.approx((0.505, 0.405, 0.305, 0.335))
    assert data.stated_means == pytest.approx((0.505, 0.455, 0.445, 0.335))
    assert [len(means) for means in data.others] == [2, 1, 0]
    (axes,) = draw_greedy(data).axes
    assert [label.get_text() for label in axes.get_xticklabels()][1] == "+ c\n(+ a)"


def test_a_report_of_made_up_runs_has_the_section_and_the_figure(
    build: Callable[..., Any], truth: Any, tmp_path: Path
) -> None:
    from orchestrator.report.rebuild import rebuild

    paths = {"a": "augment.white_noise_std", "b": "optim.lr_max"}
    made = build(
        {
            "name": "g", "question": "?", "design": "path", "seeds": [1, 2, 3], "greedy": {},
            "factors": {name: {"off": {}, "on": {path: 0.003}} for name, path in paths.items()},
        },
        lambda levels, arm: truth(per=0.3 if levels["a"] == "on" else 0.5),
    )  # fmt: skip
    rebuild(tmp_path, *made)
    text = (tmp_path / "report.md").read_text()
    assert "exploratory" in text
    assert (tmp_path / "figures" / "greedy.svg").exists()
    table = pd.read_csv(tmp_path / "greedy.csv")
    assert table["factor"].tolist() == ["a", "b"]
    assert set(table["round"]) == {1} and not table["kept"].any(), "round 1 is open"
