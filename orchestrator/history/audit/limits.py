"""Findings about what no comparison can tell: settings never apart, runs of unequal length."""

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.history.audit.comparisons import tested_alone
from orchestrator.history.audit.lineup import Lineup
from orchestrator.history.audit.telling import (
    Finding,
    at_common_step,
    change_text,
    count,
    joined,
    per_text,
    same_budget,
    short_name,
)
from orchestrator.history.reading.record import ForeignRun

_MOST_TOLD = 40


def limit_findings(lineup: Lineup) -> Iterator[Finding]:
    """Both findings."""
    yield from _together(lineup)
    yield from _budgets(lineup)


def _together(lineup: Lineup) -> Iterator[Finding]:
    """Settings that have the same partner value in every run, so that no run parts them."""
    alone = tested_alone(lineup)
    names = {
        change.key: change.name
        for step in lineup.steps
        for change in (*step.changes, *step.from_closest)
        if change.key not in alone
    }
    kinds = {arm.counted.kind for arm in lineup.arms}
    if len(kinds) != 1 or len(lineup.arms) < 3:
        return
    groups: dict[tuple[int, ...], list[str]] = {}
    for key in names:
        values = [repr(arm.counted.whole.get(key)) for arm in lineup.arms]
        first: dict[str, int] = {}
        partition = tuple(first.setdefault(value, len(first)) for value in values)
        groups.setdefault(partition, []).append(key)
    bound = [keys for keys in groups.values() if len(keys) > 1]
    if bound:
        yield Finding(
            "never_apart",
            2,
            f"{count(sum(map(len, bound)), 'setting')} changed only together with others: no "
            "comparison of any of these runs, however it is made, can tell them apart.",
            tuple(
                f"Always together: {joined([short_name(names[key]) for key in keys])}."
                for keys in bound
            ),
            (),
            {"groups": [[names[key] for key in keys] for keys in bound]},
        )


def _budgets(lineup: Lineup) -> Iterator[Finding]:
    """Steps, and sets that differ in one thing, whose runs end at different steps."""
    pairs: dict[tuple[str, str], tuple[ForeignRun, ForeignRun, Sequence[Any]]] = {}
    for step in lineup.steps:
        pairs[step.closest.name, step.run.name] = (step.closest, step.run, step.from_closest)
    told = []
    for a, b, changes in pairs.values():
        if same_budget(a, b) or a.final is None or b.final is None:
            continue
        text = (
            f"{a.name} ends at {a.step_unit} {a.last_step:,.0f} with {per_text(a.final[1])}, "
            f"{b.name} at {b.step_unit} {b.last_step:,.0f} with {per_text(b.final[1])}"
        )
        found = at_common_step(a, b)
        if found is not None:
            step_at, one, two = found
            text += f"; at {step_at:,.0f}, the last both have: {per_text(one)} and {per_text(two)}"
            if (two - one) * (b.final[1] - a.final[1]) < 0:
                text += " - the order turns round"
        only = f" They differ in {change_text(changes[0])}." if len(changes) == 1 else ""
        told.append((abs(b.final[1] - a.final[1]), f"{text}.{only}", a.name, b.name))
    if told:
        told.sort(key=lambda pair: -pair[0])
        yield Finding(
            "budgets",
            2,
            f"{count(len(told), 'comparison')} that suggest{'s' * (len(told) == 1)} "
            f"{'itself' if len(told) == 1 else 'themselves'} "
            f"{'is' if len(told) == 1 else 'are'} between runs of different length.",
            tuple(text for _, text, _, _ in told[:_MOST_TOLD]),
            tuple(dict.fromkeys(name for _, _, a, b in told for name in (a, b))),
        )
