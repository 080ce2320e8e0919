"""What a report says, section by section, as plain text; the two templates only lay it out."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.answer import one_line_answer
from orchestrator.report.arms_grid import arms_grid
from orchestrator.report.cards import Card, make_cards
from orchestrator.report.claims import attempt_answers
from orchestrator.report.error_grids import (
    choices_grid,
    ensembles_grid,
    errors_grid,
    sessions_grid,
)
from orchestrator.report.evaluation import ReportInput
from orchestrator.report.faults import Faults
from orchestrator.report.figures.style import Saved
from orchestrator.report.greedy import greedy_grid
from orchestrator.report.grids import (
    Grid,
    aliases_grid,
    budgets,
    changes_text,
    conditions_grid,
    controls_grid,
    criteria_grid,
    effects_grid,
    listed,
    steps_text,
    unasked_grid,
    varied_grid,
)
from orchestrator.report.paper import paper_text
from orchestrator.report.per_and_wer import agreement_grid, agreement_notes, per_and_wer
from orchestrator.report.prose import prose
from orchestrator.report.rules import make_rules
from orchestrator.report.source_grids import data_grid, machine_grid
from orchestrator.report.telling_arms import MOST_IN_TABLES, shown_text, telling_arms
from orchestrator.report.word_grid import words_grid
from orchestrator.stats.run_values import COUNTED, NOT_NEEDED
from orchestrator.store.ledger import source_of_record, with_result
from orchestrator.store.mixing import machines_text, select, sources_text
from orchestrator.store.sources import training_sha256
from orchestrator.verdicts.controls import seed_noise

MOST_ROWS = 200  # of a table on the page, which opens slowly with more
_MOST_FAILURES = 50  # runs of which the page tells how they ended


class Part(NamedTuple):
    """One part of a section; every entry is optional.

    Attributes:
        title: its heading.
        figure: shown with its caption.
        grid: a table; the page shows its first `MOST_ROWS` rows.
        layout: how the HTML page sets the table: ``wide``, ``wrap`` (long cells), ``asked`` (long
            titles), or several of these.
        notes: paragraphs below the table.
        code: text in a fixed-width font, such as a traceback.
        bullets: the items of a list.
        file: a table of the folder that has all rows.
        rest: says that the page shows a part of the table; see `file`.
    """

    title: str = ""
    figure: Saved | None = None
    grid: Grid | None = None
    layout: str = ""
    notes: tuple[str, ...] = ()
    code: str = ""
    bullets: tuple[str, ...] = ()
    file: str = ""
    rest: str = ""


def make_view(given: ReportInput, figures: Sequence[Saved]) -> dict[str, Any]:
    """Put every section into words, for ``report.md.j2`` and ``report.html.j2``.

    A part that cannot be made is left out, and a warning says so.

    Args:
        given: what the report is made from.
        figures: saved in the ablation's folder.
    """
    plan, runs = given.plan, given.tables.runs
    endings = runs["outcome"]
    steps, n_recorded = steps_text(runs), int(endings.isin(COUNTED).sum())
    n_not_needed = int((endings == NOT_NEEDED).sum())
    eval_steps = listed(runs["eval_every_steps"].dropna().unique())
    attempt = given.faults.attempt
    shown = telling_arms(plan, given.tables.arms, MOST_IN_TABLES)
    cards: list[Card] = attempt("the list of arms", lambda: make_cards(given, shown), [])
    answers = partial(attempt_answers, plan, given.verdicts, given.faults)
    view: dict[str, Any] = {
        "name": plan.name,
        "question": " ".join(plan.question.split()),
        "summary": " ".join(
            prose(
                "summary",
                plan=plan,
                n_recorded=n_recorded,
                n_runs=len(runs),
                n_not_needed=n_not_needed,
                steps=steps,
            )
        ),
        "answer": attempt("the answer in one line", lambda: one_line_answer(given), ""),
        "answers": answers(exploratory=False),
        "explored": answers(exploratory=True),
        "effects": [Part(figure.title, figure) for figure in figures if figure.name == "effects"],
        "states_nothing": not plan.spec.hypotheses,
        "claims_left_out": max(0, len(given.verdicts) - MOST_ROWS),
        "evidence": _sections(
            given.faults,
            {
                "Success criteria": [lambda: _criteria(given, shown)],
                "Evidence": [
                    lambda: _effects(given),
                    lambda: _unasked(given),
                    lambda: _noise(given),
                    lambda: _greedy(given),
                    lambda: [
                        Part(figure.title, figure) for figure in figures if figure.name != "effects"
                    ],
                    lambda: _per_and_wer(given),
                    lambda: _arms(given, shown),
                ],
            },
        ),
        "cards": cards,
        "cards_left_out": len(plan.arms) - len(cards),
        "method": _sections(
            given.faults,
            {
                "What was varied": [lambda: [_varied(plan)]],
                "For a paper": [lambda: [Part(code=paper_text(given))]],
                "How it was decided": [
                    lambda: [
                        Part(
                            bullets=make_rules(
                                plan.spec, given.verdicts, runs, judged=plan.judged is not None
                            )
                        )
                    ]
                ],
                "Data and budget": [lambda: [Part(grid=data_grid(plan, runs), layout="wrap")]],
                "Runs that did not reach their budget": [lambda: _failures(given.tables.failures)],
                "Limits": [
                    lambda: [
                        Part(bullets=prose("limits", plan=plan, steps=steps, eval_steps=eval_steps))
                    ]
                ],
                "Environment and timing": [
                    lambda: [Part(grid=machine_grid(plan, runs), layout="wrap")]
                ],
            },
        ),
    }
    warnings: tuple[str, ...] = attempt("the remarks on the records", lambda: _warnings(given), ())
    faults = given.faults.found  # of every part above
    broken = [Part(notes=(fault.line,), code=fault.traceback.rstrip()) for fault in faults]
    view["warnings"] = (*warnings, *(f"{fault.line}." for fault in faults))
    view["method"] += [("What could not be made", broken)] if broken else []
    return view


def _warnings(given: ReportInput) -> tuple[str, ...]:
    plan, endings = given.plan, given.tables.runs["outcome"]
    return prose(
        "warnings",
        n_runs=len(endings),
        n_not_needed=int((endings == NOT_NEEDED).sum()),
        n_missing=int((endings == "missing").sum()),
        n_failed=int((endings == "failed").sum()),
        lock_changed=_few(plan.lock_changed),
        **_sources(given),
        machines=machines_text(given.records.values()),
        seeds_added=_few(plan.seeds_added),
        judged=plan.judged is not None,
    )


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
        "mixed_claims": _few(verdict.name for verdict in given.verdicts if verdict.mixed),
    }


def _few(names: Iterable[str]) -> list[str]:
    """The names as one text, of many the first few; an empty list for none."""
    found = list(names)
    return [listed(found)] if found else []


def _sections(
    faults: Faults, sections: Mapping[str, Sequence[Callable[[], Iterable[Part]]]]
) -> list[tuple[str, list[Part]]]:
    """(title, parts) of the sections that have a part; one that cannot be made is left out."""
    found = []
    for title, makers in sections.items():
        parts: list[Part] = []
        for make in makers:
            what = f"a part of the section '{title}'"
            made: list[Part] = faults.attempt(what, partial(_cut_parts, make), [])
            parts += made
        if parts:
            found.append((title, parts))
    return found


def _cut_parts(make: Callable[[], Iterable[Part]]) -> list[Part]:
    return [_cut(part) for part in make()]


def _cut(part: Part) -> Part:
    """The part with the first `MOST_ROWS` rows of its table."""
    if part.grid is None or len(part.grid.rows) <= MOST_ROWS:
        return part
    rest = f"The first {MOST_ROWS} of {len(part.grid.rows):,} rows"
    rest += "; all are in" if part.file else "."
    return part._replace(grid=part.grid._replace(rows=part.grid.rows[:MOST_ROWS]), rest=rest)


def _unasked(given: ReportInput) -> Iterator[Part]:
    if given.unasked:
        grid = unasked_grid(given.unasked)
        yield Part("Seen, not asked", grid=grid, notes=prose("unasked"), file="verdicts.json")


def _criteria(given: ReportInput, shown: Collection[str]) -> Iterator[Part]:
    if given.criteria:
        shown = frozenset(shown)
        grid = criteria_grid([result for result in given.criteria if result.arm in shown])
        notes = (*prose("criteria"), *_arms_left_out(given, shown))
        yield Part(grid=grid, layout="asked wide", notes=notes)


def _effects(given: ReportInput) -> list[Part]:
    parts = []
    for title, exploratory, correction in (
        ("Claims in numbers", False, "Holm"),
        ("Exploratory claims in numbers", True, "BH"),
    ):
        verdicts = [v for v in given.verdicts if v.hypothesis.exploratory == exploratory]
        if verdicts:
            grid = effects_grid(verdicts, given.floors, given.controls, correction)
            parts.append(Part(title, grid=grid, layout="wide", file="verdicts.csv"))
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


def _per_and_wer(given: ReportInput) -> Iterator[Part]:
    found = per_and_wer(given.plan, given.tables.runs)
    if found is not None:
        grid, notes = agreement_grid(found), agreement_notes(found)
        yield Part("Does PER stand for WER here?", grid=grid, layout="wrap asked", notes=notes)


def _arms_left_out(given: ReportInput, shown: Collection[str]) -> tuple[str, ...]:
    text = shown_text(len(shown), len(given.tables.arms))
    return (text,) if text else ()


def _arms(given: ReportInput, shown: Collection[str]) -> Iterator[Part]:
    """The tables with one row per arm, of those `shown`, and the aliases of a fraction."""
    tables, aliases = given.tables, given.plan.aliases
    n_steps = budgets(tables.runs)
    cut_at = n_steps[0] if len(n_steps) > 1 else None
    arms, confusions, sessions, words, ensembles = (
        table if table.empty else table[table["arm"].isin(shown)]
        for table in (
            *(tables.arms, tables.confusions, tables.sessions, tables.words),
            given.ensembles,
        )
    )
    of_words = words_grid(tables.runs[tables.runs["arm"].isin(shown)], words)
    notes = _arms_left_out(given, shown)
    yield Part("All arms", grid=arms_grid(arms, cut_at), layout="wide", notes=notes)
    for title, grid, notes, layout in (
        ("The best evaluation instead of the last", choices_grid(arms), prose("choices"), ""),
        ("Kinds of errors", errors_grid(confusions), prose("errors"), ""),
        ("PER by session", sessions_grid(sessions), (), ""),
        ("Words", of_words, prose("words"), "wide"),
        ("Ensembles of an arm's seeds", ensembles_grid(ensembles), prose("ensembles"), ""),
    ):
        if grid is not None:
            yield Part(title, grid=grid, layout=f"wrap asked {layout}".strip(), notes=notes)
    if aliases:
        grid, notes = aliases_grid(aliases), prose("aliases", found=aliases)
        yield Part("Aliased effects", grid=grid, layout="wrap", notes=notes)


def _varied(plan: PlanDocument) -> Part:
    spec, judged = plan.spec, plan.judged
    if judged is not None:
        grid, notes = conditions_grid(judged.conditions), prose("judged", plan=plan)
        return Part(grid=grid, layout="wrap", notes=notes, file="plan.json")
    common = changes_text(spec.set)
    notes = (f"In every arm, on top of the base: {common}.",) if common else ()
    return Part(grid=varied_grid(spec), layout="wrap", notes=notes, file="plan.json")


def _failures(failures: pd.DataFrame) -> Iterator[Part]:
    for run in failures.head(_MOST_FAILURES).itertuples():
        title = f"{run.arm}, seed {run.seed}: {run.outcome}"
        n_steps = cast(int, run.n_steps_done)
        title += f" after {n_steps:,} steps" if n_steps else ""  # of a failed run it is not known
        yield Part(notes=(f"{title} (run {run.run_id})",), code=str(run.traceback_end))
    if len(failures) > _MOST_FAILURES:
        rest = f"The first {_MOST_FAILURES} of {len(failures):,} such runs; all are in"
        yield Part(file="runs.csv", rest=rest)
