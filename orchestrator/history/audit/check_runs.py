"""Checks of single runs: how they ended, best against last PER, checkpoints, copied curves."""

import math
from collections.abc import Iterator
from statistics import median

from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup, same_curves
from orchestrator.history.audit.repeat_spread import expected_best
from orchestrator.history.audit.setting_changes import setting_changes
from orchestrator.history.audit.wording import (
    changes_text,
    count,
    joined,
    moved,
    names_of,
    per_text,
    points,
)
from orchestrator.history.reading.columns import PER_ROUNDING, last_part
from orchestrator.history.reading.merge_curves import restart_notes
from orchestrator.history.reading.read_runs import checkpoint_note
from orchestrator.history.reading.record import ImportedRun

_FEW_EVALUATIONS = 3  # with fewer, best and last PER are hardly different
_FEW_RUNS = 4  # with fewer, picking the lowest is of little consequence
_FROM_CHECKPOINT = (  # settings, by the last part of their names
    *("initfromcheckpoint", "resume", "resumefrom", "pretrained", "loadcheckpoint"),
    *("initcheckpointpath", "resumepath", "checkpointtoload", "warmstart"),
)
_OFF = (None, False, "", 0, "none", "None", "null", "False", "false")
_OUTCOMES = {  # outcome → (finding about one run, about several runs)
    "diverged": (
        "1 run diverged; in comparisons it counts with a PER of 100 %.",
        "{} runs diverged; in comparisons they count with a PER of 100 %.",
    ),
    "collapsed": (
        "1 run ended on the blank plateau. This holds for the steps it trained; with more steps, "
        "the same settings may leave the plateau.",
        "{} runs ended on the blank plateau. This holds for the steps they trained; with more "
        "steps, the same settings may leave the plateau.",
    ),
    "unfinished": (
        "1 run did not reach its planned end; its last PER is in no comparison.",
        "{} runs did not reach their planned end; their last PERs are in no comparison.",
    ),
    "unknown": (
        "1 run has no learning curve, so its training cannot be judged; only a PER from an "
        "evaluation file is compared.",
        "{} runs have no learning curve, so their training cannot be judged; only PERs from "
        "evaluation files are compared.",
    ),
}


def check_runs(group: PreparedGroup) -> Iterator[Finding]:
    """Findings about single runs."""
    yield from _outcomes(group)
    yield from _best_or_last(group)
    yield from _evaluation_files(group)
    yield from _best_of_many(group)
    yield from _restarted(group)
    yield from _from_checkpoint(group)
    yield from _same_curves(group)
    yield from _copies(group)


def _outcomes(group: PreparedGroup) -> Iterator[Finding]:
    for outcome, (about_one, about_several) in _OUTCOMES.items():
        runs = [run for run in group.runs if run.outcome == outcome]
        if runs:
            yield Finding(
                outcome,
                Weight.NOTE if outcome == "unknown" else Weight.WEAKENS,
                about_one if len(runs) == 1 else about_several.format(len(runs)),
                tuple(f"{run.name}: {'; '.join(run.reasons)}." for run in runs),
                names_of(runs),
            )


def _best_or_last(group: PreparedGroup) -> Iterator[Finding]:
    """By how much the best evaluation is lower than the last one."""
    gaps = [
        (run.final[1] - run.best[1], run)
        for run in group.runs
        if run.outcome == "ok" and len(run.pers()) >= _FEW_EVALUATIONS and run.best and run.final
    ]
    typical = median(gap for gap, _ in gaps) if gaps else 0.0
    reversed_pairs = _reversed_pairs(group)
    details = [
        f"{run.name}: best {per_text(run.best[1])} at {run.step_unit} {run.best[0]:,.0f}, "
        f"last {per_text(run.final[1])} ({points(gap)})."
        for gap, run in sorted(gaps, key=lambda pair: -pair[0])[:5]
        if gap > PER_ROUNDING and run.best and run.final
    ]
    if reversed_pairs:
        details.append(f"Best and last PER give opposite orders for {joined(reversed_pairs, 6)}.")
    if details:
        matters = reversed_pairs or typical > (group.chance_limit() or math.inf)
        yield Finding(
            "best_or_final",
            Weight.WEAKENS if matters else Weight.NOTE,
            "The best evaluation of a learning curve is lower than its last one by "
            f"{points(typical)} (median of {count(len(gaps), 'run')}). Choosing the best "
            "evaluation on the trials on which it is reported is optimistic; this audit compares "
            "last evaluations.",
            tuple(details),
            names_of(run for _, run in gaps),
            {"median_gap": typical},
        )


def _reversed_pairs(group: PreparedGroup) -> list[str]:
    """Runs and their closest earlier runs whose best and last PERs give opposite orders."""
    names = []
    for changes in group.run_changes:
        a, b = changes.closest, changes.run
        if a.outcome == b.outcome == "ok" and a.best and b.best and a.final and b.final:
            by_best, by_last = b.best[1] - a.best[1], b.final[1] - a.final[1]
            if by_best * by_last < 0 and min(abs(by_best), abs(by_last)) > PER_ROUNDING:
                names.append(f"{a.name} and {b.name}")
    return names


