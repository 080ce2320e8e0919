"""A group of runs prepared for an audit: copies removed, in order, with the changes of each run."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

from orchestrator.history.audit.effective_settings import (
    EffectiveSettings,
    effective_settings,
    label_keys,
)
from orchestrator.history.audit.repeat_spread import ConfigurationRuns, RepeatSpreads, find_spreads
from orchestrator.history.audit.run_pairs import RunPair
from orchestrator.history.audit.setting_changes import (
    SettingChange,
    comparable_settings,
    n_unequal,
    setting_changes,
)
from orchestrator.history.reading.folders import natural_order
from orchestrator.history.reading.read_runs import Group
from orchestrator.history.reading.record import ImportedRun

FEWEST_ROWS = 3  # of a learning curve; shorter ones may be equal by chance
_MOST_CHANGES = 40  # runs with more unequal values are not compared
_RUN_NUMBER = re.compile(
    r"(?:^|[^a-z])(?:run|exp|experiment|versuch|lauf|trial|v|nr)[ _-]?(\d+)|^(\d{1,4})(?=\D|$)",
    re.IGNORECASE,
)
_COPY = re.compile(r"copy|kopie|backup|\bbak\b|duplicate|\bold\b|\(\d+\)", re.IGNORECASE)
_DATE = re.compile(r"(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)(?:[-_ T]?([0-2]\d)[-:_.h]?([0-5]\d))?")


class RunChanges(NamedTuple):
    """One run, `b` of both pairs, and what changed in it from earlier runs.

    Attributes:
        before: the pair with the comparable run just before it.
        closest: the pair with the earlier run that differs in the fewest settings; of several the
            latest, and of the runs of its configuration the first that ended well.
    """

    before: RunPair
    closest: RunPair


class Level(NamedTuple):
    """A value of a setting, and the configuration that has it."""

    value: object
    configuration: ConfigurationRuns


class Sweep(NamedTuple):
    """Configurations that differ in one setting only.

    Attributes:
        change: the setting that differs; its two values are those of some two configurations.
        levels: in the order of the setting's value.
    """

    change: SettingChange
    levels: tuple[Level, ...]

    @property
    def with_results(self) -> list[Level]:
        """The levels that have a PER."""
        return [level for level in self.levels if level.configuration.comparable]


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
    """

    name: str
    source: str
    remarks: tuple[str, ...]
    labels: frozenset[str]
    runs: tuple[ImportedRun, ...]
    copies: Mapping[str, str]
    order: str
    settings: Mapping[str, EffectiveSettings]

    @cached_property
    def configurations(self) -> tuple[ConfigurationRuns, ...]:
        """The runs that have settings, by the settings that count."""
        groups: dict[str, list[ImportedRun]] = {}
        for run in self.runs:
            if run.settings:
                groups.setdefault(self.settings[run.name].signature, []).append(run)
        return tuple(
            ConfigurationRuns(tuple(runs), self.settings[runs[0].name]) for runs in groups.values()
        )

    @cached_property
    def spreads(self) -> RepeatSpreads:
        """How much PERs differ between runs of one configuration."""
        return find_spreads(self.configurations)

    @property
    def chance_limit(self) -> float | None:
        """The difference of two single runs that chance explains; None if that is not known."""
        spread = self.spreads.best
        return None if spread is None else spread.chance_limit()

    @cached_property
    def run_changes(self) -> tuple[RunChanges, ...]:
        """Every run with settings that a comparable run precedes, with its changes."""
        runs = [run for run in self.runs if run.settings]
        all_changes = []
        for index, run in enumerate(runs):
            own = self._of(run)
            earlier = [one for one in runs[:index] if comparable_settings(self._of(one), own)]
            if earlier:
                closest = self._closest(run, earlier)
                all_changes.append(RunChanges(self.pair(earlier[-1], run), self.pair(closest, run)))
        return tuple(all_changes)

    def _closest(self, run: ImportedRun, earlier: list[ImportedRun]) -> ImportedRun:
        """Of earlier runs, the one that `RunChanges.closest` describes."""
        nearest = sorted(earlier, key=lambda one: n_unequal(self._of(one), self._of(run)))[:3]
        closest = min(
            nearest, key=lambda one: (len(self.pair(one, run).changes), -earlier.index(one))
        )
        signature = self._of(closest).signature
        same = (one for one in earlier if self._of(one).signature == signature)
        return next((one for one in same if one.outcome == "ok"), closest)

    def pair(self, a: ImportedRun, b: ImportedRun) -> RunPair:
        """Two runs, and the changes from the first to the second."""
        return RunPair(a, b, setting_changes(self._of(a), self._of(b)))

    def _of(self, run: ImportedRun) -> EffectiveSettings:
        return self.settings[run.name]

    @cached_property
    def confounded(self) -> tuple[RunChanges, ...]:
        """The runs that differ in several settings from every earlier run."""
        return tuple(one for one in self.run_changes if len(one.closest.changes) > 1)

    @cached_property
    def sweeps(self) -> tuple[Sweep, ...]:
        """Configurations that differ in one setting only; two or more of each sweep have a PER."""
        return tuple(sweep for sweep in self.all_sweeps if len(sweep.with_results) > 1)

    @cached_property
    def all_sweeps(self) -> tuple[Sweep, ...]:
        """Configurations that differ in one setting only, with a PER or without."""
        sweeps: dict[str, tuple[SettingChange, dict[int, Level]]] = {}
        for one, two in combinations(self.configurations, 2):
            if (
                not comparable_settings(one.settings, two.settings)
                or n_unequal(one.settings, two.settings) > _MOST_CHANGES
            ):
                continue
            changes = setting_changes(one.settings, two.settings)
            if len(changes) == 1:
                (change,) = changes
                varied = {change.key, *change.paths}
                rest = {k: v for k, v in one.settings.values.items() if k not in varied}
                key = f"{change.key} {one.settings._replace(values=rest).signature}"
                _, levels = sweeps.setdefault(key, (change, {}))
                levels[id(one)] = Level(change.before, one)
                levels[id(two)] = Level(change.after, two)
        return tuple(
            Sweep(change, tuple(sorted(levels.values(), key=_value_order)))
            for change, levels in sweeps.values()
        )

    @cached_property
    def tested_alone(self) -> Mapping[str, Sweep]:
        """Key of a setting → configurations that differ in it only."""
        return {sweep.change.key: sweep for sweep in self.sweeps}

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


