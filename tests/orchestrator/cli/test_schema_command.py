"""`orchestrator.cli.schema_command`: the schemas from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cli.schema_command import FileKind, schema_of


@pytest.mark.parametrize("kind", FileKind)
def test_schema_is_printed_or_written(kind: FileKind, tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema", kind])
    assert json.loads(printed.stdout) == json.loads(json.dumps(schema_of(kind)))
    path = tmp_path / "folder" / "schema.json"
    written = CliRunner().invoke(app, ["schema", kind, "--output", str(path)])
    assert (written.exit_code, written.stdout) == (0, "")
    assert path.read_text(encoding="utf-8") == printed.stdout


def test_schema_of_an_ablation_is_the_default() -> None:
    assert CliRunner().invoke(app, ["schema"]).stdout == (
        CliRunner().invoke(app, ["schema", "ablation"]).stdout
    )
