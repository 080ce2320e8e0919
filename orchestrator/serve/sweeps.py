"""What lies in a results folder now: sweeps with their state and verdicts, and the run of each.

Everything is read from the files, and a file again only when it changed.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from decoder.errors import UserError
from orchestrator.history.reading.read_runs import Group
from orchestrator.history.reading.store import group_names, read_imported
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.looks import spare_runs
from orchestrator.report.verdict_rows import VerdictRow, read_verdicts
from orchestrator.search.kept import asked_search, count_states
from orchestrator.search.schema import SearchSpec
from orchestrator.serve.inside import is_inside
from orchestrator.store.locks import Holder, observed_holder
from orchestrator.store.look_files import with_looks
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.reservation_files import Driver, drivers_now

T = TypeVar("T")
Kind = Literal["ablations", "searches", "judged", "imported"]
KINDS: Mapping[Kind, str] = {
    "ablations": "ablation",
    "searches": "search",
    "judged": "judgement",
    "imported": "import",
}
State = Literal["running", "done", "failed", "interrupted", "unreadable"]
_GAPS = ("failed", "missing")


class Use(NamedTuple):
    """An arm of a sweep that plans a run."""

    kind: Kind
    sweep: str
    arm: str


@dataclass(frozen=True)
class Sweep:
    """An ablation, a search, a judgement or a group of imported runs.

    Attributes:
        state: ``running`` if a process trains it now; else ``done`` if every needed run has a
            result, ``failed`` if some failed for good, ``interrupted`` if some are missing.
        n_planned, n_recorded: runs that are needed, and those with a result; of a search, of its
            candidates.
        outcomes: outcome → runs; ``not needed`` counts those in `not_needed`.
        not_needed: ids of the runs without a result that no open claim needs.
        driver: who trains it, as text; empty if nobody does.
        steps: training steps done and to do of the present call; zeros if that is not known.
        verdicts: one row per claim, as the last report left them.
        plan: None of imported runs, and of what cannot be read.
        problem: why it cannot be read; empty if it can.
        changed: when its report was written or its plan changed last, in seconds.
    """

    kind: Kind
    name: str
    question: str = ""
    state: State = "unreadable"
    n_planned: int = 0
    n_recorded: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    not_needed: frozenset[str] = frozenset()
    driver: str = ""
    steps: tuple[int, int] = (0, 0)
    verdicts: tuple[VerdictRow, ...] = ()
    plan: PlanDocument | None = None
    problem: str = ""
    changed: float = 0.0

    @property
    def noun(self) -> str:
        """What it is called: ``ablation``."""
        return KINDS[self.kind]

    @property
    def share(self) -> float:
        """The share of its runs with a result."""
        return self.n_recorded / self.n_planned if self.n_planned else 0.0

    @property
    def words(self) -> list[tuple[str, str]]:
        """Claim → verdict."""
        return [(str(row["hypothesis"]), str(row["verdict"])) for row in self.verdicts]


class ChangedFiles:
    """Keeps what was made from files until one of them changes."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[Any, Any]] = {}

    def get(self, key: Any, stamp: Any, make: Callable[[], T]) -> T:
        """What `make` gave when the stamp was last another one."""
        known = self._kept.get(key)
        if known is None or known[0] != stamp:
            known = self._kept[key] = (stamp, make())
        value: T = known[1]
        return value


class Same:
    """Equal to another one that holds the very same objects; what they hold is not compared."""

    def __init__(self, *objects: object) -> None:
        self._objects = objects

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or len(self._objects) != len(other._objects):
            return False
        return all(a is b for a, b in zip(self._objects, other._objects, strict=True))

    __hash__ = None  # type: ignore[assignment]


