"""Runs trained elsewhere as rows beside those of the ledger."""

from typing import Any

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.history.audit.counting import DATA, counted
from orchestrator.history.reading.columns import COLUMNS, EPOCH, PER, STEP
from orchestrator.history.reading.record import ForeignRun
from orchestrator.history.reading.store import read_imported
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

Row = dict[str, Any]

PREFIX = "imported/"  # of the run ids of imported runs: imported/GROUP/NAME
_FIGURES = tuple(name for name in COLUMNS if name not in (STEP, EPOCH, PER))


def foreign_rows(results: Results, say: Say) -> list[Row]:
    """Every imported run, with the columns of `orchestrator.tables.index.store_row` that it tells.

    Args:
        results: the results folder.
        say: receives a line for each record that cannot be read.
    """
    rows = []
    for group, runs in _groups(results, say).items():
        for run in runs:
            config = {path: v for path, v in run.mapped.config.items() if v is not None}
            rows.append({**foreign_row(run, f"{PREFIX}{group}/{run.name}"), **config})
    return rows


def foreign_row(run: ForeignRun, run_id: str) -> Row:
    """What one imported run tells, but for its configuration."""
    last = run.history[-1] if run.history else {}
    figures: dict[str, Any] = {name: last[name] for name in _FIGURES if name in last}
    known = counted(run)
    best = run.best
    return {
        **figures,
        "run_id": run_id,
        "seed": run.seed,
        "outcome": run.outcome,
        "per": run.counted,
        "best_per": best[1] if best else None,
        "n_steps": run.n_planned,
        "n_steps_done": run.last_step,
        "provenance": "imported",
        "trainer": known.kind or None,
        "dataset": known.values.get(DATA),
        "dataset_path": known.values.get(DATA),
    }


def find_foreign(results: Results, run_id: str, say: Say) -> ForeignRun:
    """One imported run by its id, ``imported/GROUP/NAME``, or the beginning of it.

    Raises:
        ConfigError: no run, or several, begin so.
    """
    runs = {
        f"{PREFIX}{group}/{run.name}": run
        for group, of_group in _groups(results, say).items()
        for run in of_group
    }
    found = [run_id] if run_id in runs else [known for known in runs if known.startswith(run_id)]
    if len(found) == 1:
        return runs[found[0]]
    what = f"{len(found)} runs begin" if found else "no run begins"
    listing = f": {', '.join(found[:5])}" if found else did_you_mean(run_id, runs)
    raise ConfigError(f"{results.root}: {what} with '{run_id}'{listing}; `runs` lists them")


def _groups(results: Results, say: Say) -> dict[str, tuple[ForeignRun, ...]]:
    folders = sorted((results.root / "imported").glob("*/group.json"))
    names = [folder.parent.name for folder in folders]
    return {name: read_imported(results, name, say).runs for name in names}
