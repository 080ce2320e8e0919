"""Imported runs as rows of the table of all runs, and one imported run by its id."""

from typing import Any

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.history.audit.effective_settings import DATA, effective_settings
from orchestrator.history.reading.columns import COLUMNS, EPOCH, PER, STEP
from orchestrator.history.reading.record import ImportedRun
from orchestrator.history.reading.store import group_names, read_imported
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

PREFIX = "imported/"  # of the run ids of imported runs: imported/GROUP/NAME
_OF_LAST_ROW = tuple(name for name in COLUMNS if name not in (STEP, EPOCH, PER))


def imported_rows(results: Results, say: Say) -> list[dict[str, Any]]:
    """Every imported run, with those columns of `tables.run_row.record_cells` that it can fill.

    `say` receives one line for each record that cannot be read.
    """
    rows = []
    for run_id, run in _all_runs(results, say).items():
        config = {path: v for path, v in run.mapped.config.items() if v is not None}
        rows.append({**imported_row(run, run_id), **config})
    return rows


def imported_row(run: ImportedRun, run_id: str) -> dict[str, Any]:
    """One imported run as a row, without its configuration."""
    last = run.history[-1] if run.history else {}
    settings = effective_settings(run)
    return {
        **{name: last[name] for name in _OF_LAST_ROW if name in last},
        "run_id": run_id,
        "seed": run.seed,
        "outcome": run.outcome,
        "per": run.compared_per,
        "best_per": run.best[1] if run.best else None,
        "n_steps": run.n_planned,
        "n_steps_done": run.last_step,
        "provenance": "imported",
        "trainer": settings.kind or None,
        "dataset": settings.values.get(DATA),
        "dataset_path": settings.values.get(DATA),
    }


def find_imported(results: Results, run_id: str, say: Say) -> ImportedRun:
    """The imported run whose id is `run_id` (``imported/GROUP/NAME``), or alone begins so.

    `say` receives one line for each record that cannot be read.

    Raises:
        ConfigError: no run, or several, have an id that begins so.
    """
    runs = _all_runs(results, say)
    matches = [run_id] if run_id in runs else [known for known in runs if known.startswith(run_id)]
    if len(matches) == 1:
        return runs[matches[0]]
    what = f"{len(matches)} runs begin" if matches else "no run begins"
    hint = f": {', '.join(matches[:5])}" if matches else did_you_mean(run_id, runs)
    raise ConfigError(f"{results.root}: {what} with '{run_id}'{hint}; `runs` lists them")


def _all_runs(results: Results, say: Say) -> dict[str, ImportedRun]:
    """Run id → run, of every group."""
    return {
        f"{PREFIX}{group}/{run.name}": run
        for group in group_names(results)
        for run in read_imported(results, group, say).runs
    }
