"""One learning-curve file of a run, or of several: its rows, split by run, PER as a rate."""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from decoder.atomic import sha256_of
from decoder.plain_pickle import Refused
from orchestrator.history.reading.columns import (
    EPOCH,
    PER,
    STEP,
    StepValues,
    is_evaluation,
    is_unlabelled,
    percent_reason,
)
from orchestrator.history.reading.curve_formats import (
    RUN,
    CurveFile,
    csv_rows,
    json_rows,
    jsonl_rows,
    log_rows,
    stats_rows,
)
from orchestrator.history.reading.files import (
    RunFile,
    TextFile,
    printable,
)
from orchestrator.history.reading.log_lines import LogState
from orchestrator.history.reading.log_runs import LogRuns

_MOST_TRAIN_ROWS = 4_000  # rows without an evaluation that are kept
_MOST_EVALUATIONS = 10_000
_RATES = (PER, "train_per", "blank_fraction")
_MANY_HIGH, _HIGH_RATE = 3, 10.0
_SPLIT = re.compile(r"(train|val|valid|validation|dev|test|eval)\w*$", re.IGNORECASE)
_PERCENT_NAME = re.compile("pct|percent|%|prozent", re.IGNORECASE)


def read_curve_file(file: RunFile, of_one_run: bool = False) -> list[CurveFile]:
    """Read one file as the learning curve of a run, or of each run that wrote to it.

    Args:
        file: to read.
        of_one_run: whether it is beside the settings of one run, see `log_runs.LogRuns`.

    Returns:
        One for each run in the file; `CurveFile.note` says how the file was used. A file that
        is no learning curve has one without rows.
    """
    why = "holds no step with a PER or a loss" if file.n_bytes else "is empty"
    whole = CurveFile(file.name, file.changed, file.note("not read", why))
    try:
        rows, text, runs = _read_rows(file, whole, of_one_run)
    except Refused as error:
        whole.note = file.note("refused", str(error))
        return [whole]
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        said = (
            str(error) if str(error).startswith("is not ") else f"{type(error).__name__}: {error}"
        )
        why = printable(" ".join(said.split())[:300])
        whole.note = file.note("unreadable", why)
        return [whole]
    if file.kind != "log" and is_unlabelled(file.path.stem):
        rows = [{k: v for k, v in row.items() if k != PER} for row in rows]
        whole.remark("its name is that of a split without true labels; its PERs do not count")
    in_percent = _in_percent(rows, whole, runs)
    curves = []
    for at, (name, log) in enumerate(runs):
        own = [
            {k: v / 100 if k in in_percent else v for k, v in row.items() if k != RUN}
            for row in rows
            if row.get(RUN, 0.0) == at
        ]
        curve = replace(whole, log=log, run=name, rows=[], remarks=list(whole.remarks))
        _set_steps(curve, own)
        _remark_lines(curve)
        if curve.rows or log.trainer or log.finished or log.n_unread:
            several = f"{text.digest} {at}".encode() if len(runs) > 1 else b""
            curve.note = file.note("course", digest=sha256_of(several) if several else text.digest)
        curves.append(curve)
    return curves


