"""The runs of a group as an audit sees them: copies out, in order, each step with its changes."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.history.audit.counting import (
    Change,
    Counted,
    counted,
    differing,
    label_keys,
    n_unequal,
    related,
)
from orchestrator.history.audit.spread import Arm, Spreads, find_arms, find_spreads
from orchestrator.history.reading.folders import natural
from orchestrator.history.reading.record import ForeignRun
from orchestrator.history.reading.store import courses

_FEWEST_ROWS = 3  # of a course, to be told from another by its bytes
_MOST_CHANGES = 40  # more unequal values than that, and two runs are not of one line
_RUN_NUMBER = re.compile(
    r"(?:^|[^a-z])(?:run|exp|experiment|versuch|lauf|trial|v|nr)[ _-]?(\d+)|^(\d{1,4})(?=\D|$)",
    re.IGNORECASE,
)
_COPY = re.compile(r"copy|kopie|backup|\bbak\b|duplicate|\bold\b|\(\d+\)", re.IGNORECASE)
_DATE = re.compile(r"(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)(?:[-_ T]?([0-2]\d)[-:_.h]?([0-5]\d))?")


class Step(NamedTuple):
    """One run and where it comes from.

    Attributes:
        run: the run.
        before: the run before it in the order, and `changes` from that one.
        closest: the earlier run that differs in the fewest things, the latest of those, or the
            first of that one's configuration; `from_closest` the changes from it.
    """

    run: ForeignRun
    before: ForeignRun
    changes: tuple[Change, ...]
    closest: ForeignRun
    from_closest: tuple[Change, ...]


class Cluster(NamedTuple):
    """Configurations that differ in one thing only.

    Attributes:
        change: what differs; its two values are those of the first two arms.
        arms: in the order of the value, and `values` the value of each.
    """

    change: Change
    arms: tuple[Arm, ...]
    values: tuple[object, ...]


@dataclass(frozen=True)
class Lineup:
    """A group of runs, prepared for an audit.

    Attributes:
        name: of the group; `source` its folder.
        labels: settings that merely name the runs.
        runs: every run but copies, in the order they were made as far as that can be told.
        copies: copy → the run it is a copy of.
        order: by what the order was told, in words.
        known: run → its settings that count.
        arms: runs of one configuration together.
        spreads: what repeats show.
        steps: every run but the first that has settings, with its changes.
        clusters: configurations that differ in one thing.
        remarks: what was passed over when the folder was read.
    """

    name: str
    source: str
    labels: frozenset[str]
    runs: tuple[ForeignRun, ...]
    copies: Mapping[str, str]
    order: str
    known: Mapping[str, Counted]
    arms: tuple[Arm, ...]
    spreads: Spreads
    steps: tuple[Step, ...]
    clusters: tuple[Cluster, ...]
    remarks: tuple[str, ...]

    def arm_of(self, run: ForeignRun) -> Arm | None:
        """The configuration of a run; None for one without settings."""
        return next((arm for arm in self.arms if run in arm.runs), None)


def line_up(
    name: str, source: str, runs: Sequence[ForeignRun], remarks: Sequence[str] = ()
) -> Lineup:
    """Prepare a group of runs for an audit."""
    labels = label_keys(runs)
    known = {run.name: counted(run, labels) for run in runs}
    own, copies = _without_copies(runs, known)
    ordered, order = in_order(own)
    arms = find_arms(ordered, known)
    return Lineup(
        name,
        source,
        labels,
        ordered,
        copies,
        order,
        known,
        arms,
        find_spreads(arms),
        _steps([run for run in ordered if run.settings], known),
        _clusters(arms),
        tuple(remarks),
    )


def _without_copies(
    runs: Sequence[ForeignRun], known: Mapping[str, Counted]
) -> tuple[list[ForeignRun], dict[str, str]]:
    """Runs whose course is another one's, byte for byte, taken out; those called copies first.

    A course under other settings is no copy, but see `same_courses`.
    """
    seen: dict[object, ForeignRun] = {}
    own, copies = [], {}
    for run in sorted(runs, key=lambda run: _COPY.search(run.name) is not None):
        key = (courses(run), known[run.name].signature, run.seed)
        if len(run.history) >= _FEWEST_ROWS and key in seen:
            copies[run.name] = seen[key].name
            continue
        seen[key] = run
        own.append(run)
    return own, copies


def same_courses(runs: Sequence[ForeignRun]) -> list[tuple[ForeignRun, ForeignRun]]:
    """Pairs with the same course, byte for byte, under settings or seeds that differ."""
    seen: dict[frozenset[str], ForeignRun] = {}
    pairs = []
    for run in runs:
        if len(run.history) >= _FEWEST_ROWS and run.settings and courses(run):
            if courses(run) in seen:
                pairs.append((seen[courses(run)], run))
            seen.setdefault(courses(run), run)
    return pairs


def in_order(runs: Sequence[ForeignRun]) -> tuple[tuple[ForeignRun, ...], str]:
    """The runs in the order they were made, and by what that was told."""
    names = {run.name: run.name.rpartition("/")[2] for run in runs}
    numbers = {run.name: _run_number(names[run.name]) for run in runs}
    dates = {run.name: _date(run) for run in runs}
    if len(runs) > 1 and all(number is not None for number in numbers.values()):
        key = {run.name: (numbers[run.name] or 0, natural(run.name)) for run in runs}
        return tuple(sorted(runs, key=lambda run: key[run.name])), "the numbers in their names"
    if len(runs) > 1 and all(dates.values()):
        ordered = sorted(runs, key=lambda run: (dates[run.name], natural(run.name)))
        return tuple(ordered), "the time stamps in their logs or names"
    ordered = sorted(runs, key=lambda run: (run.changed, natural(run.name)))
    return tuple(ordered), (
        "the times at which their files were last changed (copying a folder may have lost these)"
    )


def _run_number(name: str) -> int | None:
    if _DATE.search(name):
        return None
    match = _RUN_NUMBER.search(name)
    return int(match.group(1) or match.group(2)) if match else None


def _date(run: ForeignRun) -> str:
    if run.started:
        return re.sub(r"\D", "", run.started)[:14]
    match = _DATE.search(run.name)
    return "".join(part or "00" for part in match.groups()) + "00" if match else ""


def _steps(runs: Sequence[ForeignRun], known: Mapping[str, Counted]) -> tuple[Step, ...]:
    steps = []
    for index, run in enumerate(runs):
        if not index:
            continue
        own = known[run.name]
        earlier = [other for other in runs[:index] if related(known[other.name], own)]
        if not earlier:
            continue
        nearest = sorted(earlier, key=lambda other: n_unequal(known[other.name], own))[:3]
        found = [(len(differing(known[other.name], own)), other) for other in nearest]
        fewest = min(n for n, _ in found)
        closest = _first_alike(
            max((other for n, other in found if n == fewest), key=runs.index), earlier, known
        )
        steps.append(
            Step(
                run,
                earlier[-1],
                differing(known[earlier[-1].name], own),
                closest,
                differing(known[closest.name], own),
            )
        )
    return tuple(steps)


def _first_alike(
    run: ForeignRun, earlier: Sequence[ForeignRun], known: Mapping[str, Counted]
) -> ForeignRun:
    """Of the earlier runs of one configuration the first that ended well, else the run given."""
    signature = known[run.name].signature
    return next(
        (o for o in earlier if o.outcome == "ok" and known[o.name].signature == signature), run
    )


def _clusters(arms: Sequence[Arm]) -> tuple[Cluster, ...]:
    """Sets of configurations in which one thing differs, the largest sets first."""
    found: dict[str, list[tuple[Change, Arm, Arm]]] = {}
    for index, one in enumerate(arms):
        for two in arms[index + 1 :]:
            if not related(one.counted, two.counted):
                continue
            if n_unequal(one.counted, two.counted) > _MOST_CHANGES:
                continue
            changes = differing(one.counted, two.counted)
            if len(changes) == 1:
                rest = {
                    key: value
                    for key, value in one.counted.values.items()
                    if key != changes[0].key and key not in changes[0].paths
                }
                key = f"{changes[0].key} {one.counted._replace(values=rest).signature}"
                found.setdefault(key, []).append((changes[0], one, two))
    return tuple(_cluster(pairs) for pairs in found.values())


def _cluster(pairs: Sequence[tuple[Change, Arm, Arm]]) -> Cluster:
    values: dict[int, tuple[Arm, object]] = {}
    for change, one, two in pairs:
        values[id(one)], values[id(two)] = (one, change.before), (two, change.after)
    ordered = sorted(values.values(), key=lambda pair: _value_key(pair[1]))
    return Cluster(
        pairs[0][0], tuple(arm for arm, _ in ordered), tuple(value for _, value in ordered)
    )


def _value_key(value: object) -> tuple[int, float, str]:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return (1, float(value), "")
    return (0, 0.0, str(value))
