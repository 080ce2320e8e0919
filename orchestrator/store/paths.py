"""The names of all files and folders under the results folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from decoder.errors import ConfigError
from orchestrator.spec.names import check_name
from orchestrator.spec.shipped import project_above

RECORD_NAME, HISTORY_NAME = "record.json", "history.csv"  # in the folder of a run


@dataclass(frozen=True)
class Results:
    """The results folder: ``runs/<run_id>/``, ``ablations/<name>/``, ``datasets/``.

    Attributes:
        root: the folder, as given by ``--results``.
        kind: the folder under it that holds the plans and reports. A search has the same files as
            an ablation and some more; a judgement has the plan and the report.
    """

    root: Path
    kind: Literal["ablations", "searches", "judged"] = "ablations"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def ablations(self) -> Path:
        return self.root / self.kind

    @property
    def of_searches(self) -> "Results":
        """The same ledger, with the folders of searches instead of ablations."""
        return replace(self, kind="searches")

    @property
    def of_judged(self) -> "Results":
        """The same ledger, with the folders of judgements instead of ablations."""
        return replace(self, kind="judged")

    def judgements(self) -> list[str]:
        """The names of the judgements of runs that existed before."""
        return sorted(p.parent.name for p in self.of_judged.ablations.glob("*/plan.json"))

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def memory(self) -> Path:
        """The memory that calibrations measured, see `orchestrator.driver.room`; safe to delete."""
        return self.root / "memory.json"

    @property
    def ensemble_words(self) -> Path:
        """Word errors of ensembles, see `orchestrator.tables.ensemble_words`; safe to delete."""
        return self.root / "ensemble_words.json"

    @property
    def index(self) -> Path:
        """A cached table of all records, rebuilt whenever they change; safe to delete."""
        return self.runs / ".index.parquet"

    @property
    def index_checksum(self) -> Path:
        """The SHA-256 of the index; without a right one, the index is rebuilt."""
        return self.runs / ".index.sha256"

    def run(self, run_id: str) -> Path:
        """The folder of one run; all ablations share it."""
        return self.runs / run_id

    def record(self, run_id: str) -> Path:
        return self.run(run_id) / RECORD_NAME

    def failure_log(self, run_id: str) -> Path:
        """What the worker printed in which a run failed for good, shortened to its end."""
        return self.run(run_id) / "failed.log"

    def history(self, run_id: str) -> Path:
        return self.run(run_id) / HISTORY_NAME

    def former(self, run_id: str, source: str) -> Path:
        """The files of a run as other sources made them, see `orchestrator.store.former`.

        Args:
            source: the id of the sources, see `orchestrator.store.sources.source_of`.
        """
        return self.run(run_id) / "former" / source[:16]

    @property
    def ledger_lock(self) -> Path:
        """The lock that is held for a few milliseconds while a run is written or renamed."""
        return self.runs / ".lock"

    @property
    def reservations(self) -> Path:
        """Which runs train now, and in which process, see `orchestrator.store.reservations`."""
        return self.root / "reservations"

    def ablation(self, name: str) -> Path:
        """The folder of one ablation.

        Raises:
            ConfigError: the name is not valid, or leads outside the results folder.
        """
        return _folder(self.ablations, name)

    def imported(self, name: str) -> Path:
        """The folder of one group of imported runs.

        Raises:
            ConfigError: the name is not valid, or leads outside the results folder.
        """
        return _folder(self.root / "imported", name)

    def plan(self, name: str) -> Path:
        return self.ablation(name) / "plan.json"

    def lock(self, name: str) -> Path:
        """The hypotheses as they were before the first run."""
        return self.ablation(name) / "lock.json"

    def looks(self, name: str, rule: str) -> Path:
        """The folder with what the looks decided by a rule, see `orchestrator.store.look_files`."""
        return self.ablation(name) / "looks" / rule

    def timing(self, name: str) -> Path:
        return self.ablation(name) / "timing.json"

    def study(self, name: str) -> Path:
        """The Optuna study of a search."""
        return self.ablation(name) / "study.db"

    def searches(self) -> list[str]:
        """The names of the searches that were run."""
        files = ("search.json", "study.db", "plan.json")
        above = self.of_searches.ablations
        return sorted({path.parent.name for file in files for path in above.glob(f"*/{file}")})

    def kept_search(self, name: str) -> Path:
        """What a search was asked, with its base configuration, when it last ran."""
        return self.ablation(name) / "search.json"

    def best(self, name: str) -> Path:
        """The best candidates of a search, as a table."""
        return self.ablation(name) / "best.parquet"

    def course(self, name: str, run_id: str) -> Path:
        """The evaluations of a run that a search stopped early or has not finished."""
        return self.ablation(name) / "courses" / f"{run_id}.csv"

    def checkpoints(self, name: str) -> Path:
        return self.ablation(name) / "checkpoints"

    def pack_cut(self, name: str) -> Path:
        """Which runs belong to the packs that have trained, see `orchestrator.store.under_way`."""
        return self.checkpoints(name) / "packs.json"

    def page_lock(self, name: str) -> Path:
        """Which of the drivers that share an ablation writes its page while they train."""
        return self.ablation(name) / "page.lock"

    def driver_lock(self, name: str) -> Path:
        return self.ablation(name) / "driver.lock"

    def driver(self, name: str) -> Path:
        """Which process runs the ablation now, on which host, and how many runs are training."""
        return self.ablation(name) / "driver.json"

    def event_files(self, name: str) -> Path:
        """The event files for TensorBoard, one folder for each arm and seed."""
        return self.ablation(name) / "tensorboard"

    def report(self, name: str) -> Path:
        return self.ablation(name) / "report.md"


def default_results(spec: Path | None = None) -> Path:
    """The results folder of a command that is not told one.

    It is ``results`` in the working directory if that exists. Otherwise it lies in the checkout of
    this project that holds the working directory or, failing that, the file `spec`. Without one it
    is ``results`` in the working directory.
    """
    here = Path("results")
    if here.is_dir():
        return here
    project = project_above(Path()) or (project_above(spec.parent) if spec is not None else None)
    return here if project in (None, Path.cwd()) else project / here


def _folder(above: Path, name: str) -> Path:
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