def _read_rows(
    file: RunFile, curve: CurveFile, of_one_run: bool
) -> tuple[list[StepValues], TextFile, list[tuple[str, LogState]]]:
    """The rows of a file as they are written, and name and log of each run that wrote them."""
    text = TextFile(file)
    runs = [("", LogState())]
    if file.kind == "log":
        log_runs = LogRuns(of_one_run=of_one_run)
        rows, n_thinned = _thinned(log_rows(text, curve, log_runs))
        states = [run.log for run in log_runs.runs]
        if any(PER in row for row in rows) or not any(log.n_unread_others for log in states):
            pass
        else:  # no evaluation is an official line: perhaps a fork words them in its own way
            text, log_runs = TextFile(file), LogRuns(True, of_one_run)
            curve.out_of_range.clear()
            rows, n_thinned = _thinned(log_rows(text, curve, log_runs))
        runs = _named(log_runs)
        if log_runs.empty:
            curve.remark(f"announces runs that wrote no step: {', '.join(log_runs.empty[:10])}")
    elif file.kind in ("json", "stats"):
        rows, n_thinned = list({"json": json_rows, "stats": stats_rows}[file.kind](text, curve)), 0
    else:
        rows, n_thinned = _thinned({"jsonl": jsonl_rows, "csv": csv_rows}[file.kind](text, curve))
        if _are_runs(rows, curve.labels):
            runs = [(label, LogState()) for label in curve.labels]
        else:
            rows = [{k: v for k, v in row.items() if k != RUN} for row in rows]
    rows, n_fewer = _fewer_evaluations(rows)
    if n_fewer:
        curve.remark(
            f"{n_fewer:,} evaluations between others are left out, as there are more than "
            f"{_MOST_EVALUATIONS:,}"
        )
    if n_thinned:
        curve.remark(f"{n_thinned:,} rows without an evaluation are left out")
    if text.skipped_bytes:
        curve.remark(
            f"the file is larger than the limit; {text.skipped_bytes:,} bytes after its first "
            "line are skipped"
        )
    return rows, text, runs


def _are_runs(rows: Sequence[StepValues], labels: Mapping[str, int]) -> bool:
    """Whether the labels of a table's rows are runs: several, over the same steps."""
    steps: dict[float, set[float]] = {}
    for index, row in enumerate(rows):
        if PER in row and RUN in row:
            steps.setdefault(row[RUN], set()).add(row.get(STEP, row.get(EPOCH, float(index))))
    shared = set.intersection(*steps.values()) if len(steps) > 1 else set()
    return bool(shared) and len(steps) == len(labels) and not any(map(_SPLIT.match, labels))


def _named(log_runs: LogRuns) -> list[tuple[str, LogState]]:
    """A name of its own for each run of a log that holds several."""
    if len(log_runs.runs) == 1:
        return [("", log_runs.runs[0].log)]
    names: list[str] = []
    for number, run in enumerate(log_runs.runs, 1):
        name = run.name or f"run{number}"
        names.append(f"{name}-{number}" if name in names else name)
    return [(name, run.log) for name, run in zip(names, log_runs.runs, strict=True)]


def _remark_lines(curve: CurveFile) -> None:
    """Remarks about values left out, and about lines that were read with an assumption."""
    log = curve.log
    for column, (n, first) in curve.out_of_range.items():
        values = "value" if n == 1 else f"{n:,} values"
        curve.remark(f"{values} of {column} out of range left out; {first}")
    if log.n_pairs:
        curve.remark(
            f"{log.n_pairs} lines are read as pairs of name and number, such as '{log.example}'"
        )
    if log.n_carried:
        curve.remark(
            f"{log.n_carried} PERs are on lines without a step; each takes the step mentioned last"
        )
    n_unread = log.n_unread + log.n_unread_others * (not curve.pers)
    if n_unread:
        curve.remark(
            f"{n_unread} line{'s look like evaluations' if n_unread > 1 else ' looks like an '}"
            f"{'' if n_unread > 1 else 'evaluation'} and could not be read, such as '{log.unread}'"
        )


def _thinned(rows: Iterable[StepValues]) -> tuple[list[StepValues], int]:
    """Evaluations, rows with a non-finite value, and a share of the others; the number left out."""
    kept: list[StepValues] = []
    n_rows, n_training, n_seen, every = 0, 0, 0, 1
    for row in rows:
        n_rows += 1
        if not _may_thin(row):
            kept.append(row)
            continue
        n_seen += 1
        if n_seen % every:
            continue
        kept.append(row)
        n_training += 1
        if n_training > _MOST_TRAIN_ROWS:
            kept, every = _halved(kept), 2 * every
            n_training = sum(not is_evaluation(row) for row in kept)
    return kept, n_rows - len(kept)


