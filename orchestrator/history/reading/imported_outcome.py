"""How an imported run ended (diverged, unfinished, collapsed or ok), and why we say so."""

import math
from collections.abc import Sequence

from decoder.collapse import CollapseThresholds, is_collapsed
from orchestrator.history.reading.columns import EPOCH, PER, STEP, last_part
from orchestrator.history.reading.log_lines import LogState
from orchestrator.history.reading.merge_curves import MergedCurve
from orchestrator.history.reading.record import ImportedOutcome, MappedSettings, Settings
from orchestrator.spec.units import percent

_PLANNED = {
    STEP: "numtrainingbatches nbatch nbatches nsteps maxsteps totalsteps numsteps trainsteps "
    "trainingsteps iterations maxiters numiterations niter totalbatches maxiterations",
    EPOCH: "epochs numepochs nepochs maxepochs totalepochs epochen",
}
_MOST_STEPS = 1e12
_PLATEAU_PER = (0.95, 1.02)  # an empty output deletes every phoneme: its PER is 1
_PLATEAU_BLANK = 0.99
_LEARNED, _LOST = 0.8, 0.95


def planned_steps(values: Settings, mapped: MappedSettings, unit: str) -> int | None:
    """Number of steps (epochs if the learning curve counts those) that the settings ask for."""
    names = set(_PLANNED.get(unit, "").split())
    for key, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        if last_part(key) in names and isinstance(value, int | float):
            return int(value) if 0 < value < _MOST_STEPS else None
    if unit == STEP and any("train.n_steps" in paths for paths in mapped.fields.values()):
        return int(mapped.config["train.n_steps"])
    return None


def judge_outcome(
    curve: MergedCurve, n_planned: int | None, logs: Sequence[LogState]
) -> tuple[ImportedOutcome, tuple[str, ...]]:
    """The outcome of a run, and the reasons; `n_planned` counts in the unit of the curve."""
    finished = any(log.finished for log in logs)
    stopped_early = next((log.stopped_early for log in logs if log.stopped_early is not None), None)
    error = next((log.error for log in logs if log.error), "")
    log_error = (f"its log ends with the error '{error}'",) if error else ()
    if not curve.rows:
        return ("unfinished", log_error) if error else ("unknown", ("it has no learning curve",))
    if diverged := _divergence(curve, error):
        return "diverged", (diverged,)
    ended = finished or stopped_early is not None
    if not ended and n_planned is not None and (missing := _missing(curve, n_planned)):
        return "unfinished", (missing, *log_error)
    if not ended and n_planned is None and any(log.ends_in_error for log in logs):
        return "unfinished", log_error
    if plateau := _plateau(curve):
        return "collapsed", (plateau,)
    reasons = []
    if stopped_early is not None:
        reasons.append(f"early stopping ended training at {curve.unit} {stopped_early:,}")
    elif n_planned is None and not finished:
        reasons.append("its files do not say how long it should train, so it may be unfinished")
    if error and not finished:
        reasons.append(f"its log reports the error '{error}'")
    return "ok", tuple(reasons)


def _divergence(curve: MergedCurve, error: str) -> str:
    """Why a run diverged: values stay non-finite, or a low PER returns to about 1; "" if not."""
    rows = curve.rows
    bad = {
        name: row[STEP]
        for row in reversed(rows)
        for name, value in row.items()
        if not math.isfinite(value)
    }
    for name in sorted(bad, key=bad.__getitem__):
        finite = [row[STEP] for row in rows if math.isfinite(row.get(name, math.nan))]
        last = max(finite, default=-math.inf)
        since = next((row[STEP] for row in rows if name in row and row[STEP] > last), None)
        if since is not None:
            return f"{name} is not finite from {curve.unit} {since:,.0f} on"
    if "non-finite" in error or "nonfinite" in error:
        return f"its log ends with the error '{error}'"
    pers = [(row[STEP], row[PER]) for row in rows if math.isfinite(row.get(PER, math.nan))]
    step, best = min(pers, key=lambda pair: pair[1], default=(0.0, 1.0))
    if len(pers) > 2 and best < _LEARNED and all(per >= _LOST for _, per in pers[-2:]):
        return (
            f"its PER was {percent(best)} at {curve.unit} {step:,.0f} and rose to "
            f"{percent(pers[-1][1])} at the end"
        )
    return ""


def _missing(curve: MergedCurve, n_planned: int) -> str:
    """Why a run is unfinished; "" if it reached its end, at most one evaluation missing."""
    last = curve.rows[-1][STEP]
    evaluated = [row[STEP] for row in curve.rows if PER in row]
    interval = max(
        (b - a for a, b in zip(evaluated[-4:], evaluated[-3:], strict=False)), default=0.0
    )
    if last + max(1.0, interval, 0.01 * n_planned) >= n_planned:
        return ""
    return f"it ends at {curve.unit} {last:,.0f} of {n_planned:,} ({percent(last / n_planned, 0)})"


def _plateau(curve: MergedCurve) -> str:
    """Why a run collapsed: its last evaluations emit almost nothing; "" if it did not."""
    thresholds = CollapseThresholds()
    evaluations = [row for row in curve.rows if PER in row]
    last = evaluations[-thresholds.n_evaluations :]
    if len(last) < min(thresholds.n_evaluations, max(2, len(evaluations))):
        return ""
    until = f"in the last {len(last)} evaluations, up to {curve.unit} {last[-1][STEP]:,.0f}"
    if all("emitted_ratio" in row and "n_distinct" in row for row in last):
        collapsed = is_collapsed(last, thresholds)
        return f"almost no phonemes are emitted {until}" if collapsed else ""
    if all(row.get("blank_fraction", 0.0) >= _PLATEAU_BLANK for row in last):
        return f"at least {percent(_PLATEAU_BLANK, 0)} of frames are blank {until}"
    low, high = _PLATEAU_PER
    if all(low <= row[PER] <= high for row in last):
        return (
            f"PER is {percent(last[-1][PER])} and stays within {percent(low, 0)} to "
            f"{percent(high, 0)} {until}, as for an output of blanks only"
        )
    return ""
