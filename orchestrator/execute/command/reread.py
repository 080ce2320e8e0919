"""Reads the courses of recorded runs again when a file maps other metrics of the same trainer.

Which metrics are read is no part of a run's identity, so a mended name or unit needs no training,
as long as what the trainer wrote is still there.
"""

import math
from collections.abc import Mapping
from typing import Any

from decoder.errors import ConfigError
from orchestrator.execute.command.files import RunFiles
from orchestrator.execute.command.outcome import Ending, judge
from orchestrator.execute.command.reading import CourseReader
from orchestrator.execute.command.train import printed, steps_done
from orchestrator.plan.packs import PlannedRun
from orchestrator.spec.configuration import (
    CommandConfig,
    document_of,
    is_command,
    parse_document,
)
from orchestrator.store.ledger import read_history, sealed_history, set_aside, write_run
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.terminal import Say


def reread_courses(
    results: Results, runs: Mapping[str, PlannedRun], records: Mapping[str, Record], say: Say
) -> dict[str, Record]:
    """Read the courses of those runs again whose trainer's metrics are mapped in another way.

    Only runs that ended with exit code 0 are: those with a finite last evaluation, and those
    without any metric. Metrics that another file mapped stay in the record.

    Args:
        runs: run id → run of the plan.
        records: run id → its record.
        say: receives one line if there are any, and one on those that are trained again.

    Returns:
        The records without those that are to be trained again.

    Raises:
        ConfigError: what the trainer of a finished run wrote is there and does not hold the metrics
            of the file, or not one that the record has. Training again would write the same.
        StorageError: a record cannot be written.
    """
    found: dict[str, Record] = {}
    lost, lacking = [], dict[str, str]()
    for run_id, record in records.items():
        config = runs[run_id].config
        if not isinstance(config, CommandConfig) or not _is_to_be_read(record, config):
            continue
        config = _with_those_recorded(config, record)
        again = _read(results, runs[run_id], record, config)
        if not isinstance(again, str):
            found[run_id] = again
        elif record["status"] != "failed" and again:
            lacking[run_id] = again
        elif record["status"] != "failed":
            set_aside(results, record)
            lost.append(run_id)
    if found:
        say(
            f"{len(found)} runs were recorded with other metrics of their trainer; they are read "
            "again from what it wrote, not trained again"
        )
    if lacking:
        run_id, held = next(iter(lacking.items()))
        raise ConfigError(
            f"trainer.metrics: {len(lacking)} finished runs were recorded with other metrics, and "
            f"what their trainer wrote does not hold the file's (run {run_id}: {held}); correct "
            f"metrics or course, or remove what they wrote in {results.runs} to train them again"
        )
    if lost:
        say(
            f"{len(lost)} runs ({', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}) were "
            "recorded with other metrics of their trainer, and what it wrote is gone; they are "
            "trained again"
        )
    return {run_id: record for run_id, record in {**records, **found}.items() if run_id not in lost}


def _is_to_be_read(record: Record, config: CommandConfig) -> bool:
    if not is_command(record["config"]):
        return False
    ended_well = record["status"] == "ok" or record.get("ending", "").startswith("no metric")
    known, wanted = (one["trainer"] for one in (record["config"], document_of(config)))
    is_known = wanted["metrics"].items() <= known["metrics"].items()
    return ended_well and not (is_known and known["course"] == wanted["course"])


def _with_those_recorded(config: CommandConfig, record: Record) -> CommandConfig:
    """The configuration with the metrics that the record's has beside its own."""
    before = parse_document(record["config"])
    if not isinstance(before, CommandConfig):
        return config
    metrics = {**before.trainer.metrics, **config.trainer.metrics}
    trainer = config.trainer.model_copy(update={"metrics": metrics})
    return config.model_copy(update={"trainer": trainer})


def _read(results: Results, run: PlannedRun, record: Record, config: CommandConfig) -> Record | str:
    """The record as read again, which is in the ledger then.

    Without a result, what the course holds instead; "" if it is gone.
    """
    folder = results.run(run.run_id).resolve()
    files = RunFiles(run.run_id, config, run.seed, folder)
    reader = CourseReader(files.course, config.trainer.metrics)
    try:
        if reader.is_stdout:
            reader.take(printed(folder))
        reader.finish(whole=True)
    except (OSError, ValueError):
        return ""
    ending = judge(0, reader.course, (), reader.held())
    if not ending.is_result or _known(results, record) & {*reader.course.lacking}:
        return reader.lacks() if reader.names else ""
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


def _known(results: Results, record: Record) -> set[str]:
    """The metrics of which the record has a value."""
    if record["status"] == "failed":
        return set()
    rows = read_history(results, record["run_id"])
    return {name for row in rows for name, value in row.items() if math.isfinite(value)}


def _status(ending: Ending, n_done: int) -> dict[str, Any]:
    diverged = ending.rule == "not finite"
    return {
        "status": "diverged" if diverged else "ok",
        "diverged_step": n_done if diverged else None,
        "n_steps_done": n_done,
    }
