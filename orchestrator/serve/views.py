"""What the pages show, worked out from a snapshot: rows, curves, settings and differences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue

from decoder.errors import UserError
from decoder.harmless import harmless
from orchestrator.execute.command.logs import LOGS, log_end
from orchestrator.history.reading.record import ImportedRun
from orchestrator.query.runs import RunDetails, find_run
from orchestrator.serve.charts import N_STYLES, Chart, Curve, make_charts, number_text
from orchestrator.serve.inside import is_inside
from orchestrator.serve.snapshot import Snapshot, Watched
from orchestrator.serve.sweeps import Use
from orchestrator.spec.units import RATES, is_error_rate
from orchestrator.tables.run_row import varying_paths
from orchestrator.terminal import json_text

PER_PAGE = 100
MOST_COMPARED = 12
_MOST_PEERS = 20  # other seeds behind the curves of a run
_LOG_LINES = 200
_FAILED_LOG = "failed.log"
IMPORTED = "imported/"
# Columns of the table of runs, and what they are called.
RUN_COLUMNS = {
    "outcome": "outcome",
    "per": "PER",
    "best_per": "best PER",
    "seed": "seed",
    "n_steps_done": "steps",
    "timing_finished_at": "finished",
}
_FINAL = (
    *("outcome", "per", "best_per", "best_per_step", "per_beam", "seed", "n_steps", "n_steps_done"),
    *("blank_fraction", "emitted_ratio", "n_distinct", "val_loss", "train_loss", "grad_norm_p99"),
    *("timing_run_seconds", "timing_finished_at", "provenance"),
)


class RunLine(NamedTuple):
    """A run in a table of runs."""

    run_id: str
    uses: tuple[Use, ...]
    cells: Mapping[str, str]
    outcome: str


class RunsPage(NamedTuple):
    """One page of a table of runs.

    Attributes:
        n_matching: runs that meet the filters, on all pages.
        page, n_pages: counted from 1.
    """

    rows: list[RunLine]
    n_matching: int
    page: int
    n_pages: int
    sort: str
    outcomes: list[str]


def runs_page(
    state: Snapshot, *, sweep: str, outcome: str, text: str, sort: str, page: int
) -> RunsPage:
    """The runs that meet the filters, sorted, one page of them.

    Args:
        sweep: ``KIND/NAME``; empty takes all.
        outcome: one outcome, see `Snapshot.outcome_of`; empty takes all.
        text: what an id or an arm must contain.
        sort: a column of `RUN_COLUMNS`, with ``-`` before it for the largest first. Runs without a
            value come last.
        page: from 1; one too many gives the last.
    """
    wanted = [run_id for run_id in _of_sweep(state, sweep) if _has(state, run_id, text)]
    outcomes = sorted({state.outcome_of[run_id] for run_id in wanted})
    if outcome:
        wanted = [run_id for run_id in wanted if state.outcome_of[run_id] == outcome]
    name = sort.removeprefix("-") if sort.removeprefix("-") in RUN_COLUMNS else ""
    if name:
        values = state.column(name)
        present = [run_id for run_id in wanted if values.get(run_id) is not None]
        present.sort(key=lambda run_id: _order(values[run_id]), reverse=sort.startswith("-"))
        absent = [run_id for run_id in wanted if values.get(run_id) is None]
        wanted = present + absent
    n_pages = max(1, math.ceil(len(wanted) / PER_PAGE))
    page = min(max(1, page), n_pages)
    shown = wanted[(page - 1) * PER_PAGE : page * PER_PAGE]
    return RunsPage(
        [run_line(state, run_id) for run_id in shown],
        len(wanted),
        page,
        n_pages,
        sort if name else "",
        outcomes,
    )


def run_line(state: Snapshot, run_id: str) -> RunLine:
    """A run as a row of a table."""
    cells = state.cells(run_id, list(RUN_COLUMNS))
    outcome = state.outcome_of.get(run_id, "missing")
    texts = {name: value_text(name, cells.get(name)) for name in RUN_COLUMNS}
    return RunLine(run_id, state.uses.get(run_id, ()), texts | {"outcome": outcome}, outcome)


def _of_sweep(state: Snapshot, sweep: str) -> list[str]:
    if not sweep:
        ids = list(map(str, state.index.column("run_id")))
        return [*ids, *(run_id for run_id in state.uses if run_id not in state.position)]
    kind, _, name = sweep.partition("/")
    known = state.sweep(kind, name)
    if known is not None and known.plan is not None:
        return list(known.plan.run_ids)
    prefix = f"{IMPORTED}{name}/"
    every = map(str, state.index.column("run_id"))
    return [run_id for run_id in every if kind == "imported" and run_id.startswith(prefix)]


def _has(state: Snapshot, run_id: str, text: str) -> bool:
    return not text or text in run_id or any(text in use.arm for use in state.uses.get(run_id, ()))


def _order(value: JsonValue) -> tuple[bool, Any]:
    is_number = isinstance(value, bool | int | float)
    return (not is_number, value if is_number else str(value))


def value_text(name: str, value: object) -> str:
    """A value of a column as text: rates in percent, a dash where there is none."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "timing_finished_at":
        return str(value)[:16].replace("T", " ")
    if isinstance(value, float) and (name in RATES or is_error_rate(name)):
        return number_text(name, value)
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int):
        return f"{value:,}" if name not in ("seed", "host_pid") else str(value)
    return value if isinstance(value, str) else " ".join(json_text(value).split())


