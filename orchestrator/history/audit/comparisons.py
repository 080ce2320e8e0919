"""Findings about comparisons: what was tested alone, and steps that changed several things."""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from orchestrator.history.audit.lineup import Cluster, Lineup, Step
from orchestrator.history.audit.repeats import disagreeing, n_seeds
from orchestrator.history.audit.spread import Arm
from orchestrator.history.audit.telling import (
    Finding,
    at_common_step,
    changes_text,
    count,
    joined,
    moved,
    per_text,
    points,
    same_budget,
    short_name,
    value_text,
)
from orchestrator.history.reading.record import ForeignRun

_MOST_TOLD = 40
_FEW_CHANGES = 5  # that are listed a second time


def comparison_findings(lineup: Lineup) -> Iterator[Finding]:
    """All findings about what runs can be compared, and what that shows."""
    yield from _confounded(lineup)
    yield from _clean(lineup)


def difference(a: ForeignRun, b: ForeignRun) -> float:
    """PER of `b` minus that of `a`, at their ends; NaN where one has none."""
    if a.counted is None or b.counted is None:
        return math.nan
    return b.counted - a.counted


# ----------------------------------------------------------------------- several things at once


def confounded_steps(lineup: Lineup) -> list[Step]:
    """The steps whose run differs in several things from every earlier run."""
    return [step for step in lineup.steps if len(step.from_closest) > 1]


def tested_alone(lineup: Lineup) -> dict[str, Cluster]:
    """Setting → configurations that differ in it alone, and have results."""
    return {cluster.change.key: cluster for cluster in lineup.clusters if _told(cluster)}


def _confounded(lineup: Lineup) -> Iterator[Finding]:
    steps = confounded_steps(lineup)
    if not steps:
        return
    alone = tested_alone(lineup)
    details = [_step_text(step, lineup, alone) for step in steps[:_MOST_TOLD]]
    if len(steps) > _MOST_TOLD:
        details.append(f"{len(steps) - _MOST_TOLD} more steps are in the list of steps below.")
    n_in_a_row = sum(len(step.changes) > 1 for step in lineup.steps)
    details.append(
        "Each is held against the earlier run closest to it. Held against the one just before, "
        f"{n_in_a_row} of {len(lineup.steps)} changed several things at once."
    )
    n_repeats = sum(not step.from_closest for step in lineup.steps)
    n_clean = len(lineup.steps) - len(steps) - n_repeats
    yield Finding(
        "confounded",
        1,
        f"{len(steps)} of {count(len(lineup.steps), 'step')} changed several things at once, so "
        "their results cannot be put down to any one of them "
        f"({n_clean} changed one thing, {n_repeats} nothing that counts).",
        tuple(details),
        tuple(step.run.name for step in steps),
        {
            "steps": [
                {
                    "run": step.run.name,
                    "from": step.closest.name,
                    "changed": [change.name for change in step.from_closest],
                    "difference": _json_number(difference(step.closest, step.run)),
                }
                for step in steps
            ]
        },
    )


def _step_text(step: Step, lineup: Lineup, alone: dict[str, Cluster]) -> str:
    run, closest = step.run, step.closest
    text = (
        f"{run.name} changed {count(len(step.from_closest), 'thing')} from {closest.name}: "
        f"{changes_text(step.from_closest)}. {_outcome_text(closest, run, lineup)}"
    )
    if closest is not step.before:
        few = len(step.changes) <= _FEW_CHANGES
        text += (
            f" ({closest.name} is the earlier run closest to it; from {step.before.name}, the one "
            f"before it, it differs in {count(len(step.changes), 'thing')}"
            + (f": {changes_text(step.changes)}.)" if few and step.changes else ".)")
        )
    tested = [change for change in step.from_closest if change.key in alone]
    if tested:
        where = [f"{short_name(c.name)} ({_levels_text(alone[c.key])})" for c in tested]
        text += f" Tested alone elsewhere: {joined(where)}."
    return text


def _levels_text(cluster: Cluster) -> str:
    return joined([arm.comparable[0].name for arm in cluster.arms if arm.comparable], 3)


