"""The command `diff`: how two decoder configurations differ."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from decoder.errors import ConfigError
from orchestrator.cli.options import JsonOption, handled, print_json
from orchestrator.terminal import print_table, say_to

if TYPE_CHECKING:
    from orchestrator.plan.differences import ConfigDifference


@handled
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A decoder file, or SPEC.yaml:arm.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    name: Annotated[
        str | None,
        typer.Option("--as-ablation", metavar="NAME", help="Write the leave-one-out of it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to.", show_default="standard output"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how two decoder configurations differ, or write the ablation that tells what matters."""
    from orchestrator.plan import differences as d
    from orchestrator.plan.leave_one_out import write_ablation

    one, two = d.read_configuration(a), d.read_configuration(b)
    found = d.find_differences(one.config, two.config)
    if name is not None:
        text = d.as_ablation(name, one, two, found, output.parent if output else Path.cwd())
        if output is None:
            typer.echo(text, nl=False)
            return
        write_ablation(output, text)
        typer.echo(f"{output}: {len(found)} differences; `plan` it, then `run` it", err=True)
    elif output is not None:
        raise ConfigError("--output: goes with --as-ablation; add that, or redirect")
    if as_json:
        print_json(d.differences_document(one, two, found))
    elif name is None:
        print_differences(Console(), one.label, two.label, found)


def print_differences(
    console: Console, a: str, b: str, found: Sequence["ConfigDifference"]
) -> None:
    """One row a parameter: value in each, and the ratio of numbers."""
    rows = [
        (
            difference.parameter,
            json.dumps(difference.a),
            json.dumps(difference.b),
            "" if difference.ratio is None else f"{difference.ratio:.4g}",
        )
        for difference in found
    ]
    say, n = say_to(console), len(found)
    say(f"A: {a}")
    say(f"B: {b}")
    print_table(console, ("parameter", "A", "B", "B / A"), rows)
    say(f"{n} difference{'s' * (n != 1)}" if n else "the same decoder, once defaults are filled in")
