"""Every file name under the results folder, in one place."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from decoder.errors import ConfigError
from orchestrator.spec.names import check_name


@dataclass(frozen=True)
class Results:
    """The results folder: ``runs/<run_id>/``, ``ablations/<name>/``, ``datasets/``.

    Attributes:
        root: the folder, as given by ``--results``.
        kind: the folder of the questions asked. Those of searches hold the same files and more.
    """

    root: Path
    kind: Literal["ablations", "searches"] = "ablations"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def ablations(self) -> Path:
        return self.root / self.kind

    @property
    def of_searches(self) -> "Results":
        """The same ledger, and the folders of searches in place of those of ablations."""
        return replace(self, kind="searches")

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def index(self) -> Path:
        """All records as one table, made anew whenever they say otherwise; safe to delete."""
        return self.runs / ".index.parquet"

    def run(self, run_id: str) -> Path:
        """The folder of one run, shared by all ablations."""
        return self.runs / run_id

    def record(self, run_id: str) -> Path:
        return self.run(run_id) / "record.json"

    def history(self, run_id: str) -> Path:
        return self.run(run_id) / "history.csv"

    @property
    def ledger_lock(self) -> Path:
        """Held for the few milliseconds in which a run is written or moved aside."""
        return self.runs / ".lock"

    def ablation(self, name: str) -> Path:
        """The folder of one ablation.

        Raises:
            ConfigError: the name is unfit, or leads outside the results folder.
        """
        try:
            folder = self.ablations / check_name(name)
        except ValueError as error:
            raise ConfigError(f"{self.ablations}: {error}") from None
        if folder.resolve().parent != self.ablations.resolve():
            raise ConfigError(
                f"{folder}: leads outside {self.ablations} (to {folder.resolve()}); "
                "remove the link or choose another name"
            )
        return folder

    def imported(self, name: str) -> Path:
        """The folder of the records of one group of runs trained elsewhere.

        Raises:
            ConfigError: the name is unfit, or leads outside the results folder.
        """
        above = self.root / "imported"
        try:
            folder = above / check_name(name)
        except ValueError as error:
            raise ConfigError(f"{above}: {error}") from None
        if folder.resolve().parent != above.resolve():
            raise ConfigError(
                f"{folder}: leads outside {above} (to {folder.resolve()}); "
                "remove the link or choose another name"
            )
        return folder

    def plan(self, name: str) -> Path:
        return self.ablation(name) / "plan.json"

    def lock(self, name: str) -> Path:
        """The hypotheses as they stood before the first run."""
        return self.ablation(name) / "lock.json"

    def timing(self, name: str) -> Path:
        return self.ablation(name) / "timing.json"

    def study(self, name: str) -> Path:
        """The Optuna study of a search."""
        return self.ablation(name) / "study.db"

    def course(self, name: str, run_id: str) -> Path:
        """The evaluations of a run that a search has stopped, or not trained to its end yet."""
        return self.ablation(name) / "courses" / f"{run_id}.csv"

    def checkpoints(self, name: str) -> Path:
        return self.ablation(name) / "checkpoints"

    def driver_lock(self, name: str) -> Path:
        return self.ablation(name) / "driver.lock"

    def driver(self, name: str) -> Path:
        """Who drives the ablation now: process, host, runs under way."""
        return self.ablation(name) / "driver.json"

    def report(self, name: str) -> Path:
        return self.ablation(name) / "report.md"
