"""Checks of comparisons with several explanations: settings changed together, unequal budgets."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup, RunChanges, Sweep
from orchestrator.history.audit.run_pairs import at_common_step, per_difference, same_budget
from orchestrator.history.audit.setting_changes import SettingChange
from orchestrator.history.audit.wording import joined, names_of, short_name
from orchestrator.history.reading.record import ImportedRun

_MOST_LISTED = 40


def check_confounding(group: PreparedGroup) -> Iterator[Finding]:
    """Findings about changes whose effects no comparison can separate."""
    if group.confounded:
        yield _changed_together(group)
    yield from _never_separate(group)
    yield from _budgets(group)


class _Confounded(NamedTuple):
    """A run that changed several settings.

    Attributes:
        changes: its changes.
        gap: its PER minus that of the closest earlier run; None if one has none.
        same_budget: whether the two were trained for equally long.
        tested: its settings that were tested alone, each with the runs that did.
    """

    changes: RunChanges
    gap: float | None
    same_budget: bool
    tested: list[str]


def _changed_together(group: PreparedGroup) -> Finding:
    """The runs that changed several settings at once."""
    runs = [_confounded(changes, group) for changes in group.confounded]
    n_none = sum(not one.from_closest for one in group.run_changes)
    return Finding(
        "confounded",
        Weight.OVERTURNS,
        {
            "runs": runs[:_MOST_LISTED],
            "n_confounded": len(runs),
            "n_runs": len(group.run_changes),
            "n_one": len(group.run_changes) - len(runs) - n_none,
            "n_none": n_none,
            "n_after_previous": sum(len(one.changes) > 1 for one in group.run_changes),
            "limit": group.chance_limit(),
        },
        tuple(one.run.name for one in group.confounded),
        {
            "steps": [
                {
                    "run": changes.run.name,
                    "from": changes.closest.name,
                    "changed": [change.name for change in changes.from_closest],
                    "difference": gap,
                }
                for changes, gap, *_ in runs
            ]
        },
    )


def _confounded(changes: RunChanges, group: PreparedGroup) -> _Confounded:
    gap = per_difference(changes.closest, changes.run)
    return _Confounded(
        changes,
        None if math.isnan(gap) else gap,
        same_budget(changes.closest, changes.run),
        [
            f"{short_name(change.name)} ({_runs_text(group.tested_alone[change.key])})"
            for change in changes.from_closest
            if change.key in group.tested_alone
        ],
    )


def _runs_text(sweep: Sweep) -> str:
    """One run of each configuration."""
    return joined([one.comparable[0].name for one in sweep.configurations if one.comparable], 3)


def _never_separate(group: PreparedGroup) -> Iterator[Finding]:
    """Settings whose every value always comes with the same value of another setting."""
    configurations = group.configurations
    names = {
        change.key: change.name
        for one in group.run_changes
        for change in (*one.changes, *one.from_closest)
        if change.key not in group.tested_alone
    }
    if len({one.settings.kind for one in configurations}) != 1 or len(configurations) < 3:
        return
    groups: dict[tuple[int, ...], list[str]] = {}
    for key in names:
        first: dict[str, int] = {}  # value → number of the first configuration with it
        values = (repr(one.settings.whole.get(key)) for one in configurations)
        partition = tuple(first.setdefault(value, len(first)) for value in values)
        groups.setdefault(partition, []).append(names[key])
    inseparable = [of_partition for of_partition in groups.values() if len(of_partition) > 1]
    if inseparable:
        facts = {"groups": inseparable}
        yield Finding("never_apart", Weight.WEAKENS, facts, figures=facts)


class _UnequalBudgets(NamedTuple):
    """A run and its closest earlier run, if they end at different steps.

    Attributes:
        a, b: the earlier run, and the run.
        changes: from `a` to `b`.
        common: the last step at which both were evaluated, and the PER of each there.
        opposite: whether their order there is not that of their last PERs.
    """

    a: ImportedRun
    b: ImportedRun
    changes: tuple[SettingChange, ...]
    common: tuple[float, float, float] | None
    opposite: bool


def _budgets(group: PreparedGroup) -> Iterator[Finding]:
    """Comparisons with the closest earlier run that end at different steps."""
    with_gaps: list[tuple[float, _UnequalBudgets]] = []
    for one in group.run_changes:
        a, b = one.closest, one.run
        if same_budget(a, b) or a.final is None or b.final is None:
            continue
        gap, common = b.final[1] - a.final[1], at_common_step(a, b)
        opposite = common is not None and (common[2] - common[1]) * gap < 0
        with_gaps.append((abs(gap), _UnequalBudgets(a, b, one.from_closest, common, opposite)))
    if with_gaps:
        comparisons = [one for _, one in sorted(with_gaps, key=lambda pair: -pair[0])]
        yield Finding(
            "budgets",
            Weight.WEAKENS,
            {"n": len(comparisons), "comparisons": comparisons[:_MOST_LISTED]},
            names_of(run for one in comparisons for run in (one.a, one.b)),
        )
