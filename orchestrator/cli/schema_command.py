"""``schema``: the JSON schema of a kind of YAML file, for editors."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.options import handled
from orchestrator.terminal import json_text


class FileKind(StrEnum):
    """What a YAML file describes."""

    ablation = "ablation"
    search = "search"
    decoder = "decoder"


@handled
def schema(
    kind: Annotated[FileKind, typer.Argument(help="What the YAML file describes.")] = (
        FileKind.ablation
    ),
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write it.", show_default="standard output"),
    ] = None,
) -> None:
    """Print the JSON schema of a YAML file; editors use it to complete and check the file.

    In VS Code: install the YAML extension, write the schema beside your files,
    and begin each file with
    '# yaml-language-server: $schema=ablation.schema.json'.
    """
    text = json_text(schema_of(kind))
    if output is None:
        typer.echo(text)
    else:
        from decoder.atomic import write_atomically

        write_atomically(output, f"{text}\n".encode())


def schema_of(kind: FileKind) -> dict[str, Any]:
    """The schema of a kind of file, in draft 7."""
    from decoder.config import DecoderConfig, config_paths
    from orchestrator.spec import json_schema

    if kind is FileKind.ablation:
        return json_schema.ablation_schema()
    if kind is FileKind.decoder:
        return json_schema.file_schema(DecoderConfig)

    from orchestrator.search.schema import SECONDS, SearchSpec
    from orchestrator.spec.schema import METRICS

    paths = tuple(config_paths())
    keys = {"space": paths, "when": paths, "objectives": (*METRICS, SECONDS)}
    return json_schema.both_kinds(SearchSpec, keys)
