"""Findings about single runs: how they ended, what their best figure hides, what was not read."""

import math
from collections.abc import Iterator
from statistics import median

from decoder.import_tables import squeeze
from orchestrator.imported.foreign import ForeignRun
from orchestrator.imported.lineup import Lineup
from orchestrator.imported.spread import expected_best
from orchestrator.imported.telling import Finding, count, joined, moved, per_text, points

_FEW = 3  # evaluations below which best and final say little
_ROUNDING = 6e-4
_CONTINUES = ("initfromcheckpoint", "resume", "resumefrom", "pretrained", "loadcheckpoint")
_CONTINUES_FROM = (*_CONTINUES, "initcheckpointpath", "resumepath", "checkpointtoload", "warmstart")


def conduct_findings(lineup: Lineup) -> Iterator[Finding]:
    """All findings about single runs."""
    yield from _endings(lineup)
    yield from _best_and_final(lineup)
    yield from _best_of_many(lineup)
    yield from _continued(lineup)
    yield from _copies(lineup)
    yield from _unread(lineup)


_ENDINGS = {
    "diverged": "{} diverged; compared with others {} as a PER of 100 %, not as a gap.",
    "collapsed": "{} ended on the blank plateau. That holds for the steps trained only: the same "
    "settings may leave it later, so {} as what was seen up to there.",
    "unfinished": "{} did not reach the end that was planned, and {} in no comparison of ends.",
    "unknown": "{} no course, so how training went is not known; {} by a final evaluation at most.",
}


def _endings(lineup: Lineup) -> Iterator[Finding]:
    for outcome, sentence in _ENDINGS.items():
        runs = [run for run in lineup.runs if run.outcome == outcome]
        if not runs:
            continue
        one = len(runs) == 1
        title = sentence.format(
            f"{count(len(runs), 'run')}{(' has' if one else ' have') * (outcome == 'unknown')}",
            "it counts" if one else "they count",
        )
        yield Finding(
            outcome,
            3 if outcome == "unknown" else 2,
            title,
            tuple(f"{run.name}: {'; '.join(run.reasons)}." for run in runs),
            tuple(run.name for run in runs),
        )


def _best_and_final(lineup: Lineup) -> Iterator[Finding]:
    gaps = {}
    for run in lineup.runs:
        if run.outcome == "ok" and len(run.pers()) >= _FEW and run.best and run.final:
            gaps[run.name] = (run.final[1] - run.best[1], run)
    reported = [text for run in lineup.runs for text in _reported(run)]
    if not gaps and not reported:
        return
    typical = median(gap for gap, _ in gaps.values()) if gaps else 0.0
    widest = sorted(gaps.values(), key=lambda pair: -pair[0])[:5]
    details = [
        f"{run.name}: best {per_text(run.best[1])} at {run.step_unit} {run.best[0]:,.0f}, "
        f"end {per_text(run.final[1])} ({points(gap)})."
        for gap, run in widest
        if gap > 0 and run.best and run.final
    ]
    turned = _turned(lineup)
    if turned:
        details.append(f"By best and by last figure the order turns round for {joined(turned, 6)}.")
    details += reported
    limit = lineup.spreads.best.believable() if lineup.spreads.best is not None else math.nan
    if typical <= 0 and not turned and not reported:
        return
    yield Finding(
        "best_or_final",
        2 if turned or reported or typical > limit else 3,
        "The best evaluation of a course is lower than its last one by "
        f"{points(typical)} (median of {count(len(gaps), 'run')}); picking it on the trials it is "
        "then reported on makes it too good. This audit compares last evaluations.",
        tuple(details),
        tuple(gaps),
        {"median_gap": typical},
    )


def _reported(run: ForeignRun) -> Iterator[str]:
    """What a final evaluation told in a file of its own agrees with."""
    if not run.best or not run.final:
        return
    for evaluation in run.evaluations:
        is_best = abs(evaluation.per - run.best[1]) <= _ROUNDING
        is_final = abs(evaluation.per - run.final[1]) <= _ROUNDING
        name = f"{evaluation.path} says {per_text(evaluation.per)}"
        if is_best and not is_final:
            yield f"{name}: the best of {len(run.pers())} evaluations, not the last."
        elif not is_best and not is_final:
            nearest = evaluation.per - run.final[1]
            yield (
                f"{name}, {moved(nearest)} than the last evaluation of its course and not the "
                "best one either: another checkpoint, other trials or another decoding."
            )


def _turned(lineup: Lineup) -> list[str]:
    """Pairs one would compare whose order depends on which figure is taken."""
    turned = []
    for step in lineup.steps:
        a, b = step.closest, step.run
        if a.outcome == b.outcome == "ok" and a.best and b.best and a.final and b.final:
            by_best, by_final = b.best[1] - a.best[1], b.final[1] - a.final[1]
            if by_best * by_final < 0 and min(abs(by_best), abs(by_final)) > _ROUNDING:
                turned.append(f"{a.name} and {b.name}")
    return turned


