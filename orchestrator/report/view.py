"""What a report says, section by section, as plain text; the two templates only lay it out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.answer import one_line_answer
from orchestrator.report.cards import make_cards
from orchestrator.report.error_grids import choices_grid, errors_grid, sessions_grid
from orchestrator.report.evaluation import ReportInput
from orchestrator.report.figures.style import Saved
from orchestrator.report.greedy import greedy_grid
from orchestrator.report.grids import (
    Grid,
    aliases_grid,
    arms_grid,
    budgets,
    changes_text,
    controls_grid,
    criteria_grid,
    data_grid,
    effects_grid,
    listed,
    machine_grid,
    steps_text,
    unasked_grid,
    varied_grid,
)
from orchestrator.report.prose import prose
from orchestrator.report.rules import make_rules
from orchestrator.report.wording import explain, first_sentence, verdict_title
from orchestrator.spec.claim_text import what_counts
from orchestrator.spec.load import AblationSpec
from orchestrator.store.ledger import source_of_record, with_result
from orchestrator.store.mixing import machines_text, select, sources_text
from orchestrator.store.sources import training_sha256
from orchestrator.verdicts.controls import seed_noise
from orchestrator.verdicts.verdicts import Verdict


class Answer(NamedTuple):
    """One hypothesis: its verdict, two sentences that explain it, and what would have counted."""

    name: str
    claim: str
    what_counts: str
    word: str
    title: str
    finding: str
    decision: str


class Part(NamedTuple):
    """One part of a section; every entry is optional.

    Attributes:
        title: its heading.
        figure: shown with its caption.
        grid: a table.
        layout: how the HTML page sets the table: ``wide``, ``wrap`` (long cells), ``asked`` (long
            titles), or several of these.
        notes: paragraphs below the table.
        code: text in a fixed-width font, such as a traceback.
        bullets: the items of a list.
    """

    title: str = ""
    figure: Saved | None = None
    grid: Grid | None = None
    layout: str = ""
    notes: tuple[str, ...] = ()
    code: str = ""
    bullets: tuple[str, ...] = ()


def make_view(given: ReportInput, figures: Sequence[Saved]) -> dict[str, object]:
    """Put every section into words, for ``report.md.j2`` and ``report.html.j2``.

    Args:
        given: what the report is made from.
        figures: saved in the ablation's folder.
    """
    plan, runs = given.plan, given.tables.runs
    endings = runs["outcome"]
    n_missing, n_failed = (int((endings == ending).sum()) for ending in ("missing", "failed"))
    steps, n_recorded = steps_text(runs), len(runs) - n_missing - n_failed
    eval_steps = listed(runs["eval_every_steps"].dropna().unique())
    cards = make_cards(given)
    return {
        "name": plan.name,
        "question": " ".join(plan.question.split()),
        "summary": " ".join(
            prose("summary", plan=plan, n_recorded=n_recorded, n_runs=len(runs), steps=steps)
        ),
        "warnings": prose(
            "warnings",
            n_runs=len(runs),
            n_missing=n_missing,
            n_failed=n_failed,
            lock_changed=plan.lock_changed,
            **_sources(given),
            machines=machines_text(given.records.values()),
            seeds_added=list(plan.seeds_added),
        ),
        "answer": one_line_answer(given),
        "answers": make_answers(plan, given.verdicts, exploratory=False),
        "explored": make_answers(plan, given.verdicts, exploratory=True),
        "evidence": _sections(
            {
                "Success criteria": _criteria(given),
                "Evidence": [
                    *_effects(given),
                    *_unasked(given),
                    *_noise(given),
                    *_greedy(given),
                    *(Part(figure.title, figure) for figure in figures),
                    *_arms(given),
                ],
            }
        ),
        "cards": cards,
        "cards_left_out": len(plan.arms) - len(cards),
        "method": _sections(
            {
                "What was varied": [_varied(plan.spec)],
                "How it was decided": [Part(bullets=make_rules(plan.spec, given.verdicts, runs))],
                "Data and budget": [Part(grid=data_grid(plan, runs), layout="wrap")],
                "Runs that did not reach their budget": _failures(given.tables.failures),
                "Limits": [
                    Part(bullets=prose("limits", plan=plan, steps=steps, eval_steps=eval_steps))
                ],
                "Environment and timing": [Part(grid=machine_grid(runs), layout="wrap")],
            }
        ),
    }


def _sources(given: ReportInput) -> dict[str, object]:
    """What the warnings say of runs of other decoder sources, used or left out."""
    used, left_out = given.records, given.left_out
    sources = Counter(source_of_record(used[run_id]) for run_id in with_result(used))
    usual = training_sha256()
    if usual not in sources and sources:
        usual = sources.most_common(1)[0][0]
    others = select(used, usual).others
    n_recorded = len(with_result(used)) + len(left_out)
    return {
        "left_out": sources_text(left_out, n_recorded) if left_out else "",
        "mixed": sources_text(others, n_recorded) if others else "",
        "mixed_claims": [verdict.name for verdict in given.verdicts if verdict.mixed],
    }


def _sections(sections: Mapping[str, Iterable[Part]]) -> list[tuple[str, list[Part]]]:
    """(title, parts) of the sections that have a part."""
    return [(title, parts) for title, given in sections.items() if (parts := list(given))]


def make_answers(
    plan: PlanDocument, verdicts: Sequence[Verdict], *, exploratory: bool
) -> tuple[Answer, ...]:
    """Put the verdicts on confirmatory or on exploratory claims into words."""
    rules = what_counts(
        plan.spec,
        plan.exact_locked,
        {name: added.as_locked(plan.spec) for name, added in plan.seeds_added.items()},
    )
    return tuple(
        Answer(
            name=verdict.name,
            claim=" ".join(verdict.hypothesis.claim.split()),
            what_counts=rules[verdict.name],
            word=verdict.word,
            title=verdict_title(verdict) + (", exploratory" if verdict.exploratory else ""),
            finding=first_sentence(verdict),
            decision=explain(verdict),
        )
        for verdict in verdicts
        if verdict.hypothesis.exploratory == exploratory
    )


def _unasked(given: ReportInput) -> Iterator[Part]:
    if given.unasked:
        yield Part("Seen, not asked", grid=unasked_grid(given.unasked), notes=prose("unasked"))


def _criteria(given: ReportInput) -> Iterator[Part]:
    if given.criteria:
        grid = criteria_grid(given.criteria)
        yield Part(grid=grid, layout="asked wide", notes=prose("criteria"))


def _effects(given: ReportInput) -> list[Part]:
    parts = []
    for title, exploratory, correction in (("", False, "Holm"), ("Exploratory", True, "BH")):
        verdicts = [v for v in given.verdicts if v.hypothesis.exploratory == exploratory]
        if verdicts:
            grid = effects_grid(verdicts, given.floors, given.controls, correction)
            parts.append(Part(title, grid=grid, layout="wide"))
    return [*parts[:-1], *(part._replace(notes=prose("effects")) for part in parts[-1:])]


def _noise(given: ReportInput) -> Iterator[Part]:
    """How far two runs of one configuration differ, for each outcome."""
    has_controls = any(given.controls.values())
    notes = prose(
        "noise",
        floors=[floor for floor in given.floors.values() if floor.source != "none"],
        spread=seed_noise(given.tables.runs),
        has_controls=has_controls,
        n_seeds=len(given.plan.spec.seeds),
    )
    yield Part("Noise floor", notes=notes)
    if has_controls:
        yield Part(grid=controls_grid(given.controls), layout="wrap wide")


def _greedy(given: ReportInput) -> Iterator[Part]:
    spec, rounds = given.plan.spec, given.rounds
    if spec.greedy:
        grid = greedy_grid(given.plan.arms, spec, given.tables.runs, rounds) if rounds else None
        notes = prose("greedy", greedy=spec.greedy, rounds=rounds)
        yield Part("Greedy order of the changes (exploratory)", None, grid, "wide", notes)


def _arms(given: ReportInput) -> Iterator[Part]:
    """The tables with one row per arm, and the aliases of a fraction."""
    tables, aliases = given.tables, given.plan.aliases
    n_steps = budgets(tables.runs)
    cut_at = n_steps[0] if len(n_steps) > 1 else None
    yield Part("All arms", grid=arms_grid(tables.arms, cut_at), layout="wide")
    for title, grid, notes in (
        ("The best evaluation instead of the last", choices_grid(tables.arms), prose("choices")),
        ("Kinds of errors", errors_grid(tables.confusions), prose("errors")),
        ("PER by session", sessions_grid(tables.sessions), ()),
    ):
        if grid is not None:
            yield Part(title, grid=grid, layout="wrap asked", notes=notes)
    if aliases:
        grid, notes = aliases_grid(aliases), prose("aliases", found=aliases)
        yield Part("Aliased effects", grid=grid, layout="wrap", notes=notes)


def _varied(spec: AblationSpec) -> Part:
    common = changes_text(spec.set)
    notes = (f"In every arm, on top of the base: {common}.",) if common else ()
    return Part(grid=varied_grid(spec), layout="wrap", notes=notes)


def _failures(failures: pd.DataFrame) -> Iterator[Part]:
    for run in failures.itertuples():
        title = f"{run.arm}, seed {run.seed}: {run.outcome} after {run.n_steps_done:,} steps"
        yield Part(notes=(f"{title} (run {run.run_id})",), code=str(run.traceback_end))
