"""Runs trained elsewhere as a side: a folder of them, or one that was imported before."""

from pathlib import Path
from typing import Any

from orchestrator.compare.sides import Row, Side, SideArm
from orchestrator.compare.stored import Say, Store
from orchestrator.imported.columns import COLUMNS, EPOCH, PER, STEP
from orchestrator.imported.counting import DATA, Counted
from orchestrator.imported.foreign import ForeignRun
from orchestrator.imported.lineup import line_up
from orchestrator.imported.reading import Group, read_group
from orchestrator.imported.store import read_imported

_FIGURES = tuple(name for name in COLUMNS if name not in (STEP, EPOCH, PER))


def read_foreign_runs(text: str, store: Store, say: Say) -> Side | None:
    """The side that a name of imported runs, or a folder of runs, stands for; else None.

    Args:
        text: the name or the folder.
        store: the results folder.
        say: receives a line for each record that cannot be read.

    Raises:
        ConfigError, StorageError: it cannot be read.
    """
    if "/" not in text and (store.results.root / "imported" / text / "group.json").is_file():
        return side_of_group(text, read_imported(store.results, text, say))
    folder = Path(text)
    return side_of_group(folder.name or text, read_group(folder)) if folder.is_dir() else None


def side_of_group(label: str, group: Group) -> Side:
    """Imported runs, one arm a configuration as `audit` sees it; copies of a run count once.

    An unfinished run has no result, whatever its last PER.
    """
    lineup = line_up(label, group.source, group.runs, group.remarks)
    arms = [_arm(arm.runs, arm.counted) for arm in lineup.arms]
    told = {run.name for arm in lineup.arms for run in arm.runs}
    untold = [run.name for run in lineup.runs if run.name not in told]
    remarks = [f"{copy} is a copy of {of} and left out" for copy, of in lineup.copies.items()]
    remarks += [f"{', '.join(untold)}: without settings, left out"] if untold else []
    unfinished = [run.name for run in lineup.runs if run.outcome == "unfinished"]
    remarks += [f"{', '.join(unfinished)}: unfinished, without a result"] if unfinished else []
    return Side(label, "imported", tuple(arms), None, tuple(remarks))


def _arm(runs: tuple[ForeignRun, ...], counted: Counted) -> SideArm:
    config = {name: value for name, value in counted.whole.items() if name != DATA}
    name = runs[0].name + (f" and {len(runs) - 1} more" if len(runs) > 1 else "")
    return SideArm(name, {}, config, None, tuple(_row(run, counted) for run in runs))


def _row(run: ForeignRun, counted: Counted) -> Row:
    last = run.history[-1] if run.history else {}
    best = run.best
    figures: dict[str, Any] = {name: last[name] for name in _FIGURES if name in last}
    if run.counted is None or run.outcome == "unfinished":
        outcome = "missing"
    else:
        outcome = "ok" if run.outcome == "unknown" else run.outcome
    return {
        **figures,
        "run_id": f"{run.source}/{run.name}",
        "seed": run.seed,
        "outcome": outcome,
        "per": run.counted,
        "best_per": best[1] if best else None,
        "n_steps": run.n_planned,
        "n_steps_done": run.last_step,
        "provenance": "imported",
        "trainer": counted.kind or None,
        "dataset": counted.values.get(DATA),
        "dataset_path": counted.values.get(DATA),
    }
