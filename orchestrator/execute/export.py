"""Writes an ablation as files that a lab submits by hand: one per run, and an array script."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from decoder.atomic import write_atomically
from decoder.config import DecoderConfig
from decoder.errors import ConfigError, StorageError
from decoder.exported import ExportedRun
from decoder.regular import read_json
from orchestrator.execute.command.files import RunFiles
from orchestrator.execute.command.logs import LOGS
from orchestrator.execute.slurm import check_time, script_templates
from orchestrator.execute.stopping import GRACE_SECONDS
from orchestrator.plan.packs import PlannedRun
from orchestrator.spec.configuration import CommandConfig, document_of

SCHEMA = 1
LIST, SCRIPT, ORDER = "export.json", "array.sbatch", "runs.txt"
ENDED = "ended"  # of a command: its exit code and its seconds
STARTED = "started"  # of a command that goes on: the seconds up to now
Kind = Literal["decoder", "command"]


@dataclass(frozen=True)
class ArrayJob:
    """What the array script asks SLURM for, and where the runs train.

    Attributes:
        cpus, gpus: of each task.
        at_once: tasks that run at the same time; 0 sets no limit.
        time_limit: as ``sbatch --time`` takes it.
        notice_seconds: time between SLURM's signal and the time limit.
        most_restarts: how often a task asks to be queued again.
        lines: more options of ``sbatch``.
        set_up: shell lines before the run.
        python: the interpreter on the cluster.
        datasets: keeps packed recordings there.
        data: where the recordings lie there; None takes ``data.path`` of the runs.
    """

    cpus: int
    gpus: int
    at_once: int
    time_limit: str
    notice_seconds: int
    most_restarts: int
    lines: Sequence[str]
    set_up: Sequence[str]
    python: str
    datasets: Path
    data: str | None = None


class Listed(NamedTuple):
    """A run of an export.

    Attributes:
        arms: the arms that it belongs to.
    """

    run_id: str
    arms: tuple[str, ...]
    seed: int
    replicate: int


class Export(NamedTuple):
    """What ``export.json`` says.

    Attributes:
        name: of the ablation.
        kind: who trains: our decoder, or the user's command.
    """

    name: str
    spec_file: str
    kind: Kind
    runs: tuple[Listed, ...]


def write_export(
    folder: Path,
    name: str,
    spec_file: Path,
    runs: Sequence[PlannedRun],
    arms: Mapping[str, Sequence[str]],
    job: ArrayJob,
    command: Sequence[str],
) -> Export:
    """Write one file per run, the list of them, and the array script; nothing is trained.

    Results that lie in the folder stay.

    Args:
        runs: at least one, in the order in which they should train.
        arms: run id → the arms that it belongs to.
        command: the command that makes the script, for a comment.

    Raises:
        ConfigError: see `check_export`.
        StorageError: a file cannot be written.
    """
    check_export(folder, name, job)
    kind: Kind = "decoder" if isinstance(runs[0].config, DecoderConfig) else "command"
    export = Export(
        name,
        str(spec_file),
        kind,
        tuple(Listed(run.run_id, tuple(arms[run.run_id]), run.seed, run.replicate) for run in runs),
    )
    for run in runs:
        _write_run(folder, run)
    order = "".join(f"{run.run_id}\n" for run in runs)
    write_atomically(folder / ORDER, order.encode())
    document = {"schema": SCHEMA, **export._asdict(), "runs": [r._asdict() for r in export.runs]}
    write_atomically(folder / LIST, json.dumps(document, indent=1).encode() + b"\n")
    script = (
        script_templates()
        .get_template("export.sh.j2")
        .render(
            job=job,
            name=name,
            kind=kind,
            n_runs=len(runs),
            folder=folder.absolute(),
            command=command,
        )
    )
    write_atomically(folder / SCRIPT, script.encode())
    return export


def read_export(folder: Path) -> Export | None:
    """What an exported folder lists; None if the folder is no export.

    Raises:
        StorageError: the list cannot be read.
    """
    path = folder / LIST
    try:
        document: Any = read_json(path)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        runs = tuple(Listed(**{**run, "arms": tuple(run["arms"])}) for run in document["runs"])
        if not all(re.fullmatch("[0-9a-f]{16}", run.run_id) for run in runs):
            raise ValueError("a run id is none")  # it names files
        return Export(str(document["name"]), str(document["spec_file"]), document["kind"], runs)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); export again") from None


def run_file(folder: Path, run_id: str) -> Path:
    """The file of one run."""
    return folder / "runs" / f"{run_id}.json"


def output_of(folder: Path, run_id: str) -> Path:
    """The folder for what one run leaves."""
    return folder / "out" / run_id


def check_export(folder: Path, name: str, job: ArrayJob) -> None:
    """Refuse what cannot be exported, before anything is planned.

    Raises:
        ConfigError: the folder holds the export of another ablation, or a value that SLURM or the
            shell would misread.
    """
    check_time(job.time_limit)
    if job.notice_seconds <= GRACE_SECONDS:
        raise ConfigError(
            f"--notice-seconds {job.notice_seconds}: an orderly stop may take "
            f"{GRACE_SECONDS:.0f} s; give more"
        )
    if re.search(r"[\x00-\x1f]", str(folder.absolute())):
        raise ConfigError(f"{folder}: must not have control characters in its path")
    there = read_export(folder)
    if there is not None and there.name != name:
        raise ConfigError(
            f"{folder}: holds the export of '{there.name}'; choose another folder for '{name}'"
        )


def _write_run(folder: Path, run: PlannedRun) -> None:
    config = run.config
    path = run_file(folder, run.run_id)
    if isinstance(config, DecoderConfig):
        document = _exported(run, config).document()
    else:
        files = RunFiles(run.run_id, config, run.seed, output_of(folder, run.run_id).absolute())
        document = {
            "schema": SCHEMA,
            "run_id": run.run_id,
            "seed": run.seed,
            "replicate": run.replicate,
            "fingerprint": run.data.fingerprint,
            "data_path": run.data.path,
            "config": document_of(config),
            "argv": files.words(resumes=False),
            "cwd": str(files.cwd),
        }
        if not any((files.folder / name).exists() for name in (ENDED, STARTED)):
            _prepare(files)
        write_atomically(path.with_suffix(".sh"), _command_script(files, config).encode())
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False).encode() + b"\n")


def _exported(run: PlannedRun, config: DecoderConfig) -> ExportedRun:
    """A run of our decoder, with its files where any working directory finds them."""
    from decoder.data.prepare import SYNTHETIC_PREFIX, in_home  # numpy and h5py

    data, start = config.data.path, config.train.start_from
    if start is not None:
        from decoder.start import start_file  # torch

        start = str(start_file(start).absolute())
    words = {}
    if config.evaluation.words.is_on:
        from decoder.word_files import absolute_files

        words = absolute_files([config], run.data.folder)
    if not data.startswith(SYNTHETIC_PREFIX):
        data = str(in_home(data).absolute())
    return ExportedRun(
        run.run_id,
        run.seed,
        run.replicate,
        run.data.fingerprint,
        config,
        data,
        start,
        {text: str(path) for text, path in words.items()},
    )


def _prepare(files: RunFiles) -> None:
    """Write the settings of a command, and its working copy if it wants one."""
    try:
        files.start_afresh()
    except OSError as error:
        raise StorageError(f"{files.folder}: {error.strerror or error}") from None


def _command_script(files: RunFiles, config: CommandConfig) -> str:
    """A shell script that runs the words of a command, and keeps how it ended."""
    trainer = config.trainer
    return (
        script_templates()
        .get_template("exported_command.sh.j2")
        .render(
            folder=files.folder,
            cwd=files.cwd,
            out=files.out,
            tells_out="{out}" in trainer.outputs.values(),
            words=shlex.join(files.words(resumes=False)),
            resume=shlex.join(files.words(resumes=True)) if trainer.resume else "",
            environment=files.own_environment,
            logs=LOGS,
            ended=ENDED,
            started=STARTED,
        )
    )
