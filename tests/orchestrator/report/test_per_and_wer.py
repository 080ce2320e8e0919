"""Whether PER stands for WER: what is compared, what is said, and where it is shown."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from orchestrator.plan.document import PlanDocument
from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.figures import make_figures
from orchestrator.report.figures.per_and_wer import clouds_data, draw_clouds
from orchestrator.report.per_and_wer import (
    agreement_grid,
    agreement_notes,
    per_and_wer,
    stands_word,
)
from orchestrator.report.view import make_view
from orchestrator.report.word_grid import words_grid

SEEDS = (1, 2, 3, 4)


def plan_with(arms: list[str], repeats: tuple[str, ...] = ()) -> PlanDocument:
    entries = [
        SimpleNamespace(arm_id=arm, seed_offset=0, replicate=int(arm in repeats)) for arm in arms
    ]
    return cast(PlanDocument, SimpleNamespace(arms=entries))


def runs_of(per: dict[str, float], wer: dict[str, float], slope: float = 1.0) -> pd.DataFrame:
    """Runs whose arms have these means, and whose WER goes with PER over the seeds by `slope`."""
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "block": seed,
                "outcome": "ok",
                "per": per[arm] + 0.001 * (seed - 2.5),
                "wer": wer[arm] + slope * 0.001 * (seed - 2.5),
            }
            for arm in per
            for seed in SEEDS
        ]
    )


NINE = {f"arm{index}": 0.1 + 0.02 * index for index in range(9)}


def test_arms_and_seeds_are_compared_apart() -> None:
    found = per_and_wer(plan_with([*NINE]), runs_of(NINE, NINE, slope=-1.0))
    assert found is not None
    assert (found.between.tau, found.between.n_units, found.between.n_alike) == (1.0, 9, 36)
    assert (found.within.tau, found.within.n_units, found.within.n_opposed) == (-1.0, 4, 54)
    assert stands_word(found.between) == "yes"
    assert agreement_notes(found)[0].startswith("PER stands for WER here: of 36 pairs")
    assert [row[0] for row in agreement_grid(found).rows] == [
        "means of arms",
        "runs of the same arm",
    ]


def test_repetitions_and_runs_that_learned_nothing_are_no_arms_of_their_own() -> None:
    runs = runs_of(NINE, NINE)
    runs.loc[runs["arm"] == "arm8", ["per", "wer"]] = 0.95
    runs.loc[runs["arm"] == "arm7", "outcome"] = "collapsed"
    runs.loc[runs["arm"] == "arm6", "wer"] = np.nan
    runs.loc[runs["arm"] == "arm5", "outcome"] = "failed"
    found = per_and_wer(plan_with([*NINE], repeats=("arm4",)), runs)
    assert found is not None
    assert found.between.n_units == 4 and found.n_learned_nothing == 8
    assert set(found.runs["arm"]) == {"arm0", "arm1", "arm2", "arm3", "arm4"}
    assert found.within.n_pairs == 4 * 6
    notes = agreement_notes(found)
    assert "4 arms" in notes[0] and "at least 5" in notes[0] and "8 runs" in notes[-1]
    assert agreement_grid(found).rows[0][2] == "none below 5 arms"


@pytest.mark.parametrize(
    ("wer", "word"),
    [
        (lambda index: index, "yes"),
        (lambda index: -index, "no"),
        (lambda index: (4, 0, 5, 1, 6, 2, 7, 3, 8)[index], "open"),
        (lambda index: (0, 4, 1, 2, 3, 5, 8, 6, 7)[index], "partly"),
    ],
)
def test_the_answer_follows_the_interval(wer: Any, word: str) -> None:
    found = per_and_wer(
        plan_with([*NINE]),
        runs_of(NINE, {arm: 0.4 + 0.01 * wer(index) for index, arm in enumerate(NINE)}),
    )
    assert found is not None and stands_word(found.between) == word
    low, high = found.between.interval
    assert {"yes": low >= 0.5, "no": high < 0.5, "partly": low > 0, "open": low < 0 < high}[word]


def test_runs_without_a_word_error_rate_are_not_compared() -> None:
    runs = runs_of(NINE, NINE)
    assert per_and_wer(plan_with([*NINE]), runs.drop(columns="wer")) is None
    assert per_and_wer(plan_with([*NINE]), runs.assign(wer=np.nan)) is None


def test_the_figure_has_a_style_for_each_arm() -> None:
    found = per_and_wer(plan_with([*NINE]), runs_of(NINE, NINE))
    assert found is not None
    [axes] = draw_clouds(clouds_data(found)).axes
    means = axes.lines[1::2]
    assert [float(np.asarray(line.get_xdata())[0]) for line in means] == pytest.approx(
        [*NINE.values()]
    )
    assert all(len(np.asarray(line.get_xdata())) == len(SEEDS) for line in axes.lines[::2])
    assert len({(line.get_color(), line.get_marker()) for line in means}) == 9
    assert len(clouds_data(found, ["arm1", "arm3"])) == 2


def with_words(twelve_arms: Any) -> Any:
    """The ablation, each of whose runs has a WER at its last evaluation."""
    histories = {
        run_id: [*rows[:-1], {**rows[-1], "wer": min(1.0, 1.2 * rows[-1]["per"])}] if rows else []
        for run_id, rows in twelve_arms.histories.items()
    }
    return evaluate_records(twelve_arms.plan, twelve_arms.records, histories)


def test_a_report_shows_it_where_runs_have_both(twelve_arms: Any) -> None:
    given = with_words(twelve_arms)
    assert "per_and_wer" in [figure.name for figure in make_figures(given)]
    titles = [part.title for part in dict(make_view(given, []))["evidence"][-1][1]]
    assert "Does PER stand for WER here?" in titles
    without = evaluate_records(*twelve_arms)
    assert "per_and_wer" not in [figure.name for figure in make_figures(without)]
    titles = [part.title for part in dict(make_view(without, []))["evidence"][-1][1]]
    assert "Does PER stand for WER here?" not in titles
    assert not given.faults.found and not without.faults.found


def words_run(arm: str, run_id: str, n_edits: int, outcome: str = "ok") -> dict[str, Any]:
    known = outcome == "ok"
    counts = {
        "n_reference_words": 100,
        "n_word_edits": n_edits,
        "n_word_substitutions": n_edits - 2,
        "n_word_deletions": 2,
        "n_word_insertions": 0,
        "n_word_edits_oracle": n_edits // 2,
        "wer_oracle": 0.1,
        "out_of_vocabulary": 0.03,
    }
    values = counts if known else dict.fromkeys(counts, np.nan)
    return {"arm": arm, "run_id": run_id, "outcome": outcome, "wer": 0.5, **values}


def test_words_of_an_arm_are_sums_with_the_weights_that_its_seeds_chose() -> None:
    runs = pd.DataFrame(
        [
            words_run("base", "r1", 10),
            words_run("base", "r2", 30),
            words_run("base", "r3", 20),
            words_run("wild", "r4", 0, "diverged"),
            words_run("other", "r5", 8),
        ]
    )
    chosen = {"lm_weight": 1.5, "word_score": -1.0, "blank_penalty": 0.0}
    facts = {**chosen, "n_tuned": 40, "n_reported": 44, "lexicon_words": 126052.0}
    facts |= {"language_model": "train", "language_model_sha256": "ab" * 32}
    command = dict.fromkeys((*chosen, "lexicon_words"), np.nan)
    command |= {"language_model": "", "language_model_sha256": "", "n_tuned": 0, "n_reported": 84}
    words = pd.DataFrame(
        [
            {"run_id": "r1", **facts},
            {"run_id": "r2", **facts},
            {"run_id": "r3", **facts, "lm_weight": 2.0},
            {"run_id": "r5", **command},
        ]
    )
    grid = words_grid(runs, words)
    assert grid is not None
    base, other = (dict(zip(grid.header, row, strict=True)) for row in grid.rows)
    assert (base["arm"], base["WER"], base["substituted"]) == ("base", "20.0 %", "18.0 %")
    assert (base["best of the beam"], base["outside the lexicon"]) == ("10.0 %", "3.0 %")
    assert (base["language-model weight"], base["word score"]) == ("1.5 (2), 2 (1)", "−1")
    assert base["trials that chose, that count"] == "40, 44"
    assert (other["language-model weight"], other["trials that chose, that count"]) == (
        "–",
        "0, 84",
    )
    assert (base["words of the lexicon"], base["language model"]) == ("126,052", "train abababab")
    assert (other["words of the lexicon"], other["language model"]) == ("–", "–")
    assert words_grid(runs.drop(columns="n_word_edits"), words) is None
    assert words_grid(runs, words[:0]) is None
