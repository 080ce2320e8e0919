"""Recordings that changed since runs of the same plan were recorded: the change and its cost."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from decoder.errors import ConfigError, DataError, StorageError
from orchestrator.driver.cost import Cost, forecast, jobs_of, measure_pace
from orchestrator.execute.machine import Options
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.packs import PlannedRun, packs_to_train
from orchestrator.plan.plan import Plan
from orchestrator.plan.recordings import Recordings
from orchestrator.spec.configuration import run_id
from orchestrator.store.ledger import read_records, recent_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.record import Record, RecordDataset
from orchestrator.terminal import time_text

# Whether to train on changed recordings, given the text that says what changed.
Accept = Callable[[str], bool]


@dataclass(frozen=True)
class ChangedData:
    """A set of recordings that changed since they were trained on.

    Attributes:
        path: in the configuration.
        before: fingerprints of the recordings that the records were made from.
        now: the present fingerprint.
        changes: which files changed.
        run_ids: the planned runs that are recorded on the recordings as they were.
        cost: of training them again; None if unknown.
        seconds: wall time of it; None if unknown.
    """

    path: str
    before: tuple[str, ...]
    now: str
    changes: str
    run_ids: tuple[str, ...]
    cost: Cost | None
    seconds: float | None

    @property
    def text(self) -> str:
        """What changed and what it costs, in one line."""
        n_runs = len(self.run_ids)
        runs = "1 recorded run trains" if n_runs == 1 else f"{n_runs} recorded runs train"
        price = "at unknown cost"
        if self.cost is not None and self.seconds is not None:
            hours = f"{self.cost.hours:.2g} {self.cost.unit} hours"
            price = f"in about {time_text(self.seconds)} ({hours})"
        return (
            f"{self.path}: the recordings have changed since they were trained on "
            f"({self.changes}); {runs} again, {price}, and the records of the recordings as they "
            "were stay"
        )


def find_changed_data(
    plan: Plan, recorded: Collection[str], results: Results, options: Options
) -> tuple[ChangedData, ...]:
    """The recordings of a plan that changed since its runs were recorded.

    A run counts if its configuration and seed are recorded with another version of its recordings:
    one that the last plan of this ablation names, or that was packed from the same folder. Versions
    that the last plan names already were accepted then.

    Args:
        recorded: the runs that need no training.
    """
    missing = [run for id_, run in plan.distinct.items() if id_ not in recorded]
    last = _last_plan(results, plan.loaded.spec.name) if missing else None
    by_data: dict[Recordings, list[PlannedRun]] = {}
    for run in missing:
        by_data.setdefault(run.data, []).append(run)
    found = []
    for data, runs in by_data.items():
        entries = last.all_recordings if last else ()
        known = {one.fingerprint for one in entries if one.path == data.path}
        if data.fingerprint in known:
            continue
        ids = {
            run_id(run.config, run.seed, version, run.replicate): (run.run_id, version)
            for version in _versions(data, known)
            for run in runs
        }
        records = read_records(results, ids, lambda _: None, move_aside=False)
        again = [ids[id_] for id_ in ids if id_ in with_result(records)]
        if not again:
            continue
        before = tuple(dict.fromkeys(version for _, version in again))
        run_ids = tuple(dict.fromkeys(id_ for id_, _ in again))
        cost, seconds = _cost(plan, run_ids, before, data.fingerprint, results, options)
        changes = changes_since(data, before[-1], last)
        found.append(
            ChangedData(data.path, before, data.fingerprint, changes, run_ids, cost, seconds)
        )
    return tuple(found)


def ask_about_changes(changed: Collection[ChangedData], accept: Accept) -> None:
    """Go on only if the user accepts that recordings have changed.

    Raises:
        DataError: the user does not.
    """
    texts = [one.text for one in changed]
    if texts and not accept("\n".join(texts)):
        raise DataError(
            [f"{text}; undo the change, or call `run --accept-changes`" for text in texts]
        )


def _last_plan(results: Results, name: str) -> PlanDocument | None:
    with suppress(ConfigError, StorageError):
        return read_plan(results, name)
    return None


def _versions(data: Recordings, known: Collection[str]) -> list[str]:
    """The fingerprints of earlier versions of recordings, the newest last.

    Args:
        known: fingerprints that the last plan names.
    """
    if data.stated:  # recordings of a user's trainer, which are not kept
        return [version for version in sorted(known) if version != data.fingerprint]
    from decoder.data.store import earlier_versions  # loads numpy

    versions = dict.fromkeys([*sorted(known), *earlier_versions(data.folder)])
    return [version for version in versions if version != data.fingerprint]


def changes_since(data: Recordings, version: str, last: PlanDocument | None = None) -> str:
    """Which files of recordings changed since a version of them.

    Args:
        version: its fingerprint.
        last: a plan that may name the sessions of that version.
    """
    if data.stated:
        what = "names, sizes or contents of their files, or what trainer.data states"
        return f"{what}; now {data.stated}"
    from decoder.data.generated import changes_text
    from decoder.data.store import read_manifest

    with suppress(StorageError):
        before = read_manifest(data.folder.parent / version).source_sha256
        now = read_manifest(data.folder).source_sha256
        same = "their files are the same, so the pronunciations that decide the labels differ"
        return changes_text(before, now) or same
    entries = [one for one in last.all_recordings if one.fingerprint == version] if last else []
    sessions = {name: name for one in entries for name in one.sessions}
    if sessions and (text := changes_text(sessions, {name: name for name in data.sessions})):
        return f"sessions {text}"
    return "no digests of the earlier files are known, so they cannot be named"


def _cost(
    plan: Plan,
    run_ids: Collection[str],
    before: Collection[str],
    now: str,
    results: Results,
    options: Options,
) -> tuple[Cost | None, float | None]:
    """What training some runs again costs, by the records of the earlier recordings."""
    packs = packs_to_train(plan.packs, plan.distinct.keys() - set(run_ids))
    recent = [_moved(record, before, now) for record in recent_records(results)]
    pace = measure_pace(
        plan, packs, recent, threads=options.threads, device=options.device, may_calibrate=False
    )
    expected = forecast(jobs_of(plan, packs), pace, options.at_a_time)
    return expected.cost, expected.seconds


def _moved(record: Record, before: Collection[str], now: str) -> Record:
    """A record as if it were of the present recordings; they take as long to train on."""
    if record["dataset"]["fingerprint"] not in before:
        return record
    dataset: RecordDataset = {**record["dataset"], "fingerprint": now}
    return {**record, "dataset": dataset}
