"""Trainers of users for tests: a few lines of Python that end within milliseconds."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoder.pack import HistoryRow, RunResult
from orchestrator.execute.backends.types import Execution, PackEvent, PackFailed
from orchestrator.spec.configuration import CommandConfig, Pack, Run
from orchestrator.spec.settings import flatten
from orchestrator.spec.trainer import TrainerSection

# Reads its configuration, writes a log as the official T15 trainer does, one line per evaluation.
TRAINER = """
import json, pathlib, sys, time
config = json.load(open(sys.argv[1]))
out = pathlib.Path(config["out"])
log = (out / "log.txt").open("a")
for step in range(100, config["n_steps"] + 1, 100):
    per = config["per"] / step + config["seed"] / 1000
    print(f"Val batch {step}: PER (avg): {per:.4f} CTC Loss (avg): {3 / step:.4f} time: 0.1",
          file=log, flush=True)
"""
BASE: dict[str, Any] = {"n_steps": 300, "per": 50.0, "seed": 0, "out": "", "lr": 0.1}
SECTION: dict[str, Any] = {
    "command": [sys.executable, "train.py", "{config}"],
    "base": "base.json",
    "seed": ["seed"],
    "outputs": {"out": "{out}"},
    "course": "{out}/log.txt",
    "metrics": {"step": "Val batch", "per": "PER (avg)", "val_loss": "CTC Loss (avg)"},
    "steps": "n_steps",
    "code": ["*.py"],
}


def write_trainer(folder: Path, script: str = TRAINER, makes_out: bool = True) -> Path:
    """A folder with ``train.py`` and ``base.json``.

    Args:
        makes_out: whether the script begins by making its folder ``out``.
    """
    import json

    folder.mkdir(parents=True, exist_ok=True)
    head = "import json, os, sys\n"
    if makes_out:
        head += "os.makedirs(json.load(open(sys.argv[1]))['out'], exist_ok=True)\n"
    (folder / "train.py").write_text(head + script)
    (folder / "base.json").write_text(json.dumps(BASE))
    return folder


def command_config(
    folder: Path, section: Mapping[str, Any] | None = None, **settings: Any
) -> CommandConfig:
    """The configuration of a run of the trainer in a folder."""
    given = {**SECTION, "cwd": str(folder), **(section or {})}
    return CommandConfig(
        trainer=TrainerSection.model_validate(given),
        written=flatten({**BASE, **settings}),
        code={"train.py": "0" * 64},
    )


def command_pack(config: CommandConfig, run_id: str = "a" * 16, seed: int = 3) -> Pack:
    return Pack("p" + run_id[1:], seed, (Run(run_id, config),))


def execution_in(folder: Path, **changes: Any) -> Execution:
    """How it is trained, with the results in a folder."""
    return Execution(
        **{
            "dataset_dir": folder / "none",
            "checkpoint_dir": folder / "checkpoints",
            "weights_dir": folder / "runs",
            "n_workers": 1,
            "report_every_seconds": 0.1,
            **changes,
        }
    )


class Events(list[PackEvent]):
    """Receives the events of a backend."""

    def __call__(self, event: PackEvent) -> None:
        self.append(event)

    @property
    def results(self) -> list[RunResult]:
        return [
            result
            for event in self
            if not isinstance(event.what, PackFailed)
            for result in event.what.finished
        ]

    @property
    def failures(self) -> list[PackFailed]:
        return [event.what for event in self if isinstance(event.what, PackFailed)]

    @property
    def latest(self) -> list[HistoryRow]:
        return [
            row
            for event in self
            if not isinstance(event.what, PackFailed)
            for row in event.what.latest.values()
        ]

    @property
    def remarks(self) -> list[str]:
        return [
            remark
            for event in self
            if not isinstance(event.what, PackFailed)
            for remark in event.what.remarks
        ]
