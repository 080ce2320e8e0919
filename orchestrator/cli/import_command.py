"""The command `import-config`: an official configuration file, or a fork's, becomes one of ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from decoder.errors import ConfigError
from orchestrator.cli.options import JsonOption, handled, print_json
from orchestrator.terminal import wide_output

if TYPE_CHECKING:
    from decoder.importing import Entry, Imported

_ORDER = (
    "mapped",
    "absent",
    "constant",
    "elsewhere",
    "no effect",
    "left out",
    "unknown",
    "unsupported",
)
_TITLES = {
    "mapped": "mapped",
    "absent": "not in the file: the official value",
    "constant": "in the trainer's code",
    "elsewhere": "no field, but told elsewhere",
    "no effect": "no effect there",
    "left out": "left out, as you say",
    "unknown": "unknown: not taken over",
    "unsupported": "unsupported",
}
_NO_RECORDINGS = "# data.path names synthetic recordings: set it to yours, or say --data PATH."
_LONGEST_VALUE = 32


@handled
def import_config(
    file: Annotated[Path, typer.Argument(help="rnn_args.yaml, T12 args, or a fork's.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to.", show_default="standard output"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Set data.path to your recordings.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Leave an unsupported key out; * stands for any text."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn an official T15 or T12 configuration file, or a fork's, into one of ours."""
    from decoder.config import override
    from decoder.importing import import_file

    if output is not None and output.exists():
        raise ConfigError(f"--output: {output} exists already; choose another name or remove it")
    imported = import_file(file, without or ())
    if data is not None:
        imported = imported._replace(
            config=override(imported.config, {"data.path": data}, "--data")
        )
    if as_json:
        print_json(imported_document(imported))
    else:
        # Where the configuration itself goes to standard output, it must be alone there.
        print_imported(wide_output(stderr=output is None), imported)
    unsupported = imported.with_outcome("unsupported")
    if unsupported:
        raise ConfigError([_complaint(file, entry) for entry in unsupported])
    text = config_text(imported, file)
    if output is not None:
        from decoder.atomic import write_atomically

        write_atomically(output, text.encode())
    elif not as_json:
        typer.echo(text, nl=False)
    if _has_no_recordings(imported):
        typer.echo(_NO_RECORDINGS.removeprefix("# "), err=True)


def _has_no_recordings(imported: "Imported") -> bool:
    """Whether an official file named no recordings that can be read, as T12's names a pickle."""
    return imported.codebase != "ours" and imported.config.data.path.startswith("synthetic:")


def imported_document(imported: "Imported") -> dict[str, Any]:
    """What became of every key, and the configuration, as plain values."""
    return {
        "codebase": imported.codebase,
        "complete": not imported.with_outcome("unknown", "unsupported", "left out"),
        "config": imported.config.model_dump(mode="json"),
        "sessions": imported.sessions,
        "entries": [
            {**entry._asdict(), "fields": dict(entry.fields)} for entry in imported.entries
        ],
    }


def print_imported(console: Console, imported: "Imported") -> None:
    """What became of every key, the worst last."""
    from rich.markup import escape
    from rich.table import Table

    names = {"t15": "T15 (nejm-brain-to-text)", "t12": "T12 (neural_seq_decoder)", "ours": "ours"}
    table = Table("key", "value", "becomes", "remark", title=f"read as {names[imported.codebase]}")
    for outcome in _ORDER:
        entries = [entry for entry in imported.entries if entry.outcome == outcome]
        for i, entry in enumerate(entries):
            if i == 0:
                table.add_section()
                table.add_row(f"[bold]{_TITLES[outcome]}[/bold]")
            becomes = ", ".join(f"{p}: {_short(value)}" for p, value in entry.fields.items())
            remark = "" if outcome in ("absent", "constant") else entry.note
            cells = (entry.key, _short(entry.value) if entry.key else "", becomes, remark)
            table.add_row(*[escape(cell) for cell in cells])
    if table.row_count:
        console.print(table)
    else:
        console.print(f"read as {names[imported.codebase]}; nothing had to be translated")


def config_text(imported: "Imported", file: Path) -> str:
    """The configuration as YAML; fields that have no effect beside the others are left out."""
    import yaml

    from decoder.config import flatten, idle_paths, unflatten

    idle = idle_paths(imported.config)
    flat = {path: v for path, v in flatten(imported.config).items() if path not in idle}
    lost = imported.with_outcome("unknown", "left out")
    head = [f"# Imported from {file.name} ({imported.codebase.upper()})."]
    head += [f"# Not taken over: {entry.key}: {_short(entry.value)}" for entry in lost]
    head += [_NO_RECORDINGS] * _has_no_recordings(imported)
    return "\n".join(head) + "\n" + yaml.safe_dump(unflatten(flat), sort_keys=False)


def _complaint(file: Path, entry: "Entry") -> str:
    return (
        f"{file}: {entry.key}: {_short(entry.value)} is not supported: {entry.note}; change it, or "
        f"say --without {entry.key}"
    )


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
