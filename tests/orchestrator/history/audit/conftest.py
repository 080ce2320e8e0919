"""A folder to which a test writes small runs, its audit, and the audit of the planted group."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from imported_runs import BASE, AuditRuns, WriteRun

from orchestrator.history.audit.audit import Audit, audit
from orchestrator.history.reading.read_runs import read_group


@pytest.fixture
def planted(group: Path) -> Audit:
    return audit("planted", read_group(group))


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes a run: its name, its final PER, its number of steps, and its own settings."""

    def write(name: str, final: float, n: int = 300, **changes: Any) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        args = {k: v for k, v in {**BASE, **changes}.items() if v is not ...}
        (folder / "args.yaml").write_text(yaml.safe_dump(args))
        pers = [(step, max(final, 1 - step / n)) for step in range(0, n, 100)] + [(n, final)]
        rows = [{"step": step, "per": per, "name": name} for step, per in pers]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


@pytest.fixture
def audit_runs(tmp_path: Path) -> AuditRuns:
    """Audits the runs that the test wrote."""
    return lambda: audit("runs", read_group(tmp_path / "runs"))
