"""What a report says, section by section, as plain text; the two templates only lay it out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.cards import Card, make_cards
from orchestrator.report.error_grids import choices_grid, errors_grid, sessions_grid
from orchestrator.report.figures import Saved
from orchestrator.report.greedy import greedy_grid, greedy_notes
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
    fraction_text,
    listed,
    machine_grid,
    steps_text,
    varied_grid,
)
from orchestrator.report.rules import make_rules
from orchestrator.report.wording import explain, first_sentence, verdict_title
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import difference_text, noun, unit_of
from orchestrator.tables.tables import Tables
from orchestrator.verdicts.controls import Control, NoiseFloor, seed_noise
from orchestrator.verdicts.criteria import CriterionResult
from orchestrator.verdicts.greedy import Round
from orchestrator.verdicts.verdicts import Verdict


class ReportInput(NamedTuple):
    """Everything a report is made from.

    Attributes:
        plan: the plan document.
        configs: arm → the configuration it was trained with, for the arms recorded so far.
        tables: the tables of the ablation.
        verdicts: one per hypothesis.
        figures: saved in the ablation's folder.
        criteria: one result per criterion and arm.
        controls: outcome → the comparison of each control with the arm that it repeats.
        floors: outcome → noise floor.
        rounds: the rounds of a greedy path.
    """

    plan: PlanDocument
    configs: Mapping[str, Mapping[str, Any]]
    tables: Tables
    verdicts: Sequence[Verdict]
    figures: Sequence[Saved]
    criteria: Sequence[CriterionResult]
    controls: Mapping[str, Sequence[Control]]
    floors: Mapping[str, NoiseFloor]
    rounds: Sequence[Round] = ()


class Answer(NamedTuple):
    """One hypothesis: its verdict, and the two sentences that explain it."""

    name: str
    claim: str
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


class ReportSection(NamedTuple):
    """One section of a report."""

    title: str
    parts: tuple[Part, ...]


class View(NamedTuple):
    """The content of a report, in order; empty parts are left out."""

    name: str
    question: str
    summary: str
    warnings: tuple[str, ...]
    answers: tuple[Answer, ...]
    explored: tuple[Answer, ...]
    evidence: tuple[ReportSection, ...]
    cards: tuple[Card, ...]
    cards_left_out: int
    method: tuple[ReportSection, ...]


def make_view(given: ReportInput) -> View:
    """Put every section into words."""
    plan, tables = given.plan, given.tables
    cards = make_cards(plan, given.configs, tables, given.criteria)
    return View(
        name=plan.name,
        question=" ".join(plan.question.split()),
        summary=_summary(plan, tables.runs),
        warnings=_warnings(plan, tables.runs),
        answers=tuple(make_answer(v) for v in given.verdicts if not v.hypothesis.exploratory),
        explored=tuple(make_answer(v) for v in given.verdicts if v.hypothesis.exploratory),
        evidence=_sections(
            ("Success criteria", _criteria(given.criteria)),
            (
                "Evidence",
                (
                    *_effects(given),
                    *_noise(given),
                    *_greedy(given),
                    *(Part(figure.title, figure) for figure in given.figures),
                    *_arms(given),
                ),
            ),
        ),
        cards=cards,
        cards_left_out=len(plan.arms) - len(cards),
        method=_sections(
            ("What was varied", _varied(plan.spec)),
            ("How it was decided", _list(make_rules(plan.spec, given.verdicts, tables.runs))),
            ("Data and budget", [Part(grid=data_grid(plan, tables.runs), layout="wrap")]),
            ("Runs that did not reach their budget", _failures(tables.failures)),
            ("Limits", _list(_limits(plan, tables.runs))),
            ("Environment and timing", [Part(grid=machine_grid(tables.runs), layout="wrap")]),
        ),
    )


def _sections(*sections: tuple[str, Iterable[Part]]) -> tuple[ReportSection, ...]:
    made = (ReportSection(title, tuple(parts)) for title, parts in sections)
    return tuple(section for section in made if section.parts)


def _list(items: Sequence[str]) -> list[Part]:
    return [Part(bullets=tuple(items))]


def _summary(plan: PlanDocument, runs: pd.DataFrame) -> str:
    n_arms, n_seeds = len(plan.arms), len(plan.spec.seeds)
    n_recorded = int((~runs["outcome"].isin(["missing", "failed"])).sum())
    return (
        f"{n_recorded} of {len(runs)} runs have a result: {n_arms} arms × {n_seeds} "
        f"seed{'s' * (n_seeds != 1)}, {steps_text(runs)} each, on {plan.data_name}."
    )


def _warnings(plan: PlanDocument, runs: pd.DataFrame) -> tuple[str, ...]:
    warnings = []
    n_missing = int((runs["outcome"] == "missing").sum())
    n_failed = int((runs["outcome"] == "failed").sum())
    if n_missing:
        warnings.append(
            f"{len(runs) - n_missing} of {len(runs)} runs are recorded. Hypotheses about arms with "
            "missing runs have no verdict yet; start the same command again to finish."
        )
    if n_failed:
        warnings.append(
            f"{n_failed} of {len(runs)} runs failed with an error (they did not diverge). "
            "Hypotheses about their arms have a verdict only if it is the same for every result "
            "that these runs could have had."
        )
    if plan.lock_changed:
        names = ", ".join(plan.lock_changed)
        warnings.append(f"Exploratory, because changed after some of their runs existed: {names}.")
    return tuple(warnings)


def make_answer(verdict: Verdict) -> Answer:
    """Put one verdict into words."""
    return Answer(
        name=verdict.name,
        claim=" ".join(verdict.hypothesis.claim.split()),
        word=verdict.word,
        title=verdict_title(verdict) + (", exploratory" if verdict.exploratory else ""),
        finding=first_sentence(verdict),
        decision=explain(verdict),
    )


def _criteria(results: Sequence[CriterionResult]) -> Iterator[Part]:
    if results:
        note = "An arm passes if every seed passes. The number shown is that of the worst seed."
        yield Part(grid=criteria_grid(results), layout="asked wide", notes=(note,))


def _effects(given: ReportInput) -> list[Part]:
    confirmatory = [v for v in given.verdicts if not v.hypothesis.exploratory]
    explored = [v for v in given.verdicts if v.hypothesis.exploratory]
    noise = (given.floors, given.controls)
    note = (
        "An effect is the second level of the contrast minus the first. The margin is the smallest "
        "effect that matters for the claim. The noise floor is how far apart two single runs of "
        "one configuration can be."
    )
    parts = [
        Part(title, grid=effects_grid(verdicts, *noise, correction), layout="wide")
        for title, verdicts, correction in (
            ("", confirmatory, "Holm"),
            ("Exploratory", explored, "BH"),
        )
        if verdicts
    ]
    return [*parts[:-1], *(part._replace(notes=(note,)) for part in parts[-1:])]


def _noise(given: ReportInput) -> Iterator[Part]:
    """How far two runs of one configuration differ, for each outcome."""
    n_seeds = len(given.plan.spec.seeds)
    has_controls = any(given.controls.values())
    notes = []
    spread = seed_noise(given.tables.runs)
    if spread is not None:
        notes.append(
            "Between seeds, the final PER varies by "
            f"{difference_text(spread, 'per', signed=False)} points (standard deviation, pooled "
            "over the arms whose runs all ended ok)."
        )
    notes += [_floor(floor, n_seeds) for floor in given.floors.values() if floor.source != "none"]
    if not has_controls and notes:
        notes.append(
            "The ablation has no control (an arm repeated on fresh seeds or with the same seeds), "
            "so the noise floor is estimated from the spread over seeds."
        )
    unknown = "The noise floor is unknown: no arm has two runs that ended ok."
    yield Part("Noise floor", notes=tuple(notes or [unknown]))
    if has_controls:
        yield Part(grid=controls_grid(given.controls), layout="wrap wide")


def _floor(floor: NoiseFloor, n_seeds: int) -> str:
    outcome, unit = floor.outcome, unit_of(floor.outcome)
    source = (
        f"{floor.n} differences between an arm and its repetition on fresh seeds"
        if floor.source == "controls"
        else "the spread over seeds"
    )
    one, mean = (
        difference_text(value, outcome, signed=False)
        for value in (floor.half_width, floor.of_mean(n_seeds))
    )
    text = (
        f"Noise floor of {noun(outcome)}: in 95 of 100 cases, two single runs of the same "
        f"configuration differ by at most ±{one} {unit}, and two means over {n_seeds} seeds by at "
        f"most ±{mean} (estimated from {source})"
    )
    if floor.same_seed is not None:
        again = difference_text(floor.same_seed, outcome, signed=False)
        text += (
            f"; two trainings with the same seed differ by at most {again} {unit} "
            f"({floor.n_same_seed} seeds)"
        )
    return f"{text}."


def _greedy(given: ReportInput) -> Iterator[Part]:
    spec, rounds = given.plan.spec, given.rounds
    if spec.greedy:
        grid = greedy_grid(given.plan.arms, spec, given.tables.runs, rounds) if rounds else None
        title = "Greedy order of the changes (exploratory)"
        yield Part(title, grid=grid, layout="wide", notes=greedy_notes(spec, rounds))


def _arms(given: ReportInput) -> Iterator[Part]:
    """The tables with one row per arm, and the aliases of a fraction."""
    tables, aliases = given.tables, given.plan.aliases
    n_steps = budgets(tables.runs)
    cut_at = n_steps[0] if len(n_steps) > 1 else None
    yield Part("All arms", grid=arms_grid(tables.arms, cut_at), layout="wide")
    optional = (
        (
            "The best evaluation instead of the last",
            choices_grid(tables.arms),
            "Verdicts use the last evaluation with greedy decoding. The best evaluation has been "
            "chosen on the same trials that give its PER, so its PER is too low on average. The "
            "optimism estimates by how much: it compares choosing on one half of the trials with "
            "measuring on the other half.",
        ),
        (
            "Kinds of errors",
            errors_grid(tables.confusions),
            "Over all seeds at the last evaluation, with greedy decoding; as shares of the "
            "phonemes in the reference.",
        ),
        ("PER by session", sessions_grid(tables.sessions), ""),
    )
    for title, grid, note in optional:
        if grid is not None:
            yield Part(title, grid=grid, layout="wrap asked", notes=(note,) if note else ())
    if aliases:
        grid, note = aliases_grid(aliases), fraction_text(aliases)
        yield Part("Aliased effects", grid=grid, layout="wrap", notes=(note,))


def _varied(spec: AblationSpec) -> Iterator[Part]:
    common = changes_text(spec.set)
    notes = (f"In every arm, on top of the base: {common}.",) if common else ()
    yield Part(grid=varied_grid(spec), layout="wrap", notes=notes)


def _failures(failures: pd.DataFrame) -> Iterator[Part]:
    columns = ["arm", "seed", "outcome", "n_steps_done", "run_id", "traceback_end"]
    rows = zip(*(failures[column] for column in columns), strict=True)
    for arm, seed, ending, n_done, run_id, traceback in rows:
        title = f"{arm}, seed {seed}: {ending} after {n_done:,} steps (run {run_id})"
        yield Part(notes=(title,), code=traceback)


def _limits(plan: PlanDocument, runs: pd.DataFrame) -> tuple[str, ...]:
    limits = [
        f"Collapsed means collapsed within {steps_text(runs)}. The same settings may escape if "
        "they are trained for more steps.",
        f"The verdicts hold for {plan.data_name}, this model size and this step budget. Nothing "
        "here shows that they hold for other recordings, sizes or budgets.",
        "Intervals and tests describe the variation between seeds, not between data sets.",
        "The final PER is that of the last evaluation; no verdict uses the best evaluation.",
    ]
    if "synthetic" in plan.data_name:
        limits.insert(2, "The recordings are synthetic: no neural data were decoded.")
    if any(h.outcome == "escape_step" for h in plan.spec.hypotheses.values()):
        every = listed(runs["eval_every_steps"].dropna().unique())
        limits.append(
            f"Steps to escape are known only to the nearest evaluation (every {every} steps)."
        )
    return tuple(limits)