def _outcome_text(a: ForeignRun, b: ForeignRun, lineup: Lineup) -> str:
    """What became of PER from one run to another, and whether that is more than chance."""
    gap = difference(a, b)
    if math.isnan(gap):
        return "One of them has no PER."
    ends = f"PER went from {_end_text(a)} to {_end_text(b)}"
    if not gap:
        return f"{ends}."
    text = f"{ends}, {moved(gap)}"
    if not same_budget(a, b):
        return f"{text}, at different budgets."
    spread = lineup.spreads.best
    if spread is None:
        return f"{text}; whether that is more than chance, no repeat tells."
    limit = spread.believable()
    if abs(gap) <= limit:
        return f"{text}: within the {points(limit)} that chance makes."
    return f"{text}: more than the {points(limit)} that chance makes, but by which of them is open."


def _end_text(run: ForeignRun) -> str:
    told = per_text(run.counted)
    return told if run.outcome in ("ok", "unknown") else f"{told} ({run.outcome})"


# ------------------------------------------------------------------------------ one thing only


def _clean(lineup: Lineup) -> Iterator[Finding]:
    told = [cluster for cluster in lineup.clusters if _told(cluster)]
    if not told:
        if len(lineup.arms) > 1:
            yield Finding(
                "no_clean_pair",
                1,
                f"No two of {count(len(lineup.arms), 'configuration')} differ in one thing only: "
                "nothing that was tried is tested by itself.",
            )
        return
    pairs = [(cluster, *_widest(cluster)) for cluster in told]
    pairs.sort(key=lambda pair: -abs(pair[2].per - pair[1].per))
    doubtful = disagreeing(lineup)
    details = [
        _cluster_text(c, one, two, lineup) + _doubt(one, two, doubtful) for c, one, two in pairs
    ]
    spread = lineup.spreads.best
    if spread is not None and len(pairs) > 4:
        details.append(
            f"Of {len(pairs)} comparisons like these one in twenty passes that limit by chance "
            "alone; the largest of many differences is also overestimated."
        )
    names = list(dict.fromkeys(short_name(cluster.change.name) for cluster in told))
    n_beyond = sum(_beyond(*pair, lineup) is True for pair in pairs)
    outcome = (
        f"; {n_beyond} of them {'shows' if n_beyond == 1 else 'show'} more than chance makes"
        if spread is not None
        else "; no repeat tells how much of what they show is chance"
    )
    yield Finding(
        "one_thing",
        2,
        f"{count(len(told), 'comparison')} {'is' if len(told) == 1 else 'are'} of runs that differ "
        f"in one thing only ({joined(names, 8)}){outcome}.",
        tuple(details[: _MOST_TOLD + 1]),
        tuple(dict.fromkeys(run.name for c, _, _ in pairs for arm in c.arms for run in arm.runs)),
        {"comparisons": [_cluster_figures(*pair, lineup) for pair in pairs]},
    )


def _doubt(one: Arm, two: Arm, doubtful: frozenset[str]) -> str:
    names = [run.name for arm in (one, two) for run in arm.comparable if run.name in doubtful]
    if len(names) < 2:
        return ""
    return f" In doubt, as {joined(names)} are equal in settings and seed and disagree."


def _told(cluster: Cluster) -> bool:
    return sum(not math.isnan(arm.per) for arm in cluster.arms) > 1


def _trained(cluster: Cluster) -> list[Arm]:
    """The configurations that led to a decoder in every comparable run, as far as is known."""
    return [
        arm
        for arm in cluster.arms
        if arm.comparable and not any(_lost(run) for run in arm.comparable)
    ]


def _widest(cluster: Cluster) -> tuple[Arm, Arm]:
    """The two configurations furthest apart, in the order of the setting's values.

    Those that led to a decoder come first: others differ by more than spread could tell.
    """
    trained = _trained(cluster)
    arms = trained if len(trained) > 1 else [arm for arm in cluster.arms if arm.comparable]
    return max(combinations(arms, 2), key=lambda pair: abs(pair[0].per - pair[1].per))


