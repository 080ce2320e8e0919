"""Brings the results of exported runs back, as records of the very runs of the plan."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from decoder.atomic import sha256_of
from decoder.errors import ConfigError, StorageError
from decoder.exported import RESULT_NAME, Ended, read_result
from decoder.pack import RunResult
from decoder.regular import read_json, read_regular
from decoder.sources import decoder_sha256
from orchestrator.execute.command.files import RunFiles
from orchestrator.execute.command.logs import LOGS, log_end
from orchestrator.execute.command.outcome import judge
from orchestrator.execute.command.reading import CourseReader
from orchestrator.execute.command.train import result_of
from orchestrator.execute.export import ENDED, Export, Listed, output_of, run_file
from orchestrator.spec.configuration import (
    CommandConfig,
    Configuration,
    numerics_version,
    parse_document,
)
from orchestrator.store import provenance
from orchestrator.store.ledger import make_record, write_run
from orchestrator.store.mixing import KEPT_NAMES
from orchestrator.store.paths import Results
from orchestrator.store.record import Damaged, RecordEnvironment, parse_record, sealed
from orchestrator.store.sources import training_sha256

_LINES = 25  # of stderr, that may show why a trainer ended


@dataclass(frozen=True)
class BroughtBack:
    """What became of the runs of an export.

    Attributes:
        new: run ids whose record was written.
        known: those that had one of the same code.
        open_: those without a result yet.
        refused: run id → why its result was not taken.
    """

    new: tuple[str, ...]
    known: tuple[str, ...]
    open_: tuple[str, ...]
    refused: Mapping[str, str]


class _Back(NamedTuple):
    """A result with what its record says of its making."""

    config: Configuration
    fingerprint: str
    path: str
    result: RunResult
    host: Mapping[str, str | int]
    environment: RecordEnvironment
    finished_at: str


def bring_back(results: Results, folder: Path, export: Export) -> BroughtBack:
    """Write a record for each result that lies in an exported folder.

    A result is taken if its checksum holds, its run id is that of its configuration, seed and
    recordings, and the decoder's numerics are those of now. It keeps the code that made it: results
    of other sources are records of other sources, which `run` trains again unless they are allowed.

    Args:
        folder: of the export.
        export: what it lists.

    Raises:
        StorageError: a record cannot be written.
    """
    new, known, waiting = list[str](), list[str](), list[str]()
    refused: dict[str, str] = {}
    for listed in export.runs:
        try:
            back = _read(folder, listed, export)
        except ConfigError as error:
            refused[listed.run_id] = error.problems[0]
            continue
        if back is None:
            waiting.append(listed.run_id)
            continue
        problem, is_new = _record(results, listed, back)
        if problem:
            refused[listed.run_id] = problem
            continue
        (new if is_new else known).append(listed.run_id)
        if is_new:
            _take_kept(results, output_of(folder, listed.run_id), listed.run_id)
    return BroughtBack(tuple(new), tuple(known), tuple(waiting), refused)


def _record(results: Results, listed: Listed, back: _Back) -> tuple[str, bool]:
    """Write the record of a result; what is wrong with it, and whether it is new."""
    record, history = make_record(
        listed.run_id,
        back.config,
        listed.seed,
        {"fingerprint": back.fingerprint, "path": back.path},
        {"pack_id": listed.run_id, "n_runs": 1},
        back.result,
        dict(back.host),
        back.environment,
        listed.replicate,
    )
    record["timing"]["finished_at"] = back.finished_at
    try:
        parse_record(sealed(record), listed.run_id)
    except Damaged as error:
        return f"its record {error}", False
    return "", write_run(results, record, history)


def _read(folder: Path, listed: Listed, export: Export) -> _Back | None:
    """The result of a run; None if there is none yet.

    Raises:
        ConfigError: it cannot be taken.
    """
    output = output_of(folder, listed.run_id)
    if export.kind == "command":
        return _of_command(folder, listed, output)
    if not (output / RESULT_NAME).is_file():
        return None
    ended = read_result(output / RESULT_NAME)
    if ended.run.run_id != listed.run_id:
        raise ConfigError(f"{output}: holds the result of run {ended.run.run_id}; put it there")
    if ended.numerics_version != numerics_version(ended.run.config):
        raise ConfigError(
            f"{output}: was trained with numerics version {ended.numerics_version}, but this "
            f"decoder has {numerics_version(ended.run.config)}; use the decoder of the export"
        )
    run = ended.run
    return _Back(
        run.config,
        run.fingerprint,
        run.config.data.path,
        ended.result,
        ended.host,
        _environment(ended),
        ended.finished_at,
    )


def _environment(ended: Ended) -> RecordEnvironment:
    """What the run was made with; if its sources are those of now, their hash of training too."""
    code: dict[str, Any] = dict(ended.environment.get("code", {}))
    if code.get("decoder_sha256") == decoder_sha256():
        code["training_sha256"] = training_sha256()
    versions: Any = {**ended.environment, "code": code}
    made_with = provenance.of_run(ended.run.config, ended.result)
    return {**versions, **made_with}


def _of_command(folder: Path, listed: Listed, output: Path) -> _Back | None:
    """The result of a run of the user's trainer, read from its course by the rules of `run`."""
    ended = output / ENDED
    if not ended.is_file():
        return None
    path = run_file(folder, listed.run_id)
    try:
        document: Any = read_json(path)
        config = parse_document(document["config"])
        code, seconds = map(int, read_regular(ended).split())
        fingerprint, data_path = str(document["fingerprint"]), str(document["data_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); export again") from None
    if not isinstance(config, CommandConfig):
        raise ConfigError(f"{path}: holds no configuration of a trainer; export again")
    _check_code(config)
    files = RunFiles(listed.run_id, config, listed.seed, output.absolute())
    reader = CourseReader(files.course, config.trainer.metrics)
    unread = ""
    try:
        if reader.is_stdout:
            reader.take([read_regular(output / LOGS[0])])
        reader.finish(whole=code == 0)
    except (OSError, ValueError) as error:
        unread = f"{files.course} cannot be read: {error}"
    errors = log_end(output / LOGS[1], _LINES)
    ending = judge(code, reader.course, errors, unread or reader.held())
    if not ending.is_result:
        raise ConfigError(f"{output}: {ending}; remove {ended} to train the run again")
    finished = datetime.fromtimestamp(ended.stat().st_mtime, UTC)
    return _Back(
        config,
        fingerprint,
        data_path,
        result_of(files, reader, ending, float(seconds), 0),
        {"hostname": "", "pid": 0},
        {},  # of the machine that trained it nothing is known
        finished.isoformat(timespec="seconds"),
    )


def _check_code(config: CommandConfig) -> None:
    """Refuse results of a trainer whose files are no longer those of the export, if they are here.

    A command does not say which files it read, so a change since then may be part of the result.
    """
    changed = []
    for name, digest in config.code.items():
        path = Path(config.trainer.cwd) / name
        try:
            if sha256_of(read_regular(path)) != digest:
                changed.append(name)
        except OSError:
            continue  # the trainer is not on this machine, so nothing says that it changed
    if changed:
        raise ConfigError(
            f"{config.trainer.cwd}: {', '.join(changed[:5])} changed since the export, so the "
            "result may be of either code; restore the files, or export and train again"
        )


def _take_kept(results: Results, output: Path, run_id: str) -> None:
    """Copy the weights and logits that a run kept beside its record."""
    for name in KEPT_NAMES:
        path = output / "weights" / run_id / name
        if path.is_file():
            try:
                shutil.copyfile(path, results.run(run_id) / name)
            except OSError as error:
                raise StorageError(f"{path}: cannot be copied: {error}") from None


def exported_document(export: Export, back: BroughtBack) -> dict[str, object]:
    """What was brought back, for ``--json``."""
    return {
        "name": export.name,
        "n_runs": len(export.runs),
        "new": list(back.new),
        "known": list(back.known),
        "open": list(back.open_),
        "refused": dict(back.refused),
    }
