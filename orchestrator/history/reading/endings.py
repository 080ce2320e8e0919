"""How a foreign run ended, and the reasons in words: diverged, unfinished, collapsed, ok."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from decoder.collapse import CollapseThresholds, is_collapsed
from decoder.import_tables import squeeze
from orchestrator.history.reading.columns import EPOCH, PER, STEP, Row
from orchestrator.history.reading.record import Mapped, Outcome

_PLANNED = {
    STEP: "numtrainingbatches nbatch nbatches nsteps maxsteps totalsteps numsteps trainsteps "
    "trainingsteps iterations maxiters numiterations niter totalbatches maxiterations",
    EPOCH: "epochs numepochs nepochs maxepochs totalepochs epochen",
}
_PLATEAU_PER = (0.95, 1.02)  # an empty output makes one deletion a phoneme: a PER of 1
_PLATEAU_BLANK = 0.99
_LEARNED, _LOST = 0.8, 0.95


def planned_steps(values: Mapping[str, Any], mapped: Mapped, unit: str) -> int | None:
    """Steps (or epochs, where the course counts those) that the settings ask for."""
    names = set(_PLANNED.get(unit, "").split())
    for key, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        if squeeze(key.rpartition(".")[2]) in names and isinstance(value, int | float):
            return int(value) if value > 0 and math.isfinite(value) else None
    if unit == STEP and any("train.n_steps" in paths for paths in mapped.fields.values()):
        return int(mapped.config["train.n_steps"])
    return None


def ending(
    rows: Sequence[Row],
    unit: str,
    n_planned: int | None,
    finished: bool,
    stopped_early: int | None,
    error: str,
) -> tuple[Outcome, tuple[str, ...]]:
    """The outcome of a run and why.

    Args:
        rows: the history.
        unit: what its ``step`` counts.
        n_planned: steps that were asked for.
        finished: whether a log says that training came to its end.
        stopped_early: where the trainer stopped by itself.
        error: the last error a log tells of.
    """
    if not rows:
        reason = f"its log ends in '{error}'" if error else "there is no course to go by"
        return ("unfinished" if error else "unknown"), (reason,)
    diverged = _divergence(rows, unit, error)
    if diverged:
        return "diverged", (diverged,)
    missing = _missing(rows, unit, n_planned, finished, stopped_early)
    if missing:
        return "unfinished", (missing, *((f"its log ends in '{error}'",) if error else ()))
    stuck = _plateau(rows, unit)
    if stuck:
        return "collapsed", (stuck,)
    reasons = []
    if stopped_early is not None:
        reasons.append(f"stopped by itself at {unit} {stopped_early:,} (early stopping)")
    elif n_planned is None and not finished:
        reasons.append("nothing says how long it was to train, so it may be unfinished")
    if error and not finished:
        reasons.append(f"its log tells of '{error}'")
    return "ok", tuple(reasons)


def _divergence(rows: Sequence[Row], unit: str, error: str) -> str:
    """Values that are not finite and stay so, or a decoder that learned and lost it all."""
    bad = {
        name: row[STEP]
        for row in reversed(rows)
        for name, value in row.items()
        if not math.isfinite(value)
    }
    for name, first in sorted(bad.items(), key=lambda item: item[1]):
        after = [row[name] for row in rows if row[STEP] >= first and name in row]
        if not math.isfinite(after[-1]):
            since = next(
                row[STEP]
                for index, row in enumerate(rows)
                if name in row
                and not any(math.isfinite(r[name]) for r in rows[index:] if name in r)
            )
            return f"{name} is not finite from {unit} {since:,.0f} on"
    if "non-finite" in error or "nonfinite" in error:
        return f"its log ends in '{error}'"
    pers = [(row[STEP], row[PER]) for row in rows if PER in row and math.isfinite(row[PER])]
    if len(pers) < 3:
        return ""
    step, best = min(pers, key=lambda pair: pair[1])
    if best < _LEARNED and all(per >= _LOST for _, per in pers[-2:]):
        return (
            f"its PER was {100 * best:.1f} % at {unit} {step:,.0f} and is back at "
            f"{100 * pers[-1][1]:.1f} % at the end"
        )
    return ""


def _missing(
    rows: Sequence[Row],
    unit: str,
    n_planned: int | None,
    finished: bool,
    stopped_early: int | None,
) -> str:
    """What a run lacks to its planned end; trainers may leave the last evaluation out."""
    if n_planned is None or finished or stopped_early is not None:
        return ""
    last = rows[-1][STEP]
    evaluated = [row[STEP] for row in rows if PER in row]
    interval = max(
        (b - a for a, b in zip(evaluated[-4:], evaluated[-3:], strict=False)), default=0.0
    )
    if last + max(1.0, interval, 0.01 * n_planned) >= n_planned:
        return ""
    return f"it ends at {unit} {last:,.0f} of {n_planned:,} ({last / n_planned:.0%})"


def _plateau(rows: Sequence[Row], unit: str) -> str:
    """Whether the last three evaluations all emit next to nothing, as far as that is told."""
    thresholds = CollapseThresholds()
    told = [row for row in rows if PER in row]
    last = told[-thresholds.n_evaluations :]
    if len(last) < min(thresholds.n_evaluations, max(2, len(told))):
        return ""
    until = f"in the last {len(last)} evaluations, up to {unit} {last[-1][STEP]:,.0f}"
    if all("emitted_ratio" in row and "n_distinct" in row for row in last):
        stuck = is_collapsed(last, thresholds)
        return f"next to nothing is emitted {until}" if stuck else ""
    if all(row.get("blank_fraction", 0.0) >= _PLATEAU_BLANK for row in last):
        return f"at least {_PLATEAU_BLANK:.0%} of frames are blank {until}"
    low, high = _PLATEAU_PER
    if all(low <= row[PER] <= high for row in last):
        return (
            f"PER is {100 * last[-1][PER]:.1f} % and never left {100 * low:.0f} to "
            f"{100 * high:.0f} % {until}: that of an output of blanks"
        )
    return ""
