"""Reads the courses of recorded runs again when a file maps other metrics of the same trainer.

Which metrics are read is no part of a run's identity, so a mended name or unit needs no training,
as long as what the trainer wrote is still there.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.execute.command.files import RunFiles
from orchestrator.execute.command.outcome import Ending, judge
from orchestrator.execute.command.reading import CourseReader
from orchestrator.execute.command.train import printed, steps_done
from orchestrator.plan.packs import PlannedRun
from orchestrator.spec.configuration import CommandConfig, document_of, is_command
from orchestrator.store.ledger import sealed_history, set_aside, write_run
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.terminal import Say


def reread_courses(
    results: Results, runs: Mapping[str, PlannedRun], records: Mapping[str, Record], say: Say
) -> dict[str, Record]:
    """Read the courses of those runs again whose trainer's metrics are mapped in another way.

    Only runs that ended with exit code 0 are: those with a finite last evaluation, and those
    without any metric.

    Args:
        runs: run id → run of the plan.
        records: run id → its record.
        say: receives one line if there are any, and one on those that are trained again.

    Returns:
        The records without those that are to be trained again.

    Raises:
        StorageError: a record cannot be written.
    """
    found: dict[str, Record] = {}
    lost = []
    for run_id, record in records.items():
        config = runs[run_id].config
        if not isinstance(config, CommandConfig) or not _is_to_be_read(record, config):
            continue
        again = _read(results, runs[run_id], record, config)
        if again is not None:
            found[run_id] = again
        elif record["status"] != "failed":
            set_aside(results, record)
            lost.append(run_id)
    if found:
        say(
            f"{len(found)} runs were recorded with other metrics of their trainer; they are read "
            "again from what it wrote, not trained again"
        )
    if lost:
        say(
            f"{len(lost)} runs ({', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}) were "
            "recorded with other metrics of their trainer, and what it wrote is gone or does not "
            "hold those of the file; they are trained again"
        )
    return {run_id: record for run_id, record in {**records, **found}.items() if run_id not in lost}


def _is_to_be_read(record: Record, config: CommandConfig) -> bool:
    if not is_command(record["config"]):
        return False
    ended_well = record["status"] == "ok" or record.get("ending", "").startswith("no metric")
    known, wanted = (_mapping(one) for one in (record["config"], document_of(config)))
    return ended_well and known != wanted


def _mapping(document: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    return [document["trainer"].get(name) for name in ("course", "metrics")]


def _read(
    results: Results, run: PlannedRun, record: Record, config: CommandConfig
) -> Record | None:
    """The record as read again, which is in the ledger then; None if there is no result."""
    folder = results.run(run.run_id).resolve()
    files = RunFiles(run.run_id, config, run.seed, folder)
    reader = CourseReader(files.course, config.trainer.metrics)
    try:
        if reader.is_stdout:
            reader.take(printed(folder))
        reader.finish(whole=True)
    except (OSError, ValueError):
        return None
    ending = judge(0, reader.course, (), reader.held())
    if not ending.is_result:
        return None
    history = reader.course.history()
    seal = sealed_history(history)
    again: Record = {
        **record,
        "config": document_of(config),
        "host": {**record["host"], "device": ""},
        "error": None,
        **_status(ending, steps_done(config, reader.course, ending)),  # type: ignore[typeddict-item]
        "ending": str(ending),
        "history_sha256": seal["history_sha256"],
        "n_history_rows": seal["n_history_rows"],
    }
    write_run(results, again, history, replaces=True)
    return again


def _status(ending: Ending, n_done: int) -> dict[str, Any]:
    diverged = ending.rule == "not finite"
    return {
        "status": "diverged" if diverged else "ok",
        "diverged_step": n_done if diverged else None,
        "n_steps_done": n_done,
    }
