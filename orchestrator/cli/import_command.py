"""The command `import-config`: an official configuration file, or a fork's, as one of ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from decoder.errors import ConfigError
from orchestrator.cli.options import JsonOption, handled, print_json
from orchestrator.terminal import wide_output

if TYPE_CHECKING:
    from decoder.importing import Imported

_TITLES = {  # outcome of a key → its heading, in the order of the table
    "mapped": "mapped",
    "absent": "not in the file: the official value",
    "constant": "in the trainer's code",
    "elsewhere": "no field: set outside the configuration",
    "no effect": "no effect in that trainer",
    "left out": "left out by --without",
    "unknown": "unknown: not imported",
    "unsupported": "unsupported",
}
_NO_RECORDINGS = (
    "# data.path names synthetic recordings: set it to your recordings, or use --data PATH."
)
_LONGEST_VALUE = 32
_MANY_ABSENT = 20  # keys, of the 38 of T15 that set fields; T12 has 14


@handled
def import_config(
    file: Annotated[
        Path, typer.Argument(help="rnn_args.yaml of T15, args of T12, or a fork's file.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this file.", show_default="standard output"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Set data.path to your recordings.")
    ] = None,
    base: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="The file that FILE changes a part of; several in turn, as OmegaConf merges them.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Convert without this unsupported key; * is any text."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a configuration file of T15, T12 or a fork into one of this project."""
    from decoder.config import override
    from decoder.importing import import_file, refusals

    if output is not None and output.exists():
        raise ConfigError(f"--output: {output} exists already; choose another name or remove it")
    imported = import_file(file, without or (), base or ())
    if data is not None:
        imported = imported._replace(
            config=override(imported.config, {"data.path": data}, "--data")
        )
    if as_json:
        print_json(imported_document(imported))
    else:
        # If the configuration goes to standard output, nothing else may.
        print_imported(wide_output(stderr=output is None), imported)
    if refused := refusals(imported, "change it, or leave it out with --without {}"):
        raise ConfigError([f"{file}: {sentence}" for sentence in refused])
    text = config_text(imported, file)
    if output is not None:
        from decoder.atomic import write_atomically

        write_atomically(output, text.encode())
    elif not as_json:
        typer.echo(text, nl=False)
    if (n_absent := len(imported.with_outcome("absent"))) > _MANY_ABSENT and not base:
        typer.echo(
            f"{n_absent} keys of the {imported.codebase.upper()} trainer are not in the file and "
            "have their official values; if it only changes a part of another file, name that one "
            "with --base",
            err=True,
        )
    if _has_no_recordings(imported):
        typer.echo(_NO_RECORDINGS.removeprefix("# "), err=True)


def _has_no_recordings(imported: "Imported") -> bool:
    """Whether an official file names no recordings that we can read; T12's names a pickle."""
    return imported.codebase != "ours" and imported.config.data.path.startswith("synthetic:")


def imported_document(imported: "Imported") -> dict[str, Any]:
    """The configuration, and the outcome of every key, as plain values."""
    return {
        "codebase": imported.codebase,
        "complete": not imported.with_outcome("unknown", "unsupported", "left out"),
        "config": imported.config.model_dump(mode="json"),
        "sessions": imported.sessions,
        "entries": [entry._asdict() for entry in imported.entries],
    }


def print_imported(console: Console, imported: "Imported") -> None:
    """A table with the outcome of every key; keys that are not imported come last."""
    from rich.markup import escape
    from rich.table import Table

    names = {"t15": "T15 (nejm-brain-to-text)", "t12": "T12 (neural_seq_decoder)", "ours": "ours"}
    title = f"read as {names[imported.codebase]}"
    table = Table("key", "value", "becomes", "remark", title=title)
    for outcome, heading in _TITLES.items():
        entries = [entry for entry in imported.entries if entry.outcome == outcome]
        if entries:
            table.add_section()
            table.add_row(f"[bold]{heading}[/bold]")
        for entry in entries:
            becomes = ", ".join(f"{p}: {_short(value)}" for p, value in entry.fields.items())
            remark = "" if outcome in ("absent", "constant") else entry.note
            cells = (entry.key, _short(entry.value) if entry.key else "", becomes, remark)
            table.add_row(*[escape(cell) for cell in cells])
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{title}; every key already has our name")


def config_text(imported: "Imported", file: Path) -> str:
    """The configuration as YAML, without the fields that have no effect."""
    import yaml

    from decoder.config import flatten, idle_paths
    from decoder.field_paths import unflatten

    idle = idle_paths(imported.config)
    flat = {path: v for path, v in flatten(imported.config).items() if path not in idle}
    lost = imported.with_outcome("unknown", "left out")
    head = [f"# Imported from {file.name} ({imported.codebase.upper()})."]
    head += [f"# Not imported: {entry.key}: {_short(entry.value)}" for entry in lost]
    head += [_NO_RECORDINGS] * _has_no_recordings(imported)
    return "\n".join(head) + "\n" + yaml.safe_dump(unflatten(flat), sort_keys=False)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
