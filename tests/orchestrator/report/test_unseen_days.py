"""What a report shows of sessions held out and of shares of the data, worked by hand."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from decoder.pack import HISTORY_COLUMNS
from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures.data_efficiency import draw_efficiency, efficiency_data
from orchestrator.report.figures.held_out import HeldOutCurve, draw_held_out, held_out_data
from orchestrator.spec.load import Loaded
from orchestrator.store.record import Record
from orchestrator.tables.breakdowns import held_out_table
from orchestrator.tables.run_columns import result_columns

RUNS = pd.DataFrame(
    [
        {"run_id": "r1", "arm": "base", "seed": 1, "outcome": "ok", "per": 0.5},
        {"run_id": "r2", "arm": "base", "seed": 2, "outcome": "ok", "per": 0.3},
        {"run_id": "r3", "arm": "half", "seed": 1, "outcome": "diverged", "per": 1.0},
        {"run_id": "r4", "arm": "half", "seed": 2, "outcome": "ok", "per": 0.6},
        {"run_id": "r5", "arm": "other", "seed": 1, "outcome": "ok", "per": 0.2},
        {"run_id": "r6", "arm": "other", "seed": 2, "outcome": "failed", "per": np.nan},
    ]
)


def errors(n_edits: int, n_reference: int, days: int | None) -> dict[str, int | None]:
    return {"n_edits": n_edits, "n_reference": n_reference, "days": days}


def record(share: float, n_trials: int, lr: float = 0.1, **held_out: Any) -> Record:
    config = {"data": {"train_share": share, "batch_size": 4}, "optim": {"lr_max": lr}}
    whole = {"config": config, "n_train_trials": n_trials}
    return cast(Record, {**whole, **({"held_out": held_out} if held_out else {})})


RECORDS = {
    "r1": record(1.0, 100, later=errors(5, 10, 7), soon=errors(1, 10, 2)),
    "r2": record(1.0, 104, later=errors(9, 30, 7), soon=errors(3, 10, 2)),
    "r3": record(0.5, 50),  # diverged before its last evaluation
    "r4": record(0.5, 52, later=errors(6, 10, 7), undated=errors(1, 2, None)),
    "r5": record(1.0, 100, lr=0.2, later=errors(0, 0, 7)),
}


class Arm:
    def __init__(self, arm_id: str, data: str, rate: str) -> None:
        self.arm_id, self.levels = arm_id, {"data": data, "rate": rate}


class Plan:
    arms = (Arm("base", "all", "low"), Arm("half", "half", "low"), Arm("other", "all", "high"))


PLAN = cast(PlanDocument, Plan())


def test_errors_held_out_are_listed_by_run_and_session() -> None:
    table = held_out_table(RUNS, RECORDS)
    assert table["run_id"].tolist() == ["r1", "r1", "r2", "r2", "r4", "r4", "r5"]
    assert table["days"].tolist()[:5] == [7, 2, 7, 2, 7] and np.isnan(table["days"][5])
    assert table["per"][0] == 0.5 and np.isnan(table["per"][6])
    assert held_out_table(RUNS, {}).empty


def test_the_figure_pools_seeds_and_goes_by_days() -> None:
    base, half = held_out_data(held_out_table(RUNS, RECORDS))
    assert (base.arm, half.arm) == ("base", "half")
    assert base.days.tolist() == [2, 7]
    assert base.per.tolist() == [4 / 20, 14 / 40]
    assert base.low.tolist() == [0.1, 0.3] and base.high.tolist() == [0.3, 0.5]
    assert (half.days.tolist(), half.per.tolist()) == ([7], [0.6])
    assert [one.arm for one in held_out_data(held_out_table(RUNS, RECORDS), ["half"])] == ["half"]
    [axes] = draw_held_out([base, half]).axes
    drawn = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert drawn == [[2, 7], [7]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "7"]


@pytest.mark.parametrize(("days", "theirs"), [((-7, 7, 14), True), ((1, 2, 3, 400), False)])
def test_distances_that_have_room_are_the_ticks(days: tuple[int, ...], theirs: bool) -> None:
    values = np.array(days, dtype=float)
    curve = HeldOutCurve("base", values, values * 0, values * 0, values * 0)
    [axes] = draw_held_out([curve]).axes
    assert (axes.get_xticks().tolist() == [*days]) == theirs


def test_at_a_single_distance_arms_stand_side_by_side() -> None:
    one = np.ones(1)
    curves = [HeldOutCurve(arm, 7 * one, 0.2 * one, 0.1 * one, 0.3 * one) for arm in "abc"]
    [axes] = draw_held_out(curves).axes
    places = [line.get_xdata()[0] for line in axes.lines]
    assert len(set(places)) == 3 and all(abs(place - 7) < 0.5 for place in places)
    assert axes.get_xticks().tolist() == [7]


def test_arms_that_differ_in_shares_alone_are_one_line() -> None:
    [curve] = efficiency_data(PLAN, RUNS, RECORDS)
    assert curve.label == "low"  # the level that both arms have
    assert curve.share == "train_share"
    assert curve.n_trials.tolist() == [51, 102]
    assert curve.per.tolist() == [0.8, 0.4]
    assert sorted(curve.seeds) == [(50, 1.0), (52, 0.6), (100, 0.5), (104, 0.3)]
    [axes] = draw_efficiency([curve]).axes
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [51, 102]
    assert len(np.asarray(axes.lines[1].get_xdata())) == 4


def test_the_labels_of_an_axis_in_percent_are_its_ticks() -> None:
    figure = draw_efficiency(efficiency_data(PLAN, RUNS, RECORDS))
    [axes] = figure.axes
    axes.set_yticks([0.0, 0.025, 0.05, 0.125, 0.1225])
    labels = [text.get_text().split()[0] for text in axes.get_yticklabels()]
    assert labels == ["0", "2.5", "5", "12.5", "12.25"]


def test_fewer_trials_and_fewer_sessions_are_two_lines_of_one_colour() -> None:
    names = ("all", "half", "quarter", "half_days", "quarter_days")
    pers = (0.1, 0.2, 0.3, 0.4, 0.5)
    shares = ((1.0, 1.0), (0.5, 1.0), (0.25, 1.0), (1.0, 0.5), (1.0, 0.25))
    plan = cast(PlanDocument, SimpleNamespace(arms=[Arm(name, name, "low") for name in names]))
    runs = pd.DataFrame(
        [
            {"run_id": n, "arm": n, "seed": 1, "outcome": "ok", "per": p}
            for p, n in zip(pers, names, strict=True)
        ]
    )
    records = {
        name: cast(
            Record,
            {
                "config": {"data": {"train_share": of_trials, "train_sessions_share": of_days}},
                "n_train_trials": round(400 * of_trials * of_days),
            },
        )
        for name, (of_trials, of_days) in zip(names, shares, strict=True)
    }
    trials, days = efficiency_data(plan, runs, records)
    assert (trials.share, days.share) == ("train_share", "train_sessions_share")
    assert trials.n_trials.tolist() == days.n_trials.tolist() == [100, 200, 400]
    assert trials.per.tolist() == [0.3, 0.2, 0.1] and days.per.tolist() == [0.5, 0.4, 0.1]
    [axes] = draw_efficiency([trials, days]).axes
    first, second = axes.lines[0], axes.lines[2]
    assert first.get_color() == second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["100", "200", "400"]


def test_without_shares_there_is_no_line() -> None:
    whole = {run_id: RECORDS[run_id] for run_id in ("r1", "r2", "r5")}
    assert efficiency_data(PLAN, RUNS, whole) == []
    older = {run_id: cast(Record, {"config": {}}) for run_id in RECORDS}
    assert efficiency_data(PLAN, RUNS, older) == []


@pytest.mark.parametrize("n_rows", [0, 1])
@pytest.mark.parametrize("held_out", [None, 2])
def test_a_diverged_run_has_the_worst_per_in_sessions_held_out(
    n_rows: int, held_out: int | None, load: Callable[..., Loaded]
) -> None:
    spec = load().spec
    row = dict.fromkeys(HISTORY_COLUMNS, 0.5) | {"step": 20.0}
    row |= {"per_held_out": 0.4} if held_out else {}
    diverged: Any = {
        **dict.fromkeys(("n_steps_done", "diverged_step", "n_parameters"), 30),
        "status": "diverged",
        "error": None,
        "n_dropped_trials": 0,
        "config": {"data": {"held_out_sessions": held_out}, "train": {}},
        "timing": {"pack_seconds": 1.0, "run_seconds": 1.0, "finished_at": ""},
        "host": {},
        "environment": {},
        "pack": {"pack_id": "p", "n_runs": 1},
        "peak_memory_bytes": 1,
    }
    columns = result_columns(diverged, [row] * n_rows, spec.collapse.thresholds())
    assert columns["per"] == 1.0
    assert columns.get("per_held_out") == (1.0 if held_out else None)


HELD_OUT = {"set": {"data.held_out_sessions": 1, "data.days_per_batch": 1}}
ASKS = {
    "hypotheses": {
        "weak_hurts": {
            "claim": "Weak noise raises PER on days held out.",
            "contrast": {"factor": "noise", "from": "official", "to": "weak"},
            "where": {"rate": "high"},
            "outcome": "per_held_out",
            "direction": "increase",
            "margin": 0.02,
        }
    },
    "criteria": {"learns": {"metric": "per_held_out", "below": 0.9}},
}


def test_a_file_may_ask_about_sessions_held_out_where_every_arm_has_some(
    load: Callable[..., Loaded], problems: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    loaded = load({**HELD_OUT, **ASKS})
    assert loaded.spec.hypotheses["weak_hurts"].outcome == "per_held_out"
    found = problems(ASKS)
    assert [text.split(": ")[1] for text in found] == [
        "hypotheses.weak_hurts.outcome",
        "criteria.learns.metric",
    ]
    assert all("data.held_out_sessions" in text for text in found)


def test_arms_that_hold_out_other_sessions_are_not_compared(
    problems: Callable[..., tuple[str, ...]],
) -> None:
    """Their PER is of other validation trials."""
    levels = {
        "official": {"data.held_out_sessions": 1, "data.days_per_batch": 1},
        "weak": {"data.days_per_batch": 1},
    }
    claim = {
        "claim": "Holding out the last session lowers PER.",
        "contrast": {"factor": "noise", "from": "weak", "to": "official"},
        "where": {"rate": "high"},
        "outcome": "per",
        "direction": "decrease",
        "margin": 0.02,
    }
    found = problems({"factors/noise": levels, "hypotheses": {"lower": claim}})
    [text] = [text for text in found if "other trials" in text]
    assert "hypotheses.lower" in text and "data.held_out_sessions" in text
