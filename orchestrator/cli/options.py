"""The parts that commands share: common options, errors as one line each, JSON output."""

import functools
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from decoder.document import only_documents, print_document
from decoder.errors import ConfigError, UserError
from orchestrator.terminal import json_text

if TYPE_CHECKING:
    from orchestrator.execute.machine import Options

P = ParamSpec("P")
T = TypeVar("T")

# What `slurm` and `export` ask of a batch job.
TimeLimitOption = Annotated[
    str, typer.Option(metavar="LIMIT", help="The time limit, as sbatch takes it.")
]
NoticeOption = Annotated[
    int, typer.Option(min=1, help="How long before the limit it stops in order, in seconds.")
]
RestartsOption = Annotated[int, typer.Option(min=0, help="How often it asks to be queued again.")]
SbatchOption = Annotated[
    list[str] | None,
    typer.Option(metavar="OPTION", help="One more option of sbatch; may be repeated."),
]
SetUpOption = Annotated[
    list[str] | None,
    typer.Option(metavar="LINE", help="A shell line before the run; may be repeated."),
]


def choose_results(context: typer.Context, results: Path) -> Path:
    """The folder given, or else the one that fits the working directory and the file."""
    source = context.get_parameter_source("results")
    if source is None or source.name != "DEFAULT":
        return results
    from orchestrator.store.paths import default_results

    file, name = context.params.get("spec"), context.params.get("name")
    if file is None and name is not None and is_file_name(name):
        file = Path(name)
    return default_results(file)


def is_file_name(text: str) -> bool:
    """Whether the argument of a command that takes a name or a file is a file."""
    return text.endswith((".yaml", ".yml")) or "/" in text


def say_results(results: Path) -> None:
    """Say on standard error which results folder is used."""
    typer.echo(f"results folder: {results.absolute()}", err=True)


SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="The ablation's YAML file.")]
ResultsOption = Annotated[
    Path,
    typer.Option(
        "--results",
        metavar="DIR",
        callback=choose_results,
        help="Folder of recordings, runs and reports.",
        show_default="results here, or else of the project",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


class BackendChoice(StrEnum):
    """Where packs are trained."""

    ray = "ray"
    local = "local"


BackendOption = Annotated[
    BackendChoice, typer.Option(help="Train on Ray, or in this process (local).")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many packs (groups of runs that train together) train at the same time.",
        show_default="one per GPU; without a GPU, one per CPU",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads per worker.", show_default="an equal share of the CPUs"),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda or mps; cuda:N with --backend local.", show_default="a GPU if there is one"
    ),
]
PackOption = Annotated[
    int, typer.Option(min=1, help="Most runs in one pack; lower it if memory runs out.")
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-pack",
        metavar="SHARE",
        help="Part of a GPU for each pack: 0.5 trains two packs on each GPU. A pack trains on one "
        "GPU; a whole number above 1 keeps the others free.",
        show_default="1, or with more --workers than GPUs an equal share",
    ),
]
ProfileOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Apply this profile of the file.")
]
MixedOption = Annotated[
    bool,
    typer.Option(
        "--allow-mixed",
        help="Use runs of other decoder source code, too; claims that mix them are exploratory.",
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Refuse runs of different versions of PyTorch or devices."),
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Train recorded runs again whose recordings have changed, without asking.",
    ),
]
AddressOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Join the Ray cluster at this address.")
]
HoursOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1e6,
        metavar="H",
        help="Limit of time: packs that decide claims come first, and what is left waits.",
    ),
]
HangOption = Annotated[
    float,
    typer.Option(
        min=0, metavar="MINUTES", help="End a worker without a sign of life for this long; 0 never."
    ),
]
GraceOption = Annotated[
    float | None,
    typer.Option(
        min=1,
        max=1e6,
        metavar="SECONDS",
        help="How long this process may go on after a signal to stop.",
        show_default="28; after SIGUSR1 in a SLURM job, until it ends",
    ),
]
ShareOption = Annotated[
    bool,
    typer.Option(
        "--share-work",
        help="Train in this process what other processes with this option, on any machine that "
        "sees the results folder, do not train.",
    ),
]

TensorboardOption = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Write event files of the runs while they train, for TensorBoard, wandb or trackio.",
    ),
]
NotifyOption = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Run this command (no shell) at the end, when runs fail for good and when a claim is "
        "decided, with one line of JSON on its standard input.",
    ),
]


def say_threads(options: "Options") -> None:
    """Say on standard error how many threads a worker gets, if it is not what the CPUs give."""
    if options.threads_reason:
        text = f"threads per worker: {options.threads}, because {options.threads_reason}"
        typer.echo(f"{text} (--threads sets it)", err=True)


def local_alone(context: typer.Context) -> BackendChoice:
    """The backend of processes that share their work, which train without Ray.

    Raises:
        ConfigError: Ray is asked for.
    """
    source = context.get_parameter_source("backend")
    is_asked_for = source is not None and source.name != "DEFAULT"
    of_ray = is_asked_for and context.params["backend"] is BackendChoice.ray
    if of_ray or context.params["address"] is not None:
        raise ConfigError(
            "--share-work: each process trains without Ray; leave --address and --backend ray out, "
            "or leave --share-work out, as Ray shares the work of one driver by itself"
        )
    return BackendChoice.local


def handled(command: Callable[P, T]) -> Callable[P, T]:
    """Turn errors that a user can cause, and signals, into lines on stderr and an exit code.

    With ``as_json``, only `print_json` and `print_document` write to standard output.
    """

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        from orchestrator.execute.stopping import Stopped, stop_switch

        try:
            with stop_switch(), only_documents(bool(kwargs.get("as_json"))):
                return command(*args, **kwargs)
        except UserError as error:
            for problem in error.problems:
                typer.echo(" ".join(problem.split()), err=True)
            raise typer.Exit(error.exit_code) from None
        except Stopped as stop:
            typer.echo(str(stop), err=True)
            raise typer.Exit(128 + stop.signal_number) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapper


def accepting(accept_changes: bool) -> Callable[[str], bool]:
    """What answers whether to train on changed recordings: the option, or a person at a terminal.

    Without either, the answer is no.
    """

    def accept(text: str) -> bool:
        if accept_changes:
            typer.echo(text, err=True)
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        typer.echo(text, err=True)
        return typer.confirm("Train them again?", default=False, err=True)

    return accept


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    print_document(json_text(value))