def stamp_of(*paths: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file does: its number, size and time of change; None without one."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            state = os.lstat(path)  # noqa: PTH116 (half the time of Path.lstat)
            stamps.append((state.st_ino, state.st_size, state.st_mtime_ns))
        except (OSError, ValueError):
            stamps.append(None)
    return tuple(stamps)


def find_sweeps(
    results: Results, outcome_of: Mapping[str, str], kept: ChangedFiles, now: float
) -> list[Sweep]:
    """Every sweep of a results folder: those that train first, then the newest first.

    Args:
        outcome_of: run id → outcome, for every recorded run.
        kept: what was read before.
        now: the time, in seconds.
    """
    drivers = drivers_now(results, now)
    found = []
    for kind in KINDS:
        for name in sweep_names(results, kind):
            try:
                found.append(_sweep(results, kind, name, outcome_of, kept, drivers))
            except (UserError, OSError) as error:
                text = " ".join(str(error).split())
                found.append(Sweep(kind, name, problem=text))
    return sorted(found, key=lambda one: (one.state != "running", -one.changed, one.name))


def sweep_names(results: Results, kind: Kind) -> list[str]:
    """The names of the sweeps of one kind; those that links lead outside are left out."""
    above = results.root / kind
    if not is_inside(results.root, above):
        return []
    if kind == "imported":
        names: Collection[str] = group_names(results)
    elif kind == "searches":
        names = results.searches()
    else:
        names = [path.parent.name for path in above.glob("*/plan.json")]
    return sorted(name for name in names if is_inside(results.root, above / name))


def place_of(results: Results, kind: Kind) -> Results:
    """The results folder, with the folders of this kind in place of those of ablations."""
    return {"searches": results.of_searches, "judged": results.of_judged}.get(kind, results)


def _sweep(
    results: Results,
    kind: Kind,
    name: str,
    outcome_of: Mapping[str, str],
    kept: ChangedFiles,
    drivers: Collection[Driver],
) -> Sweep:
    if kind == "imported":
        return _imported(results, name, kept)
    place = place_of(results, kind)
    folder = place.ablation(name)
    plan_path, table = place.plan(name), folder / "verdicts.parquet"
    plan: PlanDocument | None = None
    if kind != "searches" or plan_path.exists():
        plan = _plan(place, kind, name, kept)
    verdicts = kept.get(("verdicts", kind, name), stamp_of(table), lambda: _verdicts(folder))
    run_ids = plan.run_ids if plan is not None else ()
    not_needed = _not_needed(plan, kind, name, outcome_of, kept)
    outcomes = Counter(outcome_of.get(i, "missing") for i in run_ids if i not in not_needed)
    n_recorded = sum(n for outcome, n in outcomes.items() if outcome not in _GAPS)
    n_planned, n_failed, question = len(run_ids) - len(not_needed), outcomes["failed"], ""
    outcomes["not needed"] = len(not_needed)
    if plan is not None:
        question = plan.question
        if plan.judged is not None:
            n_recorded += plan.judged.n_with_result
            outcomes["missing"] -= plan.judged.n_with_result
    if kind == "searches":
        asked = kept.get(("asked", name), stamp_of(place.kept_search(name)),
                         lambda: asked_search(place, name))  # fmt: skip
        n_done, n_failed_candidates = _candidates(place, name, kept)
        question = asked.question if asked is not None else question
        n_planned += _n_candidates(asked, n_done)
        n_recorded, n_failed = n_recorded + n_done, n_failed + n_failed_candidates
    holder = observed_holder(place, name)
    mine = [one for one in drivers if (one.kind, one.name) == (kind, name)]
    return Sweep(
        kind,
        name,
        " ".join(question.split()),
        _state(bool(holder or mine), n_recorded, n_planned, n_failed),
        n_planned,
        n_recorded,
        {outcome: n for outcome, n in outcomes.items() if n > 0},
        not_needed,
        _driver_text(holder, mine),
        (holder.n_steps_done, holder.n_steps) if holder else (0, 0),
        tuple(verdicts),
        plan,
        changed=max(_changed(plan_path), _changed(table), _changed(folder / "report.html")),
    )


def _plan(place: Results, kind: Kind, name: str, kept: ChangedFiles) -> PlanDocument:
    """The plan with what its looks decided."""
    path = place.plan(name)
    plan = kept.get(("plan", kind, name), stamp_of(path), lambda: read_plan(place, name))
    stamp = Same(plan), stamp_of(place.looks(name, plan.rule)) if plan.rule else ()
    return kept.get(("looks", kind, name), stamp, lambda: with_looks(place, plan))


def _not_needed(
    plan: PlanDocument | None,
    kind: Kind,
    name: str,
    outcome_of: Mapping[str, str],
    kept: ChangedFiles,
) -> frozenset[str]:
    """See `Sweep.not_needed`."""
    if plan is None:
        return frozenset()
    spare = kept.get(("spare", kind, name), Same(plan), lambda: spare_runs(plan))
    return frozenset(i for i in spare if outcome_of.get(i, "missing") in _GAPS)


def _state(is_running: bool, n_recorded: int, n_planned: int, n_failed: int) -> State:
    if is_running:
        return "running"
    if n_recorded >= n_planned:
        return "done"
    return "failed" if n_failed else "interrupted"


def _driver_text(holder: Holder | None, drivers: Collection[Driver]) -> str:
    if holder is not None and holder.pid:
        return str(holder)
    if drivers:
        return "; ".join(f"process {one.pid} on {one.host} (since {one.since})" for one in drivers)
    return "another process" if holder is not None else ""


def _verdicts(folder: Path) -> list[VerdictRow]:
    """The rows of the table of verdicts; none if it is damaged, as the next report mends it."""
    try:
        return [row for row in read_verdicts(folder) if {"hypothesis", "verdict"} <= row.keys()]
    except UserError:
        return []


def _candidates(place: Results, name: str, kept: ChangedFiles) -> tuple[int, int]:
    """Candidates of a search that ended with a score, and those that failed and are not open."""
    path = place.study(name)

    def read() -> dict[str, int]:
        return count_states(path) if path.exists() else {}

    journal = path.with_name(f"{path.name}-journal")
    states = kept.get(("study", name), stamp_of(path, journal), read)
    return states.get("COMPLETE", 0) + states.get("PRUNED", 0), states.get("FAIL", 0)


def _n_candidates(asked: SearchSpec | None, n_done: int) -> int:
    """Candidates asked for, over all arms; where that is not known, those there are."""
    return n_done if asked is None else asked.n_candidates * max(1, len(asked.arms))


def _imported(results: Results, name: str, kept: ChangedFiles) -> Sweep:
    group = imported_group(results, name, kept)
    outcomes = Counter(str(run.outcome) for run in group.runs)
    return Sweep(
        "imported",
        name,
        f"Runs that were trained elsewhere, read from {group.source}",
        "done",
        len(group.runs),
        len(group.runs),
        outcomes,
        changed=_changed(results.imported(name) / "group.json"),
    )


def imported_group(results: Results, name: str, kept: ChangedFiles) -> Group:
    """The runs of an import, read again if one of its files changed.

    Raises:
        UserError: there is no such group, or it cannot be read.
    """

    def read() -> Group:
        return read_imported(results, name, lambda text: None)

    return kept.get(("imported", name), imported_stamp(results.imported(name)), read)


def imported_stamp(folder: Path) -> tuple[Any, ...]:
    """What changes when a record of an imported run does."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError:
        return ()
    return (tuple(path.name for path in paths), stamp_of(*paths))


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def ago_text(then: float, now: float | None = None) -> str:
    """How long ago something was: ``3 min ago``; empty if it never was."""
    seconds = (time.time() if now is None else now) - then
    if not then:
        return ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"
