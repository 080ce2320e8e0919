"""The calls of a notebook or script: load, plan and run an ablation, read it, query the store.

Each function joins a few steps of the packages and adds none of its own. `import orchestrator`
offers them. Libraries are imported inside the functions, so that loading a file needs no pandas.
Remarks, such as a record that cannot be trusted, are printed on standard error.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.terminal import remarks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from orchestrator.driver.preview import Preview
    from orchestrator.driver.run import AblationOutcome
    from orchestrator.execute.machine import BackendName
    from orchestrator.plan.document import PlanDocument
    from orchestrator.plan.plan import Plan
    from orchestrator.query.compare.comparison import Comparison
    from orchestrator.report.evaluation import ReportInput
    from orchestrator.spec.load import Loaded
    from orchestrator.verdicts.verdicts import Verdict


def load_spec(path: Path | str, profile: str | None = None) -> "Loaded":
    """Read and check an ablation file together with its base configuration.

    Args:
        profile: one of its profiles; None takes the file as it stands.

    Raises:
        ConfigError: every mistake found, one line each.
    """
    from orchestrator.spec import load

    return load.load_spec(Path(path), profile)


def plan_ablation(
    loaded: "Loaded",
    results: Path | str = "results",
    *,
    workers: int | None = None,
    max_runs_per_pack: int = 16,
) -> "Plan":
    """Plan every run of an ablation and train none; the recordings are prepared where needed.

    Of a greedy path only the stated order is planned; `preview_ablation` adds the rounds that the
    records decide.

    Args:
        results: the results folder; prepared recordings are kept there.
        workers: packs trained at the same time, by which packs are cut; None takes one per GPU,
            or else one per CPU.

    Raises:
        ConfigError: two compared arms differ in more than the declared settings, or not at all.
        DataError: the recordings cannot be trained on.
        StorageError: `results` cannot be written.
    """
    from orchestrator.driver.room import find_room
    from orchestrator.execute.machine import choose_options
    from orchestrator.plan.plan import make_plan
    from orchestrator.plan.recordings import prepare_data
    from orchestrator.store.paths import Results

    options = choose_options(n_workers=workers, max_runs_per_pack=max_runs_per_pack)
    store = Results(Path(results))
    data = prepare_data(loaded.arms, store.datasets, remarks())
    room = find_room(store, loaded.spec.name, options)
    return make_plan(loaded, data, options.n_workers, options.max_runs_per_pack, room)


def preview_ablation(
    loaded: "Loaded",
    results: Path | str = "results",
    *,
    backend: "BackendName" = "ray",
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    max_runs_per_pack: int = 16,
    calibrate: bool = True,
    n_seeds: Sequence[int] = (),
    allow_mixed: bool = False,
    strict: bool = False,
) -> "Preview":
    """What the command ``plan`` shows: the plan, what is recorded of it, cost and power.

    Args:
        results: see `plan_ablation`.
        backend, workers, threads, device, max_runs_per_pack: see `run_ablation`.
        calibrate: whether to train a few steps if no record says what a step costs.
        n_seeds: other numbers of seeds to weigh up, see `Preview.choices`.
        allow_mixed, strict: see `run_ablation`.

    Raises:
        UserError: of any kind.
    """
    from orchestrator.driver.preview import make_preview
    from orchestrator.execute.machine import choose_options
    from orchestrator.store.paths import Results

    options = choose_options(backend, workers, threads, device, None, max_runs_per_pack)
    return make_preview(
        loaded,
        Results(Path(results)),
        options,
        remarks(),
        calibrate=calibrate,
        n_seeds=n_seeds,
        allow_mixed=allow_mixed,
        strict=strict,
    )


def run_ablation(
    loaded: "Loaded",
    results: Path | str = "results",
    *,
    backend: "BackendName" = "ray",
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    address: str | None = None,
    max_runs_per_pack: int = 16,
    gpus_per_pack: float | None = None,
    quiet: bool = False,
    allow_mixed: bool = False,
    strict: bool = False,
    accept_changes: bool = False,
) -> "AblationOutcome":
    """Train the runs that an ablation lacks, record them, and write its report.

    Nothing that the present decoder sources recorded is trained again. An interrupt ends the call
    in good order: what is recorded stays, and the next call continues from there.

    Args:
        backend: ``ray`` trains several packs at a time; ``local`` one after the other in this
            process. Both give the same numbers.
        workers: packs at a time; None takes one per GPU, or else one per CPU.
        threads: CPU threads per worker; None shares the CPUs out.
        device: a torch device; None takes a GPU if there is one.
        address: a Ray cluster to join; None starts one on this machine.
        max_runs_per_pack: how many runs a pack may hold, which bounds its memory.
        gpus_per_pack: the part of a GPU for a pack, such as 0.5; None shares the GPUs out.
        quiet: whether to leave out the display of progress.
        allow_mixed: whether results of other decoder sources are used; otherwise their runs are
            trained again. Claims that mix sources are exploratory.
        strict: whether different versions of PyTorch or devices are refused.
        accept_changes: whether runs are trained again whose recordings have changed since they
            were recorded; otherwise such a change is an error.

    Returns:
        How many runs were trained, recorded and failed, and the folder of the report.

    Raises:
        UserError: of any kind; what was recorded by then stays recorded.
    """
    from rich.console import Console

    from orchestrator.driver import run
    from orchestrator.execute.machine import choose_options
    from orchestrator.store.paths import Results

    options = choose_options(
        backend,
        workers,
        threads,
        device,
        address,
        max_runs_per_pack,
        gpus_per_pack=gpus_per_pack,
    )
    console = Console(stderr=True, quiet=quiet)
    return run.run_ablation(
        loaded,
        Results(Path(results)),
        options,
        console,
        allow_mixed=allow_mixed,
        strict=strict,
        accept=lambda text: accept_changes,
    )


@dataclass(frozen=True)
class AblationResults:
    """An ablation as its records show it now.

    Attributes:
        found: plan, tables, verdicts, criteria and controls, as the report has them.
    """

    found: "ReportInput"

    @property
    def plan(self) -> "PlanDocument":
        """What was planned: the specification, arms, runs and packs."""
        return self.found.plan

    @property
    def verdicts(self) -> dict[str, "Verdict"]:
        """Hypothesis → its verdict, in the order of the file."""
        return {verdict.name: verdict for verdict in self.found.verdicts}

    @cached_property
    def tables(self) -> dict[str, "pd.DataFrame"]:
        """Name → table: ``runs``, ``arms``, ``history``, ``verdicts`` and the others that the
        ablation has; the same as the CSV files of its folder."""
        from orchestrator.report.evaluation import named_tables

        return named_tables(self.found)

    @cached_property
    def figures(self) -> dict[str, "Figure"]:
        """Name → figure of the report, in its order."""
        from orchestrator.report.figures import make_figures

        return {figure.name: figure.figure for figure in make_figures(self.found)}


def read_ablation(name: str, results: Path | str = "results") -> AblationResults:
    """Read an ablation that was run before, finished or not; nothing is trained or written.

    Raises:
        ConfigError: no ablation of this name was run.
        StorageError: its plan or a record cannot be read.
    """
    from orchestrator.report.evaluation import evaluate_records
    from orchestrator.store.ledger import read_history, read_records, with_result
    from orchestrator.store.paths import Results
    from orchestrator.store.plan_file import read_plan

    folder = Results(Path(results))
    plan = read_plan(folder, name)
    records = read_records(folder, plan.run_ids, remarks(), move_aside=False)
    histories = {run_id: read_history(folder, run_id) for run_id in with_result(records)}
    given = evaluate_records(plan, records, histories, runs_dir=folder.runs)
    return AblationResults(given)


def list_runs(
    results: Path | str = "results",
    *,
    where: str | None = None,
    sort: str | None = None,
    descending: bool = False,
    limit: int | None = None,
    columns: Sequence[str] = (),
) -> "pd.DataFrame":
    """The runs of the store, of every ablation, search and import, one row per run.

    Args:
        where: a condition, such as ``optim.epsilon == 0.1 and outcome == 'collapsed'``; None
            takes every run.
        sort: a column; None keeps the order of the run ids. Missing values come last.
        descending: whether the largest value comes first.
        limit: how many rows at most; None sets no limit.
        columns: the columns; ``["all"]`` takes every one. Empty takes outcome, PER, seed and the
            settings in which the runs differ.

    Raises:
        ConfigError: an unknown column, or a condition that cannot be parsed.
        StorageError: a record cannot be read.
    """
    import pandas as pd

    from orchestrator.query import runs
    from orchestrator.store.paths import Results

    listing = runs.list_runs(
        Results(Path(results)),
        remarks(),
        where=where,
        sort=sort,
        descending=descending,
        limit=limit,
        columns=columns,
    )
    return pd.DataFrame(listing.rows, columns=list(listing.columns))


@dataclass(frozen=True)
class ComparedResults:
    """A comparison, as a table and as a figure.

    Attributes:
        comparison: its rows with their types, and what a reader should know of them.
    """

    comparison: "Comparison"

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row per pair of arms; the columns are those of ``compare --csv``."""
        import pandas as pd

        from orchestrator.query.compare.rendering import to_parquet

        return pd.read_parquet(io.BytesIO(to_parquet(self.comparison)))

    @cached_property
    def figure(self) -> "Figure":
        """Values on the left, differences with their intervals on the right."""
        from orchestrator.query.compare.figure import comparison_data, draw_comparison

        return draw_comparison(comparison_data(self.comparison))


