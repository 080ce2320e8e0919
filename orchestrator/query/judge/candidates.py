"""The runs that a judgement may use, from the store, from imports and from tables of other tools.

Each is a run with the names and values that conditions may ask about.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from decoder.pack import HELD_OUT_COLUMNS, HISTORY_COLUMNS
from orchestrator.history.audit.effective_settings import DATA
from orchestrator.history.audit.prepared_group import PreparedGroup, prepare_group
from orchestrator.history.reading.columns import PER, STEP
from orchestrator.history.reading.read_runs import read_group
from orchestrator.history.reading.record import ImportedRun
from orchestrator.history.reading.store import read_imported
from orchestrator.history.rows import imported_row
from orchestrator.query.compare.column_roles import assign_roles
from orchestrator.query.compare.csv_table import read_table, setting_value
from orchestrator.query.compare.sides import Side
from orchestrator.query.compare.stored_runs import IndexedStore, read_stored
from orchestrator.query.compare.table_cells import read_cells
from orchestrator.query.judge.claims_file import ClaimsFile
from orchestrator.spec.names import listed
from orchestrator.stats.run_values import COUNTED
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.run_row import Cells, RunRow, parse_run_row
from orchestrator.terminal import Say
from orchestrator.verdicts.controls import kind_of

_TABLES = (".csv", ".tsv")
_ESCAPES = ("escape_step", "escape_censored")
_ENDINGS = ("outcome", "collapsed", "diverged")
_RESULTS = frozenset(  # columns of tables that are no settings
    (
        *HISTORY_COLUMNS,
        *HELD_OUT_COLUMNS,
        *_ENDINGS,
        *_ESCAPES,
        *("best_per", "best_per_step", "per_beam", "n_steps_done", "selection_optimism"),
    )
)


class Candidate(NamedTuple):
    """A run that may belong to an arm.

    Attributes:
        run: the run, with every setting that is known.
        cells: name → value, for conditions and blocks.
        is_recorded: whether the store has its record; else `run` and `history` are all there is.
        known: of the results that are no plain number (``outcome``, ``escape_step``), those that
            its source states.
        history: its evaluations, if it has no record.
        unsure: columns of numbers of which nothing says whether they are settings or results.
        settings_of: name that a condition may use → the setting that it stands for.
    """

    run: RunRow
    cells: Cells
    is_recorded: bool
    known: frozenset[str]
    history: tuple[Mapping[str, float], ...] = ()
    unsure: frozenset[str] = frozenset()
    settings_of: Mapping[str, str] = {}


class Candidates(NamedTuple):
    """All runs that were named, each once, and how they were read."""

    runs: tuple[Candidate, ...]
    remarks: tuple[str, ...]


def read_candidates(
    texts: Sequence[str], store: IndexedStore, claims: ClaimsFile, say: Say
) -> Candidates:
    """The runs that each text names; a run that several name counts once.

    Args:
        texts: ablations, ``NAME:ARM``, searches, run ids with commas between, ``runs`` folders of a
            store, CSV tables, folders of runs that were trained elsewhere, or names of imports.
        claims: names the columns of tables.
        say: receives a line for each record that cannot be trusted.

    Raises:
        ConfigError: a text names nothing, or see `read_table` and `read_group`.
    """
    found: dict[str, Candidate] = {}
    remarks: list[str] = []
    for text in texts:
        runs, notes = _read(text, store, claims, say)
        n_known = sum(run.run.run_id in found for run in runs)
        notes = [*notes, *([f"{n_known} runs were named before"] if n_known else [])]
        remarks += [f"{text}: {note}" for note in notes]
        for candidate in runs:
            found.setdefault(candidate.run.run_id, candidate)
    return Candidates(tuple(found.values()), tuple(remarks))


def _read(
    text: str, store: IndexedStore, claims: ClaimsFile, say: Say
) -> tuple[list[Candidate], list[str]]:
    if Path(text).suffix.lower() in _TABLES:
        return _of_table(Path(text), store, claims)
    results = store.results
    folder = Path(text)
    if folder.is_dir() and folder.resolve() in (results.runs.resolve(), results.root.resolve()):
        rows = store.runs(store.run_ids)
        return [_stored(run, {}) for run in rows], []
    if text in results.judgements() and not (results.ablations / text / "plan.json").is_file():
        judged = read_plan(results.of_judged, text).judged
        sources = " ".join(judged.sources) if judged is not None else ""
        raise ConfigError(f"{text}: is a judgement; name the runs that it was made of: {sources}")
    side = read_stored(text, store)
    if side is not None:
        return _of_side(text, side, store, claims)
    if "/" not in text and (results.root / "imported" / text / "group.json").is_file():
        return _of_group(prepare_group(text, read_imported(results, text, say)))
    if folder.is_dir():
        return _of_group(prepare_group(folder.name or text, read_group(folder)))
    planned = [plan.parent.name for plan in results.ablations.glob("*/plan.json")]
    known = sorted({*planned, *results.searches()})
    raise ConfigError(
        f"{text}: is no ablation or search in {results.root}{did_you_mean(text, known)} "
        f"(there are: {listed(known)}), no run id, no CSV file and no folder"
    )


def _stored(run: RunRow, levels: Mapping[str, JsonValue]) -> Candidate:
    known = frozenset({"outcome", "escape_step"})
    return Candidate(run, {**_cells(run), **levels}, True, known)


def _cells(run: RunRow) -> dict[str, JsonValue]:
    """What conditions may ask about any run."""
    return {
        **run.results,
        **run.settings,
        "run_id": run.run_id,
        "outcome": run.outcome,
        "seed": run.seed,
        "trainer": run.trainer,
        "dataset": run.dataset,
        "dataset_path": run.dataset_path,
        "git_commit": run.git_commit,
    }


def _of_side(
    text: str, side: Side, store: IndexedStore, claims: ClaimsFile
) -> tuple[list[Candidate], list[str]]:
    """Runs of the store, with the arm and the levels that their ablation gave them."""
    remarks = [*side.remarks]
    name = text.partition(":")[0]
    controls: set[str] = set()
    if (store.results.ablations / name / "plan.json").is_file():
        plan = read_plan(store.results, name)
        controls = {arm.arm_id for arm in plan.arms if kind_of(arm) is not None}
        controls &= {arm.name for arm in side.arms}
    if controls:
        remarks.append(f"{listed(sorted(controls))}: controls, left out")
    if side.thresholds is not None and side.thresholds != claims.collapse.thresholds():
        remarks.append("its own report calls runs collapsed by other thresholds")
    found, n_missing = [], 0
    for arm in side.arms:
        for run in arm.runs if arm.name not in controls else ():
            if run.outcome == "missing":
                n_missing += 1
                continue
            levels = {f"factor.{factor}": level for factor, level in arm.levels.items()}
            found.append(_stored(run, {"arm": arm.name, **levels}))
    if n_missing:
        remarks.append(f"{n_missing} of its runs are planned but not recorded")
    return found, remarks


def _of_group(group: PreparedGroup) -> tuple[list[Candidate], list[str]]:
    """Runs that were trained elsewhere; copies count once."""
    remarks = [*group.remarks]
    remarks += [f"{copy} is a copy of {of} and left out" for copy, of in group.copies.items()]
    return [_imported(run, group) for run in group.runs], remarks


def _imported(run: ImportedRun, group: PreparedGroup) -> Candidate:
    row = parse_run_row(imported_row(run, f"{run.source}/{run.name}"))
    settings = {n: v for n, v in group.settings[run.name].whole.items() if n != DATA}
    has_result = run.compared_per is not None
    # What is unfinished was interrupted: a gap, as a failure of the machine is.
    outcome = {"unfinished": "failed", "unknown": "ok"}.get(run.outcome, run.outcome)
    row = row._replace(outcome=outcome if has_result else "failed", settings=settings)
    cells = {**_cells(row), "name": run.name, "group": group.name}
    if row.dataset_path:
        cells["data"] = row.dataset_path
    known = frozenset({"outcome"} if run.outcome != "unknown" else ())
    return Candidate(row, cells, False, known, tuple(map(_evaluation, _evaluated(run))))


def _evaluated(run: ImportedRun) -> list[Mapping[str, float]]:
    return [row for row in run.history if math.isfinite(row.get(PER, math.nan))]


def _evaluation(row: Mapping[str, float]) -> Mapping[str, float]:
    """The columns of a history that an evaluation has; the step is whole."""
    known = {n: v for n, v in row.items() if n in HISTORY_COLUMNS and math.isfinite(v)}
    return {**known, STEP: float(round(row[STEP]))}


def _of_table(
    path: Path, store: IndexedStore, claims: ClaimsFile
) -> tuple[list[Candidate], list[str]]:
    """One run per row; every column can be asked about, by its header or the name it got."""
    header_of = {header: name for name, header in claims.columns.items()}
    headers, rows, decimal_comma = read_cells(path)
    lacking = [header for header in header_of if header not in headers]
    if lacking:
        raise ConfigError(
            f"{path}: columns.{header_of[lacking[0]]}: there is no column '{lacking[0]}'"
            f"{did_you_mean(lacking[0], headers)} (there are: {listed(headers)})"
        )
    metric = "collapsed"  # a table need not have it; what claims need is checked arm by arm
    side = read_table(path, store, metric, (), (), header_of)
    names = [header_of.get(header, header) for header in headers]
    values = [[setting_value(cell, decimal_comma) for cell in row] for row in rows]
    roles = assign_roles(
        {name: [row[at] for row in values] for at, name in enumerate(names)}, metric
    )
    run_id = roles.special.get("run_id")
    by_id = {run.run_id: run for arm in side.arms for run in arm.runs}
    results = {header for header, name in roles.metrics.items() if name in _RESULTS}
    taken = {*roles.special.values(), *_RESULTS, *results, *roles.settings}
    settings_of = {name: roles.settings.get(name, name) for name in names if name not in results}
    settings_of |= {_plain(name): setting for name, setting in settings_of.items()}
    found = []
    for line, row in enumerate(values, 2):
        cells = dict(zip(names, row, strict=True))
        stated = str(rows[line - 2][names.index(run_id)]) if run_id else ""
        identity = stated or f"line {line}"
        run = by_id.get(identity) or by_id[f"{path}: {identity}"]
        known = {"outcome"} if _states_ending(cells, run) else set()
        known |= {"escape_step"} if any(name in cells for name in _ESCAPES) else set()
        # A column that is neither a known result nor a name may be a setting of the lab's.
        others = {n: v for n, v in cells.items() if n not in taken}
        budget = run.number("n_steps") or run.settings.get("train.n_steps")
        run = run._replace(
            outcome=_ending(run),
            results={**run.results, "n_steps": budget},
            settings={**others, **run.settings},
        )
        cells = {**cells, **{_plain(name): value for name, value in cells.items()}, **_cells(run)}
        unsure = frozenset(others.keys() & run.results.keys())
        is_recorded = store.has(run.run_id)
        found.append(Candidate(run, cells, is_recorded, frozenset(known), (), unsure, settings_of))
    n_stored = sum(candidate.is_recorded for candidate in found)
    renamed = {**roles.metrics, **roles.settings}
    remarks = [f"'{header}' is read as {n}" for header, n in renamed.items() if header != n]
    remarks += side.remarks[1:]  # the first says which columns a comparison does not use
    remarks += [f"the results of {n_stored} of its rows are those of the store"] if n_stored else []
    return found, remarks


def _ending(run: RunRow) -> str:
    """How a run of a table ended, where columns of zeros and ones say so."""
    if run.outcome == "missing":
        return "failed"  # a row without a result is a gap
    if run.outcome == "ok":
        return next((name for name in ("diverged", "collapsed") if run.number(name)), "ok")
    return run.outcome


def _states_ending(cells: Cells, run: RunRow) -> bool:
    return run.outcome in COUNTED and any(
        re.sub(r"\W", "", name).lower() in (*_ENDINGS, "status", "state") and value is not None
        for name, value in cells.items()
    )


def _plain(header: str) -> str:
    """A header as a name that a condition can hold: ``Learning rate`` → ``Learning_rate``."""
    return re.sub(r"\W+", "_", header).strip("_")
