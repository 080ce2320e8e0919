"""The block of a report that a paper needs: design, seeds, tests, correction, data, software."""

from collections.abc import Iterator, Sequence

from orchestrator.plan.document import PlanDocument
from orchestrator.report.early_text import corrected_text
from orchestrator.report.evaluation import ReportInput
from orchestrator.report.grids import Grid, listed, steps_text
from orchestrator.report.source_grids import data_grid, machine_grid
from orchestrator.report.wording import contrast_text, correction_text, test_title, where_text
from orchestrator.spec.claims import (
    bound_error,
    corrections_of,
    looks_of,
    plans_looks,
    shares_bounds,
    stops_early,
)
from orchestrator.spec.schema import AblationSpec
from orchestrator.spec.units import difference_text, interval_words, noun, number, p_value, unit_of
from orchestrator.verdicts.verdicts import Verdict

_MOST_CLAIMS = 40  # each has a line
_DATA = ("recordings", "fingerprint", "trials", "identified by", "budget", "parameters")
_SOFTWARE = ("Python", "PyTorch", "device", "driver", "kernel", "code", "code of this program")


def paper_text(given: ReportInput) -> str:
    """Design, seeds, tests and correction, each claim in a line, and what data and code these are.

    It is plain text, a paragraph a line.
    """
    plan, runs = given.plan, given.tables.runs
    return "\n".join(
        (
            f"{plan.name}: {' '.join(plan.question.split())}",
            _design(plan, steps_text(runs)),
            *_tests(plan, given.verdicts),
            *map(_claim, given.verdicts[:_MOST_CLAIMS]),
            *_more(len(given.verdicts)),
            f"Data: {_facts(data_grid(plan, runs), _DATA)}.",
            f"Software: {_facts(machine_grid(plan, runs), _SOFTWARE)}.",
            f"Specification: SHA-256 {plan.spec_hash}.",
        )
    )


def _design(plan: PlanDocument, steps: str) -> str:
    spec = plan.spec
    factors = " × ".join(
        f"{name} ({listed(levels)})" for name, levels in spec.factors.items() if levels
    )
    if plan.judged is not None:
        design = "runs that existed before the hypotheses"
    else:
        design = f"{spec.design.replace('_', ' ')} design"
    extra = [arm.name or arm.arm_id for arm in plan.arms if not arm.in_design]
    parts = [f"Design: {design}"]
    parts += [f"factors {factors}"] if factors else []
    parts += [f"arms outside the design: {listed(extra)}"] if extra and spec.factors else []
    parts += [f"{len(plan.arms)} arms, {len(plan.runs):,} runs"]
    parts += [f"{steps} each"] if steps else []
    block = plan.judged.block if plan.judged is not None else "seed"
    parts += [f"paired by {block} ({listed(str(seed) for seed in spec.seeds)})"]
    return f"{'; '.join(parts)}."


def _tests(plan: PlanDocument, verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        return
    spec = plan.spec
    families = [
        f"{one.method} over {len(one.names)} claims ({one.family})" for one in corrections_of(spec)
    ]
    has_looks = plans_looks(spec)
    yield (
        f"Decision rule: two-sided α = {p_value(spec.alpha)}; supported if the adjusted p is below "
        f"{'the α of the look' if has_looks else 'α'} and the estimate is at least the margin; "
        f"refuted if the one-sided {'' if has_looks else '95 % '}bound is below the margin. "
        f"Correction: {'; '.join(families)}."
    )
    if has_looks:
        looks = looks_of(spec)
        levels = ", ".join(f"{p_value(look.alpha)} at {look.seeds} seeds" for look in looks)
        sure = ", ".join(number(100 * (1 - bound_error(spec, look))) for look in looks)
        yield (
            f"Planned looks, which share α: {levels}. Their one-sided bounds, in the same order: "
            f"{sure} %{_shared(spec)}. A decided claim stays decided{_stopping(spec)}."
        )
    unregistered = sum(verdict.unregistered for verdict in verdicts)
    altered = [verdict.name for verdict in verdicts if verdict.altered]
    if unregistered:
        yield "Registration: none, the hypotheses were written when the runs existed."
    elif altered:
        yield f"Registration: before the first run, except {listed(altered)} (exploratory)."
    else:
        yield "Registration: claims, margins, seeds and α were fixed before their first run."


def _claim(verdict: Verdict) -> str:
    claim, evidence = verdict.hypothesis, verdict.evidence
    outcome, n_seeds = claim.outcome, len(evidence.differences)
    margin = difference_text(claim.margin, outcome, signed=False)
    where = f", where {where_text(claim)}" if claim.where else ""
    asked = (
        f"{verdict.name}: {contrast_text(claim)}{where}; {noun(outcome)}, "
        f"{claim.direction.replace('_', ' ')}, margin {margin} {unit_of(outcome)}"
    )
    if not n_seeds:
        return f"{asked}; no result yet."
    corrected = f", {correction_text(verdict)}" if correction_text(verdict) else ""
    return (
        f"{asked}; {verdict.word}: {difference_text(evidence.shown.effect, outcome)} "
        f"{unit_of(outcome)} (95 % interval {interval_words(evidence.shown.interval, outcome)}, "
        f"{evidence.interval_name}), p = {p_value(verdict.p_adjusted)} ({test_title(verdict)}"
        f"{corrected}), n = {n_seeds} seeds{_look(verdict)}.{corrected_text(verdict)}"
    ).replace("= <", "<")


def _look(verdict: Verdict) -> str:
    return f", look {verdict.look} of {verdict.n_looks}" if verdict.n_looks > 1 else ""


def _shared(spec: AblationSpec) -> str:
    return ", before Holm over the claims of a family" if shares_bounds(spec) else ""


def _stopping(spec: AblationSpec) -> str:
    ended = ", and arms that no open claim compares train no further seeds"
    return ended if stops_early(spec) else ""


def _more(n_claims: int) -> Iterator[str]:
    if n_claims > _MOST_CLAIMS:
        yield f"{n_claims - _MOST_CLAIMS:,} more claims are in verdicts.csv."


def _facts(grid: Grid, wanted: tuple[str, ...]) -> str:
    """The rows of a grid of names and values that are wanted, in one line."""
    found = [f"{name} {value}" for name, value in grid.rows if name in wanted and value != "–"]
    return "; ".join(found) or "not known"
