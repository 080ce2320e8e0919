"""Checks of runs that differ in one setting only: what they show, and what chance explains."""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from orchestrator.history.audit.check_repeats import disagreeing_runs
from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import Level, PreparedGroup, Sweep
from orchestrator.history.audit.repeat_spread import ConfigurationRuns
from orchestrator.history.audit.run_pairs import at_common_step, same_budget
from orchestrator.history.audit.wording import (
    count,
    joined,
    names_of,
    per_text,
    short_name,
    value_text,
)
from orchestrator.history.reading.record import ImportedRun

_MOST_LISTED = 40
_FEW_COMPARISONS = 4  # with more, some exceed the limit by chance


class WidestPair(NamedTuple):
    """The two levels of a sweep with the largest difference of PER.

    Attributes:
        sweep: the sweep.
        one, two: in the order of the setting's value.
        gap: mean PER of `two` minus that of `one`.
        n_trained: number of levels with a PER of which no run diverged or collapsed.
        unequal_budgets: whether any run of one ends at another step than one of the other.
        common: the last step at which both were evaluated, and the PER of each there.
        limit: the difference that chance explains; None if that is not known.
        doubted: names of their runs that have an equal run and disagree with it.
    """

    sweep: Sweep
    one: Level
    two: Level
    gap: float
    n_trained: int
    unequal_budgets: bool
    common: tuple[float, float, float] | None
    limit: float | None
    doubted: list[str]

    @property
    def exceeds_chance(self) -> bool | None:
        """Whether the difference is more than chance explains; None if that is not known."""
        return None if self.limit is None else abs(self.gap) > self.limit

    @property
    def levels(self) -> list[str]:
        """Every value of the setting that has results, with its PER and its runs."""
        return [
            f"{value_text(value)}: {per_text(one.mean_per)} ({_runs_text(one)})"
            for value, one in self.sweep.with_results
        ]

    @property
    def failed(self) -> list[str]:
        """The runs of the sweep that diverged or collapsed, with their outcome."""
        runs = [run for _, one in self.sweep.levels for run in one.comparable]
        return [f"{run.name} {run.outcome}" for run in runs if _failed(run)]


def check_sweeps(group: PreparedGroup) -> Iterator[Finding]:
    """One finding about all settings that were tested alone, or that none was."""
    if not group.sweeps:
        if len(group.configurations) > 1:
            without = [
                (
                    sweep.change,
                    [run.name for level in sweep.levels for run in level.configuration.runs],
                )
                for sweep in group.all_sweeps
            ]
            facts = {"n_configurations": len(group.configurations), "without": without}
            yield Finding("no_clean_pair", Weight.OVERTURNS, facts)
        return
    in_doubt, spread_known = disagreeing_runs(group), group.spreads.best is not None
    pairs = [_widest(sweep, group, in_doubt) for sweep in group.sweeps]
    pairs.sort(key=lambda pair: -abs(pair.gap))
    yield Finding(
        "one_thing",
        Weight.WEAKENS,
        {
            "pairs": pairs[: _MOST_LISTED + 1],
            "n_pairs": len(pairs),
            "names": list(dict.fromkeys(short_name(sweep.change.name) for sweep in group.sweeps)),
            "spread_known": spread_known,
            "n_beyond": sum(pair.exceeds_chance is True for pair in pairs),
            "warn_of_many": spread_known and _FEW_COMPARISONS < len(pairs) <= _MOST_LISTED,
        },
        names_of(run for pair in pairs for _, one in pair.sweep.levels for run in one.runs),
        {"comparisons": [_figures(pair) for pair in pairs]},
    )


def _widest(sweep: Sweep, group: PreparedGroup, in_doubt: frozenset[str]) -> WidestPair:
    """The widest pair of those that trained well; of all, if fewer than two did."""
    compared = sweep.with_results
    trained = [level for level in compared if not any(map(_failed, level.configuration.comparable))]
    gap, first, second = max(
        (
            (b.configuration.mean_per - a.configuration.mean_per, a, b)
            for a, b in combinations(trained if len(trained) > 1 else compared, 2)
        ),
        key=lambda pair: abs(pair[0]),
    )
    one, two = first.configuration, second.configuration
    unequal = not all(same_budget(a, b) for a in one.comparable for b in two.comparable)
    limit, spread = None, group.spreads.best
    if spread is not None and len(trained) > 1 and not unequal:
        limit = spread.chance_limit(one.n_seeds, two.n_seeds, math.comb(len(trained), 2))
    doubted = [run.name for run in (*one.comparable, *two.comparable) if run.name in in_doubt]
    return WidestPair(
        sweep,
        first,
        second,
        gap,
        len(trained),
        unequal,
        at_common_step(one.comparable[0], two.comparable[0]),
        limit,
        doubted if len(doubted) > 1 else [],
    )


def _failed(run: ImportedRun) -> bool:
    return run.outcome in ("diverged", "collapsed")


def _runs_text(configuration: ConfigurationRuns) -> str:
    """The runs of a configuration, and the range of their PERs if there are several."""
    names = [
        run.name + ("" if run.outcome in ("ok", "unknown") else f" {run.outcome}")
        for run in configuration.comparable
    ]
    if len(names) == 1:
        return names[0]
    low, high = min(configuration.pers), max(configuration.pers)
    return (
        f"mean of {count(len(names), 'run')}, {per_text(low)} to {per_text(high)}: "
        f"{joined(names, 3)}"
    )


def _figures(pair: WidestPair) -> dict[str, object]:
    return {
        "setting": pair.sweep.change.name,
        "path": pair.sweep.change.key,
        "levels": [
            {
                "value": value,
                "per": one.mean_per if one.comparable else None,
                "runs": [run.name for run in one.runs],
            }
            for value, one in pair.sweep.levels
        ],
        "largest_difference": pair.gap,
        "more_than_chance": pair.exceeds_chance,
    }
