"""Batch scripts for SLURM: one node, a Ray cluster over several, or an array of tasks without Ray.

A script stops in order when SLURM says that the time limit is near or that the job is preempted,
asks to be queued again, and goes on from the records and checkpoints.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from decoder.errors import ConfigError
from orchestrator.execute.backends.ray_cluster import CLUSTER_ENVIRONMENT, LOOPBACK_ALONE
from orchestrator.execute.stopping import GRACE_SECONDS

if TYPE_CHECKING:
    from jinja2 import Environment

_MARGIN_SECONDS = 10.0  # of the notice, in which the script asks to be queued again
_TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")  # as sbatch takes it: days-hours:minutes:seconds


@dataclass(frozen=True)
class Job:
    """What a batch script asks SLURM for.

    Attributes:
        n_nodes: nodes; Ray connects several.
        cpus_per_node, gpus_per_node: of each node.
        n_tasks: tasks of an array, each on a node of its own, without Ray; 0 makes no array.
        time_limit: as ``sbatch --time`` takes it, such as ``8:00:00``.
        notice_seconds: time between SLURM's signal and the time limit, for the orderly stop.
        most_restarts: how often the job asks to be queued again.
        lines: more options of ``sbatch``, such as ``--partition=gpu``.
        set_up: shell lines before the run, such as ``module load cuda``.
    """

    n_nodes: int = 1
    cpus_per_node: int = 4
    gpus_per_node: int = 0
    n_tasks: int = 0
    time_limit: str = "8:00:00"
    notice_seconds: int = 120
    most_restarts: int = 20
    lines: Sequence[str] = ()
    set_up: Sequence[str] = ()


def batch_script(
    job: Job,
    name: str,
    run: Sequence[str],
    *,
    python: str,
    directory: Path,
    logs: Path,
    file: Path,
    command: Sequence[str],
) -> str:
    """Write a batch script.

    Args:
        name: the name of the ablation or search, and of the job.
        run: the arguments of ``python -m orchestrator run``, without workers, backend and address.
        python: the interpreter that runs the orchestrator.
        directory: where the job runs.
        logs: folder of SLURM's output.
        file: where the script will lie.
        command: the command that makes the script, for a comment.

    Raises:
        ConfigError: a value that SLURM or the shell would misread.
    """
    _check(job)
    for what, text in (("--results", str(logs)), ("the working directory", str(directory))):
        if re.search(r'[\x00-\x1f"\\%]', text):
            raise ConfigError(f'{what} {text!r}: must not have control characters, ", \\ or %')
    pattern = "%A_%a" if job.n_tasks else "%j"
    return (
        script_templates()
        .get_template("slurm.sh.j2")
        .render(
            job=job,
            name=name,
            run=[*run, *_options(job)],
            python=python,
            directory=directory,
            log=f'"{logs}/slurm-{pattern}.out"',
            file=file,
            command=command,
            ray_environment=_RAY_ENVIRONMENT,
        )
    )


def script_templates() -> "Environment":
    """The templates of shell scripts; the filter ``q`` quotes a word for the shell."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("orchestrator.execute"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters["q"] = lambda text: shlex.quote(str(text))
    templates.filters["comment"] = lambda words: " ".join(map(shlex.quote, words))
    return templates


# The processes of `ray start` read these, like those of a cluster that the driver starts itself,
# except that they reach each other.
_RAY_ENVIRONMENT: Mapping[str, str] = {
    name: value for name, value in CLUSTER_ENVIRONMENT.items() if name != LOOPBACK_ALONE
}


def _options(job: Job) -> list[str]:
    """The options of `run` that follow from what the job gets."""
    grace = ["--grace-seconds", f"{max(GRACE_SECONDS, job.notice_seconds - _MARGIN_SECONDS):g}"]
    if job.n_tasks:
        all_cpus = str(job.cpus_per_node)  # a task trains one pack at a time
        return ["--backend", "local", "--share-work", "--threads", all_cpus, *grace]
    n_workers = job.n_nodes * (job.gpus_per_node or job.cpus_per_node)
    threads = max(1, job.cpus_per_node // job.gpus_per_node) if job.gpus_per_node else 1
    return ["--workers", str(n_workers), "--threads", str(threads), *grace]


def check_time(time_limit: str) -> None:
    """Refuse a time limit that ``sbatch`` would not take."""
    if _TIME.fullmatch(time_limit) is None:
        raise ConfigError(
            f"--time {time_limit!r}: must be minutes, H:MM:SS, D-HH or D-HH:MM:SS, as sbatch "
            "takes it"
        )


def _check(job: Job) -> None:
    check_time(job.time_limit)
    if job.notice_seconds <= GRACE_SECONDS:
        raise ConfigError(
            f"--notice-seconds {job.notice_seconds}: an orderly stop may take "
            f"{GRACE_SECONDS:.0f} s; give more"
        )
    if job.n_tasks and job.gpus_per_node > 1:
        raise ConfigError(
            "--array: each task trains one pack at a time, on one GPU; use --gpus-per-node 1 and "
            "more tasks"
        )
    if job.n_tasks and job.n_nodes > 1:
        raise ConfigError("--array: each task has one node of its own; leave --nodes out")
    for line in (*job.lines, *job.set_up):
        if re.search(r"[\x00-\x1f]", line):
            raise ConfigError(f"{line!r}: must be one line without control characters")
    for line in job.lines:
        if not line.startswith("-"):
            raise ConfigError(f"--sbatch {line!r}: must be an option, such as --partition=gpu")