class Setting(NamedTuple):
    """A setting of a run; `default` is None where it has the default, or none is known."""

    path: str
    value: str
    default: str | None


class Log(NamedTuple):
    """The end of a log: its file relative to the results folder, and its last lines."""

    file: str
    lines: list[str]


class RunPage(NamedTuple):
    """One run in full; what is not known is empty."""

    run_id: str
    outcome: str
    uses: tuple[Use, ...]
    facts: list[tuple[str, str]]
    charts: list[Chart]
    peers: list[str]
    settings: list[Setting]
    changes: list[tuple[Use, list[tuple[str, str]]]]
    record: list[tuple[str, str]]
    error: str
    logs: list[Log]
    notes: list[str]
    files: list[str]


def run_page(watched: Watched, state: Snapshot, run_id: str) -> RunPage:
    """A run that the snapshot knows, recorded or not.

    Raises:
        UserError: its record cannot be read.
    """
    if run_id.startswith(IMPORTED):
        return _imported_page(watched, state, run_id)
    uses = state.uses.get(run_id, ())
    peers = _peers(state, run_id)
    curves = [Curve(f"run {peer}", watched.history(peer), None) for peer in peers]
    details = _details(watched, state, run_id)
    own = Curve("this run", details.history if details else [], 0)
    facts: list[tuple[str, str]] = []
    settings: list[Setting] = []
    record: list[tuple[str, str]] = []
    error, outcome = "", state.outcome_of.get(run_id, "missing")
    if details is not None:
        outcome = details.run.outcome
        facts = _facts(details.cells)
        settings = _settings(details)
        record = _record_rows(details)
        error = str(details.record.get("error") or "")
    return RunPage(
        run_id,
        outcome,
        uses,
        facts,
        make_charts([*curves, own]),
        peers,
        settings,
        _changes(state, uses),
        record,
        error,
        _logs(watched, run_id),
        [],
        _files_of(watched, run_id),
    )


def _details(watched: Watched, state: Snapshot, run_id: str) -> RunDetails | None:
    """The record of a run and what belongs to it; None if it is not recorded yet."""
    if run_id not in state.position:
        return None
    return find_run(watched.results, run_id, watched.say, {})


def _peers(state: Snapshot, run_id: str) -> list[str]:
    """The recorded runs of the same arms with other seeds."""
    arms = set(state.uses.get(run_id, ()))
    found: dict[str, None] = {}
    for use in arms:
        sweep = state.sweep(use.kind, use.sweep)
        for run in sweep.plan.runs if sweep is not None and sweep.plan is not None else ():
            if run.arm_id == use.arm and run.run_id != run_id and run.run_id in state.position:
                found[run.run_id] = None
    return list(found)[:_MOST_PEERS]


