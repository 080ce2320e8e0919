"""The rows of the fault table of docs/design.md, and the ablation on which faults are tried."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.store.paths import Results

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
TESTS = Path(__file__).parents[1]
Test = TypeVar("Test", bound=Callable[..., Any])

N_STEPS, N_RUNS = 40, 8
HOSTILE = "<script>alert(1)</script>"
BASE = {
    "model": {"n_units": 8, "n_layers": 1},
    "optim": {"lr_warmup_steps": 2},
    "train": {"n_steps": N_STEPS, "eval_every_steps": 10},
}
# Half of the runs diverge at their second step, because their learning rate overflows.
SPEC = {
    "name": "question",
    "question": f"Does it {HOSTILE} matter?",
    "base": "base.yaml",
    "factors": {"rate": {"high": {"optim.lr_max": 0.005}, "absurd": {"optim.lr_max": 1e30}}},
    "seeds": [0, 1, 2, 3],
    "hypotheses": {
        "absurd_hurts": {
            "claim": f"An absurd rate {HOSTILE} raises PER.",
            "contrast": {"factor": "rate", "from": "high", "to": "absurd"},
            "outcome": "per",
            "direction": "increase",
            "margin": 0.02,
        }
    },
}


def fault_rows() -> list[str]:
    """The left cells of the fault table of docs/design.md, in its order."""
    table = DESIGN.read_text().partition("| what happens | what you get |\n|---|---|\n")[2]
    lines = table.partition("\n\n")[0].splitlines()
    return [line.split(" | ")[0].removeprefix("| ") for line in lines]


def row(name: str) -> Callable[[Test], Test]:
    """Marks a test of one row, or of more if it is used more often."""
    assert name in fault_rows(), f"{DESIGN} has no row {name!r}"
    return lambda test: test


def rows_tested(folder: Path) -> set[str]:
    """The rows that tests of a folder are marked with."""
    texts = (path.read_text() for path in sorted(folder.glob("test_*.py")))
    return {name for text in texts for name in re.findall(r'^@row\("(.*)"\)$', text, re.M)}


class Ablation(NamedTuple):
    """A file and its results folder."""

    spec: Path
    results: Results

    @property
    def folder(self) -> Path:
        """The folder of the report."""
        return self.results.ablation("question")

    def command(self, *options: str) -> list[str]:
        """The arguments of `run`: one run in a pack, so that resumed runs are equal to the bit."""
        where = ["--results", str(self.results.root), "--backend", "local"]
        return ["run", str(self.spec), *where, "--max-runs-per-pack", "1", *options]

    def run(self, *options: str) -> Result:
        return call(*self.command(*options))

    def copy(self, folder: Path) -> "Ablation":
        """The same with a copy of the results, of which the files may be damaged."""
        shutil.copytree(self.results.root, folder / "results")
        return self._replace(results=Results(folder / "results"))

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """run id → status and history, of every recorded run."""
        return {
            path.parent.name: (
                json.loads(path.read_text())["status"],
                self.results.history(path.parent.name).read_text(),
            )
            for path in self.results.runs.glob("*/record.json")
            if path.is_file()
        }

    def ids(self, status: str) -> list[str]:
        return sorted(run_id for run_id, (is_, _) in self.outcomes().items() if is_ == status)

    def checkpoints(self) -> list[Path]:
        """The checkpoints of all packs, the newest of a pack last."""
        return sorted(self.results.checkpoints("question").glob("*/step-*.json"))

    def forget(self, run_id: str) -> None:
        """Remove a run, as if it had not been trained."""
        shutil.rmtree(self.results.run(run_id))


def call(*arguments: str | Path) -> Result:
    """One command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_ablation(folder: Path, recordings: Path) -> Ablation:
    """The files of the ablation; nothing is trained."""
    folder.mkdir(exist_ok=True)
    data = {"path": str(recordings), "batch_size": 4, "days_per_batch": 2}
    (folder / "base.yaml").write_text(json.dumps({**BASE, "data": data}))
    (folder / "question.yaml").write_text(json.dumps(SPEC))
    return Ablation(folder / "question.yaml", Results(folder / "results"))
