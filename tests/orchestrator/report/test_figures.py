import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from orchestrator.report.evaluation import evaluate_records
from orchestrator.report.figures import draw_figures, make_figures
from orchestrator.report.figures.changes import changes_data, draw_changes
from orchestrator.report.figures.collapse_map import collapse_data, draw_collapse
from orchestrator.report.figures.curves import curves_data, draw_curves
from orchestrator.report.figures.effects import draw_effects, effects_data
from orchestrator.report.figures.grouping import facets
from orchestrator.report.figures.interaction import draw_interaction, interaction_data
from orchestrator.report.figures.style import fill_rows, look, wrap
from orchestrator.spec.schema import Design
from orchestrator.tables.tables import Tables, make_tables
from orchestrator.verdicts.controls import noise_floor
from orchestrator.verdicts.verdicts import decide

Build = Callable[..., Any]

ONE_FACTOR: dict[str, Any] = {
    "name": "one",
    "question": "?",
    "design": "one_factor",
    "factors": {
        "rate": {name: {"optim.lr_max": float(name)} for name in ("0.005", "0.002", "0.01")},
        "epsilon": {"0.1": {}, "1e-8": {"optim.epsilon": 1e-8}},
    },
    "extra_arms": {"mine": {"set": {"optim.lr_warmup_steps": 50}}},
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def tables(twelve_arms: Any) -> Tables:
    return make_tables(*twelve_arms)


LEAVE_ONE_OUT: dict[str, Any] = {
    "name": "loo",
    "question": "?",
    "design": "leave_one_out",
    "factors": {
        "constant_offset_of_the_day": {
            "official": {},
            "theirs": {"augment.constant_offset_std": 0.1},
        },
        "rate": {"official": {}, "theirs": {"optim.lr_max": 0.002}},
        "warmup": {"official": {}, "theirs": {"optim.lr_warmup_steps": 40}},
    },
    "extra_arms": {"reimplementation": {"set": {"optim.epsilon": 1e-8}}},
    "seeds": [0, 1, 2],
}


@pytest.fixture(scope="module")
def one_factor(build: Build, truth: Any) -> Any:
    return build(ONE_FACTOR, lambda *_: truth(status={1: "missing"}))


def test_a_factorial_puts_its_largest_factor_along_x(twelve_arms: Any) -> None:
    found = facets(twelve_arms.plan.spec, twelve_arms.plan.arms)
    assert [(f.x_factor, f.y_factor) for f in found[:2]] == [("loss_scale", "augmentation")] * 2
    assert [f.title for f in found] == [
        "learning_rate = 0.005",
        "learning_rate = 0.002",
        "Extra arms",
    ]
    placed = [arm for facet in found for arm in facet.arms.values()]
    assert sorted(placed) == sorted(arm.arm_id for arm in twelve_arms.plan.arms)


def test_a_one_factor_design_has_one_facet_per_factor_with_its_base(one_factor: Any) -> None:
    found = facets(one_factor.plan.spec, one_factor.plan.arms)
    assert [f.title for f in found] == ["rate", "epsilon", "Extra arms"]
    assert found[0].arms["0.005", ""] == found[1].arms["0.1", ""] == "base"


def test_curves_are_median_and_range_over_seeds(twelve_arms: Any, tables: Tables) -> None:
    data = curves_data("emitted_ratio", twelve_arms.plan, tables)
    assert data.threshold == 0.05 and not data.log_steps and data.legend_title == "loss_scale"
    assert (len(data.panels), data.n_columns) == (5, 2)
    curve = data.panels[0].curves[0]
    of_arm = tables.history[tables.history["arm"] == "official+0.005+sum"]
    by_step = of_arm.groupby("step")["emitted_ratio"]
    np.testing.assert_allclose(curve.middle, by_step.median())
    np.testing.assert_allclose(curve.low, by_step.min())
    np.testing.assert_allclose(curve.high, by_step.max())


def test_a_diverged_run_stays_in_the_per_curve_as_the_worst(
    twelve_arms: Any, tables: Tables
) -> None:
    data = curves_data("per", twelve_arms.plan, tables)
    curve = next(c for p in data.panels for c in p.curves if c.diverged)
    ((step, value),) = curve.diverged
    assert (curve.high[curve.steps > step] == 1.0).all() and value < 1.0


def test_long_trainings_get_a_logarithmic_axis(twelve_arms: Any, tables: Tables) -> None:
    longer = tables._replace(history=tables.history.assign(step=tables.history["step"] ** 2))
    assert curves_data("per", twelve_arms.plan, longer).log_steps
    # An evaluation before the first step has no place on such an axis.
    first = longer.history["step"].min()
    from_zero = longer._replace(history=longer.history.replace({"step": {first: 0}}))
    assert not curves_data("per", twelve_arms.plan, from_zero).log_steps


def test_the_collapse_map_holds_the_counts_of_the_arms(twelve_arms: Any, tables: Tables) -> None:
    data = collapse_data(twelve_arms.plan, tables)
    arms = [arm for facet in data for *_, arm in facet.cells]
    assert sum(a.n_collapsed_or_diverged for a in arms) == (
        tables.arms["n_collapsed_or_diverged"].sum()
    )
    assert sum(arm.n_diverged for arm in arms) == 1 and len(arms) == 13


def test_points_of_the_interaction_plot_are_the_arms_means(
    twelve_arms: Any, tables: Tables
) -> None:
    data = interaction_data(twelve_arms.plan, tables)
    per = next(per for x, y, per in data[0].cells if (x, y) == (0, 0))
    arm = tables.arms.set_index("arm").loc["official+0.005+sum"]
    assert (per.mean, per.low, per.high) == tuple(arm[["per_mean", "per_low", "per_high"]])
    assert len(per.seeds) == 6


def test_effects_are_drawn_in_the_claimed_direction(twelve_arms: Any, tables: Tables) -> None:
    data = effects_data(decide(twelve_arms.plan, tables.runs), {})
    assert [panel.outcome for panel in data] == ["collapsed", "per", "escape_step"]
    claimed = [(v.claimed_effect, v.claimed_interval) for panel in data for v in panel.verdicts]
    assert all(interval.low <= effect <= interval.high for effect, interval in claimed)


def visible_texts(figure: Any) -> list[Text]:
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


@pytest.mark.parametrize("which", ["twelve", "one_factor", "leave_one_out", "path"])
def test_no_text_is_clipped_and_every_name_is_there(
    which: str, twelve_arms: Any, one_factor: Any, build: Build, truth: Any
) -> None:
    if which in ("leave_one_out", "path"):
        made = build({**LEAVE_ONE_OUT, "design": which}, lambda *_: truth())
    else:
        made = twelve_arms if which == "twelve" else one_factor
    tables, plan = make_tables(*made), made.plan
    figures = [
        draw_collapse(collapse_data(plan, tables)),
        draw_interaction(interaction_data(plan, tables)),
        draw_curves(curves_data("per", plan, tables)),
    ]
    verdicts = decide(made.plan, tables.runs)
    if verdicts:
        floors = {"per": noise_floor(tables.runs, (), "per")}
        figures.append(draw_effects(effects_data(verdicts, floors)))
    if which in ("leave_one_out", "path"):
        figures.append(draw_changes(changes_data(plan, tables, {})))
    for figure in figures:
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        for text in visible_texts(figure):
            box = text.get_window_extent()
            # Numbers of ticks beyond the axes are never drawn.
            if re.fullmatch(r"[−+\d.,% ]+", text.get_text()):
                continue
            assert box.x0 > -2 and box.y0 > -2, text.get_text()
            assert box.x1 < width + 2 and box.y1 < height + 2, text.get_text()
    names = {t.get_text().replace("\n", "") for f in figures for t in visible_texts(f)}
    for factor, levels in plan.spec.factors.items():
        if which in ("leave_one_out", "path"):  # where arms are named by what they change
            assert any(factor in name for name in names)
            continue
        assert set(levels) <= names or all(any(lv in n for n in names) for lv in levels), factor


def test_rebuilt_figures_are_the_same_bytes_and_leave_the_style_alone(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    given = evaluate_records(*made)
    before = dict(matplotlib.rcParams)
    digests = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        saved = draw_figures(folder, given)
        files = [path for figure in saved for path in (figure.svg, figure.png)]
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1] and len(digests[0]) == 10
    assert dict(matplotlib.rcParams) == before
    assert b"<dc:date>" not in saved[0].svg.read_bytes()


def test_without_any_result_what_can_be_drawn_is_drawn(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    plan = build(two_arm_spec, lambda *_: truth()).plan
    saved = draw_figures(tmp_path, evaluate_records(plan, {}, {}))
    assert [figure.name for figure in saved] == ["effects", "collapse_map"]


def test_figures_are_made_in_memory_as_they_are_saved(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    given = evaluate_records(*build(two_arm_spec, lambda *_: truth()))
    drawn, saved = make_figures(given), draw_figures(tmp_path, given)
    assert [(d.name, d.title, d.caption) for d in drawn] == [
        (s.name, s.title, s.caption) for s in saved
    ]
    assert all(isinstance(one.figure, Figure) for one in drawn)


def test_an_arm_without_any_result_leaves_its_panel_empty(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    spec = {**two_arm_spec, "extra_arms": {"mine": {"set": {"optim.epsilon": 1e-8}}}}
    made = build(
        spec,
        lambda _, arm: truth(status=dict.fromkeys((0, 1, 2), "missing") if arm == "mine" else {}),
    )
    saved = draw_figures(tmp_path, evaluate_records(*made))
    assert "per_curves" in [figure.name for figure in saved]


def test_many_curves_have_their_legend_beside_them(build: Build, truth: Any) -> None:
    made = build({**LEAVE_ONE_OUT, "design": "path"}, lambda *_: truth())
    data = curves_data("emitted_ratio", made.plan, make_tables(*made))
    assert data.crowded and data.n_columns == 1
    axes = draw_curves(data).axes[0]
    legend = axes.get_legend()
    axes.figure.canvas.draw()
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert any("plateau" in text.get_text() for text in legend.get_texts())


def test_levels_differ_without_colour() -> None:
    looks = [look(index) for index in range(5)]
    assert len({str(style.line) for style in looks}) == len({s.marker for s in looks}) == 5


def test_long_names_break_after_a_separator() -> None:
    assert wrap("none_then_mean-eps0.1", 12) == "none_then_\nmean-eps0.1"
    assert wrap("mean_eps0.1", 9) == "mean_\neps0.1"
    assert wrap("eps1e-8", 6) == "eps1e-8", "a number stays whole"
    assert wrap("official", 6) == "official"
    assert wrap("reimplementation", 9) == "reimplem\nentation"
    assert "".join(wrap("a.b_c-d+e=f", 2).split("\n")) == "a.b_c-d+e=f"


def test_rows_are_filled_in_order_up_to_their_width() -> None:
    assert fill_rows([3, 3, 1, 4, 9], 7) == [[0, 1, 2], [3], [4]]


@pytest.mark.parametrize("design", get_args(Design))
def test_every_arm_of_every_design_has_a_place_in_the_figures(
    design: Design, build: Build, truth: Any, tmp_path: Path
) -> None:
    factors = {
        **LEAVE_ONE_OUT["factors"],
        "epsilon": {"official": {}, "theirs": {"optim.epsilon": 1e-8}},
    }
    listed = {f"arm{i}": dict.fromkeys(factors, name) for i, name in enumerate(factors["rate"])}
    arms = {"arms": listed} if design == "arms" else {}
    spec = {**LEAVE_ONE_OUT, "factors": factors, "design": design, **arms}
    made = build(spec, lambda *_: truth())
    placed = [
        arm for facet in facets(made.plan.spec, made.plan.arms) for arm in facet.arms.values()
    ]
    assert set(placed) == {arm.arm_id for arm in made.plan.arms}
    draw_figures(tmp_path, evaluate_records(*made))
    assert list(tmp_path.glob("*.svg"))
