"""What every command shares: its common options, errors in one line each, JSON."""

import functools
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from decoder.errors import UserError
from orchestrator.terminal import json_text

P = ParamSpec("P")
T = TypeVar("T")

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="The ablation's YAML file.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where everything is kept.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


class BackendChoice(StrEnum):
    """Where packs are trained."""

    ray = "ray"
    local = "local"


BackendOption = Annotated[BackendChoice, typer.Option(help="Ray, or in this process.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Packs at a time.", show_default="one a GPU, else a CPU")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads a worker.", show_default="its share")
]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, ...", show_default="a GPU where there is one")
]
PackOption = Annotated[int, typer.Option(min=1, help="Most runs in one pack, for memory's sake.")]
ProfileOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="One of the file's profiles.")
]
AddressOption = Annotated[str | None, typer.Option(help="Join this Ray cluster.")]


def handled(command: Callable[P, T]) -> Callable[P, T]:
    """Turn what a user can cause into lines on stderr and the exit code of its kind."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        from orchestrator.execute.stopping import Stopped

        try:
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


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json_text(value))
