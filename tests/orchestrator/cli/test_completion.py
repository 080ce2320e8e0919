"""Shell completion and the version, which `orchestrator.cli.app` offers beside its commands."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app

# What the installed command does, as `[project.scripts]` in pyproject.toml has it.
SCRIPT = "import sys; sys.argv[0] = '/somewhere/orchestrator'; from orchestrator.cli.app import app"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("orchestrator sch", ["schema"]), ("orchestrator schema ", ["ablation", "search", "decoder"])],
)
def test_installed_command_completes_commands_and_choices(typed: str, expected: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{SCRIPT}; app(prog_name='orchestrator')"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
            "_ORCHESTRATOR_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        },
    )
    assert done.stdout.split() == expected


def test_module_offers_no_completion_since_a_shell_completes_by_the_first_word() -> None:
    assert "completion" not in CliRunner().invoke(app, ["--help"]).stdout


def test_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout.strip()) == (0, metadata.version("speech-bci-sweeps"))
