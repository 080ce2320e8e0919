"""Checks of comparisons with several explanations: settings changed together, unequal budgets."""

from collections.abc import Iterator

from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup
from orchestrator.history.audit.run_pairs import RunPair, at_common_step, same_budget
from orchestrator.history.audit.wording import joined, names_of, short_name

_MOST_LISTED = 40


def check_confounding(group: PreparedGroup) -> Iterator[Finding]:
    """Findings about changes whose effects no comparison can separate."""
    if group.confounded:
        yield _changed_together(group)
    yield from _never_separate(group)
    yield from _budgets(group)


def _changed_together(group: PreparedGroup) -> Finding:
    """The runs that changed several settings at once."""
    pairs = [one.closest for one in group.confounded]
    return Finding(
        "confounded",
        Weight.OVERTURNS,
        {
            "runs": [
                (*one, same_budget(one.closest.a, one.closest.b), _tested(one.closest, group))
                for one in group.confounded[:_MOST_LISTED]
            ],
            "n_confounded": len(pairs),
            "n_runs": len(group.run_changes),
            "n_none": sum(not one.closest.changes for one in group.run_changes),
            "n_after_previous": sum(len(one.before.changes) > 1 for one in group.run_changes),
            "limit": group.chance_limit,
        },
        tuple(pair.b.name for pair in pairs),
        {
            "steps": [
                {
                    "run": pair.b.name,
                    "from": pair.a.name,
                    "changed": [change.name for change in pair.changes],
                    "difference": pair.gap,
                }
                for pair in pairs
            ]
        },
    )


def _tested(pair: RunPair, group: PreparedGroup) -> list[str]:
    """The settings of a pair that were tested alone, each with the runs that did."""
    tested = []
    for change in pair.changes:
        if change.key in group.tested_alone:
            levels = group.tested_alone[change.key].with_results
            runs = joined([level.configuration.comparable[0].name for level in levels], 3)
            tested.append(f"{short_name(change.name)} ({runs})")
    return tested


def _never_separate(group: PreparedGroup) -> Iterator[Finding]:
    """Settings whose every value always comes with the same value of another setting."""
    configurations = group.configurations
    names = {
        change.key: change.name
        for one in group.run_changes
        for change in (*one.before.changes, *one.closest.changes)
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


def _budgets(group: PreparedGroup) -> Iterator[Finding]:
    """Comparisons with the closest earlier run that end at different steps."""
    with_gaps = [
        (pair.b.final[1] - pair.a.final[1], pair)
        for _, pair in group.run_changes
        if pair.a.final and pair.b.final and not same_budget(pair.a, pair.b)
    ]
    if with_gaps:
        with_gaps.sort(key=lambda one: -abs(one[0]))
        listed = [
            (gap, pair, at_common_step(pair.a, pair.b)) for gap, pair in with_gaps[:_MOST_LISTED]
        ]
        yield Finding(
            "budgets",
            Weight.WEAKENS,
            {"n": len(with_gaps), "comparisons": listed},
            names_of(run for _, pair in with_gaps for run in (pair.a, pair.b)),
        )
