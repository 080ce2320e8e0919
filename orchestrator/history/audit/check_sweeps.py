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
    moved,
    names_of,
    per_text,
    points,
    short_name,
    value_text,
)
from orchestrator.history.reading.record import ImportedRun
from orchestrator.spec.units import interval_words

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
    """

    sweep: Sweep
    one: ConfigurationRuns
    two: ConfigurationRuns
    trained: tuple[ConfigurationRuns, ...]
    limit: float | None

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


def check_sweeps(group: PreparedGroup) -> Iterator[Finding]:
    """One finding about all settings that were tested alone, or that none was."""
    sweeps = [sweep for sweep in group.sweeps if sweep.has_results]
    if not sweeps:
        if len(group.configurations) > 1:
            yield Finding(
                "no_clean_pair",
                Weight.OVERTURNS,
                f"No two of {count(len(group.configurations), 'configuration')} differ in one "
                "setting only, so no setting was tested by itself.",
            )
        return
    spread = group.spreads.best
    pairs = sorted((_widest(sweep, spread) for sweep in sweeps), key=lambda pair: -abs(pair.gap))
    in_doubt = disagreeing_runs(group)
    details = [_text(pair) + _doubt(pair, in_doubt) for pair in pairs]
    if spread is not None and len(pairs) > _FEW_COMPARISONS:
        details.append(
            f"Of {len(pairs)} such comparisons, one in twenty exceeds its limit by chance alone; "
            "the largest of many differences is also overestimated."
        )
    n_beyond = sum(pair.exceeds_chance is True for pair in pairs)
    result = "the spread between repeats is not known, so all of this may be chance"
    if spread is not None:
        shows = "shows" if n_beyond == 1 else "show"
        result = f"{n_beyond} of them {shows} more than chance explains"
    names = list(dict.fromkeys(short_name(sweep.change.name) for sweep in sweeps))
    yield Finding(
        "one_thing",
        Weight.WEAKENS,
        f"{count(len(sweeps), 'comparison is', 'comparisons are')} between runs that differ in one "
        f"setting only ({joined(names, 8)}); {result}.",
        tuple(details[: _MOST_LISTED + 1]),
        names_of(run for pair in pairs for one in pair.sweep.configurations for run in one.runs),
        {"comparisons": [_figures(pair) for pair in pairs]},
    )


def _widest(sweep: Sweep, spread: RepeatSpread | None) -> WidestPair:
    """The widest pair of those that trained well; of all, if fewer than two did."""
    compared = [one for one in sweep.configurations if one.comparable]
    trained = tuple(one for one in compared if not any(_failed(run) for run in one.comparable))
    one, two = max(
        combinations(trained if len(trained) > 1 else compared, 2),
        key=lambda pair: abs(pair[0].mean_per - pair[1].mean_per),
    )
    limit = None
    if spread is not None and len(trained) > 1 and not _unequal_budgets(one, two):
        n_pairs = math.comb(len(trained), 2)
        limit = spread.chance_limit(one.n_seeds, two.n_seeds, n_pairs)
    return WidestPair(sweep, one, two, trained, limit)


def _unequal_budgets(one: ConfigurationRuns, two: ConfigurationRuns) -> bool:
    return any(not same_budget(a, b) for a in one.comparable for b in two.comparable)


def _failed(run: ImportedRun) -> bool:
    return run.outcome in ("diverged", "collapsed")


def _text(pair: WidestPair) -> str:
    """The result of one sweep in sentences."""
    sweep, one, two, gap, limit = pair.sweep, pair.one, pair.two, pair.gap, pair.limit
    value_of = {
        id(configuration): value_text(value)
        for value, configuration in zip(sweep.values, sweep.configurations, strict=True)
    }
    levels = [
        f"{value_of[id(level)]}: {per_text(level.mean_per)} ({_runs_text(level)})"
        for level in sweep.configurations
        if level.comparable
    ]
    text = f"{short_name(sweep.change.name)} at {joined(levels, 8)}."
    n_others = len(sweep.change.paths) - 1
    if n_others > 0:
        text += f" {count(n_others, 'setting')} changed with it."
    failed = [
        f"{run.name} {run.outcome}"
        for level in sweep.configurations
        for run in level.comparable
        if _failed(run)
    ]
    if failed:
        text += f" {joined(failed, 6)}: chance does not explain this, but each was seen once."
    if len(pair.trained) < 2:
        return text
    if pair.unequal_budgets:
        return f"{text} They end at different steps, so this is no fair comparison. {_common(pair)}"
    if limit is None:
        return (
            f"{text} They are {points(gap)} apart; this may be chance, as the spread between "
            "repeats is not known."
        )
    verdict = (
        f"more than the {points(limit)} that chance explains"
        if pair.exceeds_chance
        else f"within the {points(limit)} that chance explains, so this shows nothing"
    )
    return (
        f"{text} At {value_of[id(two)]} PER is {moved(gap)} than at {value_of[id(one)]}, "
        f"{verdict}; the true difference may be anything from "
        f"{interval_words((gap - limit, gap + limit), 'per')} points."
    )


def _doubt(pair: WidestPair, in_doubt: frozenset[str]) -> str:
    names = [run.name for one in (pair.one, pair.two) for run in one.comparable]
    names = [name for name in names if name in in_doubt]
    if len(names) < 2:
        return ""
    return f" This is in doubt: {joined(names)} have equal settings and seed, but disagree."


def _common(pair: WidestPair) -> str:
    """The PERs at the last step that both were evaluated at."""
    common = at_common_step(pair.one.comparable[0], pair.two.comparable[0])
    if common is None:
        return "They were never evaluated at the same step."
    step, a, b = common
    return f"At step {step:,.0f}, the last that both have: {per_text(a)} and {per_text(b)}."


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
