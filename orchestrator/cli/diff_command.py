"""The command `diff`: compares two decoder configurations."""

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
    a: Annotated[
        str, typer.Argument(metavar="A", help="A decoder configuration file, or SPEC.yaml:arm.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The configuration to compare with A.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as-ablation",
            metavar="NAME",
            help="Write an ablation of this name that leaves out one difference at a time.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the ablation to this file.", show_default="standard output"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the differences of two decoder configurations, or write an ablation that tests them."""
    from orchestrator.plan import differences as d
    from orchestrator.plan.leave_one_out import write_ablation

    one, two = d.read_configuration(a), d.read_configuration(b)
    differences = d.find_differences(one.config, two.config)
    if name is not None:
        folder = output.parent if output else Path.cwd()
        text = d.as_ablation(name, one, two, differences, folder)
        if output is not None:
            write_ablation(output, text)
            typer.echo(
                f"{output}: an ablation of {len(differences)} differences; check it with `plan`, "
                "then `run` it",
                err=True,
            )
        elif not as_json:
            typer.echo(text, nl=False)
    elif output is not None:
        raise ConfigError(
            "--output: is only for the file of --as-ablation; add --as-ablation NAME, or redirect "
            "standard output"
        )
    if as_json:
        document = d.differences_document(one, two, differences)
        print_json(document if name is None else {**document, "ablation": text})
    elif name is None:
        print_differences(Console(), one.label, two.label, differences)


def print_differences(
    console: Console, a: str, b: str, differences: Sequence["ConfigDifference"]
) -> None:
    """Print one row per parameter: its value in A and in B, and the ratio of numbers."""
    rows = [
        (
            difference.parameter,
            json.dumps(difference.a),
            json.dumps(difference.b),
            "" if difference.ratio is None else f"{difference.ratio:.4g}",
        )
        for difference in differences
    ]
    say, n = say_to(console), len(differences)
    say(f"A: {a}")
    say(f"B: {b}")
    print_table(console, ("parameter", "A", "B", "B / A"), rows)
    say(f"{n} difference{'s' * (n != 1)}" if n else "no differences, with defaults filled in")