def _facts(cells: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    shown = {
        "per": "final PER",
        "best_per": "best PER",
        "seed": "seed",
        "n_steps_done": "steps",
        "diverged_step": "diverged at step",
        "timing_run_seconds": "seconds",
        "timing_finished_at": "finished",
        "dataset_path": "recordings",
    }
    present = [(name, title) for name, title in shown.items() if cells.get(name) is not None]
    return [(title, value_text(name, cells[name])) for name, title in present]


def _settings(details: RunDetails) -> list[Setting]:
    """The settings, those that are not the default first."""
    changed = details.from_default
    rows = []
    for path, value in sorted(
        details.run.settings.items(), key=lambda item: item[0] not in changed
    ):
        default = value_text("", changed[path][0]) if path in changed else None
        rows.append(Setting(path, value_text("", value), None if details.run.trainer else default))
    return rows


def _changes(state: Snapshot, uses: Sequence[Use]) -> list[tuple[Use, list[tuple[str, str]]]]:
    """For each arm, its settings on top of the base of its sweep."""
    found = []
    for use in uses:
        sweep = state.sweep(use.kind, use.sweep)
        if sweep is None or sweep.plan is None:
            continue
        arm = next((one for one in sweep.plan.arms if one.arm_id == use.arm), None)
        changes = {**sweep.plan.spec.set, **(arm.changes if arm else {})}
        found.append((use, [(path, value_text("", value)) for path, value in changes.items()]))
    return found


def _record_rows(details: RunDetails) -> list[tuple[str, str]]:
    """Identity and results of a run, without settings and long lists."""
    rows = [(n, v) for n, v in details.cells.items() if "." not in n and v is not None]
    return [(n, value_text(n, v)) for n, v in rows if not isinstance(v, list | dict)]


def _logs(watched: Watched, run_id: str) -> list[Log]:
    folder = watched.results.run(run_id)
    if not is_inside(watched.results.root, folder):
        return []
    found = ((f"runs/{run_id}/{name}", log_end(folder / name, _LOG_LINES))
             for name in (_FAILED_LOG, *LOGS))  # fmt: skip
    return [Log(file, [harmless(line) for line in lines]) for file, lines in found if lines]


def _files_of(watched: Watched, run_id: str) -> list[str]:
    names = ("record.json", "history.csv", _FAILED_LOG, *LOGS)
    folder = watched.results.run(run_id)
    return [f"runs/{run_id}/{name}" for name in names if (folder / name).is_file()]


def _imported_page(watched: Watched, state: Snapshot, run_id: str) -> RunPage:
    run = watched.imported_run(run_id)
    settings = [
        Setting(name, value_text("", value if _is_plain(value) else str(value)), None)
        for name, value in run.settings.items()
    ]
    facts = _facts(state.cells(run_id))
    facts += [("read from", run.source), ("settings from", run.settings_from or "no file")]
    return RunPage(
        run_id,
        run.outcome,
        state.uses.get(run_id, ()),
        facts,
        make_charts([Curve("this run", list(run.history), 0)], _x_name(run)),
        [],
        settings,
        [],
        [(note.path, " · ".join(filter(None, (note.role, note.note)))) for note in run.files],
        "",
        [],
        [*run.reasons, *run.notes],
        [],
    )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _x_name(run: ImportedRun) -> str:
    return "step" if any("step" in row for row in run.history) else "epoch"


class Compared(NamedTuple):
    """A run of a comparison: its style in the charts, and where it belongs."""

    run_id: str
    style: int
    uses: tuple[Use, ...]


class Comparison(NamedTuple):
    """Chosen runs beside each other: one value per run in each row.

    Attributes:
        unknown: chosen ids that are no run.
        n_left_out: chosen runs beyond `MOST_COMPARED`.
    """

    runs: list[Compared]
    finals: list[tuple[str, list[str]]]
    settings: list[tuple[str, list[str]]]
    charts: list[Chart]
    unknown: list[str]
    n_left_out: int


def compare_page(watched: Watched, state: Snapshot, chosen: Sequence[str]) -> Comparison:
    """The settings in which runs differ, their final values, and their curves over each other."""
    distinct = list(dict.fromkeys(chosen))
    known = [run_id for run_id in distinct if state.knows(run_id)]
    shown = known[:MOST_COMPARED]
    rows = [state.cells(run_id) for run_id in shown]
    paths = varying_paths([{n: v for n, v in row.items() if "." in n} for row in rows])
    finals = [name for name in _FINAL if any(row.get(name) is not None for row in rows)]
    histories = [_rows_of(watched, run_id) for run_id in shown]
    curves = [Curve(run_id, rows, n % N_STYLES) for n, (run_id, rows) in
              enumerate(zip(shown, histories, strict=True))]  # fmt: skip
    return Comparison(
        [Compared(i, n % N_STYLES, state.uses.get(i, ())) for n, i in enumerate(shown)],
        [(name, [value_text(name, row.get(name)) for row in rows]) for name in finals],
        [(path, [value_text("", row.get(path)) for row in rows]) for path in paths],
        make_charts(curves),
        [run_id for run_id in distinct if run_id not in known],
        len(known) - len(shown),
    )


def _rows_of(watched: Watched, run_id: str) -> Sequence[Mapping[str, float]]:
    try:
        is_imported = run_id.startswith(IMPORTED)
        return watched.imported_run(run_id).history if is_imported else watched.history(run_id)
    except UserError as error:
        watched.say(str(error))
        return []
