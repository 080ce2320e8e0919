"""Small run folders for tests of imported runs, and short ways to look at what was read."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.history.audit.audit import Audit
from orchestrator.history.audit.findings import Finding
from orchestrator.history.reading.read_runs import Group, read_group
from orchestrator.history.reading.record import ImportedRun

WriteRun = Callable[..., Path]  # name, final PER, number of steps, settings → the run's folder
AuditRuns = Callable[[], Audit]

BASE = {  # settings of the T15 trainer
    "num_training_batches": 300,
    "lr_decay_steps": 300,
    "lr_max": 0.005,
    "lr_max_day": 0.005,
    "lr_min": 0.0001,
    "lr_min_day": 0.0001,
    "epsilon": 0.1,
    "weight_decay": 0.001,
    "seed": 10,
}
SETTINGS = "lr_max: 0.004\nbatch_size: 32\nseed: 3\n"


def write_files(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Files below a root, by their paths; returns the root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def jsonl(*rows: dict[str, Any]) -> str:
    """One JSON object per line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def per_rows(*pers: float, every: int = 100) -> str:
    """JSON lines with these PERs, one every so many steps from step 0."""
    return jsonl(*({"step": index * every, "per": per} for index, per in enumerate(pers)))


def only_run(root: Path) -> ImportedRun:
    """The one run of a folder."""
    (run,) = read_group(root).runs
    return run


def by_name(group: Group) -> dict[str, ImportedRun]:
    """Name → run."""
    return {run.name: run for run in group.runs}


def by_kind(audited: Audit) -> dict[str, Finding]:
    """Kind → finding, for groups with at most one finding of a kind."""
    kinds = [finding.kind for finding in audited.findings]
    assert len(set(kinds)) == len(kinds)
    return {finding.kind: finding for finding in audited.findings}


def mentions(texts: Any, *words: str) -> bool:
    """Whether any one of the texts holds all of these names or numbers."""
    return any(all(word in text for word in words) for text in texts)
