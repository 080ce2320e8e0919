"""Checks of single runs: how they ended, best against last PER, copies, what was not read."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from heapq import nlargest
from operator import itemgetter
from statistics import median

from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import FEWEST_ROWS, PreparedGroup
from orchestrator.history.audit.repeat_spread import expected_best
from orchestrator.history.audit.wording import joined, names_of
from orchestrator.history.reading.columns import PER_ROUNDING, last_part
from orchestrator.history.reading.files import FileNote
from orchestrator.history.reading.read_runs import checkpoint_note
from orchestrator.history.reading.record import ImportedRun

_FEW_EVALUATIONS = 3  # with fewer, best and last PER are hardly different
_FEW_RUNS = 4  # with fewer, picking the lowest is of little consequence
_FROM_CHECKPOINT = (  # settings, by the last part of their names
    *("initfromcheckpoint", "resume", "resumefrom", "pretrained", "loadcheckpoint"),
    *("initcheckpointpath", "resumepath", "checkpointtoload", "warmstart"),
)
_OFF = (None, False, "", 0, "none", "None", "null", "False", "false")
# Config paths that matter most for training and are in no official settings file.
_WORTH_STATING = ("loss.ctc_reduction", "optim.epsilon", "optim.algorithm", "loss.zero_infinity")


def check_runs(group: PreparedGroup) -> Iterator[Finding]:
    """Findings about single runs, and about what could not be read."""
    yield from _outcomes(group)
    yield from _best_or_last(group)
    yield from _evaluation_files(group)
    yield from _best_of_many(group)
    restarted = [run for run in group.runs if run.n_restarts]
    if restarted:
        yield Finding("restarted", Weight.NOTE, {"runs": restarted}, names_of(restarted))
    started = {run.name: why for run in group.runs if (why := _why_from_checkpoint(run))}
    if started:
        yield Finding("from_checkpoint", Weight.OVERTURNS, {"started": started}, tuple(started))
    yield from _same_curves(group)
    if group.copies:
        yield Finding("copies", Weight.NOTE, {"copies": group.copies}, tuple(group.copies))
    yield from _not_read(group)


def _outcomes(group: PreparedGroup) -> Iterator[Finding]:
    for outcome in ("diverged", "collapsed", "unfinished", "unknown"):
        runs = [run for run in group.runs if run.outcome == outcome]
        if runs:
            weight = Weight.NOTE if outcome == "unknown" else Weight.WEAKENS
            yield Finding(outcome, weight, {"runs": runs}, names_of(runs))


def _best_or_last(group: PreparedGroup) -> Iterator[Finding]:
    """By how much the best evaluation is lower than the last one."""
    gaps = [
        (run.final[1] - run.best[1], run)
        for run in group.runs
        if run.outcome == "ok" and len(run.pers()) >= _FEW_EVALUATIONS and run.best and run.final
    ]
    typical = median(gap for gap, _ in gaps) if gaps else 0.0
    widest = [pair for pair in nlargest(5, gaps, itemgetter(0)) if pair[0] > PER_ROUNDING]
    reversed_pairs = list(_reversed_pairs(group))
    if widest or reversed_pairs:
        matters = reversed_pairs or typical > (group.chance_limit or math.inf)
        yield Finding(
            "best_or_final",
            Weight.WEAKENS if matters else Weight.NOTE,
            {
                "typical": typical,
                "n_runs": len(gaps),
                "widest": widest,
                "reversed_pairs": reversed_pairs,
            },
            names_of(run for _, run in gaps),
            {"median_gap": typical},
        )


def _reversed_pairs(group: PreparedGroup) -> Iterator[str]:
    """Runs and their closest earlier runs whose best and last PERs give opposite orders."""
    for _, (a, b, _) in group.run_changes:
        if a.outcome == b.outcome == "ok" and a.best and b.best and a.final and b.final:
            by_best, by_last = b.best[1] - a.best[1], b.final[1] - a.final[1]
            if by_best * by_last < 0 and min(abs(by_best), abs(by_last)) > PER_ROUNDING:
                yield f"{a.name} and {b.name}"


def _evaluation_files(group: PreparedGroup) -> Iterator[Finding]:
    """Evaluations in files of their own that differ from the last of the learning curve."""
    unlike = [
        (run, one, one.per - run.final[1], abs(one.per - run.best[1]) <= PER_ROUNDING)
        for run in group.runs
        for one in run.evaluations
        if run.best and run.final and abs(one.per - run.final[1]) > PER_ROUNDING
    ]
    if unlike:
        runs = names_of(run for run, *_ in unlike)
        yield Finding("reported_elsewhere", Weight.WEAKENS, {"unlike": unlike}, runs)


def _best_of_many(group: PreparedGroup) -> Iterator[Finding]:
    n_runs, lowest, spread = len(group.ended_well), group.lowest, group.spreads.best
    if n_runs >= _FEW_RUNS and lowest is not None:
        luck = None if spread is None else expected_best(n_runs, spread.sd)
        yield Finding(
            "best_of_many",
            Weight.WEAKENS,
            {"n_runs": n_runs, "lowest": lowest, "luck": luck},
            (lowest.name,),
            {"n": n_runs, "per": lowest.compared_per},
        )


def _why_from_checkpoint(run: ImportedRun) -> str:
    """What says that a run started from other weights; "" if nothing does."""
    if note := checkpoint_note(run):
        return note
    stated = {last_part(key): (key, value) for key, value in run.settings.items()}
    for name in _FROM_CHECKPOINT:
        key, value = stated.get(name, ("", None))
        switch = stated.get("initfromcheckpoint") if name == "initcheckpointpath" else None
        if value not in _OFF and not (switch and switch[1] is False):
            return f"{key} is {value}"
    return ""


def _same_curves(group: PreparedGroup) -> Iterator[Finding]:
    """Runs, copies removed, with the same learning curve, byte for byte."""
    pairs = []
    seen: dict[frozenset[str], ImportedRun] = {}
    for run in group.runs:
        if len(run.history) >= FEWEST_ROWS and run.settings and run.curve_digests:
            first = seen.setdefault(run.curve_digests, run)
            pair = group.pair(first, run)
            if pair.changes or first.seed != run.seed:
                pairs.append(pair)
    if pairs:
        runs = names_of(run for pair in pairs for run in (pair.a, pair.b))
        yield Finding("same_course", Weight.OVERTURNS, {"pairs": pairs}, runs)


def _not_read(group: PreparedGroup) -> Iterator[Finding]:
    """What could not be read, or only with an assumption."""
    problems: dict[str, list[str]] = {}
    assumed = Counter[tuple[str, tuple[str, ...]]]()
    for run in group.runs:
        if run.settings and not run.mapped.config:
            text = run.mapped.problem.removeprefix(f"{run.settings_from}: ")
            problems.setdefault(text, []).append(run.name)
        silent = tuple(path for path in _WORTH_STATING if path in run.mapped.taken)
        if silent:
            assumed[run.mapped.codebase, silent] += 1
    facts = {
        "without": [run.name for run in group.runs if not run.settings],
        "problems": problems,
        "assumed": assumed,
        "unread": list(unread_files(group.runs, _is_unreadable)),
        "remarks": group.remarks,
    }
    if any(facts.values()):
        yield Finding("not_read", Weight.NOTE, facts)


def _is_unreadable(note: FileNote) -> bool:
    return note.role in ("unreadable", "refused") and not note.note.startswith("weights")


def unread_files(runs: Sequence[ImportedRun], wanted: Callable[[FileNote], bool]) -> Iterator[str]:
    """One sentence for each file name of the wanted files, and reason why they were not read."""
    names: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for note in run.files:
            if note.note and wanted(note):
                names.setdefault((note.path.rpartition("/")[2], note.note), []).append(run.name)
    for (file_name, why), of_runs in names.items():
        yield f"{file_name} of {joined(list(dict.fromkeys(of_runs)), 4)}: {why}."
