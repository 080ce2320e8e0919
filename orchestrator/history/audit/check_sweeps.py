"""Checks of runs that differ in one setting only: what they show, and what chance explains."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from orchestrator.history.audit.check_repeats import disagreeing_runs
from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup, Sweep
from orchestrator.history.audit.repeat_spread import ConfigurationRuns, RepeatSpread
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


@dataclass(frozen=True)
class WidestPair:
    """The two configurations of a sweep with the largest difference of PER.

    Attributes:
        sweep: the sweep.
        one, two: in the order of the setting's value.
        trained: the configurations without a comparable run that diverged or collapsed.
        limit: the difference that chance explains; None if that is not known.
        doubted: names of their runs that have an equal run and disagree with it.
    """

    sweep: Sweep
    one: ConfigurationRuns
    two: ConfigurationRuns
    trained: tuple[ConfigurationRuns, ...]
    limit: float | None
    doubted: tuple[str, ...]

    @property
    def gap(self) -> float:
        """Mean PER of `two` minus that of `one`."""
        return self.two.mean_per - self.one.mean_per

    @property
    def exceeds_chance(self) -> bool | None:
        """Whether the difference is more than chance explains; None if that is not known."""
        return None if self.limit is None else abs(self.gap) > self.limit

    @property
    def unequal_budgets(self) -> bool:
        """Whether any run of one ends at another step than one of the other."""
        return _unequal_budgets(self.one, self.two)

    @property
    def common(self) -> tuple[float, float, float] | None:
        """The last step at which both were evaluated, and the PER of each there."""
        return at_common_step(self.one.comparable[0], self.two.comparable[0])

    @property
    def values(self) -> tuple[object, object]:
        """The value of the setting in each of the two."""
        levels = list(zip(self.sweep.configurations, self.sweep.values, strict=True))
        before, after = (
            next(value for one, value in levels if one is end) for end in (self.one, self.two)
        )
        return before, after

    @property
    def levels(self) -> list[str]:
        """Every value of the setting that has results, with its PER and its runs."""
        return [
            f"{value_text(value)}: {per_text(one.mean_per)} ({_runs_text(one)})"
            for value, one in zip(self.sweep.values, self.sweep.configurations, strict=True)
            if one.comparable
        ]

    @property
    def failed(self) -> list[str]:
        """The runs of the sweep that diverged or collapsed, with their outcome."""
        runs = [run for one in self.sweep.configurations for run in one.comparable]
        return [f"{run.name} {run.outcome}" for run in runs if _failed(run)]


def check_sweeps(group: PreparedGroup) -> Iterator[Finding]:
    """One finding about all settings that were tested alone, or that none was."""
    sweeps = [sweep for sweep in group.sweeps if sweep.has_results]
    if not sweeps:
        n_configurations = len(group.configurations)
        if n_configurations > 1:
            facts = {"n_configurations": n_configurations}
            yield Finding("no_clean_pair", Weight.OVERTURNS, facts)
        return
    spread, in_doubt = group.spreads.best, disagreeing_runs(group)
    pairs = [_widest(sweep, spread, in_doubt) for sweep in sweeps]
    pairs.sort(key=lambda pair: -abs(pair.gap))
    yield Finding(
        "one_thing",
        Weight.WEAKENS,
        {
            "pairs": pairs[: _MOST_LISTED + 1],
            "n_pairs": len(pairs),
            "names": list(dict.fromkeys(short_name(sweep.change.name) for sweep in sweeps)),
            "spread_known": spread is not None,
            "n_beyond": sum(pair.exceeds_chance is True for pair in pairs),
            "warn_of_many": spread is not None and _FEW_COMPARISONS < len(pairs) <= _MOST_LISTED,
        },
        names_of(run for pair in pairs for one in pair.sweep.configurations for run in one.runs),
        {"comparisons": [_figures(pair) for pair in pairs]},
    )


def _widest(sweep: Sweep, spread: RepeatSpread | None, in_doubt: frozenset[str]) -> WidestPair:
    """The widest pair of those that trained well; of all, if fewer than two did."""
    compared = [one for one in sweep.configurations if one.comparable]
    trained = tuple(one for one in compared if not any(map(_failed, one.comparable)))
    one, two = max(
        combinations(trained if len(trained) > 1 else compared, 2),
        key=lambda pair: abs(pair[0].mean_per - pair[1].mean_per),
    )
    limit = None
    if spread is not None and len(trained) > 1 and not _unequal_budgets(one, two):
        n_pairs = math.comb(len(trained), 2)
        limit = spread.chance_limit(one.n_seeds, two.n_seeds, n_pairs)
    doubted = [run.name for end in (one, two) for run in end.comparable if run.name in in_doubt]
    return WidestPair(sweep, one, two, trained, limit, tuple(doubted) if len(doubted) > 1 else ())


def _unequal_budgets(one: ConfigurationRuns, two: ConfigurationRuns) -> bool:
    return any(not same_budget(a, b) for a in one.comparable for b in two.comparable)


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
    sweep = pair.sweep
    return {
        "setting": sweep.change.name,
        "path": sweep.change.key,
        "levels": [
            {
                "value": value,
                "per": None if math.isnan(one.mean_per) else one.mean_per,
                "runs": [run.name for run in one.runs],
            }
            for value, one in zip(sweep.values, sweep.configurations, strict=True)
        ],
        "largest_difference": pair.gap,
        "more_than_chance": pair.exceeds_chance,
    }