def _evaluation_files(group: PreparedGroup) -> Iterator[Finding]:
    """Evaluations in files of their own that differ from the last of the learning curve."""
    unlike = [(run, text) for run in group.runs for text in _unlike_last(run)]
    if unlike:
        yield Finding(
            "reported_elsewhere",
            Weight.WEAKENS,
            f"{count(len(unlike), 'PER')} in evaluation files "
            f"{'differs' if len(unlike) == 1 else 'differ'} from the last evaluation of the "
            "learning curve.",
            tuple(text for _, text in unlike),
            names_of(run for run, _ in unlike),
        )


def _unlike_last(run: ImportedRun) -> Iterator[str]:
    if not run.best or not run.final:
        return
    for evaluation in run.evaluations:
        is_best = abs(evaluation.per - run.best[1]) <= PER_ROUNDING
        gap = evaluation.per - run.final[1]
        if abs(gap) <= PER_ROUNDING:
            continue
        text = f"{evaluation.path} says {per_text(evaluation.per)}"
        if is_best:
            yield f"{text}: the best of {len(run.pers())} evaluations, not the last."
        else:
            yield (
                f"{text}, {moved(gap)} than the last evaluation of the learning curve, and not "
                "the best one either: it is of another checkpoint, other trials or another way "
                f"of decoding{', or of an earlier part of this run' if run.n_restarts else ''}."
            )


def _best_of_many(group: PreparedGroup) -> Iterator[Finding]:
    n_runs, lowest = len(group.ended_well), group.lowest
    if n_runs < _FEW_RUNS or lowest is None:
        return
    spread = group.spreads.best
    text = "As the lowest of many, this PER is optimistic; on new seeds it would be higher"
    if spread is not None:
        luck = points(expected_best(n_runs, spread.sd))
        text += f". If all {n_runs} were equally good, the lowest would be {luck} below their mean"
    yield Finding(
        "best_of_many",
        Weight.WEAKENS,
        f"The lowest of {n_runs} runs is {lowest.name} with {per_text(lowest.compared_per)}.",
        (f"{text}.",),
        (lowest.name,),
        {"n": n_runs, "per": lowest.compared_per},
    )


def _restarted(group: PreparedGroup) -> Iterator[Finding]:
    runs = [run for run in group.runs if run.n_restarts]
    if runs:
        yield Finding(
            "restarted",
            Weight.NOTE,
            f"{count(len(runs), 'run was', 'runs were')} restarted; for each step the last pass "
            "counts.",
            tuple(
                f"{run.name}: {count(run.n_restarts, 'restart')}. "
                + " ".join(f"{note}." for note in restart_notes(run.notes))
                for run in runs
            ),
            names_of(runs),
        )


def _from_checkpoint(group: PreparedGroup) -> Iterator[Finding]:
    started = {run.name: why for run in group.runs if (why := _why_from_checkpoint(run))}
    if started:
        yield Finding(
            "from_checkpoint",
            Weight.OVERTURNS,
            f"{count(len(started), 'run')} started from a checkpoint, and so had more training "
            "than its own steps say."
            if len(started) == 1
            else f"{len(started)} runs started from a checkpoint, and so had more training than "
            "their own steps say.",
            tuple(f"{name}: {why}." for name, why in started.items()),
            tuple(started),
        )


def _why_from_checkpoint(run: ImportedRun) -> str:
    """What says that a run started from other weights; "" if nothing does."""
    note = checkpoint_note(run)
    if note:
        return note
    stated = {last_part(key): (key, value) for key, value in run.settings.items()}
    for name in _FROM_CHECKPOINT:
        key, value = stated.get(name, ("", None))
        if value in _OFF:
            continue
        switched_off = stated.get("initfromcheckpoint", ("", None))[1] is False
        if name == "initcheckpointpath" and switched_off:
            continue
        return f"{key} is {value}"
    return ""


def _same_curves(group: PreparedGroup) -> Iterator[Finding]:
    pairs = same_curves(group.runs)
    if pairs:
        texts = []
        for a, b in pairs:
            changes = setting_changes(group.settings[a.name], group.settings[b.name])
            what = changes_text(changes) if changes else f"seed {a.seed} → {b.seed}"
            texts.append(f"{a.name} and {b.name}: {what}.")
        yield Finding(
            "same_course",
            Weight.OVERTURNS,
            f"{count(len(pairs), 'pair')} of runs with different settings "
            f"{'has' if len(pairs) == 1 else 'have'} the same learning curve, byte for byte: one "
            "of the two holds the log of another run, or its settings were edited afterwards.",
            tuple(texts),
            names_of(run for pair in pairs for run in pair),
        )


def _copies(group: PreparedGroup) -> Iterator[Finding]:
    if group.copies:
        one = len(group.copies) == 1
        yield Finding(
            "copies",
            Weight.NOTE,
            f"{count(len(group.copies), 'folder')} {'is a copy' if one else 'are copies'} of "
            f"another run, byte for byte, and {'is' if one else 'are'} left out.",
            tuple(f"{copy} is a copy of {run}." for copy, run in group.copies.items()),
            tuple(group.copies),
        )
