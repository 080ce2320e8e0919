"""Checks of comparisons with several explanations: settings changed together, unequal budgets."""

import math
from collections.abc import Iterator

from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup, RunChanges, Sweep
from orchestrator.history.audit.run_pairs import at_common_step, per_difference, same_budget
from orchestrator.history.audit.wording import (
    change_text,
    changes_text,
    count,
    joined,
    moved,
    names_of,
    per_text,
    points,
    short_name,
)
from orchestrator.history.reading.record import ImportedRun

_MOST_LISTED = 40
_FEW_CHANGES = 5  # that are listed a second time


def check_confounding(group: PreparedGroup) -> Iterator[Finding]:
    """Findings about changes whose effects no comparison can separate."""
    if group.confounded:
        yield _changed_together(group)
    yield from _never_separate(group)
    yield from _budgets(group)


def _changed_together(group: PreparedGroup) -> Finding:
    """The runs that changed several settings at once."""
    confounded, n_all = group.confounded, len(group.run_changes)
    details = [_text(changes, group) for changes in confounded[:_MOST_LISTED]]
    if len(confounded) > _MOST_LISTED:
        details.append(f"{len(confounded) - _MOST_LISTED} more are in the table of changes.")
    n_after_previous = sum(len(one.changes) > 1 for one in group.run_changes)
    details.append(
        "Each run is compared with the closest earlier run. Compared with the run just before, "
        f"{n_after_previous} of {n_all} changed several settings at once."
    )
    n_repeats = sum(not one.from_closest for one in group.run_changes)
    return Finding(
        "confounded",
        Weight.OVERTURNS,
        f"{len(confounded)} of {count(n_all, 'run')} changed several settings at once, so their "
        "results cannot be attributed to any one of these settings "
        f"({n_all - len(confounded) - n_repeats} changed one setting, {n_repeats} changed "
        "none).",
        tuple(details),
        tuple(one.run.name for one in confounded),
        {
            "steps": [
                {
                    "run": one.run.name,
                    "from": one.closest.name,
                    "changed": [change.name for change in one.from_closest],
                    "difference": _json_number(per_difference(one.closest, one.run)),
                }
                for one in confounded
            ]
        },
    )


def _text(changes: RunChanges, group: PreparedGroup) -> str:
    """One run in sentences: what changed, what PER did, and what was tested alone elsewhere."""
    run, closest, before = changes.run, changes.closest, changes.before
    text = (
        f"{run.name} changed {count(len(changes.from_closest), 'setting')} from {closest.name}: "
        f"{changes_text(changes.from_closest)}. {_result_text(closest, run, group)}"
    )
    if closest is not before:
        listed = 0 < len(changes.changes) <= _FEW_CHANGES
        text += (
            f" ({closest.name} is the closest earlier run; from {before.name}, the run just "
            f"before, it differs in {count(len(changes.changes), 'setting')}"
            + (f": {changes_text(changes.changes)}.)" if listed else ".)")
        )
    tested = [change for change in changes.from_closest if change.key in group.tested_alone]
    if tested:
        where = [
            f"{short_name(change.name)} ({_runs_text(group.tested_alone[change.key])})"
            for change in tested
        ]
        text += f" Tested alone elsewhere: {joined(where)}."
    return text


def _runs_text(sweep: Sweep) -> str:
    """One run of each configuration."""
    return joined([one.comparable[0].name for one in sweep.configurations if one.comparable], 3)


def _result_text(a: ImportedRun, b: ImportedRun, group: PreparedGroup) -> str:
    """The change of PER from one run to another, and whether chance explains it."""
    gap = per_difference(a, b)
    if math.isnan(gap):
        return "One of them has no PER."
    ends = f"PER went from {_end_text(a)} to {_end_text(b)}"
    if not gap:
        return f"{ends}."
    text, limit = f"{ends}, {moved(gap)}", group.chance_limit()
    if not same_budget(a, b):
        return f"{text}, at different budgets."
    if limit is None:
        return f"{text}; this may be chance, as the spread between repeats is not known."
    if abs(gap) <= limit:
        return f"{text}: within the {points(limit)} that chance explains."
    return (
        f"{text}: more than the {points(limit)} that chance explains, but any of these settings "
        "may be the cause."
    )


def _end_text(run: ImportedRun) -> str:
    per = per_text(run.compared_per)
    return per if run.outcome in ("ok", "unknown") else f"{per} ({run.outcome})"


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
        yield Finding(
            "never_apart",
            Weight.WEAKENS,
            f"{count(sum(map(len, inseparable)), 'setting')} changed only together with others: "
            "no comparison of these runs can separate their effects.",
            tuple(
                f"Always together: {joined([short_name(name) for name in together])}."
                for together in inseparable
            ),
            figures={"groups": inseparable},
        )


def _budgets(group: PreparedGroup) -> Iterator[Finding]:
    """Comparisons with the closest earlier run that end at different steps."""
    comparisons: list[tuple[float, str, RunChanges]] = []
    for one in group.run_changes:
        a, b, changes = one.closest, one.run, one.from_closest
        if same_budget(a, b) or a.final is None or b.final is None:
            continue
        gap = b.final[1] - a.final[1]
        text = (
            f"{a.name} ends at {a.step_unit} {a.last_step:,.0f} with {per_text(a.final[1])}, "
            f"{b.name} at {b.step_unit} {b.last_step:,.0f} with {per_text(b.final[1])}"
        )
        common = at_common_step(a, b)
        if common is not None:
            step, per_a, per_b = common
            text += (
                f"; at {step:,.0f}, the last that both have: {per_text(per_a)} and "
                f"{per_text(per_b)}"
            )
            text += ", in the opposite order" if (per_b - per_a) * gap < 0 else ""
        only = f" They differ in {change_text(changes[0])}." if len(changes) == 1 else ""
        comparisons.append((abs(gap), f"{text}.{only}", one))
    if comparisons:
        comparisons.sort(key=lambda one: -one[0])
        yield Finding(
            "budgets",
            Weight.WEAKENS,
            f"{count(len(comparisons), 'comparison')} with the closest earlier run "
            f"{'is' if len(comparisons) == 1 else 'are'} between runs of different length.",
            tuple(text for _, text, _ in comparisons[:_MOST_LISTED]),
            names_of(run for _, _, one in comparisons for run in (one.closest, one.run)),
        )


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else value