def compare_results(
    *names: str,
    results: Path | str = "results",
    metric: str = "per",
    on: Sequence[str] = (),
    by_session: bool = False,
    allow_mixed: bool = False,
    same_numerics: bool = False,
) -> ComparedResults:
    """Compare results with the first of `names`; this describes and draws no verdict.

    Args:
        names: at least two: ablations, searches, ``NAME:ARM``, run ids with commas between, CSV
            files, folders of runs trained elsewhere, or names of imports.
        metric: a column of the runs, ``collapsed`` or ``diverged``.
        on: factors or settings on which arms are joined; empty takes what they share.
        by_session: whether PER is compared session by session.
        allow_mixed: whether arms of different code or data are shown too, without an interval.
        same_numerics: whether sources of one numerics version count as the same code.

    Raises:
        ConfigError: a name that names nothing; nothing to join on; or code or data that differ
            between arms, unless `allow_mixed`.
        StorageError: a record cannot be read.
    """
    from orchestrator.query.compare.comparison import ComparisonOptions
    from orchestrator.query.compare.named_sides import compare_named
    from orchestrator.store.paths import Results

    options = ComparisonOptions(metric, tuple(on), by_session, allow_mixed, same_numerics)
    return ComparedResults(compare_named(names, Results(Path(results)), options, remarks()))
