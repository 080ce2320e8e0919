"""Sides → a row for every two arms that are compared: both means, difference, other differences.

A comparison describes. It is not declared before the runs and it looks at many arms at once, so
its p-values are adjusted for their number and it draws no verdict.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

from decoder.complaints import did_you_mean
from decoder.errors import ConfigError
from orchestrator.query.compare.arm_differences import (
    OtherDifference,
    mismatches,
    not_recorded,
    other_differences,
)
from orchestrator.query.compare.effects import (
    SHARES,
    ArmSummary,
    MeanDifference,
    compare_runs,
    shared_budget,
    summarise,
)
from orchestrator.query.compare.join_arms import JoinedArms, JoinedBy, join_arms
from orchestrator.query.compare.sides import Side, SideArm
from orchestrator.spec.names import listed
from orchestrator.stats.effects import benjamini_hochberg
from orchestrator.stats.run_values import COUNTED
from orchestrator.tables.run_row import RunRow, varying_paths

_NOT_METRICS = ("host_pid", "escape_censored")


@dataclass(frozen=True)
class ComparisonOptions:
    """How sides are compared.

    Attributes:
        metric: a column of the runs, or ``collapsed`` or ``diverged``.
        on: factors or configuration paths to join arms on; empty joins by what the arms share.
        by_session: whether PER is compared session by session.
        allow_mixed: whether arms of different code or data are shown, without an interval.
        numerics_decide: whether sources of one numerics version count as the same code.
    """

    metric: str = "per"
    on: tuple[str, ...] = ()
    by_session: bool = False
    allow_mixed: bool = False
    numerics_decide: bool = False


@dataclass(frozen=True)
class ComparisonRow:
    """Two arms, in one session or in all.

    Attributes:
        a_label, b_label: the sides.
        a_arm, b_arm: names of the arms; None if the other has no partner.
        session: None for all together.
        a, b: the arms in the metric.
        difference: B minus A; None if an arm has no partner.
        p_adjusted: by Benjamini and Hochberg, over all tested rows; NaN if nothing was tested.
        joined_by, columns: what the arms agree in, and the columns they were joined on.
        others: what else differs between them.
        mismatches: code or data that differs, so that the runs were not pooled.
    """

    a_label: str
    b_label: str
    a_arm: str | None
    b_arm: str | None
    session: str | None
    a: ArmSummary | None
    b: ArmSummary | None
    difference: MeanDifference | None
    p_adjusted: float
    joined_by: JoinedBy
    columns: tuple[str, ...]
    others: tuple[OtherDifference, ...]
    mismatches: tuple[OtherDifference, ...]

    @property
    def p(self) -> float:
        """Of no difference, before the adjustment; NaN if nothing was tested."""
        return self.difference.p if self.difference else nan


@dataclass(frozen=True)
class Comparison:
    """Every side compared with the first.

    Attributes:
        options: how.
        sides: their labels, the reference first.
        rows: one per pair of arms (and session).
        common: label of the other side → what differs from the reference in every pair.
        remarks: what a reader should know.
    """

    options: ComparisonOptions
    sides: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]
    common: Mapping[str, tuple[OtherDifference, ...]]
    remarks: tuple[str, ...]

    @property
    def n_tested(self) -> int:
        """Rows with a p-value."""
        return sum(not isnan(row.p) for row in self.rows)


def compare_sides(sides: Sequence[Side], options: ComparisonOptions) -> Comparison:
    """Compare every side with the first.

    Code or data that differ are refused, as `orchestrator.query.compare.arm_differences` finds
    them; `options.allow_mixed` shows them without an interval.

    Raises:
        ConfigError: an unknown metric or column; nothing to join on; or code or data that differ
            between arms that are compared, unless `options` allows it.
    """
    reference, *others = labelled = _with_unique_labels(sides)
    _check_metric(sides, options)
    sessions = _sessions(sides) if options.by_session else ()
    if options.by_session and not sessions:
        raise ConfigError(
            "--by session: no run has PER by session; records of older versions lack it"
        )
    remarks = [f"{side.label}: {text}" for side in labelled for text in side.remarks]
    rows: list[ComparisonRow] = []
    common: dict[str, tuple[OtherDifference, ...]] = {}
    refused: list[str] = []
    for side in others:
        joined = join_arms(reference, side, options.on)
        pairs = [(pair.a, pair.b) for pair in joined if pair.a and pair.b]
        if not pairs:
            raise ConfigError(_nothing_joins(reference, side))
        of_side = [
            row
            for pair in joined
            for row in _rows_of_pair(reference.label, side.label, pair, sessions, options)
        ]
        if not options.allow_mixed:
            refused += _refusals(reference.label, side.label, pairs, options)
        compared = [row.others for row in of_side if row.difference]
        in_all = tuple(d for d in compared[0] if all(d in o for o in compared)) if compared else ()
        common[side.label] = in_all
        rows += [
            replace(row, others=tuple(d for d in row.others if d not in in_all)) for row in of_side
        ]
    if refused:
        raise ConfigError(refused)
    if options.by_session:
        rows.sort(key=lambda row: row.session or "")
    arms = [arm for side in labelled for arm in side.arms]
    remarks += [f"No side records which {what} it was made with." for what in not_recorded(arms)]
    remarks += _session_remarks(arms) if options.by_session else []
    return Comparison(
        options,
        tuple(side.label for side in labelled),
        tuple(_with_adjusted_p(rows)),
        common,
        tuple(dict.fromkeys(remarks)),
    )


def metrics_of(side: Side) -> list[str]:
    """Metrics for which some run of a side has a number."""
    runs = [run for arm in side.arms for run in arm.runs if run.outcome in COUNTED]
    names = dict.fromkeys(
        name
        for run in runs
        for name in run.results
        if run.number(name) is not None and name not in _NOT_METRICS
    )
    first = [name for name in ("per", "best_per") if name in names]
    steps = ["escape_step"] if any("escape_step" in run.results for run in runs) else []
    return list(dict.fromkeys([*first, *SHARES, *steps, *names]))


def _with_unique_labels(sides: Sequence[Side]) -> list[Side]:
    """The sides, numbered where one label comes twice."""
    seen: dict[str, int] = {}
    labelled = []
    for side in sides:
        n = seen[side.label] = seen.get(side.label, 0) + 1
        labelled.append(side._replace(label=f"{side.label} ({n})") if n > 1 else side)
    return labelled


def _rows_of_pair(
    a_label: str,
    b_label: str,
    pair: JoinedArms,
    sessions: Collection[str],
    options: ComparisonOptions,
) -> list[ComparisonRow]:
    arms = (pair.a, pair.b)
    runs: list[dict[str | None, list[RunRow]]] = [
        _by_session(arm, sessions) if options.by_session else {None: list(arm.runs) if arm else []}
        for arm in arms
    ]
    mixed: tuple[OtherDifference, ...] = ()
    others: tuple[OtherDifference, ...] = ()
    if pair.a and pair.b:
        mixed = _mismatches(pair.a, pair.b, options)
        refused = {mismatch.name for mismatch in mixed}
        differences = other_differences(pair.a, pair.b, pair.columns)
        others = tuple(d for d in differences if d.name not in refused)
    rows = []
    for session in dict.fromkeys([*runs[0], *runs[1]]):
        of_a, of_b = (part.get(session, []) for part in runs)
        budget = shared_budget([*of_a, *of_b])
        row = ComparisonRow(
            a_label=a_label,
            b_label=b_label,
            a_arm=pair.a.name if pair.a else None,
            b_arm=pair.b.name if pair.b else None,
            session=session,
            a=summarise(of_a, options.metric, budget) if pair.a else None,
            b=summarise(of_b, options.metric, budget) if pair.b else None,
            difference=compare_runs(of_a, of_b, options.metric, pool=not mixed)
            if pair.a and pair.b
            else None,
            p_adjusted=nan,
            joined_by=pair.joined_by,
            columns=pair.columns,
            others=others,
            mismatches=mixed,
        )
        rows.append(row)
    return rows


def _mismatches(a: SideArm, b: SideArm, options: ComparisonOptions) -> tuple[OtherDifference, ...]:
    """Code and data that differ; none between arms of the same runs."""
    ids = {run.run_id for run in a.runs}
    if ids == {run.run_id for run in b.runs} and "" not in ids:
        return ()
    return tuple(mismatches(a, b, numerics_decide=options.numerics_decide))


def _sessions(sides: Sequence[Side]) -> Collection[str]:
    """Every session for which a run has a PER, in order."""
    runs = (run for side in sides for arm in side.arms for run in arm.runs)
    return dict.fromkeys(name for run in runs for name in run.per_session)


def _by_session(arm: SideArm | None, sessions: Collection[str]) -> dict[str | None, list[RunRow]]:
    """Session → the runs with their PER there; a diverged run is in every session."""
    of_session: dict[str | None, list[RunRow]] = {}
    for run in arm.runs if arm else ():
        for name in sessions:
            n_edits, n_reference = run.per_session.get(name, (0, 0))
            if run.outcome == "diverged":  # has a PER of 1 throughout
                of_session.setdefault(name, []).append(run)
            elif n_reference:
                in_session = run._replace(results={**run.results, "per": n_edits / n_reference})
                of_session.setdefault(name, []).append(in_session)
    return of_session


def _session_remarks(arms: Sequence[SideArm]) -> list[str]:
    runs = [run for arm in arms for run in arm.runs if run.outcome in ("ok", "collapsed")]
    n_without = sum(not run.per_session for run in runs)
    if not n_without:
        return []
    return [
        f"{n_without} of {len(runs)} runs have no PER by session, because records of older "
        "versions lack it; they are left out"
    ]


def _refusals(
    a: str, b: str, pairs: Sequence[tuple[SideArm, SideArm]], options: ComparisonOptions
) -> list[str]:
    """One sentence for code that differs, one for data."""
    mixed: dict[str, list[OtherDifference]] = {}
    for pair in pairs:
        for mismatch in _mismatches(*pair, options):
            mixed.setdefault(mismatch.name, []).append(mismatch)
    refused = []
    for what, of_pairs in mixed.items():
        one, such_as = of_pairs[0], "" if len(set(of_pairs)) == 1 else ", such as"
        text = (
            f"{what} differs in {len(of_pairs)} of {len(pairs)} pairs of arms{such_as}: "
            f"{a}: {one.a}; {b}: {one.b}. They are not pooled: --allow-mixed shows them side by "
            "side, marked, without an interval"
        )
        if what == "code" and not options.numerics_decide:
            text += "; --same-numerics treats sources of one numerics version as the same code"
        refused.append(text)
    return refused


def _nothing_joins(a: Side, b: Side) -> str:
    known = [[arm.known for arm in side.arms] for side in (a, b)]
    names = [set().union(*settings) for settings in known]
    varying = varying_paths([settings for of_side in known for settings in of_side])
    shared = [name for name in varying if all(name in of_side for of_side in names)]
    hint = (
        f"they vary in {listed(shared)}: choose some with --on, or name"
        if shared
        else "they share no column that varies; name"
    )
    return f"no arm of {a.label} can be joined with one of {b.label}; {hint} an arm each: NAME:ARM"


def _check_metric(sides: Sequence[Side], options: ComparisonOptions) -> None:
    metric = options.metric
    if options.by_session and metric != "per":
        raise ConfigError(f"--by session compares only PER; leave out --metric {metric}")
    problems = [
        f"--metric: {side.label} has no '{metric}'{did_you_mean(metric, known)} "
        f"(it has: {listed(known)})"
        for side in sides
        if metric not in (known := metrics_of(side))
    ]
    if problems:
        raise ConfigError(problems)


def _with_adjusted_p(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    tested = [at for at, row in enumerate(rows) if not isnan(row.p)]
    adjusted = benjamini_hochberg([rows[at].p for at in tested]) if tested else ()
    by_row = dict(zip(tested, adjusted, strict=True))
    return [replace(row, p_adjusted=by_row.get(at, nan)) for at, row in enumerate(rows)]