def _best_of_many(lineup: Lineup) -> Iterator[Finding]:
    fit = [run for run in lineup.runs if run.outcome == "ok" and run.counted is not None]
    if len(fit) < 4:
        return
    best = min(fit, key=lambda run: run.counted or 0.0)
    spread = lineup.spreads.best
    text = (
        "Being the lowest of many, its figure is too good, and would rise if it were trained again "
        "on fresh seeds"
    )
    if spread is not None:
        luck = expected_best(len(fit), spread.sd)
        text += (
            f": were all {len(fit)} equally good, the lowest would lie {points(luck)} below their "
            "mean by luck alone"
        )
    yield Finding(
        "best_of_many",
        2,
        f"The lowest of {len(fit)} runs is {best.name} with {per_text(best.counted)}.",
        (f"{text}.",),
        (best.name,),
        {"n": len(fit), "per": best.counted},
    )


def _continued(lineup: Lineup) -> Iterator[Finding]:
    restarted = [run for run in lineup.runs if run.n_restarts]
    if restarted:
        yield Finding(
            "restarted",
            3,
            f"{count(len(restarted), 'run')} {'was' if len(restarted) == 1 else 'were'} restarted "
            "into; of each step the last pass counts.",
            tuple(
                f"{run.name}: {count(run.n_restarts, 'restart')}. "
                + " ".join(
                    f"{note}." for note in run.notes if "restart" in note or "goes on" in note
                )
                for run in restarted
            ),
            tuple(run.name for run in restarted),
        )
    begun = {run.name: told for run in lineup.runs if (told := _begun_from(run))}
    if begun:
        yield Finding(
            "from_checkpoint",
            1,
            f"{count(len(begun), 'run')} did not begin from scratch, and so had more training than "
            "its own steps tell.",
            tuple(f"{name}: {told}." for name, told in begun.items()),
            tuple(begun),
        )


def _begun_from(run: ForeignRun) -> str:
    """What says that a run went on from other weights; "" if nothing does."""
    for note in run.notes:
        if "began from the checkpoint" in note:
            return note
    on = {squeeze(key.rpartition(".")[2]): (key, value) for key, value in run.settings.items()}
    for name in _CONTINUES_FROM:
        key, value = on.get(name, ("", None))
        if value in (None, False, "", 0, "none", "None", "null", "False", "false"):
            continue
        if name == "initcheckpointpath" and on.get("initfromcheckpoint", ("", None))[1] is False:
            continue
        return f"{key} is {value}"
    return ""


def _copies(lineup: Lineup) -> Iterator[Finding]:
    if lineup.copies:
        yield Finding(
            "copies",
            3,
            f"{count(len(lineup.copies), 'folder')} hold{'s' * (len(lineup.copies) == 1)} the same "
            "course as another, byte for byte, and count as one run.",
            tuple(f"{copy} is {run} again." for copy, run in lineup.copies.items()),
            tuple(lineup.copies),
        )


def _unread(lineup: Lineup) -> Iterator[Finding]:
    details = [*_without_settings(lineup), *_refused(lineup), *(f"{r}." for r in lineup.remarks)]
    if details:
        yield Finding(
            "not_read",
            3,
            "Some of what lies in the folders could not be read, or is read with a reservation.",
            tuple(details),
        )


def _without_settings(lineup: Lineup) -> Iterator[str]:
    bare = [run.name for run in lineup.runs if not run.settings]
    if bare:
        yield f"No settings, so in no comparison: {joined(bare)}."
    problems: dict[str, list[str]] = {}
    assumed: dict[tuple[str, ...], list[ForeignRun]] = {}
    for run in lineup.runs:
        if run.settings and not run.mapped.config:
            text = run.mapped.problem.removeprefix(f"{run.settings_from}: ")
            problems.setdefault(text, []).append(run.name)
        stated = tuple(path for path in _WORTH_STATING if path in run.mapped.taken)
        if stated:
            assumed.setdefault(stated, []).append(run)
    for problem, names in problems.items():
        yield (
            f"Compared by the settings' own names alone, as they cannot be said in ours: "
            f"{joined(names)} ({problem})."
        )
    for stated, runs in assumed.items():
        trainer = runs[0].mapped.codebase.upper()
        yield (
            f"{joined(stated)} {'is' if len(stated) == 1 else 'are'} not among the settings of "
            f"{count(len(runs), 'run')} and taken to be as in the official {trainer} trainer; a "
            "change of code there would not be seen."
        )


def _refused(lineup: Lineup) -> Iterator[str]:
    """One sentence for each kind of file and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in lineup.runs:
        for note in run.files:
            if note.role in ("unreadable", "refused") and "weights" not in note.note:
                key = (note.path.rpartition("/")[2], note.note)
                found.setdefault(key, []).append(run.name)
    for (name, why), runs in found.items():
        yield f"{name} of {joined(runs, 4)}: {why}."


_WORTH_STATING = ("loss.ctc_reduction", "optim.epsilon", "optim.algorithm", "loss.zero_infinity")