def _fewer_evaluations(rows: list[StepValues]) -> tuple[list[StepValues], int]:
    """Rows that may not be thinned, but too many: an even share with the last and the lowest PER.

    Returns:
        The rows that are left, and how many are gone.
    """
    places = [at for at, row in enumerate(rows) if not _may_thin(row)]
    if len(places) <= _MOST_EVALUATIONS:
        return rows, 0
    every = -(-len(places) // _MOST_EVALUATIONS)
    gone = {at for back, at in enumerate(reversed(places)) if back % every}
    gone.discard(min(reversed(places), key=lambda at: _lowest_first(rows[at])))
    return [row for at, row in enumerate(rows) if at not in gone], len(gone)


def _lowest_first(row: StepValues) -> float:
    per = row.get(PER, math.inf)
    return math.inf if math.isnan(per) else per


def _halved(rows: Sequence[StepValues]) -> list[StepValues]:
    kept, n_training = [], 0
    for row in rows:
        n_training += not is_evaluation(row)
        if n_training % 2 == 0 or not _may_thin(row):
            kept.append(row)
    return kept


def _may_thin(row: StepValues) -> bool:
    return not is_evaluation(row) and all(map(math.isfinite, row.values()))


def _steps_are_within_epochs(raw: Sequence[StepValues]) -> bool:
    """Whether the steps of a file go back at each new epoch, and only there."""
    if not all(EPOCH in row and STEP in row for row in raw):
        return False
    n_epochs = 0
    for one, two in pairwise(raw):
        risen, back = two[EPOCH] > one[EPOCH], two[STEP] < one[STEP]
        if two[EPOCH] < one[EPOCH] or risen != back:
            return False
        n_epochs += risen
    return n_epochs > 0


def _are_evaluated_by_epoch(raw: Sequence[StepValues]) -> bool:
    """Whether all evaluations of a file state their epoch alone."""
    evaluations = [row for row in raw if is_evaluation(row)]
    return bool(evaluations) and all(EPOCH in row and STEP not in row for row in evaluations)


def _set_steps(curve: CurveFile, raw: Sequence[StepValues]) -> None:
    """Fill `curve.rows`, with a step in every row."""
    if _steps_are_within_epochs(raw):
        curve.unit = EPOCH
        curve.remark("its steps begin again in each epoch; its epochs count")
    elif any(STEP in row for row in raw) and _are_evaluated_by_epoch(raw):
        curve.unit, raw = EPOCH, [row for row in raw if EPOCH in row]
        curve.remark("its evaluations state epochs and no steps; its epochs count")
    elif not any(STEP in row for row in raw):
        curve.unit = EPOCH if any(EPOCH in row for row in raw) else "row"
    for index, row in enumerate(raw):
        step = row.get(STEP) if curve.unit == STEP else row.get(EPOCH, float(index + 1))
        if step is not None and math.isfinite(step):
            curve.rows.append({**row, STEP: step})
    if curve.unit == "row" and curve.rows:
        curve.remark("has no column of steps; its rows are numbered from 1")
    per_name = curve.names.get(PER, "")
    if per_name.lower() not in ("", "per", "val_per", "per (avg)"):
        curve.remark(f"'{per_name}' is read as PER")


def _in_percent(
    rows: Sequence[StepValues], curve: CurveFile, runs: Sequence[tuple[str, LogState]]
) -> set[str]:
    """The columns of a file that are in percent, each judged by all of its values."""
    columns = set()
    logs = [log for _, log in runs]
    for column in _RATES:
        values = [row[column] for row in rows if math.isfinite(row.get(column, math.nan))]
        name = curve.names.get(column, "")
        signed = column in curve.signed
        signed |= column == PER and any(log.percent for log in logs)
        why = ""
        if values and (signed or _PERCENT_NAME.search(name)):
            why = f"the file says that {column.upper()} is in percent"
        elif curve.official or any(log.trainer and not log.n_pairs for log in logs):
            if column == PER and len(values) >= _MANY_HIGH and min(values) > _HIGH_RATE:
                curve.remark(
                    f"PER is never below {min(values):g} and read as a rate, as the official "
                    "trainer writes it; a fork that writes percent should write the sign"
                )
        elif column == "blank_fraction":
            above = max(values, default=0.0) > 1
            why = "blank fractions above 1 are read as percent" if above else ""
        else:
            why = percent_reason(values)
        if why:
            columns.add(column)
            if column != "train_per" or PER not in columns:
                curve.remark(why)
    return columns
