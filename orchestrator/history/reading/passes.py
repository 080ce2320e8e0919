"""One history out of the courses of a run: restarts found, the last pass kept for each step."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.history.reading.columns import EPOCH, PER, STEP, Row
from orchestrator.history.reading.course import Course

_ROUNDING = 6e-4  # logs print a PER with four digits
_EVALUATED = (PER, "val_loss")
_PREFERENCE = (".jsonl", ".ndjson", ".csv", ".tsv", ".json")


@dataclass
class History:
    """The course of a run as a whole.

    Attributes:
        rows: one a step, in the order of steps; those of training alone too.
        unit: what ``step`` counts.
        n_restarts: how often steps went back, or a second file went on or over them.
        n_repeated: steps that were logged more than once in one pass.
        finished: whether a file says that training came to its end.
        remarks: what was decided on the way.
    """

    rows: list[Row] = field(default_factory=list)
    unit: str = STEP
    n_restarts: int = 0
    n_repeated: int = 0
    finished: bool = False
    remarks: list[str] = field(default_factory=list)


def combine(courses: Sequence[Course]) -> History:
    """Join the courses of one run.

    Two files that agree wherever both tell a PER are one course told twice. Files without a
    column in common are parts of it. Anything else is a restart: of each step the pass that
    was written later counts.
    """
    history = History()
    told = [course for course in courses if course.rows]
    units = {course.unit for course in told}
    if len(units) > 1:
        chosen = min(units, key=(STEP, EPOCH, "row").index)
        for course in told:
            if course.unit != chosen:
                history.remarks.append(
                    f"{course.path} counts in {course.unit}s and is left out; others count in "
                    f"{chosen}s"
                )
        told = [course for course in told if course.unit == chosen]
    if not told:
        history.finished = any(course.log.finished for course in courses)
        return history
    told = _without_other_splits(told, history)
    told.sort(key=_order)
    history.unit = told[0].unit
    whole: dict[float, Row] = {}
    for index, course in enumerate(told):
        passed = _one_file(course, history)
        whole = passed if index == 0 else _join(whole, passed, course, told[:index], history)
    history.rows = [whole[step] for step in sorted(whole)]
    history.finished = any(course.log.finished for course in courses)
    return history


def _order(course: Course) -> tuple[str, float, str]:
    return (course.log.started or "", course.changed, course.path)


def _without_other_splits(told: list[Course], history: History) -> list[Course]:
    """Leave out files whose name says that they are of training or test, beside others."""
    left = []
    for course in told:
        split = re.search(r"(?:^|[_/-])(test|train)(?=[_.-]|$)", course.path.rpartition("/")[2])
        others = [o for o in told if o is not course and _pers(o)]
        is_table = course.path.endswith((*_PREFERENCE,))
        if split and is_table and others and _pers(course) and not _agree(_pers(course), others):
            history.remarks.append(
                f"{course.path} is left out: by its name it tells of the {split.group(1)} split"
            )
        else:
            left.append(course)
    return left or told


def _pers(course: Course) -> dict[float, float]:
    return {row[STEP]: row[PER] for row in course.rows if PER in row}


def _agree(pers: dict[float, float], others: Sequence[Course]) -> bool:
    return any(_same_pers(pers, _pers(other)) for other in others)


def _same_pers(one: dict[float, float], two: dict[float, float]) -> bool:
    shared = one.keys() & two.keys()
    return bool(shared) and all(
        abs(one[step] - two[step]) <= _ROUNDING or one[step] != one[step] for step in shared
    )


def _one_file(course: Course, history: History) -> dict[float, Row]:
    """Step → row of one file. Steps that go back, of evaluations or of training, are a restart."""
    passes: list[dict[float, Row]] = [{}]
    last = {True: float("-inf"), False: float("-inf")}
    n_repeated = 0
    reached: list[float] = []
    in_pass: set[tuple[float, str]] = set()
    for row in course.rows:
        step, evaluated = row[STEP], any(name in row for name in _EVALUATED)
        if step < last[evaluated]:
            passes.append({})
            reached.append(max(last.values()))
            last = {True: float("-inf"), False: float("-inf")}
            in_pass = set()
        last[evaluated] = step
        columns = {(step, name) for name in row if name not in (STEP, EPOCH)}
        n_repeated += evaluated and bool(columns & in_pass)
        in_pass |= columns
        passes[-1][step] = {**passes[-1].get(step, {}), **row}
    if reached:
        history.n_restarts += len(reached)
        history.remarks.append(_restarts_text(course, reached, max(last.values())))
    if n_repeated:
        history.n_repeated += n_repeated
        history.remarks.append(
            f"{course.path}: {n_repeated} evaluation{'s' * (n_repeated != 1)} of a step told "
            "before; the last counts"
        )
    return {step: row for one in passes for step, row in one.items()}


def _restarts_text(course: Course, reached: Sequence[float], end: float) -> str:
    times = "once" if len(reached) == 1 else f"{len(reached)} times"
    text = (
        f"{course.path}: steps go back {times} (from {', '.join(f'{s:,.0f}' for s in reached)}): "
        "restarted; of each step the last pass counts"
    )
    if end < max(reached):
        text += (
            f". The last pass ended at {end:,.0f}, before the {max(reached):,.0f} of an earlier "
            "one; what lies beyond is of the earlier pass"
        )
    return text


def _join(
    whole: dict[float, Row],
    later: dict[float, Row],
    course: Course,
    before: Sequence[Course],
    history: History,
) -> dict[float, Row]:
    """The history with one more file."""
    names = ", ".join(other.path for other in before)
    old = {step: row[PER] for step, row in whole.items() if PER in row}
    new = {step: row[PER] for step, row in later.items() if PER in row}
    if _same_pers(old, new):
        history.remarks.append(f"{course.path} tells the same course as {names}")
        finer = course.path.endswith(_PREFERENCE)
        first, second = (whole, later) if finer else (later, whole)
        return {s: {**first.get(s, {}), **second.get(s, {})} for s in whole.keys() | later.keys()}
    if not old or not new:
        return {s: {**whole.get(s, {}), **later.get(s, {})} for s in whole.keys() | later.keys()}
    history.n_restarts += 1
    shared = sorted(old.keys() & new.keys())
    if shared:
        step = shared[-1]
        history.remarks.append(
            f"{course.path} goes over steps of {names} again with other figures (PER "
            f"{old[step]:.4f} and then {new[step]:.4f} at {step:,.0f}): restarted; the later "
            "file counts"
        )
    else:
        history.remarks.append(
            f"{course.path} goes on where {names} ended ({min(new):,.0f} after {max(old):,.0f}): "
            "one run in several files"
            if min(new) > max(old)
            else f"{course.path} and {names} tell of other steps of one run: restarted"
        )
    return {s: later.get(s) or whole[s] for s in whole.keys() | later.keys()}
