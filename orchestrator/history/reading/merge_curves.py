"""One learning curve from the curve files of a run: detects restarts and keeps the last pass."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.history.reading.columns import (
    EPOCH,
    PER,
    PER_ROUNDING,
    STEP,
    StepValues,
    is_evaluation,
)
from orchestrator.history.reading.curve_formats import CurveFile

_FEWEST_ROUNDED = 5  # evaluations
_EXACT = 1e-9
_TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".json")  # hold more digits than logs
# Remarks about restarts; the second line matches the wording of older records.
_ABOUT_RESTARTS = re.compile(
    r"steps go back|repeats steps of|continues where|holds other steps of"
    r"|goes over steps|goes on where|tell of other steps"
)

Pass = dict[float, StepValues]  # step → row


@dataclass
class MergedCurve:
    """The learning curve of a run.

    Attributes:
        rows: one per step, in the order of steps; rows without an evaluation too.
        unit: what ``step`` counts.
        n_restarts: how often steps went back, or a later file continued or repeated steps.
        remarks: how the files were joined.
    """

    rows: list[StepValues] = field(default_factory=list)
    unit: str = STEP
    n_restarts: int = 0
    remarks: list[str] = field(default_factory=list)


def restart_notes(notes: Iterable[str]) -> list[str]:
    """Those notes of a run that are about restarts."""
    return [note for note in notes if _ABOUT_RESTARTS.search(note)]


def merge_curves(files: Sequence[CurveFile]) -> MergedCurve:
    """Join the curve files of one run.

    Two files that agree on every PER they share are one curve written twice. Files without a
    column in common are parts of one curve. A file or pass that begins at the first step again is
    another attempt, and the one that reached the latest step counts. Anything else is a restart:
    for each step, the pass that was written last counts.
    """
    curve = MergedCurve()
    used = _of_one_unit([file for file in files if file.rows], curve)
    used = without_other_splits(used, curve.remarks)
    used.sort(key=lambda file: (file.log.started, file.changed, file.path))
    whole: Pass = {}
    for index, file in enumerate(used):
        whole = _join(whole, _last_pass(file, curve), file, used[:index], curve)
    curve.rows = [whole[step] for step in sorted(whole)]
    return curve


def _of_one_unit(files: list[CurveFile], curve: MergedCurve) -> list[CurveFile]:
    """The files that count in steps; if there are none, in epochs; else in rows."""
    curve.unit = min((file.unit for file in files), key=(STEP, EPOCH, "row").index, default=STEP)
    curve.remarks += [
        f"{file.path} counts in {file.unit}s and is left out, because other files count in "
        f"{curve.unit}s"
        for file in files
        if file.unit != curve.unit
    ]
    return [file for file in files if file.unit == curve.unit]


def without_other_splits(files: list[CurveFile], remarks: list[str]) -> list[CurveFile]:
    """Leave out tables whose name says training or test, if other files have a PER.

    `remarks` receives one for each of them.
    """
    kept = []
    for file in files:
        split = re.search(r"(?:^|[_/-])(test|train)(?=[_.-]|$)", file.path.rpartition("/")[2])
        others = [other.pers for other in files if other is not file and other.pers]
        if (
            split
            and file.path.endswith(_TABLES)
            and others
            and file.pers
            and not any(same_pers(file.pers, other) for other in others)
        ):
            remarks.append(
                f"{file.path} is left out: by its name it is of the {split.group(1)} split"
            )
        else:
            kept.append(file)
    return kept or files


def same_pers(one: Mapping[float, float], two: Mapping[float, float]) -> bool:
    """Whether PERs share a step and agree, but for rounding, at every step they share."""
    shared = one.keys() & two.keys()
    return bool(shared) and (
        all(abs(one[s] - two[s]) <= PER_ROUNDING or one[s] != one[s] for s in shared)
        or _is_rounded([one[s] for s in shared], [two[s] for s in shared])
        or _is_rounded([two[s] for s in shared], [one[s] for s in shared])
    )


def _is_rounded(coarse: Sequence[float], fine: Sequence[float]) -> bool:
    """Whether a file wrote the values of another with two or three digits; few values say nothing.

    Args:
        coarse, fine: finite or not, at the same steps.
    """
    return len(coarse) >= _FEWEST_ROUNDED and any(
        all(abs(one - round(one, digits)) < _EXACT for one in coarse)
        and all(abs(one - two) <= 0.5 * 10**-digits + _EXACT for one, two in pairs)
        for digits in (2, 3)
        for pairs in [list(zip(coarse, fine, strict=True))]
    )


def _last_pass(file: CurveFile, curve: MergedCurve) -> Pass:
    """The rows of one file by step. Where steps go back, the later pass counts."""
    merged: Pass = {}
    n_repeated, again = 0, False
    of_file = passes(file.rows)
    for rows in of_file:
        if merged and rows[0][STEP] <= min(merged):  # another training, which is not mixed with it
            again = True
            if rows[-1][STEP] < max(merged):
                continue  # given up before the attempt that counts ended
            merged = {}
        at_step: Pass = {}
        for row in rows:
            known = at_step.get(row[STEP], {})
            n_repeated += is_evaluation(row) and bool(known.keys() & row.keys() - {STEP, EPOCH})
            at_step[row[STEP]] = known | row
        merged |= at_step
    *reached, end = (max(row[STEP] for row in rows) for rows in of_file)
    if reached:
        curve.n_restarts += len(reached)
        curve.remarks.append(_restarts_text(file, reached, end, again))
    if n_repeated:
        curve.remarks.append(
            f"{file.path}: {n_repeated} evaluation{'s' * (n_repeated != 1)} of a step that was "
            "logged before; the last one counts"
        )
    return merged


def passes(rows: Sequence[StepValues]) -> list[list[StepValues]]:
    """The rows, split wherever the steps of evaluations or those of training rows go back."""
    split: list[list[StepValues]] = []
    last: dict[bool, float] = {}
    for row in rows:
        step, evaluated = row[STEP], is_evaluation(row)
        if not split or step < last.get(evaluated, step):
            split.append([])
            last = {}
        last[evaluated] = step
        split[-1].append(row)
    return split


def _restarts_text(file: CurveFile, reached: Sequence[float], end: float, again: bool) -> str:
    times = "once" if len(reached) == 1 else f"{len(reached)} times"
    text = f"{file.path}: steps go back {times} (from {', '.join(f'{s:,.0f}' for s in reached)}): "
    if again:
        return (
            text + "the run was started again from its first step; the attempt that reached the "
            "latest step counts, and no value of the others"
        )
    text += "the run was restarted; for each step the last pass counts"
    if end < max(reached):
        text += (
            f". The last pass ended at {end:,.0f}, before the {max(reached):,.0f} of an earlier "
            "one; later steps are those of the earlier pass"
        )
    return text


def _join(
    whole: Pass, later: Pass, file: CurveFile, before: Sequence[CurveFile], curve: MergedCurve
) -> Pass:
    """Add one more file to the curve."""
    names = ", ".join(other.path for other in before)
    old, new = ({s: row[PER] for s, row in rows.items() if PER in row} for rows in (whole, later))
    if same_pers(old, new):
        curve.remarks.append(f"{file.path} holds the same learning curve as {names}")
        return _merged(*(whole, later) if file.path.endswith(_TABLES) else (later, whole))
    if not old or not new:
        return _merged(whole, later)
    curve.n_restarts += 1
    shared = old.keys() & new.keys()
    if shared and min(new) <= min(old):
        later = later if max(new) >= max(old) else whole
        curve.remarks.append(
            f"{file.path} repeats steps of {names} with other values from the first step on: the "
            "run was started again; the attempt that reached the latest step counts"
        )
        return later
    if shared:
        step = max(shared)
        how = (
            f"repeats steps of {names} with other values (at {step:,.0f} PER {old[step]:.4f} and "
            f"then {new[step]:.4f}): the run was restarted; the later file counts"
        )
    elif min(new) > max(old):
        how = (
            f"continues where {names} ended ({min(new):,.0f} after {max(old):,.0f}): one run in "
            "several files"
        )
    else:
        how = f"holds other steps of {names}: the run was restarted"
    curve.remarks.append(f"{file.path} {how}")
    return whole | later


def _merged(first: Pass, second: Pass) -> Pass:
    """Every step of both; where both have a column, the second's value counts."""
    return first | {step: first.get(step, {}) | row for step, row in second.items()}
