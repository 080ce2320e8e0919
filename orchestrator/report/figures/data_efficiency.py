"""Final PER against the number of training trials, for arms that train on shares of the data."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures.style import (
    LINES,
    WIDTH,
    look,
    new_figure,
    percent_axis,
    styled,
)
from orchestrator.stats.effects import Floats
from orchestrator.stats.run_values import COUNTED
from orchestrator.store.record import Record

SHARES = ("train_share", "train_sessions_share")
_LOG_RANGE = 3  # this ratio of trials, or a wider one, gets a logarithmic axis
_MOST_TICKS = 8  # with more numbers of trials, the axis has ticks of its own
_WORDS = {"train_share": "fewer trials", "train_sessions_share": "fewer sessions"}


class EfficiencyCurve(NamedTuple):
    """Arms that differ in one share of the data alone.

    Attributes:
        label: the levels that they have in common, or the id of the first arm.
        share: the share in which they differ.
        n_trials: (n,) training trials, the mean over the seeds of each arm, ascending.
        per: (n,) mean final PER.
        seeds: (training trials, final PER) of every run.
    """

    label: str
    share: str
    n_trials: Floats
    per: Floats
    seeds: tuple[tuple[float, float], ...]


def efficiency_data(
    plan: PlanDocument, runs: pd.DataFrame, records: Mapping[str, Record]
) -> list[EfficiencyCurve]:
    """Gather the curves; empty unless some arms differ in a share of the data.

    Args:
        runs: `orchestrator.tables.tables.runs_table`; runs without a final PER are left out.
        records: run id → record; those that do not say their training trials are left out.
    """
    seeds: dict[str, list[tuple[float, float]]] = {}  # arm → its runs
    # (share, configuration without it) → arms
    groups: dict[tuple[str, str], dict[str, None]] = {}
    counted = runs[runs["outcome"].isin(COUNTED) & runs["per"].notna()]
    columns = (counted[name].tolist() for name in ("run_id", "arm", "per"))
    for run_id, arm, per in zip(*columns, strict=True):
        record = records.get(run_id)
        n_trials = record.get("n_train_trials") if record is not None else None
        if record is None or n_trials is None:
            continue
        seeds.setdefault(arm, []).append((float(n_trials), float(per)))
        for share in SHARES:
            groups.setdefault((share, _without(record, share)), {})[arm] = None
    levels = {arm.arm_id: arm.levels for arm in plan.arms}
    curves = []
    for (share, _), arms in groups.items():
        points = sorted(
            tuple(float(value) for value in np.mean(seeds[arm], axis=0)) for arm in arms
        )
        if len({n_trials for n_trials, _ in points}) > 1:
            curves.append(
                EfficiencyCurve(
                    _label([levels[arm] for arm in arms]) or next(iter(arms)),
                    share,
                    np.array([n_trials for n_trials, _ in points]),
                    np.array([per for _, per in points]),
                    tuple(point for arm in arms for point in seeds[arm]),
                )
            )
    return curves


@styled
def draw_efficiency(data: Sequence[EfficiencyCurve]) -> Figure:
    """Draw one line per curve, with a ring for every run; a colour for each label."""
    figure = new_figure(WIDTH, max(3.2, 0.6 + 0.18 * len(data)))
    axes = figure.add_subplot()
    labels = list(dict.fromkeys(curve.label for curve in data))
    both = len({curve.share for curve in data}) > 1
    for curve in data:
        style = look(labels.index(curve.label))
        line = LINES[SHARES.index(curve.share)]
        axes.plot(
            curve.n_trials,
            curve.per,
            color=style.colour,
            linestyle=line if both else style.line,
            marker=style.marker,
            markersize=4.5,
            label=f"{curve.label}: {_WORDS[curve.share]}" if both else curve.label,
        )
        axes.plot(
            *zip(*curve.seeds, strict=True),
            color=style.colour,
            linestyle="",
            marker="o",
            markerfacecolor="none",
            markersize=4,
            alpha=0.6,
        )
    every = np.concatenate([curve.n_trials for curve in data])
    if every.max() >= _LOG_RANGE * every.min():
        axes.set_xscale("log")
    if len(ticks := sorted(set(every))) <= _MOST_TICKS:
        axes.set_xticks(ticks, [f"{n:,.0f}" for n in ticks])
        axes.minorticks_off()
    axes.set_xlabel("training trials")
    axes.set_ylabel("final PER")
    axes.set_ylim(0.0, 1.05 * max(per for curve in data for _, per in curve.seeds) or 1.0)
    percent_axis(axes, "y")
    if len(data) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=3.5)
    return figure


def _without(record: Record, share: str) -> str:
    config = dict(record["config"])
    config["data"] = {k: v for k, v in config.get("data", {}).items() if k != share}
    return json.dumps(config, sort_keys=True)


def _label(levels: Sequence[Mapping[str, str]]) -> str:
    """The levels that arms have in common."""
    first, *others = levels
    return ", ".join(
        level
        for factor, level in first.items()
        if all(other.get(factor) == level for other in others)
    )
