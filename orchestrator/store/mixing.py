"""Keeps apart the runs of different decoder sources, and says what else differs between runs."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from decoder.pack import LOGITS_NAMES, WEIGHTS_NAME
from orchestrator.plan.document import PlanDocument
from orchestrator.store.former import keep_former
from orchestrator.store.ledger import read_former, read_records, source_of_record, with_result
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.store.sources import changed_modules, training_sha256

# Weights and logits that a run keeps beside its record.
KEPT_NAMES = tuple(
    name
    for file in (WEIGHTS_NAME, *LOGITS_NAMES.values())
    for name in (file, f"{file.partition('.')[0]}.json")
)
_MOST_NAMED = 3  # commits or modules in one sentence


class Selection(NamedTuple):
    """Records divided by the sources of their runs; failed runs, which have no result, are used.

    Attributes:
        used: run id → record.
        others: those of other sources.
    """

    used: dict[str, Record]
    others: dict[str, Record]


def select(records: Mapping[str, Record], source: str) -> Selection:
    """Divide records into those of the sources with this id, and the others."""
    others = {
        run_id: record
        for run_id, record in records.items()
        if record["status"] != "failed" and source_of_record(record) != source
    }
    used = {run_id: record for run_id, record in records.items() if run_id not in others}
    return Selection(used, others)


def select_present(records: Mapping[str, Record], *, allow_mixed: bool) -> Selection:
    """Divide records into those that `run` uses, and those whose runs it trains again.

    Args:
        allow_mixed: whether results of any sources are used, not of the present ones alone.
    """
    return Selection(dict(records), {}) if allow_mixed else select(records, training_sha256())


def kept_of_present(results: Results, run_ids: Iterable[str]) -> dict[str, Record]:
    """The records of the present sources that lie in ``former``, as after a change was undone."""
    source = training_sha256()
    kept = ((run_id, read_former(results, run_id, source)) for run_id in run_ids)
    return {run_id: record for run_id, record in kept if record is not None}


def select_for_report(records: Mapping[str, Record], *, allow_mixed: bool) -> Selection:
    """Divide records into those that a report uses, and those that it leaves out.

    Used are the results of the present sources, or if there are none, those of the sources that
    made most.

    Args:
        allow_mixed: whether results of any sources are used.
    """
    done = Counter(source_of_record(records[run_id]) for run_id in with_result(records))
    if allow_mixed or len(done) < 2:
        return Selection(dict(records), {})
    present = training_sha256()
    return select(records, present if present in done else done.most_common(1)[0][0])


def keep_others(results: Results, run_ids: Iterable[str]) -> None:
    """Keep the files of those runs that other than the present sources made, see `keep_former`.

    Their weights and logits are no longer beside the record, since training may not write new
    ones.
    """
    records = read_records(results, run_ids, lambda _: None, move_aside=False, full=False)
    for run_id, record in select(records, training_sha256()).others.items():
        keep_former(results, run_id, source_of_record(record))
        for name in KEPT_NAMES:
            (results.run(run_id) / name).unlink(missing_ok=True)


def mixed_claims(plan: PlanDocument, records: Mapping[str, Record]) -> tuple[str, ...]:
    """The hypotheses that compare results of different sources among `records`."""
    sources: dict[str, set[str]] = {}
    for run in plan.runs:
        record = records.get(run.run_id)
        if record is not None and record["status"] != "failed":
            sources.setdefault(run.arm_id, set()).add(source_of_record(record))
    return tuple(
        name
        for name, parts in plan.compared.items()
        if len(set().union(*(sources.get(part.arm_id, set()) for part in parts))) > 1
    )


def mixed_text(records: Mapping[str, Record]) -> str:
    """What `sources_text` says of runs of several sources; empty if one made them all."""
    done = {run_id: records[run_id] for run_id in with_result(records)}
    if len({source_of_record(record) for record in done.values()}) < 2:
        return ""
    return sources_text(select(done, training_sha256()).others, len(done))


def sources_text(others: Mapping[str, Record], n_recorded: int) -> str:
    """How many recorded runs are of other sources, and what is known of these.

    Such as ``12 of 24 recorded runs were trained by other source code of the decoder (commit
    f00df00df0; changed since: augment.py)``.
    """
    codes = [record["environment"].get("code", {}) for record in others.values()]
    commits = {str(code["git_commit"])[:10] for code in codes if code.get("git_commit")}
    known = [changed_modules(code) for code in codes]
    facts = [f"commit {_some(commits)}"] if commits else []
    if None not in known:
        changed = {module for modules in known for module in modules or ()}
        facts.append(f"changed since: {_some(changed)}")
    elif not all(code.get("training_sha256") for code in codes):
        facts.append("not proven to be the same as the present code")
    known_of_it = f" ({'; '.join(facts)})" if facts else ""
    return (
        f"{len(others)} of {n_recorded} recorded runs were trained by other source code of the "
        f"decoder{known_of_it}"
    )


def machines_text(
    records: Iterable[Record], torch: str | None = None, device: str | None = None
) -> tuple[str, ...]:
    """One text for each thing other than code that differs: minor version of PyTorch, device, and
    the kernel of the recurrence, which older records and other decoders lack.

    Args:
        records: the runs that are used together.
        torch: the version that trains the runs that are missing; None if none are.
        device: the device that trains them; None if none are, or if it is unknown.
    """
    done = [record for record in records if record["status"] != "failed"]
    versions = Counter(_minor(record["environment"].get("torch", "")) for record in done)
    devices = Counter(str(record["host"].get("device", "")) for record in done)
    kernels = Counter(record["environment"].get("kernel", "") for record in done)
    texts = []
    for what, counts, present in (
        ("PyTorch", versions, torch and _minor(torch)),
        ("the device", devices, device),
        ("the kernel of the recurrence", kernels, None),
    ):
        del counts[""]
        if len(counts.keys() | ({present} if present else set())) < 2:
            continue
        shown = [f"{name} ({n} {'run' if n == 1 else 'runs'})" for name, n in counts.items()]
        shown += [f"{present} (now)"] if present and present not in counts else []
        texts.append(f"{what} differs between runs: {', '.join(sorted(shown))}")
    return tuple(texts)


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:_MOST_NAMED]
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])
