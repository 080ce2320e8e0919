"""A group of runs prepared for an audit: copies removed, in order, with the changes of each run."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from orchestrator.history.audit.effective_settings import (
    EffectiveSettings,
    effective_settings,
    label_keys,
)
from orchestrator.history.audit.repeat_spread import (
    ConfigurationRuns,
    RepeatSpreads,
    find_spreads,
    group_by_configuration,
)
from orchestrator.history.audit.setting_changes import (
    SettingChange,
    comparable_settings,
    n_unequal,
    setting_changes,
)
from orchestrator.history.reading.folders import natural_order
from orchestrator.history.reading.record import ImportedRun

_FEWEST_ROWS = 3  # of a learning curve; shorter ones may be equal by chance
_MOST_CHANGES = 40  # runs with more unequal values are not compared
_RUN_NUMBER = re.compile(
    r"(?:^|[^a-z])(?:run|exp|experiment|versuch|lauf|trial|v|nr)[ _-]?(\d+)|^(\d{1,4})(?=\D|$)",
    re.IGNORECASE,
)
_COPY = re.compile(r"copy|kopie|backup|\bbak\b|duplicate|\bold\b|\(\d+\)", re.IGNORECASE)
_DATE = re.compile(r"(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)(?:[-_ T]?([0-2]\d)[-:_.h]?([0-5]\d))?")


class RunChanges(NamedTuple):
    """One run, and what changed in it from earlier runs.

    Attributes:
        run: the run.
        before: the comparable run just before it.
        changes: from `before`.
        closest: the earlier run that differs in the fewest settings; of several the latest, and
            of the runs of its configuration the first that ended well.
        from_closest: the changes from `closest`.
    """

    run: ImportedRun
    before: ImportedRun
    changes: tuple[SettingChange, ...]
    closest: ImportedRun
    from_closest: tuple[SettingChange, ...]


class Sweep(NamedTuple):
    """Configurations that differ in one setting only.

    Attributes:
        change: the setting that differs; its two values are those of some two configurations.
        configurations: in the order of the setting's value.
        values: the value in each configuration.
    """

    change: SettingChange
    configurations: tuple[ConfigurationRuns, ...]
    values: tuple[object, ...]

    @property
    def has_results(self) -> bool:
        """Whether two or more configurations have a PER."""
        return sum(not math.isnan(one.mean_per) for one in self.configurations) > 1


@dataclass(frozen=True)
class PreparedGroup:
    """A group of runs, prepared for an audit.

    Attributes:
        name: of the group.
        source: its folder.
        remarks: what was skipped when the folder was read.
        labels: settings that only label the runs.
        runs: every run except copies, in the order in which they were trained, as far as known.
        copies: copy → the run it is a copy of.
        order: what the order is based on, in words.
        settings: run name → its settings that count.
        configurations: the runs of each configuration.
        spreads: how much PERs differ between runs of one configuration.
        run_changes: every run with settings but the first, with its changes.
        sweeps: configurations that differ in one setting only.
    """

    name: str
    source: str
    remarks: tuple[str, ...]
    labels: frozenset[str]
    runs: tuple[ImportedRun, ...]
    copies: Mapping[str, str]
    order: str
    settings: Mapping[str, EffectiveSettings]
    configurations: tuple[ConfigurationRuns, ...]
    spreads: RepeatSpreads
    run_changes: tuple[RunChanges, ...]
    sweeps: tuple[Sweep, ...]

    @cached_property
    def confounded(self) -> tuple[RunChanges, ...]:
        """The runs that differ in several settings from every earlier run."""
        return tuple(one for one in self.run_changes if len(one.from_closest) > 1)

    @cached_property
    def tested_alone(self) -> Mapping[str, Sweep]:
        """Key of a setting → configurations that differ in it only and have results."""
        return {sweep.change.key: sweep for sweep in self.sweeps if sweep.has_results}

    @cached_property
    def ended_well(self) -> tuple[ImportedRun, ...]:
        """The runs with outcome ok and a PER."""
        return tuple(
            run for run in self.runs if run.outcome == "ok" and run.compared_per is not None
        )

    @property
    def lowest(self) -> ImportedRun | None:
        """The run with the lowest PER at its end, of those that ended well."""
        return min(self.ended_well, key=lambda run: run.compared_per or 0.0, default=None)

    def chance_limit(self) -> float | None:
        """The difference of two single runs that chance explains; None if that is not known."""
        spread = self.spreads.best
        return None if spread is None else spread.chance_limit()


def prepare_group(
    name: str, source: str, runs: Sequence[ImportedRun], remarks: Sequence[str] = ()
) -> PreparedGroup:
    """Prepare a group of runs for an audit.

    Args:
        name: of the group.
        source: its folder.
        runs: in any order.
        remarks: what was skipped when the folder was read.
    """
    labels = label_keys(runs)
    settings = {run.name: effective_settings(run, labels) for run in runs}
    own, copies = _without_copies(runs, settings)
    ordered, order = in_order(own)
    configurations = group_by_configuration(ordered, settings)
    return PreparedGroup(
        name,
        source,
        tuple(remarks),
        labels,
        ordered,
        copies,
        order,
        settings,
        configurations,
        find_spreads(configurations),
        _run_changes([run for run in ordered if run.settings], settings),
        _sweeps(configurations),
    )


def _without_copies(
    runs: Sequence[ImportedRun], settings: Mapping[str, EffectiveSettings]
) -> tuple[list[ImportedRun], dict[str, str]]:
    """Separate runs whose files repeat those of another run, byte for byte.

    Of two equal runs, the one whose name does not say copy is kept. Runs with the same learning
    curve under different settings are no copies, see `same_curves`.
    """
    seen: dict[object, ImportedRun] = {}
    own, copies = [], {}
    for run in sorted(runs, key=lambda run: _COPY.search(run.name) is not None):
        key = (run.curve_digests, settings[run.name].signature, run.seed)
        if len(run.history) >= _FEWEST_ROWS and key in seen:
            copies[run.name] = seen[key].name
            continue
        seen[key] = run
        own.append(run)
    return own, copies


def same_curves(runs: Sequence[ImportedRun]) -> list[tuple[ImportedRun, ImportedRun]]:
    """Pairs of runs, copies removed, with the same learning curve, byte for byte."""
    seen: dict[frozenset[str], ImportedRun] = {}
    pairs = []
    for run in runs:
        if len(run.history) >= _FEWEST_ROWS and run.settings and run.curve_digests:
            if run.curve_digests in seen:
                pairs.append((seen[run.curve_digests], run))
            seen.setdefault(run.curve_digests, run)
    return pairs


def in_order(runs: Sequence[ImportedRun]) -> tuple[tuple[ImportedRun, ...], str]:
    """The runs in the order in which they were trained, and what that order is based on."""
    numbers = {run.name: _run_number(run.name.rpartition("/")[2]) for run in runs}
    dates = {run.name: _date(run) for run in runs}
    by: Mapping[str, float | str | None]
    if len(runs) > 1 and None not in numbers.values():
        by, why = numbers, "the numbers in their names"
    elif len(runs) > 1 and all(dates.values()):
        by, why = dates, "the time stamps in their logs or names"
    else:
        by = {run.name: run.changed for run in runs}
        why = "the times of the last change of their files (copying may have altered these)"
    return tuple(sorted(runs, key=lambda run: (by[run.name], natural_order(run.name)))), why


def _run_number(name: str) -> int | None:
    if _DATE.search(name):
        return None
    match = _RUN_NUMBER.search(name)
    return int(match.group(1) or match.group(2)) if match else None


def _date(run: ImportedRun) -> str:
    if run.started:
        return re.sub(r"\D", "", run.started)[:14]
    match = _DATE.search(run.name)
    return "".join(part or "00" for part in match.groups()) + "00" if match else ""


def _run_changes(
    runs: Sequence[ImportedRun], settings: Mapping[str, EffectiveSettings]
) -> tuple[RunChanges, ...]:
    """The changes of every run that a comparable run precedes.

    Args:
        runs: those with settings, in order.
        settings: run name → its settings that count.
    """
    all_changes = []
    for index, run in enumerate(runs):
        own = settings[run.name]
        earlier = [
            other for other in runs[:index] if comparable_settings(settings[other.name], own)
        ]
        if not earlier:
            continue
        nearest = sorted(earlier, key=lambda other: n_unequal(settings[other.name], own))[:3]
        n_changes = [len(setting_changes(settings[other.name], own)) for other in nearest]
        closest = max(
            (other for n, other in zip(n_changes, nearest, strict=True) if n == min(n_changes)),
            key=runs.index,
        )
        signature = settings[closest.name].signature
        closest = next(
            (o for o in earlier if o.outcome == "ok" and settings[o.name].signature == signature),
            closest,
        )
        before = earlier[-1]
        all_changes.append(
            RunChanges(
                run,
                before,
                setting_changes(settings[before.name], own),
                closest,
                setting_changes(settings[closest.name], own),
            )
        )
    return tuple(all_changes)


def _sweeps(configurations: Sequence[ConfigurationRuns]) -> tuple[Sweep, ...]:
    """Sets of configurations in which one setting differs."""
    pairs: dict[str, list[tuple[SettingChange, ConfigurationRuns, ConfigurationRuns]]] = {}
    for index, one in enumerate(configurations):
        for two in configurations[index + 1 :]:
            if not comparable_settings(one.settings, two.settings):
                continue
            if n_unequal(one.settings, two.settings) > _MOST_CHANGES:
                continue
            changes = setting_changes(one.settings, two.settings)
            if len(changes) == 1:
                (change,) = changes
                rest = {
                    key: value
                    for key, value in one.settings.values.items()
                    if key != change.key and key not in change.paths
                }
                key = f"{change.key} {one.settings._replace(values=rest).signature}"
                pairs.setdefault(key, []).append((change, one, two))
    return tuple(_sweep(of_setting) for of_setting in pairs.values())


def _sweep(
    pairs: Sequence[tuple[SettingChange, ConfigurationRuns, ConfigurationRuns]],
) -> Sweep:
    values: dict[int, tuple[ConfigurationRuns, object]] = {}
    for change, one, two in pairs:
        values[id(one)], values[id(two)] = (one, change.before), (two, change.after)
    ordered = sorted(values.values(), key=lambda pair: _value_order(pair[1]))
    configurations, of_each = zip(*ordered, strict=True)
    return Sweep(pairs[0][0], configurations, of_each)


def _value_order(value: object) -> tuple[int, float, str]:
    """Sort key: text and values that are not set, then numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return (1, float(value), "")
    return (0, 0.0, str(value))
