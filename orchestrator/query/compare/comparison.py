"""Sides → one row for every two arms that belong together: both figures, difference, the rest.

A comparison describes. It was not declared before the runs, and it looks at many arms at once, so
its p-values are adjusted for their number and it draws no verdict.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.query.compare.effects import (
    SHARES,
    Effect,
    Figure,
    budget_of,
    compare_runs,
    figure_of,
)
from orchestrator.query.compare.joining import Joined, join
from orchestrator.query.compare.mixing import Difference, Mixture, mixtures, untold, what_differs
from orchestrator.query.compare.sides import Row, Side, SideArm, varying_paths
from orchestrator.stats.effects import benjamini_hochberg
from orchestrator.stats.run_values import COUNTED

_NOT_METRICS = ("seed", "numerics_version", "host_pid", "git_dirty", "escape_censored")


@dataclass(frozen=True)
class Options:
    """How sides are compared.

    Attributes:
        metric: a column of the runs, or ``collapsed`` or ``diverged``.
        on: factors or configuration paths to join arms on; empty lets the arms decide.
        by_session: whether PER is told session by session.
        allow_mixed: whether arms of different code or data are shown, without an interval.
        numerics_decide: whether sources of one numerics version count as the same code.
    """

    metric: str = "per"
    on: tuple[str, ...] = ()
    by_session: bool = False
    allow_mixed: bool = False
    numerics_decide: bool = False


@dataclass(frozen=True)
class Line:
    """Two arms beside each other, in one session or in all.

    Attributes:
        a_label, b_label: the sides.
        a_arm, b_arm: names of the arms; None where nothing answers to the other.
        session: None for all together.
        a, b: their figures.
        effect: B minus A; None where an arm stands alone.
        p_adjusted: after Benjamini and Hochberg, over all that was tested; NaN where nothing was.
        way: what the arms agree in; columns: what they were joined on.
        differences: what else differs between them.
        mixed: what is not the same and so was not pooled.
    """

    a_label: str
    b_label: str
    a_arm: str | None
    b_arm: str | None
    session: str | None
    a: Figure | None
    b: Figure | None
    effect: Effect | None
    p_adjusted: float
    way: str
    columns: tuple[str, ...]
    differences: tuple[Difference, ...]
    mixed: tuple[Mixture, ...]


@dataclass(frozen=True)
class Comparison:
    """Sides held beside each other.

    Attributes:
        options: how.
        sides: their labels, the reference first.
        lines: one a pair of arms (and session).
        common: label of the other side → what differs from the reference in every pair.
        remarks: what a reader should know.
    """

    options: Options
    sides: tuple[str, ...]
    lines: tuple[Line, ...]
    common: Mapping[str, tuple[Difference, ...]]
    remarks: tuple[str, ...]

    @property
    def n_tested(self) -> int:
        """Lines with a p."""
        return sum(not math.isnan(line.p_adjusted) for line in self.lines)


def compare(sides: Sequence[Side], options: Options) -> Comparison:
    """Hold every side beside the first.

    Raises:
        ConfigError: an unknown metric or column; nothing to join on; or code or data that differ
            between arms that belong together, unless `options` allows it.
    """
    reference, *others = _labelled(sides)
    _check_metric(sides, options)
    if options.by_session and not _sessions(sides):
        raise ConfigError(
            "--by session: no run tells PER by session, having been recorded before that was kept"
        )
    remarks = [f"{side.label}: {text}" for side in (reference, *others) for text in side.remarks]
    lines: list[Line] = []
    common: dict[str, tuple[Difference, ...]] = {}
    refused: list[str] = []
    for side in others:
        pairs = join(reference, side, options.on)
        if not any(pair.a and pair.b for pair in pairs):
            raise ConfigError(_nothing_joins(reference, side))
        found, problems = _lines(reference, side, pairs, options)
        refused += problems
        matched = [line.differences for line in found if line.a and line.b]
        common[side.label] = (
            tuple(d for d in matched[0] if all(d in m for m in matched)) if matched else ()
        )
        lines += [_without(line, common[side.label]) for line in found]
    if refused:
        raise ConfigError(refused)
    lines = _adjusted(_in_order(lines, options))
    arms = [arm for side in (reference, *others) for arm in side.arms]
    remarks += [f"No side tells which {what} it was made with." for what in untold(arms)]
    remarks += _session_remarks(sides, options)
    labels = tuple(side.label for side in (reference, *others))
    return Comparison(options, labels, tuple(lines), common, tuple(dict.fromkeys(remarks)))


def _labelled(sides: Sequence[Side]) -> list[Side]:
    """Sides with labels of their own, though one thing may be named twice."""
    seen: dict[str, int] = {}
    labelled = []
    for side in sides:
        seen[side.label] = seen.get(side.label, 0) + 1
        n = seen[side.label]
        labelled.append(side._replace(label=f"{side.label} ({n})") if n > 1 else side)
    return labelled


def _lines(
    a: Side, b: Side, pairs: Sequence[Joined], options: Options
) -> tuple[list[Line], list[str]]:
    lines: list[Line] = []
    mixed: dict[str, list[Mixture]] = {}
    n_pairs = 0
    for pair in pairs:
        found: tuple[Mixture, ...] = ()
        if pair.a and pair.b:
            n_pairs += 1
            if not _same_runs(pair.a, pair.b):
                found = tuple(mixtures(pair.a, pair.b, numerics_decide=options.numerics_decide))
            for mixture in found:
                mixed.setdefault(mixture.what, []).append(mixture)
        lines += _lines_of_pair((a, b), pair, found, options)
    if options.allow_mixed:
        return lines, []
    return lines, [
        _refusal(what, found, n_pairs, a.label, b.label, options) for what, found in mixed.items()
    ]


def _lines_of_pair(
    sides: tuple[Side, Side], pair: Joined, mixed: tuple[Mixture, ...], options: Options
) -> list[Line]:
    names = _sessions(sides) if options.by_session else ()
    parts = [
        _by_session(arm, names) if options.by_session else {None: _runs(arm)} for arm in pair[:2]
    ]
    sessions = list(dict.fromkeys([*parts[0], *parts[1]]))
    differs: tuple[Difference, ...] = ()
    if pair.a and pair.b:
        said = {mixture.what for mixture in mixed}
        found = what_differs(pair.a, pair.b, pair.columns)
        differs = tuple(difference for difference in found if difference.name not in said)
    lines = []
    for session in sessions:
        runs = [part.get(session, []) for part in parts]
        budget = budget_of([*runs[0], *runs[1]])
        figures = [
            figure_of(of_arm, options.metric, budget) if arm else None
            for of_arm, arm in zip(runs, pair[:2], strict=True)
        ]
        effect = None
        if pair.a and pair.b:
            effect = compare_runs(runs[0], runs[1], options.metric, pool=not mixed)
        line = Line(
            a_label=sides[0].label,
            b_label=sides[1].label,
            a_arm=_name(pair.a),
            b_arm=_name(pair.b),
            session=session,
            a=figures[0],
            b=figures[1],
            effect=effect,
            p_adjusted=math.nan,
            way=pair.way,
            columns=pair.columns,
            differences=differs,
            mixed=mixed,
        )
        lines.append(line)
    return lines


def _sessions(sides: Sequence[Side]) -> Collection[str]:
    """Every session that a run tells its PER of, in order."""
    runs = (run for side in sides for arm in side.arms for run in _runs(arm))
    return dict.fromkeys(name for run in runs for name in run.get("per_session") or ())


def _by_session(arm: SideArm | None, names: Collection[str]) -> dict[str | None, list[Row]]:
    """Session → the runs with the PER they had there; a diverged run counts 1 in each."""
    found: dict[str | None, list[Row]] = {}
    for run in _runs(arm):
        counts = run.get("per_session") or {}
        for name in names:
            if name in counts and counts[name][1]:
                n_edits, n_reference = counts[name]
                found.setdefault(name, []).append({**run, "per": n_edits / n_reference})
            elif run.get("outcome") == "diverged":
                found.setdefault(name, []).append(run)
    return found


def _session_remarks(sides: Sequence[Side], options: Options) -> list[str]:
    if not options.by_session:
        return []
    runs = [run for side in sides for arm in side.arms for run in arm.runs]
    counted = [run for run in runs if run.get("outcome") in ("ok", "collapsed")]
    n_silent = sum(not run.get("per_session") for run in counted)
    if not n_silent:
        return []
    return [
        f"{n_silent} of {len(counted)} runs do not tell PER by session, having been recorded "
        "before that was kept; they are left out"
    ]


def _refusal(
    what: str, found: Sequence[Mixture], n_pairs: int, a: str, b: str, options: Options
) -> str:
    one = found[0]
    same = all(mixture == one for mixture in found)
    text = (
        f"{what} differs in {len(found)} of {n_pairs} pairs of arms{'' if same else ', such as'}: "
        f"{a}: {one.a}; {b}: {one.b}. They are not pooled: --allow-mixed shows them side by side, "
        "flagged, without an interval"
    )
    if what == "code" and not options.numerics_decide:
        text += (
            "; --same-numerics takes sources of one numerics version for the same code, as `run` "
            "does"
        )
    return text


def _nothing_joins(a: Side, b: Side) -> str:
    known = [[{**arm.config, **arm.levels} for arm in side.arms] for side in (a, b)]
    told = [set().union(*values) for values in known]
    varying = varying_paths([values for side in known for values in side])
    shared = [name for name in varying if all(name in names for names in told)]
    hint = (
        f"what varies is {', '.join(shared[:8])}{', ...' if len(shared) > 8 else ''}: choose of "
        "it with --on, or name"
        if shared
        else "they share no column that varies; name"
    )
    return f"no arm of {a.label} answers to one of {b.label}; {hint} single arms, such as NAME:ARM"


def _check_metric(sides: Sequence[Side], options: Options) -> None:
    if options.by_session and options.metric != "per":
        raise ConfigError(f"--by session tells PER alone; leave out --metric {options.metric}")
    problems = []
    for side in sides:
        known = numbers_told(side)
        if options.metric not in known:
            listing = ", ".join([*known][:20]) + (", ..." if len(known) > 20 else "")
            problems.append(
                f"--metric: {side.label} tells no '{options.metric}'"
                f"{did_you_mean(options.metric, known)} (it tells: {listing or 'no number'})"
            )
    if problems:
        raise ConfigError(problems)


def numbers_told(side: Side) -> list[str]:
    """Metrics that some run of a side has a number for."""
    runs = [run for arm in side.arms for run in arm.runs if run.get("outcome") in COUNTED]
    names = dict.fromkeys(
        name
        for run in runs
        for name, value in run.items()
        if isinstance(value, int | float) and "." not in name and name not in _NOT_METRICS
    )
    first = [name for name in ("per", "best_per") if name in names]
    steps = ["escape_step"] if any("escape_step" in run for run in runs) else []
    return list(dict.fromkeys([*first, *SHARES, *steps, *names]))


def _runs(arm: SideArm | None) -> list[Row]:
    return list(arm.runs) if arm else []


def _name(arm: SideArm | None) -> str | None:
    return arm.name if arm else None


def _same_runs(a: SideArm, b: SideArm) -> bool:
    ids = [{run.get("run_id") for run in arm.runs} for arm in (a, b)]
    return ids[0] == ids[1] and None not in ids[0] and "" not in ids[0]


def _without(line: Line, common: Sequence[Difference]) -> Line:
    return replace(line, differences=tuple(d for d in line.differences if d not in common))


def _in_order(lines: Sequence[Line], options: Options) -> list[Line]:
    """Session by session where asked for, otherwise side by side."""
    if not options.by_session:
        return list(lines)
    return sorted(lines, key=lambda line: line.session or "")


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    tested = [i for i, line in enumerate(lines) if line.effect and not math.isnan(line.effect.p)]
    p_values = [line.effect.p for line in lines if line.effect and not math.isnan(line.effect.p)]
    adjusted = dict(zip(tested, benjamini_hochberg(p_values), strict=True)) if tested else {}
    return [replace(line, p_adjusted=adjusted.get(i, math.nan)) for i, line in enumerate(lines)]