def prepare_group(name: str, group: Group) -> PreparedGroup:
    """Prepare runs, in any order, for an audit of the group of this name."""
    labels = label_keys(group.runs)
    settings = {run.name: effective_settings(run, labels) for run in group.runs}
    own, copies = _without_copies(group.runs, settings)
    ordered, order = in_order(own)
    return PreparedGroup(
        name, group.source, group.remarks, labels, ordered, copies, order, settings
    )


def _without_copies(
    runs: Sequence[ImportedRun], settings: Mapping[str, EffectiveSettings]
) -> tuple[list[ImportedRun], dict[str, str]]:
    """Separate runs whose files repeat those of another run, byte for byte.

    Of two equal runs, the one whose name does not say copy is kept. Runs with the same learning
    curve under different settings are no copies, see `check_runs`.
    """
    seen: dict[object, ImportedRun] = {}
    own, copies = [], {}
    for run in sorted(runs, key=lambda run: _COPY.search(run.name) is not None):
        evaluated = tuple((one.split, one.per) for one in run.evaluations)
        key = (run.curve_digests, settings[run.name].signature, run.seed, evaluated)
        if len(run.history) >= FEWEST_ROWS and key in seen:
            copies[run.name] = seen[key].name
            continue
        seen[key] = run
        own.append(run)
    return own, copies


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


def _value_order(level: Level) -> tuple[int, float, str]:
    """Sort key: text and values that are not set, then numbers."""
    value = level.value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return (1, float(value), "")
    return (0, 0.0, str(value))