def _limit(cluster: Cluster, one: Arm, two: Arm, lineup: Lineup) -> float | None:
    """What chance makes of the two configurations furthest apart; None if nothing tells."""
    spread = lineup.spreads.best
    if spread is None or _unequal_budgets(one, two):
        return None
    trained = _trained(cluster)
    if one not in trained or two not in trained:
        return None
    n_pairs = math.comb(len(trained), 2)
    return spread.believable(n_seeds(one), n_seeds(two), n_pairs)


def _beyond(cluster: Cluster, one: Arm, two: Arm, lineup: Lineup) -> bool | None:
    """Whether two configurations differ by more than chance makes; None if nothing tells."""
    limit = _limit(cluster, one, two, lineup)
    return None if limit is None else abs(two.per - one.per) > limit


def _unequal_budgets(one: Arm, two: Arm) -> bool:
    return any(not same_budget(a, b) for a in one.comparable for b in two.comparable)


def _cluster_text(cluster: Cluster, one: Arm, two: Arm, lineup: Lineup) -> str:
    levels = [
        f"{value_text(value)}: {per_text(arm.per)} ({_arm_text(arm)})"
        for value, arm in zip(cluster.values, cluster.arms, strict=True)
        if arm.comparable
    ]
    gap = two.per - one.per
    text = f"{short_name(cluster.change.name)} at {joined(levels, 8)}."
    others = len(cluster.change.paths) - 1
    if others > 0:
        text += f" {count(others, 'setting')} that follow{'s' * (others == 1)} from it changed too."
    ends = [
        f"{run.name} {run.outcome}" for arm in cluster.arms for run in arm.comparable if _lost(run)
    ]
    if ends:
        text += f" {joined(ends, 6)}, which no spread explains, but each was seen once."
    if len(_trained(cluster)) < 2:
        return text
    if _unequal_budgets(one, two):
        return f"{text} They end at different steps: no fair comparison. {_common(one, two)}"
    at = {id(a): value_text(v) for v, a in zip(cluster.values, cluster.arms, strict=True)}
    limit = _limit(cluster, one, two, lineup)
    if limit is None:
        return f"{text} {points(gap)} apart; no repeat tells whether that is chance."
    verdict = (
        f"more than the {points(limit)} that chance makes"
        if abs(gap) > limit
        else f"within the {points(limit)} that chance makes, so nothing is shown"
    )
    return (
        f"{text} At {at[id(two)]} it is {moved(gap)} than at {at[id(one)]}, {verdict}; the true "
        f"difference may be anything from {100 * (gap - limit):+.1f} to "
        f"{100 * (gap + limit):+.1f} points."
    )


def _lost(run: ForeignRun) -> bool:
    return run.outcome in ("diverged", "collapsed")


def _common(one: Arm, two: Arm) -> str:
    found = at_common_step(one.comparable[0], two.comparable[0])
    if found is None:
        return "They were never evaluated at the same step."
    step, a, b = found
    return f"At step {step:,.0f}, the last that both have: {per_text(a)} and {per_text(b)}."


def _arm_text(arm: Arm) -> str:
    names = [
        run.name + ("" if run.outcome in ("ok", "unknown") else f" {run.outcome}")
        for run in arm.comparable
    ]
    if len(names) == 1:
        return names[0]
    pers = [run.counted for run in arm.comparable if run.counted is not None]
    return (
        f"mean of {count(len(names), 'run')}, {100 * min(pers):.1f} to {per_text(max(pers))}: "
        f"{joined(names, 3)}"
    )


def _cluster_figures(cluster: Cluster, one: Arm, two: Arm, lineup: Lineup) -> dict[str, Any]:
    return {
        "setting": cluster.change.name,
        "path": cluster.change.key,
        "levels": [
            {"value": value, "per": _json_number(arm.per), "runs": [run.name for run in arm.runs]}
            for value, arm in zip(cluster.values, cluster.arms, strict=True)
        ],
        "largest_difference": two.per - one.per,
        "more_than_chance": _beyond(cluster, one, two, lineup),
    }


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else value
