"""Findings about single runs: how they ended, what their best figure hides, where they began."""

import math
import re
from collections.abc import Iterator
from statistics import median

from decoder.import_tables import squeeze
from orchestrator.history.audit.counting import differing
from orchestrator.history.audit.lineup import Lineup, same_courses
from orchestrator.history.audit.spread import expected_best
from orchestrator.history.audit.telling import (
    Finding,
    changes_text,
    count,
    joined,
    moved,
    per_text,
    points,
)
from orchestrator.history.reading.record import ForeignRun

_FEW = 3  # evaluations below which best and final say little
_ROUNDING = 6e-4
_RESTART = re.compile(r"steps go back|goes over steps|goes on where|tell of other steps")
_CONTINUES = ("initfromcheckpoint", "resume", "resumefrom", "pretrained", "loadcheckpoint")
_CONTINUES_FROM = (*_CONTINUES, "initcheckpointpath", "resumepath", "checkpointtoload", "warmstart")


def conduct_findings(lineup: Lineup) -> Iterator[Finding]:
    """All findings about single runs."""
    yield from _endings(lineup)
    yield from _best_and_final(lineup)
    yield from _best_of_many(lineup)
    yield from _continued(lineup)
    yield from _same_courses(lineup)
    yield from _copies(lineup)


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
    typical = median(gap for gap, _ in gaps.values()) if gaps else 0.0
    turned = _turned(lineup)
    widest = sorted(gaps.values(), key=lambda pair: -pair[0])[:5]
    details = [
        f"{run.name}: best {per_text(run.best[1])} at {run.step_unit} {run.best[0]:,.0f}, "
        f"end {per_text(run.final[1])} ({points(gap)})."
        for gap, run in widest
        if gap > _ROUNDING and run.best and run.final
    ]
    if turned:
        details.append(f"By best and by last figure the order turns round for {joined(turned, 6)}.")
    if details:
        limit = lineup.spreads.best.believable() if lineup.spreads.best is not None else math.nan
        yield Finding(
            "best_or_final",
            2 if turned or typical > limit else 3,
            "The best evaluation of a course is lower than its last one by "
            f"{points(typical)} (median of {count(len(gaps), 'run')}); picking it on the trials it "
            "is then reported on makes it too good. This audit compares last evaluations.",
            tuple(details),
            tuple(gaps),
            {"median_gap": typical},
        )
    reported = [(run.name, text) for run in lineup.runs for text in _reported(run)]
    if reported:
        yield Finding(
            "reported_elsewhere",
            2,
            f"{count(len(reported), 'figure')} told in a file apart from the course "
            f"{'is' if len(reported) == 1 else 'are'} not that of its last evaluation.",
            tuple(text for _, text in reported),
            tuple(dict.fromkeys(name for name, _ in reported)),
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
                "best one either: another checkpoint, other trials or another decoding"
                f"{', or an earlier pass of this run' if run.n_restarts else ''}."
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
                + " ".join(f"{note}." for note in run.notes if _RESTART.search(note))
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


def _same_courses(lineup: Lineup) -> Iterator[Finding]:
    pairs = same_courses(lineup.runs)
    if pairs:
        texts = []
        for a, b in pairs:
            changes = differing(lineup.known[a.name], lineup.known[b.name])
            told = changes_text(changes) if changes else f"seed {a.seed} → {b.seed}"
            texts.append(f"{a.name} and {b.name}: {told}.")
        yield Finding(
            "same_course",
            1,
            f"{count(len(pairs), 'pair')} of runs have the same course, byte for byte, under "
            "settings that differ: one of them holds a log that is not its own, or settings that "
            "were edited afterwards.",
            tuple(texts),
            tuple(dict.fromkeys(run.name for pair in pairs for run in pair)),
        )


def _copies(lineup: Lineup) -> Iterator[Finding]:
    if lineup.copies:
        yield Finding(
            "copies",
            3,
            f"{count(len(lineup.copies), 'folder')} hold{'s' * (len(lineup.copies) == 1)} the same "
            "course as another, byte for byte; copies are not counted.",
            tuple(f"{copy} is {run} again." for copy, run in lineup.copies.items()),
            tuple(lineup.copies),
        )
